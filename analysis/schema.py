"""Check that the tables of a results folder have the required columns, types, ranges, and matching rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from search import columns
from search.records import CONFIG, EPOCH, EPOCHS, IMAGE, MEMBERS, STATUS, STATUSES, TRIAL_ID

_NUMBERS = ("int64", "int32", "int16", "float64")


_KEYS = {
    "trials": [TRIAL_ID],
    "epochs": [TRIAL_ID, EPOCH],
    "members": [TRIAL_ID, EPOCH, MEMBERS],
    "predictions": [TRIAL_ID, IMAGE],
}
_HYPERPARAMETER = (str, bool, int, float, np.number, np.bool_)


class SchemaError(ValueError):
    """A table that does not meet its contract; the message says in one line what it lacks or must hold."""


def empty(table: str) -> pd.DataFrame:
    """Return a table without rows, for a run that lacks the table."""
    dtypes = {"string": "object", "list<int16>": "object"}
    kinds = {
        name: dtypes.get(column.type, "int64" if column.required and not column.nullable else "float64")
        for name, column in columns.of(table).items()
    }
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def checked(
    table: str, frame: pd.DataFrame, own: Sequence[columns.Column] = (), written: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the table with its measured columns as float64, null if a run has none.

    `own` are the metrics that the study's trainable declares, `written` the columns that its run says it wrote.
    Raises SchemaError.
    """
    known = columns.of(table, own)
    must = {name for name, column in known.items() if column.required}
    if missing := [
        name for name in dict.fromkeys((*known, *written)) if name in {*must, *written} - set(frame.columns)
    ]:
        raise SchemaError(f"lacks {', '.join(missing)}")
    for name in frame.columns:
        if name in known:
            frame[name] = _held(frame[name], known[name])
        elif name.startswith(CONFIG):
            fits = _each(frame[name], _HYPERPARAMETER, or_none=True)
            _require(frame[name], fits, "numbers, text or truth values")
    for name, column in known.items():
        if name not in frame and column.type in _NUMBERS:
            frame[name] = float("nan")
    if table == "trials" and (unknown := sorted(set(frame[STATUS]) - set(STATUSES))):
        raise SchemaError(f"has an unknown status: {', '.join(unknown)}")
    if (twice := frame.duplicated(_KEYS[table])).any():
        row = frame[twice].iloc[0]
        raise SchemaError("has more than one row for " + ", ".join(f"{key} {row[key]}" for key in _KEYS[table]))
    return frame


def _held(values: pd.Series, column: columns.Column) -> pd.Series:
    """Check the values of a declared column; return numbers that may be missing as float64."""
    if column.type == "string":
        _require(values, _each(values, str, or_none=column.nullable or not column.required), "text")
    elif column.type == "list<int16>":
        _require(values, _each(values, (list, np.ndarray), or_none=True), "a list of labels an image")
        lengths = {len(one) for one in values if one is not None}
        flat = np.concatenate([np.asarray(one) for one in values if one is not None]) if lengths else np.zeros(0, int)
        if len(lengths) > 1 or not np.issubdtype(flat.dtype, np.integer):
            raise SchemaError(f"must hold as many whole numbers in {column.name} for each image")
    elif column.required and not column.nullable:
        if len(values) and not pd.api.types.is_integer_dtype(values):
            raise SchemaError(f"must hold whole numbers in {column.name}, got {values.dtype}")
        _require(values, values >= column.low, f"whole numbers of at least {column.low:g}")
    else:
        return _numbers(values, column)
    return values


def check_epochs(trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Raise SchemaError unless each trial has every epoch, from 1 on, that it says it ran."""
    found = epochs.groupby(TRIAL_ID)[EPOCH].agg(["max", "count"])
    for trial, ran in zip(trials[TRIAL_ID], trials[EPOCHS], strict=True):
        last, rows = found.loc[trial] if trial in found.index else (0, 0)
        if rows < ran or last != rows:
            raise SchemaError(f"must hold all {ran} epochs of trial {trial}, got {rows} up to epoch {last}")


def check_members(members: pd.DataFrame) -> None:
    """Raise SchemaError unless each ensemble has a row for every size from 1 on."""
    sizes = members.groupby([TRIAL_ID, EPOCH])[MEMBERS].agg(["max", "count"])
    for (trial, epoch), (largest, rows) in sizes[sizes["max"] != sizes["count"]].head(1).iterrows():
        raise SchemaError(f"must hold all {largest} sizes of trial {trial} in epoch {epoch}, got {rows}")


def _numbers(values: pd.Series, column: columns.Column) -> pd.Series:
    name = column.name
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        raise SchemaError(f"must hold numbers in {name}, got {values.dtype}")
    try:
        numbers = values.astype("float64")
    except (ValueError, TypeError) as error:
        raise SchemaError(f"must hold numbers in {name}: {' '.join(str(error).split())}") from None
    within = numbers.between(column.low, column.high) | numbers.isna()
    if column.unit == columns.FRACTION:
        _require(values, within, "fractions")
    elif column.unit != columns.NATS:  # NATS: a loss, which is infinite if a training diverged
        # Numbers without an upper bound must still be finite.
        told = f"numbers of at least {column.low:g}" if column.high == np.inf else f"{column.low:g} to {column.high:g}"
        _require(values, within & ~np.isinf(numbers), told)
    return numbers


def _each(values: pd.Series, kind: type | tuple[type, ...], *, or_none: bool) -> pd.Series:
    fits = [
        isinstance(value, kind) or (or_none and pd.api.types.is_scalar(value) and pd.isna(value)) for value in values
    ]
    return pd.Series(fits, index=values.index, dtype=bool)


def _require(values: pd.Series, good: pd.Series, what: str) -> None:
    if not good.all():
        raise SchemaError(f"must hold {what} in {values.name}, got {values[~good].iloc[0]!r:.40}")
