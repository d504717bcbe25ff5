"""Write one page that answers a study's question: self-contained, offline, light and dark.

The page holds the question, the answer in one sentence, the note's claims as a forest plot, the search's history and
curves, accuracy against size, our curves beside the printed ones, what each ensemble member adds, which hyperparameter
mattered, every trial, and how the study was run. Each figure comes from the rows of the results folders named at the
end. Contents lead to every study and part; parts fold, and of several studies each is folded.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import (
    adaboost_weights,
    claims,
    cli,
    compare,
    confusions,
    ensemble_size,
    figures,
    forest,
    kept_pictures,
    loss_curves,
    page,
    pareto,
    search_figures,
    tables,
    uncertainty,
)
from analysis.importance import importance
from analysis.load import Results, ResultsError, by_study
from analysis.sizes import by_size
from search.records import (
    ARM,
    CONFIG,
    EPOCHS,
    ERROR,
    PARAMETERS,
    PROTOCOL,
    RECOVERY_PROTOCOL,
    SECONDS,
    SEED,
    STATUS,
    STATUSES,
    TEST_ACCURACY,
    TRAIN_ACCURACY,
    TRAIN_LOSS,
    TRIAL_ID,
    VAL_ACCURACY,
)

FEW = 3  # most claims that one sentence names
PERMUTATIONS = 39  # of the metric behind an importance's p, which is then at least .025: a page of 1,000 trials in 10 s
FOLDED = ("Every trial", "How it was run")  # parts that open only if asked for


def report(results: Sequence[Results], read: Sequence[str] = (), again: int | None = None) -> str:
    """Return the page's HTML; `read` says which runs were read, if that is not plain.

    With `again` the page loads itself again after as many seconds. Raises ResultsError if runs of one study differ in
    data set.
    """
    numbers = itertools.count(1)
    studies = by_study(results)
    verdicts = claims.claims(results)
    own = {study: verdicts[verdicts["study"] == study] for study in studies}
    anchors = {study: f"study-{place}" for place, study in enumerate(studies, 1)}
    sections = {
        study: list(_study(runs, own[study], anchors[study], numbers, heads=len(studies) == 1))
        for study, runs in studies.items()
    }
    parts = [_text(line, "soft") for line in read]
    if len(studies) > 1:
        parts.append(_contents([(anchors[study], runs, own[study]) for study, runs in studies.items()]))
        if len(measured := claims.measured_claims(verdicts)):
            drawn = forest.forest(measured, link=anchors)
            parts.append(
                page.fold("<h2>All claims tested</h2>", _legend() + drawn, "claims", opened=True, style="part")
            )
    for study, runs in studies.items():
        head, *body = sections[study]
        whole = "\n".join([head, *body])
        if len(studies) > 1:
            back = '<p class="soft"><a href="#contents">Contents</a></p>'
            title = f"<h1>{escape(runs[0].record.question)}</h1>"
            whole = page.fold(title, f"{whole}\n{back}", style="study")
        parts.append(f'<section id="{anchors[study]}">\n{whole}\n</section>')
    title = f"Report: {', '.join(studies)}" if len(studies) <= FEW else f"Report: {len(studies)} studies"
    return page.page(tables.printable(title), [tables.printable(part) for part in parts], again)


def _contents(studies: Sequence[tuple[str, list[Results], pd.DataFrame]]) -> str:
    """Return the list of studies: each study's question, linked to its section, and what was found."""
    lines = [
        f'<li><a href="#{anchor}">{escape(runs[0].record.question)}</a> '
        f'<span class="soft">{escape(runs[0].record.study)}: {escape(_found(runs, verdicts))}</span></li>'
        for anchor, runs, verdicts in studies
    ]
    return f'<nav id="contents"><h1>{len(studies)} studies</h1><ol>{"".join(lines)}</ol></nav>'


def _found(results: Sequence[Results], verdicts: pd.DataFrame) -> str:
    trials = sum(len(result.trials) for result in results)
    decided = [claims.summary(verdicts)] if len(claims.measured_claims(verdicts)) else []
    return "; ".join([f"{trials} trials", *decided])


