"""Show the pictures that a run keeps: how training images are augmented, and which test images are confused."""

from __future__ import annotations

import base64
from html import escape

import pandas as pd
import pyarrow as pa

from analysis.confusions import class_name
from analysis.load import Results, ResultsError
from analysis.parquet_table import read_table
from analysis.schema import SchemaError
from search.records import IMAGE, LABEL, PICTURES_FILE, PREDICTED, TRIAL_ID

COLUMNS = ("kind", "name", TRIAL_ID, IMAGE, LABEL, PREDICTED, "png")
PNG = b"\x89PNG\r\n\x1a\n"
MOST = 2_000_000  # bytes of a run's pictures on the page


def pictures(result: Results) -> pd.DataFrame:
    """Return the run's pictures as rows of `COLUMNS`; none if it kept none. Raises ResultsError for a damaged file."""
    file = result.path / PICTURES_FILE
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        rows = read_table(file)
    except (SchemaError, pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise ResultsError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if missing := [name for name in COLUMNS if name not in rows]:
        raise ResultsError(f"{file} lacks {', '.join(missing)}")
    whole = [isinstance(png, bytes) and png.startswith(PNG) for png in rows["png"]]
    if not all(whole) or rows["png"].map(len).sum() > MOST:
        raise ResultsError(f"{file} must hold PNG pictures of at most {MOST:,} bytes in all")
    return rows


def _image(png: bytes, told: str, style: str = "") -> str:
    data = base64.b64encode(png).decode()
    kind = f' class="{style}"' if style else ""
    return f'<img{kind} alt="{escape(told)}" src="data:image/png;base64,{data}">'


def augmentation(rows: pd.DataFrame) -> str:
    """Return the training images as they are and as each way augments them; "" if the run augments nothing."""
    some = rows[rows["kind"].isin(["original", "augmented"])]
    return "".join(
        f"<figure><figcaption>{escape(str(one['name']))}</figcaption>"
        f"{_image(one['png'], 'training images, ' + str(one['name']), 'strip')}</figure>"
        for one in some.to_dict("records")
    )


def confused(result: Results, rows: pd.DataFrame) -> str:
    """Return the confused test images that the run keeps of its best trial, each with its two classes."""
    best = result.best()
    if best is None:
        return ""
    some = rows[(rows["kind"] == "confused") & (rows[TRIAL_ID] == best[TRIAL_ID])]
    if some.empty:
        return ""
    shown = []
    for one in some.to_dict("records"):
        label, other = (class_name(result, int(one[name])) for name in (LABEL, PREDICTED))
        told = f"{label}, taken for {other}"
        shown.append(f"<figure>{_image(one['png'], told)}<figcaption>{escape(told)}</figcaption></figure>")
    return f'<div class="pictures">{"".join(shown)}</div>'
