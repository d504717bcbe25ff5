"""Lay out a running study for a terminal of any size: counts, running trials, the best finished ones with their curves.

If a line is too long, names are cut in the middle; figures stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

BEST = 5  # finished trials that stay in the table
CURVE = 12  # characters of a curve
NAME = 12  # least characters of a name
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def shorten(text: str, width: int, gap: str = "…") -> str:
    """Cut `text` in its middle to at most `width` characters; a trial's number and last settings stay."""
    if len(text) <= width:
        return text
    kept = max(0, width - len(gap))
    tail = kept // 2
    return (text[: kept - tail] + gap + text[len(text) - tail :])[:width]


def sparkline(values: Sequence[float], low: float, high: float, width: int = CURVE, bars: str = BARS) -> str:
    """Return a curve as `width` bars at most, between the values `low` and `high`; not a number is a space."""
    if len(values) > width:
        step = (len(values) - 1) / (width - 1)
        values = [values[round(place * step)] for place in range(width)]
    span = (high - low) or 1.0
    levels = (len(bars) - 1) / span
    return "".join(
        bars[min(len(bars) - 1, max(0, round((value - low) * levels)))] if math.isfinite(value) else " "
        for value in values
    )


@dataclass(frozen=True)
class Row:
    """One trial: its figures as text, and its curve."""

    name: str
    figures: tuple[str, ...]
    curve: Sequence[float]
    style: str = ""


@dataclass(frozen=True)
class LiveTable:
    """What a terminal shows of a running study.

    head     lines, the most important first; the first is bold
    columns  headings of the figures
    running  running trials
    best     the best finished trials, the best first
    """

    head: Sequence[str]
    columns: tuple[str, ...]
    running: Sequence[Row]
    best: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ascii_only = options.ascii_only
        # The line below the table is the terminal's own, and a full one makes it scroll.
        yield from (
            Text(line, style, no_wrap=True)
            for line, style in self.lines(options.max_width, console.height - 1, ascii_only=ascii_only)
        )

    def lines(self, width: int, height: int, *, ascii_only: bool = False) -> list[tuple[str, str]]:
        """Return the lines, each at most `width` characters, `height` at most, with their styles."""
        gap = ".." if ascii_only else "…"
        bars = ASCII_BARS if ascii_only else BARS
        widths = (
            [
                max(len(heading), *(len(row.figures[place]) for row in (*self.running, *self.best)), 0)
                for place, heading in enumerate(self.columns)
            ]
            if self.running or self.best
            else [len(heading) for heading in self.columns]
        )
        room = width - 2 - sum(2 + each for each in widths)
        curve = CURVE if room - 2 - CURVE >= NAME else 0
        room -= 2 + curve if curve else 0
        longest = max([NAME, *(len(row.name) for row in (*self.running, *self.best))])
        name = max(NAME, min(room, longest))
        known = [value for row in (*self.running, *self.best) for value in row.curve if math.isfinite(value)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)

        def line(row: Row) -> tuple[str, str]:
            cells = [f"{shorten(row.name, name, gap):{name}}"]
            cells += [f"{text:>{each}}" for text, each in zip(row.figures, widths, strict=True)]
            if curve:
                cells.append(sparkline(row.curve, low, high, bars=bars))
            return ("  " + "  ".join(cells))[:width], row.style

        def title(text: str) -> tuple[str, str]:
            cells = [f"{shorten(text, name + 2, gap):{name + 2}}"]
            cells += [f"{heading:>{each}}" for heading, each in zip(self.columns, widths, strict=True)]
            return "  ".join([*cells, "curve"] if curve else cells)[:width], "bold"

        told = [(shorten(text, width, gap), "" if place else "bold") for place, text in enumerate(self.head)]
        best = [title("best finished"), *map(line, self.best)] if self.best else []
        left = max(1, height - len(told) - len(best) - (1 if self.running else 0))
        shown = list(self.running[:left])
        if len(self.running) > left:
            shown = list(self.running[: left - 1])
        running = [title("running"), *map(line, shown)] if self.running else []
        if hidden := len(self.running) - len(shown):
            running.append((f"  and {hidden} more running"[:width], "dim"))
        return [*told, *running, *best][:height]
