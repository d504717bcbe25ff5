"""The figures. Each takes a computed table and draws it, nothing more."""

from __future__ import annotations

import math
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.tables import cell, heading
from search import records as r

OURS, NOTE, GREY = "#1f8ef1", "#e8590c", "#8d939e"
PALETTE = (OURS, NOTE, "#2f9e44", "#ae3ec9", "#f08c00", "#0ca678", "#e64980", "#495057")
DATASETS = {"cifar10": "#1f8ef1", "cifar100": "#2f9e44"}
CURVES = {
    r.TRAIN_ACCURACY: ("training", "#8d939e"),
    r.VAL_ACCURACY: ("validation", "#2f9e44"),
    r.TEST_ACCURACY: ("test", "#1f8ef1"),
}
FEW_EPOCHS = 10  # a curve of fewer has its points marked
_LAYOUT = {
    "template": "none",
    "height": 440,
    "margin": {"l": 60, "r": 20, "t": 20, "b": 110},
    "legend": {"orientation": "h", "y": -0.22, "x": 0},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "hoverlabel": {"align": "left"},
}


def _plain(text: str) -> str:
    """Return `text` so that Plotly shows it as it is: it reads tags, links too, in whatever it draws."""
    return escape(text, quote=False)


def pareto(candidates: pd.DataFrame, front: pd.DataFrame, reported: pd.DataFrame) -> go.Figure:
    """Accuracy against parameters (log axis): the front, the dominated greyed, the notes' points.

    The three tables have the columns of `analysis.pareto`; `reported` may be empty.
    """
    figure = go.Figure(layout=_LAYOUT)
    dominated = candidates.drop(index=front.index)
    _points(figure, dominated, r.VAL_ACCURACY, "dominated (validation)", color=GREY, opacity=0.55)
    _points(figure, front, r.VAL_ACCURACY, "front (validation)", mode="lines+markers", color=OURS, size=10)
    _points(figure, front, r.TEST_ACCURACY, "front (test)", color=OURS, size=10, symbol="circle-open")
    _points(figure, reported, r.TEST_ACCURACY, "note (test)", color=NOTE, size=12, symbol="star")
    ticks = _size_ticks(figure)
    figure.update_xaxes(type="log", title="parameters", tickvals=ticks, ticktext=[_short(t) for t in ticks])
    if ticks:
        # From label to label: models of nearly one size would otherwise lie between two, with none in sight.
        figure.update_xaxes(range=[math.log10(ticks[0]) - 0.05, math.log10(ticks[-1]) + 0.05])
    figure.update_yaxes(title="accuracy", tickformat=".0%")
    return figure


def families(rows: pd.DataFrame) -> go.Figure:
    """Test accuracy against parameters over families and data sets; `rows` as `analysis.evidence.families` gives.

    The front of each data set is a line through its arms, which are named.
    """
    figure = go.Figure(layout=_LAYOUT)
    for (dataset, by), one in rows.groupby(["dataset", "by"], sort=False):
        color = DATASETS.get(dataset, GREY)
        symbol = {"ours": "circle", "note": "star-open"}.get(by, "circle-open")
        marker = {"color": color, "symbol": symbol, "size": 10}
        name = _plain(f"{heading(dataset)}, {by}")
        figure.add_scatter(
            x=one[r.PARAMETERS],
            y=one[r.TEST_ACCURACY],
            mode="markers",
            name=name,
            marker=marker,
            text=one[r.ARM].map(_plain),
        )
        if by == "ours":
            sized = one.sort_values([r.PARAMETERS, r.TEST_ACCURACY], ascending=[True, False])
            front = sized[sized[r.TEST_ACCURACY] > sized[r.TEST_ACCURACY].cummax().shift().fillna(0)]
            next_size = front[r.PARAMETERS].shift(-1).fillna(math.inf)
            figure.add_scatter(
                x=front[r.PARAMETERS],
                y=front[r.TEST_ACCURACY],
                mode="lines+text",
                # Of arms of nearly one size only the best has room for its name.
                text=front[r.ARM].map(_plain).where(next_size > 1.05 * front[r.PARAMETERS], ""),
                textposition="top center",
                line={"shape": "hv", "width": 1.5, "color": color},
                showlegend=False,
            )
    ticks = _size_ticks(figure)
    figure.update_xaxes(type="log", title="parameters", tickvals=ticks, ticktext=[_short(t) for t in ticks])
    figure.update_yaxes(title="test accuracy", tickformat=".0%", rangemode="tozero")
    return figure


