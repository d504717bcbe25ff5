"""Draw the figures: each function takes a computed table and draws it, nothing more."""

from __future__ import annotations

import math
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.tables import cell, heading
from search.records import ARM, EPOCH, MEMBERS, PARAMETERS, TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY

OURS, NOTE, GREY = "#1f8ef1", "#e8590c", "#8d939e"
PALETTE = (OURS, NOTE, "#2f9e44", "#ae3ec9", "#f08c00", "#0ca678", "#e64980", "#495057")
DATASETS = {"cifar10": "#1f8ef1", "cifar100": "#2f9e44"}
CURVES = {
    TRAIN_ACCURACY: ("training", "#8d939e"),
    VAL_ACCURACY: ("validation", "#2f9e44"),
    TEST_ACCURACY: ("test", "#1f8ef1"),
}
FEW_EPOCHS = 10  # number of epochs below which a curve's points are marked
LAYOUT = {
    "template": "none",
    "height": 440,
    "margin": {"l": 60, "r": 20, "t": 20, "b": 110},
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "hoverlabel": {"align": "left"},
}


def plain(text: str) -> str:
    """Return `text` escaped so that Plotly shows it as it is: Plotly reads tags, also links, in every text."""
    return escape(text, quote=False)


def pareto(candidates: pd.DataFrame, front: pd.DataFrame, reported: pd.DataFrame) -> go.Figure:
    """Draw accuracy against parameters (log axis): the front, dominated trials in grey, the notes' points.

    The three tables have the columns of `analysis.pareto`; `reported` may be empty.
    """
    figure = go.Figure(layout=LAYOUT)
    dominated = candidates.drop(index=front.index)
    _points(figure, dominated, VAL_ACCURACY, "dominated (validation)", color=GREY, opacity=0.55)
    _points(figure, front, VAL_ACCURACY, "front (validation)", mode="lines+markers", color=OURS, size=10)
    _points(figure, front, TEST_ACCURACY, "front (test)", color=OURS, size=10, symbol="circle-open")
    _points(figure, reported, TEST_ACCURACY, "note (test)", color=NOTE, size=12, symbol="star")
    ticks = _size_ticks(figure)
    figure.update_xaxes(type="log", title="parameters", tickvals=ticks, ticktext=[_short(t) for t in ticks])
    if ticks:
        # From label to label: models of nearly one size would otherwise lie between two labels, both out of sight.
        figure.update_xaxes(range=[math.log10(ticks[0]) - 0.05, math.log10(ticks[-1]) + 0.05])
    figure.update_yaxes(title="accuracy", tickformat=".0%")
    return figure


def families(rows: pd.DataFrame) -> go.Figure:
    """Draw test accuracy against parameters over families and data sets; `rows` as `evidence_tables.families` returns.

    The front of each data set is a line through its arms, which are named.
    """
    figure = go.Figure(layout=LAYOUT | {"legend": {"orientation": "h", "y": -0.22, "x": 0}})
    for (dataset, by), one in rows.groupby(["dataset", "by"], sort=False):
        color = DATASETS.get(dataset, GREY)
        symbol = {"ours": "circle", "note": "star-open"}.get(by, "circle-open")
        marker = {"color": color, "symbol": symbol, "size": 10}
        name = plain(f"{heading(dataset)}, {by}")
        figure.add_scatter(
            x=one[PARAMETERS],
            y=one[TEST_ACCURACY],
            mode="markers",
            name=name,
            marker=marker,
            text=one[ARM].map(plain),
        )
        if by == "ours":
            sized = one.sort_values([PARAMETERS, TEST_ACCURACY], ascending=[True, False])
            front = sized[sized[TEST_ACCURACY] > sized[TEST_ACCURACY].cummax().shift().fillna(0)]
            next_size = front[PARAMETERS].shift(-1).fillna(math.inf)
            figure.add_scatter(
                x=front[PARAMETERS],
                y=front[TEST_ACCURACY],
                mode="lines+text",
                # Among arms of nearly one size only the best has room for its name.
                text=front[ARM].map(plain).where(next_size > 1.05 * front[PARAMETERS], ""),
                textposition="top center",
                line={"shape": "hv", "width": 1.5, "color": color},
                showlegend=False,
            )
    ticks = _size_ticks(figure)
    figure.update_xaxes(type="log", title="parameters", tickvals=ticks, ticktext=[_short(t) for t in ticks])
    figure.update_yaxes(title="test accuracy", tickformat=".0%", rangemode="tozero")
    return figure


