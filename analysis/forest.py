"""Draw the claims as a forest plot: our effect and the note's figure, each with its interval, coloured by verdict.

A row is one claim and unfolds to everything that the table of verdicts says about it. Claims share an axis if they
share a unit. Rows are HTML with small SVG drawings in percent of their width, so that they fit a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from analysis import claims
from analysis.arms import GAP, quantity_name
from analysis.intervals import NOT_TESTED

LEGEND = (
    "● ours with its 95 % interval, in the colour of the verdict (green reproduced, red contradicted, amber "
    "undecided); a paler dot above it: the note's own comparison, if it changes more than one thing. "
    "◇ the note's figure, with the 95 % interval for one run like the note's: it fits if our dot lies inside. "
    "Shaded: where the claim holds. Dashed: no difference. A row unfolds."
)
ROOM = 0.5  # most that intervals widen an axis beyond effects and figures, as a share of their range, on each side
TOP, LOW, NOTE = 9, 17, 27  # heights of a row's marks in pixels


@dataclass(frozen=True)
class Mark:
    """An effect with its interval, NaN if there is none, in the axis's unit."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What the plot shows of one claim; `low` and `high` are the ends of the region in which the claim holds.

    `effect` is the effect that counts, in words; `by_clean_arms` says whose it is, also if the note's `own` comparison
    was not measured.
    """

    verdict: str
    unit: str
    effect: str
    by_clean_arms: bool
    ours: Mark
    own: Mark | None
    note: Mark | None
    low: float
    high: float
    none: float | None

    @classmethod
    def of(cls, one: dict[str, Any]) -> Row:
        quantity, kind = str(one["quantity"]), str(one["kind"])
        unit, scale = unit_of(quantity, kind)
        confounded = one["verdict"] == claims.CONFOUNDED
        prefix = "clean_" if confounded else ""

        def mark(prefix: str) -> Mark | None:
            at, low, high = (scale * _number(one[prefix + name]) for name in ("effect", "low", "high"))
            return Mark(at, low, high) if math.isfinite(at) else None

        note = None
        if math.isfinite(figure := scale * _number(one["note_effect"])):
            half = scale * (_number(one["size_high"]) - _number(one["size_low"])) / 2
            note = Mark(figure, figure - half, figure + half)
        return cls(
            verdict=str(one[prefix + "verdict"]),
            unit=unit,
            effect=claims.measured(one, prefix),
            by_clean_arms=confounded,
            ours=mark(prefix) or Mark(math.nan, math.nan, math.nan),
            own=mark("") if confounded else None,
            note=note,
            low=scale * _number(one["holds_above"]),
            high=scale * _number(one["holds_below"]),
            none=None if kind == "level" else scale * (1.0 if kind == "ratio" else 0.0),
        )


def _number(value: Any) -> float:
    return math.nan if value is None or pd.isna(value) else float(value)


def unit_of(quantity: str, kind: str) -> tuple[str, float]:
    """Return the unit in which a claim's effect is drawn, and the factor to it."""
    name = quantity_name(quantity)
    unit = claims.unit(quantity, kind).strip()
    if kind == "ratio":
        return "ratio", 1.0
    percent = name == GAP or name.endswith("accuracy")
    label = {"%": "accuracy, %", "points": "points of accuracy", "": name.replace("_", " ")}.get(unit, unit)
    return label, 100.0 if percent else 1.0


def forest(verdicts: pd.DataFrame, link: Mapping[str, str] | None = None) -> str:
    """Return the plot of `verdicts`, as `analysis.claims.claims` returns them; claims that no run tests come last.

    With `link`, the anchor of each study, rows do not unfold but lead there.
    """
    shown = claims.readable(verdicts).to_dict("records")
    rows = [Row.of({str(k): v for k, v in one.items()}) for one in verdicts.to_dict("records")]
    told = list(zip(rows, shown, verdicts["study"], strict=True))
    tested = [one for one in told if math.isfinite(one[0].ours.at) or (one[0].own and one[0].verdict != NOT_TESTED)]
    tested += [one for one in told if one not in tested and one[0].own]
    parts = []
    for unit in dict.fromkeys(row.unit for row, *_ in tested):
        some = [one for one in tested if one[0].unit == unit]
        scale = Scale.of([row for row, *_ in some])
        drawn = [_row(row, said, scale, link[study] if link else "") for row, said, study in some]
        parts.append(f'<div class="forest"><h3>{escape(unit)}</h3>{_axis(scale)}{"".join(drawn)}</div>')
    rest = [one for one in told if one not in tested]
    if rest and not link:
        drawn = [_row(row, said, None, "") for row, said, _ in rest]
        many = f"{len(rest)} claims without a result of ours"
        parts.append(f'<details><summary>{many}</summary><div class="forest">{"".join(drawn)}</div></details>')
    return "\n".join(parts)


