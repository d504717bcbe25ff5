"""The README's tables of results and its figure, made from the runs kept in analysis/evidence/.

    python -m analysis.evidence                     rewrites them
    python -m analysis.evidence --check             says whether they are what the evidence gives (status 1: not)
    python -m analysis.evidence --keep RESULTS...   first copies these finished runs' tables to the evidence

A table stands in the README between <!-- evidence:NAME --> and <!-- /evidence:NAME -->. The figure is kept as
Plotly's JSON, which is what is compared, and as the picture of it that the README shows (drawn by a Chromium).
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
from analysis import statistics as s
from analysis.cli import Parser
from analysis.load import Results, ResultsError, load
from search import records as r

ROOT = Path(__file__).parents[1]
EVIDENCE, README = ROOT / "analysis" / "evidence", ROOT / "README.md"
FIGURE = EVIDENCE / "families.json"
KEPT = (r.STUDY_FILE, *(f"{name}.parquet" for name in r.TABLES))


def kept(folder: Path = EVIDENCE) -> list[Results]:
    """Every run in `folder`, by study and run. Raises ResultsError, also where there is none."""
    runs = sorted(file.parent for file in folder.glob(f"*/*/{r.STUDY_FILE}"))
    if not runs:
        raise ResultsError(f"{folder} holds no results")
    return load(runs)


def keep(results: Sequence[Results], folder: Path = EVIDENCE) -> None:
    """Copies what the tables are made from. Raises ResultsError for a run that tells nothing or not yet all."""
    for result in results:
        record = result.record
        if result.partial or record.smoke:
            state = "has not ended" if result.partial else "is a smoke run"
            raise ResultsError(f"evidence must be a finished run on real data, {result.path} {state}")
        target = folder / record.study / record.run
        if target.exists() and len(load([target])[0].trials) >= len(result.trials):  # or it was extended since
            raise ResultsError(f"{target} is kept already")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as new:  # whole or not at all
            for name in KEPT:
                if (result.path / name).exists():
                    shutil.copyfile(result.path / name, Path(new) / name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(new, target)


def tested(results: Sequence[Results]) -> pd.DataFrame:
    """The claims, as `analysis.claims` has them, on which a seed says something; by note."""
    frame = claims.claims(results)
    # A confounded comparison alone decides nothing.
    frame = frame[frame["clean_n"].fillna(frame["n"]) > 0]
    return frame.sort_values("source", key=_note, kind="stable", ignore_index=True)


def _note(sources: pd.Series) -> pd.Series:
    return sources.str.extract(r"note (\w)", expand=False).fillna("none")


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a note: how many of its tested claims have which verdict; a confounded one has that of its clean arms."""
    changed = frame["changed"].ne("") | frame["clean_changed"].astype(object).fillna("").ne("")
    keys = {
        "note": _note(frame["source"]),
        "runs": changed.map({True: "changed", False: "as the note's"}),
    }
    rows = []
    for (note, how), some in frame.groupby(list(keys.values()), sort=True):
        row = {"note": note, "runs": how, "claims": str(len(some))}
        for verdict in (s.REPRODUCED, s.CONTRADICTED, s.UNDECIDED, s.NOT_TESTED):
            clean = int((some["clean_verdict"] == verdict).sum())
            row[verdict] = str(int((some["verdict"] == verdict).sum()) + clean)
            row[verdict] += f" ({clean} by clean arms)" if clean else ""
        row["q at most .05"] = str(claims.discoveries(some))
        for size in (s.FITS, s.DIFFERS):
            row[f"size {size}"] = str(int((some["size"] == size).sum()))
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def claims_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a tested claim."""
    if frame.empty:
        return pd.DataFrame()
    shown = claims.readable(frame)
    return shown[["claim", "source", "verdict", "ours (95 %)", "seeds", "p", "q", "note", *_said(shown, "changed")]]


def runs_table(results: Sequence[Results]) -> pd.DataFrame:
    """A row a reported test accuracy whose run was replayed."""
    frame = compare.compare(results)
    frame = frame[frame["quantity"] == r.TEST_ACCURACY]
    if frame.empty:
        return pd.DataFrame()
    shown = compare.readable(frame).rename(columns={"ours": "ours %", "reported": "reported %"})
    compared = _said(shown, "difference", "leaves the curve")
    if "changed" in shown:
        shown.loc[shown["changed"] != "", compared] = ""  # another run than the note's
    columns = ["note", "arm", "ours %", "95 %", "seeds", "reported %", *compared, *_said(shown, "changed")]
    # An arm that several studies ran alike has one row, with their names.
    grouped = shown.assign(study=frame["study"].to_numpy()).groupby(columns, sort=False)["study"].agg(", ".join)
    return grouped.reset_index().sort_values("note", kind="stable")[["study", *columns]]


def searches_table(results: Sequence[Results]) -> pd.DataFrame:
    """A row a search: the trial that validation accuracy chose, its test accuracy, and beside it the note's best, where
    --set did not make another task of it.
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
                "validation %": tables.cell(best[r.VAL_ACCURACY], r.VAL_ACCURACY),
                "test %": tables.cell(best[r.TEST_ACCURACY], r.TEST_ACCURACY),
                "note's best, test %": tables.cell(max(printed), r.TEST_ACCURACY) if comparable else "",
                "changed": result.changed,
            }
        )
    return pd.DataFrame(rows, dtype=str)