def _study(
    results: list[Results], verdicts: pd.DataFrame, anchor: str, numbers: Iterator[int], *, heads: bool
) -> Iterator[str]:
    """Yield the study's head, with its question if `heads` is true, then its contents and its parts."""
    record = results[0].record
    trials = pd.concat([result.trials for result in results])
    counts = trials[STATUS].value_counts()
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts.get(status))
    head = [f"<h1>{escape(record.question)}</h1>"] if heads else []
    head.append(_text(answer(results, verdicts), "answer"))
    head.append(_text(f"{record.study} on {record.dataset}; {record.source}. {len(trials)} trials: {told}.", "soft"))
    for state, warning in (
        (any(x.partial for x in results), "Partial: the run has not ended, more trials may come."),
        (any(x.record.smoke for x in results), "A smoke run: it tests the machinery and answers nothing."),
        (
            any(x.recovery for x in results),
            "A recovery: fitted to printed test accuracies, good for the setting it looks for and nothing else.",
        ),
    ):
        if state:
            head.append(_text(warning, "answer"))
    parts = {
        "What the note claims": _verdicts(verdicts),
        "The search": _search(results, numbers),
        "Which hyperparameter mattered": _importance(results, numbers),
        "Accuracy against size": _front(results, numbers),
        "Ours beside the note's figures": _comparison(results, numbers),
        "What each further member adds": _sizes(results, numbers),
        "How training images are augmented": _augmentation(results),
        "How far its probabilities can be trusted": _uncertainty(results, numbers),
        "What is taken for what": _confusions(results),
        "Every trial": [_table(_trials(results))],
        "How it was run": [_run(result) for result in results],
    }
    names = {title: f"{anchor}-{place}" for place, title in enumerate(parts, 1) if parts[title]}
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for title, name in names.items())
    yield "\n".join([*head, f'<nav class="soft"><ul>{links}</ul></nav>'])
    for title, name in names.items():
        opened = title not in FOLDED
        yield page.fold(f"<h2>{title}</h2>", "\n".join(parts[title]), name, opened=opened, style="part")


def answer(results: Sequence[Results], verdicts: pd.DataFrame) -> str:
    """Return one sentence: the best searched trial, and the verdicts on the claims whose arms ran."""
    said = []
    searched = [(result, best) for result in results if (best := result.best()) is not None]
    if searched:
        newest = max((result.record for result, _ in searched), key=lambda record: record.started)
        goal, better = newest.metric, 1 if newest.mode == "max" else -1
        # A run that chose by another metric, or another way, has no figure to compare.
        alike = [one for one in searched if (one[0].record.metric, one[0].record.mode) == (goal, newest.mode)]
        result, best = max(alike, key=lambda one: better * one[1][goal])
        record = result.record
        setting = ", ".join(
            f"{tables.heading(name)} {tables.cell(value)}"
            for name, value in result.tried(best).items()
            if not pd.isna(value)  # a conditional one that the trial does not have
        )
        told = [record.metric] if record.protocol == RECOVERY_PROTOCOL else [record.metric, TEST_ACCURACY]
        reached = [_reached(best, metric) for metric in told if not pd.isna(best.get(metric))]
        run = f"{record.run}/" if len(results) > 1 else ""
        said.append(f"trial {run}{best[TRIAL_ID]} is best, {' and '.join(reached)} from one seed ({setting})")
    if len(claims.measured_claims(verdicts)):
        said.append(claims.summary(verdicts))
        if len(verdicts) <= FEW:
            said += [f"“{one['statement'].rstrip('.')}”: {one['verdict']}" for one in verdicts.to_dict("records")]
    sentence = "; ".join(said) if said else "no trial has finished that could answer"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _reached(trial: pd.Series, metric: str) -> str:
    name = tables.heading(metric).removesuffix(" %")
    return f"{name} {tables.cell(trial[metric], metric)}" + (" %" if metric.endswith("accuracy") else "")