def _size_ticks(figure: go.Figure) -> list[float]:
    """Round numbers that enclose the sizes drawn: powers of ten, and 2 and 5 times them over a short range."""
    sizes = [size for trace in figure.data for size in trace.x]
    if not sizes:
        return []
    low, high = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 2) for step in steps]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(sizes))
    last = min(i for i, tick in enumerate(ticks) if tick >= max(sizes))
    return ticks[first : last + 1]


def _short(size: float) -> str:
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:g}{suffix}"
    return f"{size:g}"


def _of_run(row: pd.Series) -> str:
    changed = f" ({row['changed']})" if row.get("changed") else ""
    return f"{row[r.ARM]}{changed}, reported as {row['run']}"


def curves(rows: pd.DataFrame) -> go.Figure:
    """One reported run, epoch by epoch: ours with its interval over seeds, and the printed points.

    `rows` as `analysis.compare.curves` gives them, of one run.
    """
    first = rows.iloc[0]
    figure = go.Figure(layout=_LAYOUT)
    figure.update_layout(title=_plain(_of_run(first)), margin={"t": 50})
    for quantity, one in rows.groupby("quantity", sort=False):
        name, color = CURVES[quantity]
        x, band = one[r.EPOCH], one.dropna(subset=["low"])
        figure.add_scatter(
            x=pd.concat([band[r.EPOCH], band[r.EPOCH][::-1]]),
            y=pd.concat([band["high"], band["low"][::-1]]),
            mode="lines",  # Plotly marks the corners of a small one otherwise
            fill="toself",
            fillcolor=color,
            opacity=0.2,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=x,
            y=one["ours"],
            mode="lines+markers" if len(one) < FEW_EPOCHS else "lines",
            name=f"ours, {name} (n = {one['n'].max()})",
            line={"color": color, "width": 2},
            marker={"size": 6},
            # Of one epoch a line and a band are nothing to see.
            error_y={
                "array": one["high"] - one["ours"],
                "arrayminus": one["ours"] - one["low"],
                "thickness": 1.5,
                "visible": len(one) == len(band) == 1,
            },
        )
        marker = {"color": color, "symbol": "circle-open", "size": 6}
        figure.add_scatter(x=x, y=one["reported"], mode="markers", name=f"note, {name}", marker=marker)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="accuracy", tickformat=".0%")
    figure.update_traces(hovertemplate="epoch %{x}: %{y:.2%}")
    return figure


def ensemble_sizes(rows: pd.DataFrame) -> go.Figure:
    """Accuracy against the first k members; `rows` as `analysis.ensemble_size` gives them."""
    figure = go.Figure(layout=_LAYOUT)
    for name, one in rows.groupby("ensemble", sort=False):
        figure.add_scatter(
            x=one[r.MEMBERS],
            y=one[r.TEST_ACCURACY],
            mode="lines+markers",
            name=_plain(f"{name} (95 % over {one['over'].iloc[0]})"),
            error_y={
                "array": one["high"] - one[r.TEST_ACCURACY],
                "arrayminus": one[r.TEST_ACCURACY] - one["low"],
                "thickness": 1.5,
            },
            hovertemplate="%{x} members: %{y:.2%}",
        )
        independent = one.dropna(subset=["independent_test_accuracy"])
        if len(independent):
            figure.add_scatter(
                x=independent[r.MEMBERS],
                y=independent["independent_test_accuracy"],
                mode="lines",
                line={"dash": "dot", "width": 1.5, "color": GREY},
                name=_plain(f"{name}: independent voters of its accuracy"),
                hovertemplate="%{x} independent voters: %{y:.2%}",
            )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="members", dtick=1)
    figure.update_yaxes(title="test accuracy", tickformat=".0%")
    return figure