def recovery_table(results: Sequence[Results]) -> pd.DataFrame:
    """The three trials of each recovery whose curves lie nearest to the printed ones, and the replays' seeds."""
    frame = recovery.distances(results)
    if frame.empty:
        return pd.DataFrame()
    searched = frame["which"].str.startswith("trial")
    nearest = frame[searched].groupby("study").head(3).index
    return recovery.readable_distances(frame.loc[sorted({*nearest, *frame.index[~searched]})])


def _said(shown: pd.DataFrame, *columns: str) -> list[str]:
    return [name for name in columns if name in shown]


def families(results: Sequence[Results]) -> pd.DataFrame:
    """Test accuracy and parameters of every replayed arm (mean over seeds), and of the note's run of that arm.

    Columns dataset, arm, parameters, test_accuracy, and by: "ours", "ours, changed" or "note". A
    note that prints no parameters has those of the same arm here.
    """
    rows = []
    for result in results:
        record = result.record
        printed = {x.arm: x for x in record.reported if x.test_accuracy is not None and x.dataset == record.dataset}
        finished = result.finished()
        for arm, runs in finished[finished[r.ARM].notna()].groupby(r.ARM):
            point = {"dataset": record.dataset, r.ARM: arm, r.PARAMETERS: int(runs[r.PARAMETERS].iloc[0])}
            by = "ours, changed" if result.changed else "ours"
            rows.append({**point, r.TEST_ACCURACY: round(runs[r.TEST_ACCURACY].mean(), 6), "by": by})
            if arm in printed:
                size = printed[arm].parameters or point[r.PARAMETERS]
                rows.append({**point, r.PARAMETERS: size, r.TEST_ACCURACY: printed[arm].test_accuracy, "by": "note"})
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)


def readme_tables(results: Sequence[Results]) -> dict[str, str]:
    """Name -> Markdown."""
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
    """`text` with each table in its place. Raises ResultsError where a place is missing or named twice."""
    for name, table in made.items():
        start, end = f"<!-- evidence:{name} -->", f"<!-- /evidence:{name} -->"
        if (places := len(re.findall(f"{start}.*?{end}", text, re.DOTALL))) != 1:
            raise ResultsError(f"the README must have one place {start} ... {end}, got {places}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m analysis.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--keep", nargs="+", metavar="RESULTS", default=[], help="a run, or a folder of runs")
    args: Any = parser.parse_args(argv)
    try:
        keep(load(args.keep))
        results = kept()
        text, drawn = README.read_text(encoding="utf-8"), FIGURE.read_text(encoding="utf-8") if FIGURE.exists() else ""
        made = rewritten(text, readme_tables(results))
        figure = figures.families(families(results))
    except (ResultsError, OSError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    same = made == text and figure.to_json() == drawn
    if args.check:
        print(f"the README's tables and figure are {'' if same else 'not '}what the evidence gives")
        return int(not same)
    README.write_text(made, encoding="utf-8")
    if figure.to_json() != drawn:
        figure.write_image(FIGURE.with_suffix(".svg"), width=900, height=520)
        FIGURE.write_text(figure.to_json(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
