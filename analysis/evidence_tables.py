"""Make the tables and the figure of analysis/evidence/README.md, and the main README's table, from the runs kept there.

    python -m analysis.evidence_tables                     rewrite them
    python -m analysis.evidence_tables --check             report whether they match the evidence (status 1 if not)
    python -m analysis.evidence_tables --keep RESULTS...   first copy these finished runs' tables to the evidence

A table stands in a page between <!-- evidence:NAME --> and <!-- /evidence:NAME -->. The figure is kept as Plotly's
JSON, which --check compares, and as the picture that the pages show (drawn by a Chromium).
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import claims, compare, figures, recovery, tables
from analysis.cli import Parser
from analysis.intervals import CONTRADICTED, DIFFERS, FITS, NOT_TESTED, REPRODUCED, UNDECIDED
from analysis.load import Results, ResultsError, load
from analysis.untestable import resized
from search.records import ARM, PARAMETERS, STUDY_FILE, TABLES, TEST_ACCURACY, VAL_ACCURACY

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "analysis" / "evidence"
PAGES = {ROOT / "README.md": ("summary",), EVIDENCE / "README.md": None}  # pages and their tables; None: all tables
FIGURE = EVIDENCE / "families.json"
KEPT = (STUDY_FILE, *(f"{name}.parquet" for name in TABLES))


def kept(folder: Path = EVIDENCE) -> list[Results]:
    """Return every run in `folder`, by study and run. Raises ResultsError, also if there is none."""
    runs = sorted(file.parent for file in folder.glob(f"*/*/{STUDY_FILE}"))
    if not runs:
        raise ResultsError(f"{folder} holds no results")
    return load(runs)


def keep(results: Sequence[Results], folder: Path = EVIDENCE) -> None:
    """Copy the tables of finished runs to the evidence. Raises ResultsError for a smoke or an unfinished run."""
    for result in results:
        record = result.record
        if result.partial or record.smoke:
            state = "has not ended" if result.partial else "is a smoke run"
            raise ResultsError(f"evidence must be a finished run on real data, {result.path} {state}")
        target = folder / record.study / record.run
        if target.exists() and len(load([target])[0].trials) >= len(result.trials):  # unless the run was extended since
            raise ResultsError(f"{target} is kept already")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as new:  # whole or not at all
            for name in KEPT:
                if (result.path / name).exists():
                    shutil.copyfile(result.path / name, Path(new) / name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(new, target)


def tested(results: Sequence[Results]) -> pd.DataFrame:
    """Return the claims, as `analysis.claims` judges them, that at least one seed tests; sorted by note."""
    frame = claims.claims(results)
    # A confounded comparison alone decides nothing.
    frame = frame[claims.deciding_seeds(frame) > 0]
    return frame.sort_values("source", key=_note, kind="stable", ignore_index=True)


def _note(sources: pd.Series) -> pd.Series:
    return sources.str.extract(r"note (\w)", expand=False).fillna("none")


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each note: how many tested claims have which verdict, of a confounded one its clean arms'.

    A claim counts once: by the runs whose settings are nearest to the note's.
    """
    changes = frame["clean_changed"].astype(object).where(frame["clean_changed"].notna(), frame["changed"]).fillna("")
    other = pd.Series(map(resized, changes, frame["quantity"]), index=frame.index, dtype=bool)
    distance = pd.Series(zip(other, changes.str.count(", "), strict=True), index=frame.index, dtype=object)
    untested = frame["clean_verdict"].where(frame["clean_verdict"].notna(), frame["verdict"]).eq(NOT_TESTED)
    nearest = frame.assign(_untested=untested, _distance=distance, _resized=other)
    nearest = nearest.sort_values(["_untested", "_distance"], kind="stable").drop_duplicates(["study", "claim"])
    frame = nearest.sort_index()
    keys = {
        "note": _note(frame["source"]),
        "runs": frame["_resized"].map({True: "changed", False: "as the note's"}),
    }
    rows = []
    for (note, how), some in frame.groupby(list(keys.values()), sort=True):
        row = {"note": note, "runs": how, "claims": str(len(some))}
        for verdict in (REPRODUCED, CONTRADICTED, UNDECIDED, NOT_TESTED):
            clean = int((some["clean_verdict"] == verdict).sum())
            row[verdict] = str(int((some["verdict"] == verdict).sum()) + clean)
            row[verdict] += f" ({clean} by clean arms)" if clean else ""
        row["q at most .05"] = str(claims.discoveries(some))
        for size in (FITS, DIFFERS):
            row[f"size {size}"] = str(int((some["size"] == size).sum()))
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def claims_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each tested claim."""
    if frame.empty:
        return pd.DataFrame()
    shown = claims.readable(frame)
    return shown[["claim", "source", "verdict", "ours (95 %)", "seeds", "p", "q", "note", *_said(shown, "changed")]]


def runs_table(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each reported test accuracy whose run was replayed."""
    frame = compare.compare(results)
    frame = frame[frame["quantity"] == TEST_ACCURACY]
    if frame.empty:
        return pd.DataFrame()
    shown = compare.readable(frame).rename(columns={"ours": "ours %", "reported": "reported %"})
    compared = _said(shown, "difference", "leaves the curve")
    if "changed" in shown:
        shown.loc[shown["changed"].map(resized), compared] = ""  # another run than the note's
    columns = ["note", "arm", "ours %", "95 %", "seeds", "reported %", *compared, *_said(shown, "changed")]
    # An arm that several studies ran alike has one row, with their names.
    grouped = shown.assign(study=frame["study"].to_numpy()).groupby(columns, sort=False)["study"].agg(", ".join)
    return grouped.reset_index().sort_values("note", kind="stable")[["study", *columns]]