def _size_ticks(figure: go.Figure) -> list[float]:
    """Return round numbers that enclose the sizes drawn: powers of ten, over a short range also 2 and 5 times them."""
    sizes = [size for trace in figure.data for size in trace.x if size > 0]  # a logarithmic axis has no place for 0
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
    return f"{row[ARM]}{changed}, reported as {row['run']}"


def curves(rows: pd.DataFrame) -> go.Figure:
    """Draw one reported run, epoch by epoch: ours with its interval over seeds, and the printed points.

    `rows` of one run as `analysis.compare.curves` returns them.
    """
    first = rows.iloc[0]
    figure = go.Figure(layout=LAYOUT)
    figure.update_layout(title=plain(_of_run(first)), margin={"t": 50})
    few = bool(rows[EPOCH].max() - rows[EPOCH].min() + 1 < FEW_EPOCHS)
    quantities = list(rows.groupby("quantity", sort=False))
    for place, (quantity, one) in enumerate(quantities):
        name, color = CURVES[quantity]
        band = one.dropna(subset=["low"])
        # Few epochs leave room to set the quantities' intervals side by side; a band of one epoch would be invisible.
        x = one[EPOCH] + (0.12 * (place - (len(quantities) - 1) / 2) if few else 0)
        if not few:
            figure.add_scatter(
                x=pd.concat([band[EPOCH], band[EPOCH][::-1]]),
                y=pd.concat([band["high"], band["low"][::-1]]),
                mode="lines",  # Plotly otherwise marks the corners of a small area
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
            mode="lines+markers" if few else "lines",
            name=f"ours, {name} (n = {one['n'].max()})",
            line={"color": color, "width": 2},
            marker={"size": 7},
            error_y={
                "array": one["high"] - one["ours"],
                "arrayminus": one["ours"] - one["low"],
                "thickness": 1.5,
                "visible": few and len(band) > 0,
            },
        )
        marker = {"color": color, "symbol": "diamond-open" if few else "circle-open", "size": 9 if few else 6}
        figure.add_scatter(x=x, y=one["reported"], mode="markers", name=f"note, {name}", marker=marker)
    figure.update_xaxes(title="epoch")
    if few:
        figure.update_xaxes(dtick=1, range=[rows[EPOCH].min() - 0.5, rows[EPOCH].max() + 0.5])
    figure.update_yaxes(title="accuracy", tickformat=".0%", automargin=True)
    figure.update_traces(hovertemplate="epoch %{x:.0f}: %{y:.2%}")
    return figure


def ensemble_sizes(rows: pd.DataFrame) -> go.Figure:
    """Draw accuracy against the first k members; `rows` as `analysis.ensemble_size` returns them."""
    figure = go.Figure(layout=LAYOUT)
    for name, one in rows.groupby("ensemble", sort=False):
        figure.add_scatter(
            x=one[MEMBERS],
            y=one[TEST_ACCURACY],
            mode="lines+markers",
            name=plain(f"{name} (95 % over {one['over'].iloc[0]})"),
            error_y={
                "array": one["high"] - one[TEST_ACCURACY],
                "arrayminus": one[TEST_ACCURACY] - one["low"],
                "thickness": 1.5,
            },
            hovertemplate="%{x} members: %{y:.2%}",
        )
        independent = one.dropna(subset=["independent_test_accuracy"])
        if len(independent):
            figure.add_scatter(
                x=independent[MEMBERS],
                y=independent["independent_test_accuracy"],
                mode="lines",
                line={"dash": "dot", "width": 1.5, "color": GREY},
                name=plain(f"{name}: independent voters of its accuracy"),
                hovertemplate="%{x} independent voters: %{y:.2%}",
            )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="members", dtick=1)
    figure.update_yaxes(title="test accuracy", tickformat=".0%")
    return figure