@dataclass(frozen=True)
class Scale:
    """An axis: its ends and round numbers on it."""

    low: float
    high: float
    ticks: Sequence[float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Scale:
        """Choose an axis that shows every effect and figure, and of their intervals as much as has room."""
        marks = [mark for row in rows for mark in (row.ours, row.own, row.note) if mark]
        points = [x for x in [*(mark.at for mark in marks), *(row.none for row in rows)] if x is not None]
        points += [x for row in rows for x in (row.low, row.high)]
        points = [x for x in points if math.isfinite(x)]
        low, high = min(points), max(points)
        span = (high - low) or abs(high) or 1.0
        ends = [x for mark in marks for x in (mark.low, mark.high) if math.isfinite(x)]
        low = max(min([low, *ends]), low - ROOM * span) - 0.05 * span
        high = min(max([high, *ends]), high + ROOM * span) + 0.05 * span
        step = 10 ** math.floor(math.log10((high - low) / 3))
        step *= next(times for times in (10, 5, 2, 1) if (high - low) / (times * step) >= 3 or times == 1)
        first = math.ceil(low / step)
        return cls(low, high, [k * step for k in range(first, math.floor(high / step) + 1)])

    def percent(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)


def _axis(scale: Scale) -> str:
    # Numbers at the rim are centred on their place, and the drawing may overflow by half a number.
    ticks = "".join(
        f'<text x="{scale.percent(tick)}%" y="13" text-anchor="middle">{tick:,.10g}</text>' for tick in scale.ticks
    )
    return f'<div class="axis" aria-hidden="true"><span></span><svg>{ticks}</svg><span></span></div>'


def _row(row: Row, said: dict[Any, str], scale: Scale | None, link: str) -> str:
    style = row.verdict.replace(" ", "-")
    by = " by clean arms" if row.by_clean_arms else ""
    mark = f"{row.verdict}{by}: {row.effect}" if math.isfinite(row.ours.at) else row.verdict
    statement = escape(said["claim"])
    head = f'<span class="said">{statement}</span>{_strip(row, scale)}<span class="mark">{escape(mark)}</span>'
    if link:
        return f'<a class="row {style}" href="#{link}">{head}</a>'
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in said.items() if text and name != "claim"
    )
    return f'<details class="{style}"><summary>{head}</summary><dl>{facts}</dl></details>'


def _strip(row: Row, scale: Scale | None) -> str:
    if scale is None:
        return "<span></span>"
    at = scale.percent
    left, right = at(row.low), at(row.high)
    parts = [f'<rect class="claimed" x="{left}%" width="{round(right - left, 2)}%" y="0" height="34"/>']
    if row.none is not None:
        parts.append(f'<line class="none" x1="{at(row.none)}%" x2="{at(row.none)}%" y1="0" y2="34"/>')
    if row.own:
        parts.append(
            _mark(row.own, scale, TOP - 5, "own", f'<circle class="own" cx="{at(row.own.at)}%" cy="{TOP - 5}" r="3"/>')
        )
    if math.isfinite(row.ours.at):
        dot = f'<circle class="ours" cx="{at(row.ours.at)}%" cy="{LOW - 3}" r="4.5"/>'
        parts.append(_mark(row.ours, scale, LOW - 3, "ours", dot))
    if row.note:
        shape = '<path class="note" d="M0 -5L5 0L0 5L-5 0Z"/>'
        diamond = f'<svg x="{at(row.note.at)}%" y="{NOTE}" overflow="visible">{shape}</svg>'
        parts.append(_mark(row.note, scale, NOTE, "note", diamond))
    return f'<svg role="img" aria-label="effect and interval">{"".join(parts)}</svg>'


def _mark(mark: Mark, scale: Scale, y: float, style: str, shape: str) -> str:
    """Return a line over the interval, with an arrow at an end that lies outside the axis, and `shape` upon it."""
    if not (math.isfinite(mark.low) or math.isfinite(mark.high)):
        return shape
    low = mark.low if not math.isnan(mark.low) else mark.at
    high = mark.high if not math.isnan(mark.high) else mark.at
    ends = f'x1="{scale.percent(low)}%" x2="{scale.percent(high)}%" y1="{y}" y2="{y}"'
    line = f'<line class="{style}" {ends} stroke-width="2"/>'
    for end, outside, turn in ((0, low < scale.low, -1), (100, high > scale.high, 1)):
        if outside:
            line += (
                f'<svg x="{end}%" y="{y}" overflow="visible"><path class="{style}" d="M{6 * turn} 0L0 -4L0 4Z"/></svg>'
            )
    return line + shape