def importance(rows: pd.DataFrame) -> go.Figure:
    """Bars with their interval over resamples; `rows` of one run as `analysis.importance` gives them."""
    rows = rows[::-1]  # plotly draws the first at the bottom
    figure = go.Figure(layout=_LAYOUT)
    figure.add_bar(
        x=rows["importance"],
        y=rows["hyperparameter"].map(_plain),
        orientation="h",
        marker={"color": [GREY if name.startswith("(") else OURS for name in rows["hyperparameter"]]},
        # A share can lie outside its own percentiles.
        error_x={
            "array": (rows["high"] - rows["importance"]).clip(lower=0),
            "arrayminus": (rows["importance"] - rows["low"]).clip(lower=0),
            "color": GREY,
            "thickness": 1.5,
        },
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="share of the variance", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    figure.update_layout(height=120 + 34 * len(rows), margin={"b": 60})
    return figure


def _points(
    figure: go.Figure,
    rows: pd.DataFrame,
    y: str,
    name: str,
    *,
    mode: str = "markers",
    opacity: float = 1,
    **marker: object,
) -> None:
    if rows.empty:
        return
    text = [
        "<br>".join(_plain(f"{heading(k)}: {cell(v, k)}") for k, v in row.items() if cell(v, k))
        for row in rows.to_dict("records")
    ]
    figure.add_scatter(
        x=rows[r.PARAMETERS],
        y=rows[y],
        mode=mode,
        name=name,
        marker=marker,
        opacity=opacity,
        line={"shape": "hv", "width": 1.5},
        text=text,
        hovertemplate="%{text}<extra></extra>",
    )


def uncertainty(rows: pd.DataFrame) -> go.Figure:
    """Loss, calibration error, disagreement and Q against the first k members; `rows` of one study as
    `analysis.uncertainty` gives them, of test images where these were measured, else of validation images."""
    images = "test" if (rows["images"] == "test").any() else "validation"
    panels = {
        "loss": "loss, nats",
        "ece": "calibration error",
        "disagreement": "disagreement",
        "q_statistic": "Q statistic",
    }
    figure = make_subplots(rows=2, cols=2, subplot_titles=list(panels.values()), vertical_spacing=0.16)
    figure.update_layout(_LAYOUT | {"height": 560, "margin": {"l": 60, "r": 20, "t": 40, "b": 110}})
    rows = rows[(rows["images"] == images) & rows["quantity"].isin(panels)]
    for place, (ensemble, one) in enumerate(rows.groupby("ensemble", sort=False)):
        for panel, quantity in enumerate(panels):
            values = one[one["quantity"] == quantity]
            figure.add_scatter(
                x=values[r.MEMBERS],
                y=values["value"],
                error_y={"array": values["high"] - values["value"], "arrayminus": values["value"] - values["low"]},
                mode="lines+markers",
                name=_plain(f"{ensemble}, {images} images"),
                legendgroup=str(ensemble),
                showlegend=panel == 0,
                line={"color": PALETTE[place % len(PALETTE)], "width": 2},
                hovertemplate="%{x} members: %{y:.4g}",
                row=1 + panel // 2,
                col=1 + panel % 2,
            )
    figure.update_xaxes(dtick=1)
    figure.update_xaxes(title="members", row=2)
    return figure


def loss_curve(rows: pd.DataFrame) -> go.Figure:
    """One reported run's training loss, epoch by epoch, in the note's unit; `rows` as `analysis.loss_curves` gives."""
    first = rows.iloc[0]
    figure = go.Figure(layout=_LAYOUT)
    title = f"{first[r.ARM]}: training loss, reported as {first['run']}"
    figure.update_layout(title=_plain(title), margin={"t": 50})
    figure.add_scatter(
        x=rows[r.EPOCH],
        y=rows["ours"],
        error_y={"array": rows["high"] - rows["ours"], "arrayminus": rows["ours"] - rows["low"], "thickness": 1},
        mode="lines+markers",
        name=f"ours (n = {rows['n'].max()})",
        line={"color": OURS, "width": 2},
        marker={"size": 5},
    )
    marker = {"color": NOTE, "symbol": "circle-open", "size": 7}
    figure.add_scatter(x=rows[r.EPOCH], y=rows["reported"], mode="markers", name="note", marker=marker)
    figure.update_xaxes(title="epoch", dtick=1 if rows[r.EPOCH].max() <= 20 else None)
    figure.update_yaxes(title=_plain(f"loss, {first['unit']} an image"))
    figure.update_traces(hovertemplate="epoch %{x}: %{y:.4g}")
    return figure
