"""Draw the ending's Pareto table for a terminal, from the CSV that `analysis.pareto` prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from rich import box
from rich.table import Table

MOST_ROWS = 10  # rows of the table: the smallest, the largest and evenly spaced ones between
CONFIG = "config/"


def front_table(text: str, *, ascii_only: bool = False) -> Table:
    """Return a table of the rows of `text` that fits any width: settings share one column, which wraps."""
    rows = list(csv.DictReader(io.StringIO(text)))
    shown = rows
    if len(rows) > MOST_ROWS:
        shown = [rows[round(place * (len(rows) - 1) / (MOST_ROWS - 1))] for place in range(MOST_ROWS)]
    hidden = len(rows) - len(shown)
    table = Table(
        box=box.ASCII if ascii_only else box.SIMPLE_HEAD,
        caption=f"{hidden} more rows: python -m analysis.pareto" if hidden else None,
        pad_edge=False,
    )
    for heading in ("trial", "members", "parameters", "validation %", "test %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold", ratio=1)
    for row in shown:
        settings = (f"{name.removeprefix(CONFIG)}={_short(value)}" for name, value in _config(row))
        table.add_row(
            row["trial"],
            row["members"],
            f"{float(row['parameters']):,.0f}",
            *(f"{100 * float(row[name]):.2f}" if row[name] else "" for name in ("val_accuracy", "test_accuracy")),
            ", ".join(settings),
        )
    return table


def _config(row: dict[str, str]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in row.items() if name.startswith(CONFIG) and value)


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
