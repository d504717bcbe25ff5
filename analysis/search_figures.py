"""Draw a search: its history, the curves of all trials, the trials' settings side by side, and each setting apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from analysis.figures import FEW_EPOCHS, GREY, LAYOUT, NOTE, OURS, plain
from analysis.load import Results
from analysis.optuna_export import distributions, parameters
from analysis.tables import cell, heading
from search.records import ARM, COMPLETED, DIVERGED, EPOCH, FAILED, RUNNING, STATUS, STOPPED, TRIAL_ID

OUTCOMES = {COMPLETED: OURS, STOPPED: "#f08c00", DIVERGED: "#ae3ec9", FAILED: "#e03131", RUNNING: GREY}
MOST_POINTS = 20_000  # points of one figure: more are thinned, since no screen shows them
# Colours from the worst to the best fifth of the trials, apart for colour-blind eyes and on light and dark ground.
FIFTHS = ("#6f7bd6", "#4f9bd0", "#3fae9c", "#8ab63f", "#f2a900")
JITTER = 0.02  # spread of trials with one choice, as a share of a row's width


@dataclass(frozen=True)
class Searched:
    """The searched trials of a run that ran at least an epoch, in the order of their numbers.

    `rows` from trials.parquet with the last value of the study's metric as "value"; `domains` and `settings` hold the
    hyperparameters that vary over them.
    """

    metric: str
    best_is: str
    rows: pd.DataFrame
    domains: dict[str, BaseDistribution]
    settings: list[dict[str, Any]]

    @classmethod
    def of(cls, result: Results) -> Searched | None:
        """Return None if fewer than two trials have a value. Raises ResultsError for a domain that cannot be read."""
        record = result.record
        rows = result.trials[result.trials[ARM].isna()]
        if record.metric not in rows or len(rows) < 2:
            return None
        rows = rows.assign(value=rows[record.metric].astype(float))
        rows = rows[np.isfinite(rows["value"])].sort_values(TRIAL_ID)
        if len(rows) < 2:
            return None
        domains = distributions(result)
        settings = [parameters(row, domains) for row in rows.to_dict("records")]
        varied = {name: domain for name, domain in domains.items() if len({str(one.get(name)) for one in settings}) > 1}
        return cls(record.metric, record.mode, rows, varied, settings)


def _axis(figure: go.Figure, metric: str) -> None:
    percent = metric.endswith("accuracy")
    figure.update_yaxes(
        title=plain(heading(metric).removesuffix(" %")), tickformat=".0%" if percent else None, automargin=True
    )


def _said(value: float, metric: str) -> str:
    return cell(value, metric) + (" %" if metric.endswith("accuracy") else "")


def history(searched: Searched) -> go.Figure:
    """Draw each trial's last value by its number, coloured by its outcome, and the best finished one so far."""
    figure = go.Figure(layout=LAYOUT)
    rows, metric = searched.rows, searched.metric
    for status, color in OUTCOMES.items():
        one = rows[rows[STATUS] == status]
        if len(one):
            hollow = "" if status == COMPLETED else "-open"
            figure.add_scatter(
                x=one[TRIAL_ID].tolist(),
                y=[round(value, 5) for value in one["value"]],
                mode="markers",
                name=status,
                marker={"color": color, "size": 6, "symbol": f"circle{hollow}", "opacity": 0.8},
                text=[
                    f"trial {number}: {_said(v, metric)}" for number, v in zip(one[TRIAL_ID], one["value"], strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
    done = rows[rows[STATUS] == COMPLETED]
    if len(done):
        best = done["value"].cummax() if searched.best_is == "max" else done["value"].cummin()
        figure.add_scatter(
            x=done[TRIAL_ID].tolist(),
            y=[round(value, 5) for value in best],
            mode="lines",
            name="best finished so far",
            line={"shape": "hv", "color": NOTE, "width": 2},
            hoverinfo="skip",
        )
    figure.update_xaxes(title="trial", automargin=True)
    _axis(figure, metric)
    return figure


def learning_curves(result: Results, metric: str) -> go.Figure | None:
    """Draw `metric` by epoch, a line a trial, coloured by outcome; None if no trial has it by epoch.

    Of more than `MOST_POINTS` values, each trial's first, last and evenly spaced ones between are drawn.
    """
    epochs = result.epochs
    if metric not in epochs:
        return None
    epochs = epochs[[TRIAL_ID, EPOCH, metric]].dropna().sort_values([TRIAL_ID, EPOCH])
    if epochs.empty:
        return None
    every = math.ceil(len(epochs) / MOST_POINTS)
    place = epochs.groupby(TRIAL_ID).cumcount()
    last = ~epochs[TRIAL_ID].duplicated(keep="last")
    epochs = epochs[(place % every == 0) | last]
    status = result.trials.set_index(TRIAL_ID)[STATUS]
    few = epochs[EPOCH].max() <= FEW_EPOCHS
    figure = go.Figure(layout=LAYOUT)
    shown = epochs.assign(status=epochs[TRIAL_ID].map(status))
    # Finished trials come last, so that they lie on top.
    for outcome, color in reversed(OUTCOMES.items()):
        some = shown[shown["status"] == outcome]
        x, y, text = list[float | None](), list[float | None](), list[str | None]()
        for number, one in some.groupby(TRIAL_ID, sort=False):
            x += [*one[EPOCH].tolist(), None]  # a gap ends the line
            y += [*(round(value, 4) for value in one[metric]), None]
            text += [f"trial {number}"] * len(one) + [None]
        if x:
            crowd = some[TRIAL_ID].nunique()
            figure.add_scatter(
                x=x,
                y=y,
                text=text,
                mode="lines+markers" if few or len(some) == crowd else "lines",
                showlegend=False,
                line={"color": color, "width": 1.2 if crowd > 12 else 1.8},
                marker={"size": 5},
                opacity=max(0.25, min(0.9, 12 / crowd)),
                hovertemplate="%{text}, epoch %{x}: %{y:.4~g}<extra></extra>",
            )
            _legend(figure, f"{outcome} ({crowd})", color)
    figure.update_xaxes(
        title="epoch", automargin=True, **({"dtick": 1, "range": [0.7, epochs[EPOCH].max() + 0.3]} if few else {})
    )
    _axis(figure, metric)
    return figure


def _legend(figure: go.Figure, name: str, color: str) -> None:
    """Name a colour in full strength, whose lines are pale for being many."""
    figure.add_scatter(x=[None], y=[None], mode="lines", name=name, line={"color": color, "width": 3}, showlegend=True)


def _place(value: Any, domain: BaseDistribution) -> float:
    """Return where on a row, from 0 to 1, a value lies in its domain."""
    if isinstance(domain, CategoricalDistribution):
        return domain.to_internal_repr(value) / max(1, len(domain.choices) - 1)
    low, high = domain.low, domain.high
    if domain.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / ((high - low) or 1)


def _ticks(domain: BaseDistribution) -> list[Any]:
    if isinstance(domain, CategoricalDistribution):
        return list(domain.choices)
    low, high = domain.low, domain.high
    middle = math.sqrt(low * high) if domain.log else (low + high) / 2
    return [low, round(middle) if isinstance(domain, IntDistribution) else middle, high]


def parallel(searched: Searched) -> go.Figure:
    """Draw each trial as a line over its settings, a row a hyperparameter, the metric at the bottom.

    Parallel coordinates turned by 90 degrees, so that any number of hyperparameters fits a narrow screen. The colour is
    the fifth of the finished trials to which a trial's value belongs; trials that did not finish are grey.
    """
    names = list(searched.domains)
    rows, metric = searched.rows, searched.metric
    figure = go.Figure(layout=LAYOUT)
    values = rows["value"].to_numpy()
    done = (rows[STATUS] == COMPLETED).to_numpy()
    rank = pd.Series(values[done]).rank(ascending=searched.best_is == "max").to_numpy()
    fifth = np.full(len(rows), -1)
    # From the middle of its rank: the second of ten lies at 0.15, and equal values lie around 0.5.
    fifth[done] = ((rank - 0.5) / max(1, len(rank)) * len(FIFTHS)).astype(int)
    low, high = values[done].min() if done.any() else values.min(), values[done].max() if done.any() else values.max()
    spread = np.random.default_rng(0).uniform(-JITTER, JITTER, (len(rows), len(names)))
    for group in range(-1, len(FIFTHS)):
        x, y = list[float | None](), list[float | None]()
        for place in np.flatnonzero(fifth == group):
            one = searched.settings[place]
            for row, name in enumerate(names):
                known = name in one
                jitter = spread[place, row] if isinstance(searched.domains[name], CategoricalDistribution) else 0
                x.append(round(_place(one[name], searched.domains[name]) + jitter, 4) if known else None)
                y.append(-row)
            x += [round(float(np.clip((values[place] - low) / ((high - low) or 1), 0, 1)), 4), None]
            y += [-len(names), None]
        if x:
            crowd = int((fifth == group).sum())
            label = "not finished" if group < 0 else ("worst", "2nd", "middle", "4th", "best")[group] + " fifth"
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                showlegend=False,
                line={"color": GREY if group < 0 else FIFTHS[group], "width": 1 if group < len(FIFTHS) - 1 else 1.6},
                opacity=max(0.2, min(0.85, 25 / crowd)) * (0.6 if group < 0 else 1),
                hoverinfo="skip",
            )
            _legend(figure, label, GREY if group < 0 else FIFTHS[group])
    for row, name in enumerate([*names, metric]):
        figure.add_shape(type="line", x0=0, x1=1, y0=-row, y1=-row, line={"color": GREY, "width": 1})
        if row < len(names):
            domain = searched.domains[name]
            ticks = [(_place(value, domain), cell(value) or str(value)) for value in _ticks(domain)]
            title = heading(name)
        else:
            ticks = [(0.0, _said(low, metric)), (1.0, _said(high, metric))]
            title = heading(metric).removesuffix(" %")
        figure.add_annotation(x=0, y=-row, text=f"<b>{plain(title)}</b>", xanchor="left", yshift=13, showarrow=False)
        for at, text in ticks:
            anchor = "left" if at < 0.1 else "right" if at > 0.9 else "center"
            figure.add_annotation(x=at, y=-row, text=plain(text), xanchor=anchor, yshift=-11, showarrow=False)
    figure.update_annotations(font={"size": 11})
    figure.update_xaxes(visible=False, range=[-0.03, 1.03])
    figure.update_yaxes(visible=False, range=[-len(names) - 0.5, 0.5])
    figure.update_layout(
        height=130 + 62 * (len(names) + 1),
        margin={"l": 8, "r": 8, "t": 10, "b": 60},
    )
    return figure


def _decades(low: float, high: float) -> dict[str, Any]:
    """Return tick settings that label the powers of ten, if a logarithmic axis has two of them."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    if len(powers) < 2:
        return {}
    return {"tickvals": [10.0**power for power in powers], "ticktext": [f"{10.0**power:g}" for power in powers]}


def slices(searched: Searched) -> list[go.Figure]:
    """Draw the metric against each hyperparameter that varied, a figure each: finished trials full, others hollow."""
    drawn = []
    rows, metric = searched.rows, searched.metric
    numbers, values = rows[TRIAL_ID].to_numpy(), rows["value"].to_numpy()
    for name, domain in searched.domains.items():
        figure = go.Figure(layout=LAYOUT)
        choices = isinstance(domain, CategoricalDistribution)
        for status in (STOPPED, COMPLETED):
            places = [place for place in np.flatnonzero(rows[STATUS] == status) if name in searched.settings[place]]
            settings = [searched.settings[place][name] for place in places]
            figure.add_scatter(
                x=[str(value) for value in settings] if choices else settings,
                y=[round(values[place], 5) for place in places],
                mode="markers",
                name=status,
                marker={
                    "color": OUTCOMES[status],
                    "size": 6,
                    "symbol": "circle" if status == COMPLETED else "circle-open",
                    "opacity": 0.75,
                },
                text=[f"trial {numbers[place]}" for place in places],
                hovertemplate="%{text}: %{x}, %{y:.4~g}<extra></extra>",
            )
        figure.update_xaxes(title=plain(heading(name)))
        if choices:
            order = [str(value) for value in domain.choices]
            figure.update_xaxes(type="category", categoryorder="array", categoryarray=order)
        elif domain.log:
            figure.update_xaxes(type="log", **_decades(domain.low, domain.high))
        _axis(figure, metric)
        figure.update_layout(height=270, showlegend=False, margin={"l": 50, "r": 10, "t": 10, "b": 50})
        drawn.append(figure)
    return drawn