def _text(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def _table(frame: pd.DataFrame, folded: str = "") -> str:
    """Return the table without columns that are empty here; with `folded`, under a line that opens it."""
    shown = frame.drop(columns="study", errors="ignore").dropna(axis="columns", how="all")
    table = tables.html(tables.readable(shown))
    return page.fold(folded, table) if folded else table


def _figure(drawn: go.Figure, numbers: Iterator[int], height: int | None = None) -> str:
    return page.figure(drawn, f"figure-{next(numbers)}", height)


def _grid(drawn: Sequence[go.Figure], numbers: Iterator[int], height: int | None = None) -> str:
    """Return figures side by side, as many as fit."""
    if len(drawn) == 1:
        return _figure(drawn[0], numbers)
    return f'<div class="grid">{"".join(_figure(one, numbers, height) for one in drawn)}</div>'


def _legend() -> str:
    return _text(forest.LEGEND, "soft")


def _verdicts(verdicts: pd.DataFrame) -> list[str]:
    if verdicts.empty:
        return []
    if claims.measured_claims(verdicts).empty:
        return [_text(f"{len(verdicts)} claims; none of their arms has finished (search.run --replay runs them).")]
    rules = page.fold("The rules", "".join(map(_text, claims.NOTES)))
    return [_legend(), forest.forest(verdicts), rules]


def _search(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    """Return the pictures of each run's trials: history, curves, settings side by side and one by one."""
    parts = []
    for result in results:
        metric = result.record.metric
        told = []
        try:
            searched = search_figures.Searched.of(result)
        except ResultsError as error:
            searched = None
            told.append(_text(f"No picture of the settings: {error}."))
        if searched:
            told += ["<h3>Each trial's result</h3>", _figure(search_figures.history(searched), numbers, 380)]
        for name in dict.fromkeys([metric, VAL_ACCURACY, TEST_ACCURACY]):
            if curves := search_figures.learning_curves(result, name):
                told += [f"<h3>Every trial's {escape(tables.heading(name).removesuffix(' %'))}, epoch by epoch</h3>"]
                told.append(_figure(curves, numbers, 360))
                break
        if searched and searched.domains:
            told += ["<h3>The settings of all trials side by side</h3>"]
            told.append(_figure(search_figures.parallel(searched), numbers))
            told += ["<h3>Each setting by itself</h3>", _grid(search_figures.slices(searched), numbers, 270)]
        if told and len(results) > 1:
            told.insert(0, _text(f"Run {result.record.run}", "soft"))
        parts += told
    return parts


def _protocols(results: Sequence[Results]) -> list[str]:
    return list(dict.fromkeys(protocol for result in results for protocol in result.finished()[PROTOCOL]))


def _front(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    parts, seen = [], list[tuple[Any, ...]]()
    views = by_size(results)
    for view, protocol in [(each, name) for each in views for name in _protocols(each)]:
        rows = pareto.candidates(view, protocol)
        # Searched trials stand in the view of every size.
        own = (protocol, *sorted(map(tuple, rows.filter(["run", "trial", "members"]).to_numpy().tolist())))
        if rows.empty or own in seen:
            continue
        seen.append(own)
        front = pareto.non_dominated(rows)
        reported = pareto.reported_points(view)
        changed = {result.changed_of(arm) for result in view for arm in result.finished()[ARM].dropna()} - {""}
        under = "; ".join([protocol, *sorted(changed)]) if len(views) > 1 else protocol
        parts += [
            _text(f"Protocol {under}: {len(front)} of {len(rows)} candidates are not dominated."),
            _figure(figures.pareto(rows, front, reported), numbers),
            _table(front),
        ]
    return parts


def _comparison(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    figures_table = compare.compare(results)
    if figures_table.empty:
        return []
    curves = compare.curves(results)
    drawn = [figures.curves(one) for _, one in curves.groupby(["run", "changed"], sort=False)]
    told = [tables.html(compare.readable(figures_table)), _text(compare.note(compare.BAND))]
    if drawn:
        told.append(_grid(drawn, numbers, 360))
    return [*told, *_losses(results, numbers), *_weights(results)]


def _losses(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = loss_curves.loss_curves(results)
    drawn = [figures.loss_curve(one) for _, one in rows.groupby(["run", "changed"], sort=False)]
    if not drawn:
        return []
    return [_grid(drawn, numbers, 360), _table(rows, "The training losses"), _text(loss_curves.NOTE)]


def _weights(results: Sequence[Results]) -> list[str]:
    rows = adaboost_weights.adaboost_weights(results)
    if rows.empty:
        return []
    return ["<h3>AdaBoost's weights of its members</h3>", _table(rows), _text(adaboost_weights.NOTE)]


def _sizes(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = ensemble_size.ensemble_sizes(results)
    if rows.empty:
        return []
    shown = rows.rename(columns={end: f"{end}_{TEST_ACCURACY}" for end in ("low", "high")})
    told = [_figure(figures.ensemble_sizes(rows), numbers), _table(shown, "The table")]
    return [*told, _text(ensemble_size.NOTE)] if rows[ensemble_size.INDEPENDENT].notna().any() else told


def _uncertainty(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = uncertainty.uncertainty(results)
    if rows.empty:
        return []
    table = tables.html(uncertainty.readable(rows))
    return [_figure(figures.uncertainty(rows), numbers), page.fold("The table", table), _text(uncertainty.NOTE)]


def _augmentation(results: Sequence[Results]) -> list[str]:
    shown = dict.fromkeys(kept_pictures.augmentation(kept_pictures.pictures(result)) for result in results)
    return [strips for strips in shown if strips]


def _confusions(results: Sequence[Results]) -> list[str]:
    parts = []
    for result in results:
        if len(rows := confusions.confusions(result)):
            parts += [_text(f"Run {result.record.run}, trial {rows['trial'].iloc[0]}: the best on validation images.")]
            parts.append(tables.html(confusions.readable(rows.drop(columns="trial"))))
            parts.append(kept_pictures.confused(result, kept_pictures.pictures(result)))
    return parts


def _importance(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    parts = []
    for result in results:
        if result.trials[ARM].isna().any():
            try:
                shares = importance(result, permutations=PERMUTATIONS)
            except ResultsError as error:
                parts.append(_text(f"No importance: {error}."))
            else:
                explained = "Share of the variance over finished trials, 95 % interval from resampling the trials, p "
                explained += "from dealing the metric out to the trials at random. "
                explained += "(noise) does nothing: a setting that ranks no clearer has not been shown to matter."
                parts += [_figure(figures.importance(shares), numbers), _table(shares), _text(explained)]
    return parts


def _trials(results: Sequence[Results]) -> pd.DataFrame:
    """Return every trial of every run."""
    rows = pd.concat([result.trials.assign(run=result.record.run) for result in results], ignore_index=True)
    records = [result.record for result in results]
    goals = [name for record in records for name in (record.metric, *record.objectives)]
    own = [column.name for record in records for column in record.own_columns]
    measured = [*goals, *own, VAL_ACCURACY, TEST_ACCURACY, TRAIN_ACCURACY, TRAIN_LOSS, PARAMETERS, SECONDS]
    first = [TRIAL_ID, ARM, SEED, PROTOCOL, STATUS, EPOCHS, *(name for name in measured if name in rows)]
    searched = {CONFIG + name for result in results for name in result.record.space}
    config = [
        name
        for name in rows
        if name.startswith(CONFIG)
        and name != CONFIG + SEED
        and (name in searched or rows[name].astype(str).nunique() > 1)
    ]
    run = ["run"] if len(results) > 1 else []
    return rows[list(dict.fromkeys([*run, *first, *config, ERROR]))]


def _run(result: Results) -> str:
    record = result.record
    told, known = record.definition.get("conditions"), record.definition.get("observations")
    conditions = told if isinstance(told, dict) else {}
    facts: dict[str, Any] = {
        "results": result.path,
        "command": record.command,
        "started": record.started + (f", {record.wall_seconds / 60:.1f} minutes" if record.wall_seconds else ""),
        "search": f"{record.samples} samples, {record.epochs} epochs, {record.searcher}, {record.scheduler}",
        "searched": "; ".join(
            f"{name} {domain}{f' if {conditions[name]}' if name in conditions else ''}"
            for name, domain in record.space.items()
        ),
        "fixed": "; ".join(f"{name} {value}" for name, value in record.fixed.items()),
        "warm start": f"{len(known)} finished trials of other runs" if isinstance(known, list) else "",
        "metric": f"{record.metric} ({record.mode}), protocol {record.protocol}",
        "seed": record.seed,
        "data": f"{record.dataset}, fingerprint {record.dataset_fingerprint}",
        "machine": ", ".join(f"{name} {value}" for name, value in record.machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in record.versions.items()),
        "commit": record.commit or "",
    }
    lines = (f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if str(value))
    return f"<dl>{''.join(lines)}</dl>"


def write(results: list[Results], args: argparse.Namespace) -> None:
    args.output.write_text(report(results, args.read), encoding="utf-8")
    print(tables.printable(str(args.output)))
    print(*map(tables.printable, args.read), sep="\n", end="\n" if args.read else "", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(cli.parser("report", __doc__, output="FILE.html"), write, argv)


if __name__ == "__main__":
    sys.exit(main())
