"""Write one table in five formats: exact for programs (csv, parquet), in percent for readers (md, html, tex)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa

from analysis import page
from analysis.latex import latex
from analysis.load import ResultsError
from search.records import CONFIG, PARAMETERS

FORMATS = ("md", "csv", "parquet", "html", "tex")
SHORT = 24  # most characters of a cell that stays on one line of a page


def cell(value: Any, column: str = "") -> str:
    """Return a value as a reader sees it: accuracies in percent, "" if nothing was measured."""
    if value is None or (not isinstance(value, (list, tuple)) and pd.isna(value)):
        return ""
    if isinstance(value, str | bool | np.bool_):
        return str(value)
    if column.endswith("accuracy"):
        return f"{100 * value:.2f}"
    if column == PARAMETERS:
        return f"{value:,.0f}"
    # Parquet returns a column of whole numbers with gaps as floats.
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else f"{value:.0f}"


def heading(column: str) -> str:
    name = re.sub(r"\bval\b", "validation", column.removeprefix(CONFIG).replace("_", " "))
    return f"{name} %" if column.endswith("accuracy") else name


def headings(columns: Iterable[str]) -> list[str]:
    """Return a heading for each column, no two alike: a setting and a measurement may have one name."""
    names = list(columns)
    short = [heading(name) for name in names]
    said = [
        f"{one} (setting)" if name.startswith(CONFIG) and short.count(one) > 1 else one
        for name, one in zip(names, short, strict=True)
    ]
    return [name if said.count(one) > 1 else one for name, one in zip(names, said, strict=True)]


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` as text for a reader."""
    texts = [[cell(value, name) for value in frame[name]] for name in frame]
    return pd.DataFrame(list(zip(*texts, strict=True)), columns=headings(frame), dtype=str)


def storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with each column of values of several kinds as text, nulls kept: Parquet has one type a column."""
    mixed = [name for name in frame if not _of_one_kind(frame[name])]
    return frame.assign(**{name: frame[name].map(str, na_action="ignore") for name in mixed})


def _of_one_kind(column: pd.Series) -> bool:
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def printable(text: str) -> str:
    """Return `text` as UTF-8 can hold it: a file's name may have bytes that are no character."""
    return text.encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class Table:
    """A table with its title, notes and figures: `frame` is exact (fractions, seconds), `read` is for readers."""

    frame: pd.DataFrame
    title: str
    notes: Sequence[str] = ()
    figures: Sequence[go.Figure] = ()
    read: Callable[[pd.DataFrame], pd.DataFrame] = readable

    def write(self, form: str, output: Path | None) -> None:
        """Write to `output`, or to stdout; title and notes of a bare csv or parquet go to stderr.

        Raises ResultsError if parquet has no file to go to.
        """
        if form == "parquet":
            if output is None:
                raise ResultsError("parquet needs a file, since it is not text: name one with -o")
            storable(self.frame).to_parquet(output, index=False)
        elif output is None:
            sys.stdout.write(printable(self.text(form)))
        else:
            output.write_text(printable(self.text(form)), encoding="utf-8")
        if form in ("csv", "parquet"):
            print(*map(printable, (self.title, *self.notes)), sep="\n", file=sys.stderr)

    def text(self, form: str) -> str:
        if form == "csv":
            return self.frame.to_csv(index=False)
        if form == "html":
            figures = [page.figure(figure, f"figure-{i}") for i, figure in enumerate(self.figures, 1)]
            notes = [f"<p>{escape(note)}</p>" for note in self.notes]
            title = f"<h1>{escape(self.title)}</h1>"
            return page.page(self.title, [title, *figures, html(self.read(self.frame)), *notes])
        return {"md": markdown, "tex": latex}[form](self.title, self.read(self.frame), self.notes)


def markdown(title: str, shown: pd.DataFrame, notes: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(text.replace("|", "\\|").splitlines()) for text in cells) + " |"

    if shown.empty:
        return "\n\n".join([title, *notes]) + "\n"
    rows = [line(list(shown)), line(["---"] * shown.shape[1]), *(line(row) for row in shown.to_numpy())]
    return "\n\n".join([title, "\n".join(rows), *notes]) + "\n"


def html(shown: pd.DataFrame) -> str:
    """Return an HTML table whose headings sort it (see `page`)."""
    head = "".join(f'<th scope="col"><button>{escape(name)}</button></th>' for name in shown)
    rows = ("".join(_td(text) for text in row) for row in shown.to_numpy())
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _td(text: str) -> str:
    # A name or a number must stay on one line; a sentence may be broken.
    short = ' class="short"' if len(text) <= SHORT else ""
    return f"<td{short}>{escape(text)}</td>"