def searches_table(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each search: the trial that validation accuracy chose, its test accuracy, and the note's best.

    The note's best is left out if --set made the search another task.
    """
    rows = []
    for result in results:
        record, best = result.record, result.best()
        if best is None or result.recovery:
            continue
        printed = [x.test_accuracy for x in record.reported if x.test_accuracy and x.dataset == record.dataset]
        comparable = printed and not any(record.options.get("set", ()))
        rows.append(
            {
                "study": record.study,
                "trials": str(len(result.trials)),
                "hours": f"{record.wall_seconds / 3600:.2f}",
                "chosen": ", ".join(f"{name} {tables.cell(value)}" for name, value in result.tried(best).items()),
                "validation %": tables.cell(best[VAL_ACCURACY], VAL_ACCURACY),
                "test %": tables.cell(best[TEST_ACCURACY], TEST_ACCURACY),
                "note's best, test %": tables.cell(max(printed), TEST_ACCURACY) if comparable else "",
                "changed": result.changed,
            }
        )
    return pd.DataFrame(rows, dtype=str)


def recovery_table(results: Sequence[Results]) -> pd.DataFrame:
    """Return the three trials of each recovery whose curves lie nearest to the printed ones, and the replays' seeds."""
    frame = recovery.distances(results)
    if frame.empty:
        return pd.DataFrame()
    searched = frame["which"].str.startswith("trial")
    nearest = frame[searched].groupby("study").head(3).index
    return recovery.readable_distances(frame.loc[sorted({*nearest, *frame.index[~searched]})])


def _said(shown: pd.DataFrame, *columns: str) -> list[str]:
    return [name for name in columns if name in shown]


def families(results: Sequence[Results]) -> pd.DataFrame:
    """Return test accuracy and parameters of every replayed arm (mean over seeds), and of the note's run of that arm.

    Columns dataset, arm, parameters, test_accuracy, and by: "ours", "ours, changed" or "note". If a note prints no
    parameters, the count of the same arm here stands for it.
    """
    rows = []
    for result in results:
        record = result.record
        printed = {x.arm: x for x in record.reported if x.test_accuracy is not None and x.dataset == record.dataset}
        finished = result.finished()
        for arm, runs in finished[finished[ARM].notna()].groupby(ARM):
            point = {"dataset": record.dataset, ARM: arm, PARAMETERS: int(runs[PARAMETERS].iloc[0])}
            by = "ours, changed" if resized(result.changed_of(arm)) else "ours"
            rows.append({**point, TEST_ACCURACY: round(runs[TEST_ACCURACY].mean(), 6), "by": by})
            if arm in printed:
                size = printed[arm].parameters or point[PARAMETERS]
                rows.append({**point, PARAMETERS: size, TEST_ACCURACY: printed[arm].test_accuracy, "by": "note"})
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)


def page_tables(results: Sequence[Results]) -> dict[str, str]:
    """Return the tables as Markdown, by name."""
    frame = tested(results)
    made = {
        "summary": summary_table(frame),
        "claims": claims_table(frame),
        "runs": runs_table(results),
        "searches": searches_table(results),
        "recovery": recovery_table(results),
        "told-apart": recovery.readable(recovery.told_apart(results)),
    }
    return {name: tables.markdown("", frame, ()).strip() or "(none yet)" for name, frame in made.items()}


def rewritten(text: str, made: dict[str, str]) -> str:
    """Return `text` with each table in its place. Raises ResultsError if a place is missing or occurs twice."""
    for name, table in made.items():
        start, end = f"<!-- evidence:{name} -->", f"<!-- /evidence:{name} -->"
        if (places := len(re.findall(f"{start}.*?{end}", text, re.DOTALL))) != 1:
            raise ResultsError(f"{name} must have one place {start} ... {end} in its page, got {places}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.evidence_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    parser.add_argument(
        "--keep", nargs="+", metavar="RESULTS", default=[], help="runs to copy first: a run, or a folder of runs"
    )
    args: Any = parser.parse_args(argv)
    try:
        keep(load(args.keep))
        results = kept()
        drawn = FIGURE.read_text(encoding="utf-8") if FIGURE.exists() else ""
        tables_of = page_tables(results)
        texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
        made = {
            page: rewritten(text, {name: tables_of[name] for name in PAGES[page] or tables_of})
            for page, text in texts.items()
        }
        figure = figures.families(families(results))
    except (ResultsError, OSError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    same = made == texts and figure.to_json() == drawn
    if args.check:
        print(f"the tables and the figure are {'' if same else 'not '}what the evidence gives")
        return int(not same)
    if figure.to_json() != drawn:
        try:
            picture = figure.to_image("svg", width=900, height=520)
        except RuntimeError:  # Plotly's, of several lines
            print(
                f"{parser.prog}: the figure is drawn by a Chromium, which is not installed: `apt-get install chromium`",
                file=sys.stderr,
            )
            return 2
        FIGURE.with_suffix(".svg").write_bytes(picture)
        FIGURE.write_text(figure.to_json(), encoding="utf-8")
    for page, text in made.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
