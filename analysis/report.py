"""One page that answers a study's question: self-contained, offline, light and dark.

The question, the answer in one sentence, the verdicts on the note's claims, accuracy against size, our curves
beside the printed ones, what each ensemble member adds, which hyperparameter mattered, every trial, and how it
was run. Each figure comes from the rows of the results folders named at the end.
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
    ensemble_size,
    figures,
    loss_curves,
    page,
    pareto,
    tables,
    uncertainty,
)
from analysis.importance import importance
from analysis.load import Results, ResultsError, by_study
from search import records as r

FEW = 3  # claims that one sentence can name


def report(results: Sequence[Results], read: Sequence[str] = ()) -> str:
    """The page's HTML; `read` says which runs were read, where that is not plain.

    Raises ResultsError where runs of one study differ in data set.
    """
    numbers = itertools.count(1)
    studies = by_study(results)
    verdicts = claims.claims(results)
    own = {study: verdicts[verdicts["study"] == study] for study in studies}
    anchors = {study: f"study-{place}" for place, study in enumerate(studies, 1)}
    parts = [_text(line, "soft") for line in read]
    if len(studies) > 1:
        parts.append(_contents([(anchors[study], runs, own[study]) for study, runs in studies.items()]))
    for study, runs in studies.items():
        body = "\n".join(_study(runs, own[study], numbers))
        back = '<p class="soft"><a href="#contents">Contents</a></p>' if len(studies) > 1 else ""
        parts.append(f'<section id="{anchors[study]}">\n{body}\n{back}</section>')
    title = f"Report: {', '.join(studies)}" if len(studies) <= FEW else f"Report: {len(studies)} studies"
    return page.page(tables.printable(title), [tables.printable(part) for part in parts])


def _contents(studies: Sequence[tuple[str, list[Results], pd.DataFrame]]) -> str:
    """A line a study: its question, which leads to it, and what was found."""
    lines = [
        f'<li><a href="#{anchor}">{escape(runs[0].record.question)}</a> '
        f'<span class="soft">{escape(runs[0].record.study)}: {escape(_found(runs, verdicts))}</span></li>'
        for anchor, runs, verdicts in studies
    ]
    return f'<nav id="contents"><h1>{len(studies)} studies</h1><ol>{"".join(lines)}</ol></nav>'


def _found(results: Sequence[Results], verdicts: pd.DataFrame) -> str:
    trials = sum(len(result.trials) for result in results)
    decided = [claims.summary(verdicts)] if (verdicts["n"] > 0).any() else []
    return "; ".join([f"{trials} trials", *decided])


def _study(results: list[Results], verdicts: pd.DataFrame, numbers: Iterator[int]) -> Iterator[str]:
    record = results[0].record
    yield f"<h1>{escape(record.question)}</h1>"
    yield _text(answer(results, verdicts), "answer")
    trials = pd.concat([result.trials for result in results])
    counts = trials[r.STATUS].value_counts()
    told = ", ".join(f"{counts[status]} {status}" for status in r.STATUSES if counts.get(status))
    yield _text(f"{record.study} on {record.dataset}; {record.source}. {len(trials)} trials: {told}.", "soft")
    for state, warning in (
        (any(x.partial for x in results), "Partial: the run has not ended, more trials may come."),
        (any(x.record.smoke for x in results), "A smoke run: it tests the machinery and answers nothing."),
        (
            any(x.recovery for x in results),
            "A recovery: fitted to printed test accuracies, good for the setting it looks for and nothing else.",
        ),
    ):
        if state:
            yield _text(warning, "answer")
    for title, parts in (
        ("What the note claims", _verdicts(verdicts)),
        ("Accuracy against size", _front(results, numbers)),
        ("Ours beside the note's figures", _comparison(results, numbers)),
        ("What each further member adds", _sizes(results, numbers)),
        ("How far its probabilities can be trusted", _uncertainty(results, numbers)),
        ("Which hyperparameter mattered", _importance(results, numbers)),
        ("Every trial", [_table(_trials(results))]),
        ("How it was run", [_run(result) for result in results]),
    ):
        yield from [f"<h2>{title}</h2>", *parts] if parts else []


def answer(results: Sequence[Results], verdicts: pd.DataFrame) -> str:
    """One sentence: the best searched trial, and the verdicts on the claims whose arms ran."""
    said = []
    searched = [(result, best) for result in results if (best := result.best()) is not None]
    if searched:
        result, best = max(searched, key=lambda x: x[1][x[0].record.metric] * (1 if x[0].record.mode == "max" else -1))
        record = result.record
        setting = ", ".join(
            f"{tables.heading(name)} {tables.cell(value)}" for name, value in result.tried(best).items()
        )
        told = [record.metric] if record.protocol == r.RECOVERY_PROTOCOL else [record.metric, r.TEST_ACCURACY]
        reached = [_reached(best, metric) for metric in told]
        run = f"{record.run}/" if len(results) > 1 else ""
        said.append(f"trial {run}{best[r.TRIAL_ID]} is best, {' and '.join(reached)} from one seed ({setting})")
    if (verdicts["n"] > 0).any():
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
    """Without columns that say nothing here; under a line to open it by if `folded`."""
    shown = frame.drop(columns="study", errors="ignore").dropna(axis="columns", how="all")
    table = tables.html(tables.readable(shown))
    return f"<details><summary>{folded}</summary>{table}</details>" if folded else table


def _figure(drawn: go.Figure, numbers: Iterator[int]) -> str:
    return page.figure(drawn, f"figure-{next(numbers)}")


def _verdicts(verdicts: pd.DataFrame) -> list[str]:
    if verdicts.empty:
        return []
    if not (verdicts["n"] > 0).any():
        return [_text(f"{len(verdicts)} claims; none of their arms has finished (search.run --replay runs them).")]
    return [tables.html(claims.readable(verdicts)), *map(_text, claims.NOTES)]


def _front(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    parts = []
    for protocol in dict.fromkeys(p for result in results for p in result.finished()[r.PROTOCOL]):
        rows = pareto.candidates(results, protocol)
        if rows.empty:
            continue
        front = pareto.non_dominated(rows)
        reported = pareto.reported_points(results)
        parts += [
            _text(f"Protocol {protocol}: {len(front)} of {len(rows)} candidates are not dominated."),
            _figure(figures.pareto(rows, front, reported), numbers),
            _table(front),
        ]
    return parts


def _comparison(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    figures_table = compare.compare(results)
    if figures_table.empty:
        return []
    curves = compare.curves(results)
    drawn = [_figure(figures.curves(one), numbers) for _, one in curves.groupby(["run", "changed"], sort=False)]
    told = [tables.html(compare.readable(figures_table)), _text(compare.note(compare.BAND)), *drawn]
    return [*told, *_losses(results, numbers), *_weights(results)]


def _losses(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = loss_curves.loss_curves(results)
    drawn = [_figure(figures.loss_curve(one), numbers) for _, one in rows.groupby(["run", "changed"], sort=False)]
    return [*drawn, _table(rows, "The training losses"), _text(loss_curves.NOTE)] if drawn else []


def _weights(results: Sequence[Results]) -> list[str]:
    rows = adaboost_weights.adaboost_weights(results)
    if rows.empty:
        return []
    return ["<h3>AdaBoost's weights of its members</h3>", _table(rows), _text(adaboost_weights.NOTE)]


def _sizes(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = ensemble_size.ensemble_sizes(results)
    if rows.empty:
        return []
    shown = rows.rename(columns={end: f"{end}_{r.TEST_ACCURACY}" for end in ("low", "high")})
    told = [_figure(figures.ensemble_sizes(rows), numbers), _table(shown, "The table")]
    return [*told, _text(ensemble_size.NOTE)] if rows[ensemble_size.INDEPENDENT].notna().any() else told


def _uncertainty(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    rows = uncertainty.uncertainty(results)
    if rows.empty:
        return []
    table = tables.html(uncertainty.readable(rows))
    folded = f"<details><summary>The table</summary>{table}</details>"
    return [_figure(figures.uncertainty(rows), numbers), folded, _text(uncertainty.NOTE)]


def _importance(results: Sequence[Results], numbers: Iterator[int]) -> list[str]:
    parts = []
    for result in results:
        if result.trials[r.ARM].isna().any():
            try:
                shares = importance(result)
            except ResultsError as error:
                parts.append(_text(f"Not told: {error}."))
            else:
                explained = "Share of the variance over finished trials, 95 % interval from resampling them, p from "
                explained += "dealing the metric out to them at random. "
                explained += "(noise) does nothing: what ranks no clearer has not been shown to matter."
                parts += [_figure(figures.importance(shares), numbers), _table(shares), _text(explained)]
    return parts


def _trials(results: Sequence[Results]) -> pd.DataFrame:
    """Every trial of every run."""
    measured = (r.VAL_ACCURACY, r.TEST_ACCURACY, r.TRAIN_ACCURACY, r.TRAIN_LOSS)
    first = (r.TRIAL_ID, r.ARM, r.SEED, r.PROTOCOL, r.STATUS, r.EPOCHS, *measured, r.PARAMETERS, r.SECONDS)
    rows = pd.concat([result.trials.assign(run=result.record.run) for result in results], ignore_index=True)
    searched = {r.CONFIG + name for result in results for name in result.record.space}
    config = [
        name
        for name in rows
        if name.startswith(r.CONFIG)
        and name != r.CONFIG + r.SEED
        and (name in searched or rows[name].astype(str).nunique() > 1)
    ]
    run = ["run"] if len(results) > 1 else []
    return rows[[*run, *first, *config, r.ERROR]]


def _run(result: Results) -> str:
    record = result.record
    facts: dict[str, Any] = {
        "results": result.path,
        "command": record.command,
        "started": f"{record.started}, {record.wall_seconds / 60:.1f} minutes",
        "search": f"{record.samples} samples, {record.epochs} epochs, {record.searcher}, {record.scheduler}",
        "searched": "; ".join(f"{name} {domain}" for name, domain in record.space.items()),
        "fixed": "; ".join(f"{name} {value}" for name, value in record.fixed.items()),
        "metric": f"{record.metric} ({record.mode}), protocol {record.protocol}",
        "seed": record.seed,
        "data": f"{record.dataset}, fingerprint {record.dataset_fingerprint}",
        "machine": ", ".join(f"{name} {value}" for name, value in record.machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in record.versions.items()),
        "commit": record.commit or "",
    }
    told = (f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if str(value))
    return f"<dl>{''.join(told)}</dl>"


def write(results: list[Results], args: argparse.Namespace) -> None:
    args.output.write_text(report(results, args.read), encoding="utf-8")
    print(tables.printable(str(args.output)))
    print(*map(tables.printable, args.read), sep="\n", end="\n" if args.read else "", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(cli.parser("report", __doc__, output="FILE.html"), write, argv)


if __name__ == "__main__":
    sys.exit(main())