def importance(rows: pd.DataFrame) -> go.Figure:
    """Draw bars with their interval over resamples; `rows` of one run as `analysis.importance` returns them."""
    rows = rows[::-1]  # Plotly draws the first bar at the bottom
    figure = go.Figure(layout=LAYOUT)
    figure.add_bar(
        x=rows["importance"],
        y=rows["hyperparameter"].map(plain),
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
        "<br>".join(plain(f"{heading(k)}: {cell(v, k)}") for k, v in row.items() if cell(v, k))
        for row in rows.to_dict("records")
    ]
    figure.add_scatter(
        x=rows[PARAMETERS],
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
    """Draw loss, calibration error, disagreement and Q against the first k members.

    `rows` of one study as `analysis.uncertainty` returns them; test images if these were measured, else validation
    images.
    """
    images = "test" if (rows["images"] == "test").any() else "validation"
    panels = {
        "loss": "loss, nats",
        "ece": "calibration error",
        "disagreement": "disagreement",
        "q_statistic": "Q statistic",
    }
    rows = rows[(rows["images"] == images) & rows["quantity"].isin(panels)]
    # A single model has no members that could disagree.
    measured = set(rows.dropna(subset="value")["quantity"])
    panels = {name: title for name, title in panels.items() if name in measured}
    lines = max(1, math.ceil(len(panels) / 2))
    figure = make_subplots(rows=lines, cols=2, subplot_titles=list(panels.values()), vertical_spacing=0.16)
    figure.update_layout(LAYOUT | {"height": 160 + 200 * lines, "margin": {"l": 60, "r": 20, "t": 40, "b": 110}})
    for place, (ensemble, one) in enumerate(rows.groupby("ensemble", sort=False)):
        for panel, quantity in enumerate(panels):
            values = one[one["quantity"] == quantity]
            figure.add_scatter(
                x=values[MEMBERS],
                y=values["value"],
                error_y={"array": values["high"] - values["value"], "arrayminus": values["value"] - values["low"]},
                mode="lines+markers",
                name=plain(f"{ensemble}, {images} images"),
                legendgroup=str(ensemble),
                showlegend=panel == 0,
                line={"color": PALETTE[place % len(PALETTE)], "width": 2},
                hovertemplate="%{x} members: %{y:.4g}",
                row=1 + panel // 2,
                col=1 + panel % 2,
            )
    figure.update_xaxes(dtick=1)
    figure.update_xaxes(title="members", row=lines)
    return figure


def loss_curve(rows: pd.DataFrame) -> go.Figure:
    """Draw one reported run's training loss by epoch, in the note's unit; `rows` as `analysis.loss_curves` returns."""
    first = rows.iloc[0]
    figure = go.Figure(layout=LAYOUT)
    title = f"{first[ARM]}: training loss, reported as {first['run']}"
    figure.update_layout(title=plain(title), margin={"t": 50})
    figure.add_scatter(
        x=rows[EPOCH],
        y=rows["ours"],
        error_y={"array": rows["high"] - rows["ours"], "arrayminus": rows["ours"] - rows["low"], "thickness": 1},
        mode="lines+markers",
        name=f"ours (n = {rows['n'].max()})",
        line={"color": OURS, "width": 2},
        marker={"size": 5},
    )
    marker = {"color": NOTE, "symbol": "circle-open", "size": 7}
    figure.add_scatter(x=rows[EPOCH], y=rows["reported"], mode="markers", name="note", marker=marker)
    figure.update_xaxes(title="epoch", dtick=1 if rows[EPOCH].max() <= 20 else None)
    figure.update_yaxes(title=plain(f"loss, {first['unit']} an image"))
    figure.update_traces(hovertemplate="epoch %{x}: %{y:.4g}")
    return figure
