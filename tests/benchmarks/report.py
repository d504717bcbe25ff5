"""Medians with their spread, and the tables that hold them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def cell(measured: dict[str, float]) -> str:
    """The median; its range where there is more than one measurement."""
    median = _short(measured["median"])
    return median if measured["n"] == 1 else f"{median} ({_short(measured['min'])} to {_short(measured['max'])})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def head(*cells: str) -> None:
    print()
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))
