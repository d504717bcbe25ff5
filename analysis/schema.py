"""What the tables of a results folder must hold to be read as such: columns, types, ranges, and one another's rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from search import records as r

# Columns without which a table cannot be read as one, whole numbers without a gap unless they are _TEXT.
REQUIRED = {
    "trials": (r.TRIAL_ID, r.ARM, r.SEED, r.PROTOCOL, r.STATUS, r.EPOCHS, r.ERROR),
    "epochs": (r.TRIAL_ID, r.EPOCH),
    "members": (r.TRIAL_ID, r.EPOCH, r.MEMBERS, r.VAL_ACCURACY, r.TEST_ACCURACY, r.PARAMETERS),
    "predictions": (r.TRIAL_ID, r.IMAGE, r.LABEL, r.PREDICTED),
}
# Numbers that a run may not have measured: their columns are always there, null where unmeasured.
MEASURED = {
    "trials": (
        *(r.PARAMETERS, r.SECONDS, r.PEAK_MEMORY_BYTES, r.TRAIN_LOSS, r.TRAIN_ACCURACY, r.VAL_LOSS),
        *(r.VAL_ACCURACY, r.TEST_LOSS, r.TEST_KL_LOSS, r.TEST_ACCURACY, r.TEST_TOP5_ACCURACY),
        *(r.BEST_VAL_ACCURACY, r.BEST_VAL_EPOCH, r.BEST_TEST_ACCURACY, r.BEST_TEST_EPOCH),
    ),
    "epochs": (
        *(r.LR, r.SECONDS, r.TRAIN_LOSS, r.TRAIN_ACCURACY, r.VAL_LOSS, r.VAL_ACCURACY),
        *(r.TEST_LOSS, r.TEST_KL_LOSS, r.TEST_ACCURACY, r.TEST_TOP5_ACCURACY),
    ),
    "members": (r.VAL_ACCURACY, r.TEST_ACCURACY, r.PARAMETERS, r.OOB_ACCURACY),
    "predictions": (),
}
_TEXT = {r.ARM: True, r.PROTOCOL: False, r.STATUS: False, r.ERROR: True}  # whether it may be missing
_KEYS = {
    "trials": [r.TRIAL_ID],
    "epochs": [r.TRIAL_ID, r.EPOCH],
    "members": [r.TRIAL_ID, r.EPOCH, r.MEMBERS],
    "predictions": [r.TRIAL_ID, r.IMAGE],
}
_FROM_ONE = {r.EPOCH, r.MEMBERS}
_HYPERPARAMETER = (str, bool, int, float, np.number, np.bool_)


class SchemaError(ValueError):
    """A table is not what it must be; the message says in one line what it lacks or must hold."""


def checked(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its measured columns as float64, null where a run has none. Raises SchemaError."""
    if missing := [column for column in REQUIRED[table] if column not in frame]:
        raise SchemaError(f"lacks {', '.join(missing)}")
    for column in frame.columns:
        values = frame[column]
        if column in MEASURED[table]:
            frame[column] = _numbers(values)
        elif column in _TEXT:
            _require(values, _each(values, str, or_none=_TEXT[column]), "text")
        elif column in REQUIRED[table]:
            if len(values) and not pd.api.types.is_integer_dtype(values):
                raise SchemaError(f"must hold whole numbers in {column}, got {values.dtype}")
            low = 1 if column in _FROM_ONE else 0
            _require(values, values >= low, f"whole numbers of at least {low}")
        elif column.startswith(r.CONFIG):
            _require(values, _each(values, _HYPERPARAMETER, or_none=True), "numbers, text or truth values")
    for column in MEASURED[table]:
        if column not in frame:
            frame[column] = float("nan")
    if table == "trials" and (unknown := sorted(set(frame[r.STATUS]) - set(r.STATUSES))):
        raise SchemaError(f"has an unknown status: {', '.join(unknown)}")
    if (twice := frame.duplicated(_KEYS[table])).any():
        row = frame[twice].iloc[0]
        raise SchemaError("has more than one row for " + ", ".join(f"{key} {row[key]}" for key in _KEYS[table]))
    return frame


def check_epochs(trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Raises SchemaError unless each trial has every epoch, from 1 on, that it says it ran."""
    found = epochs.groupby(r.TRIAL_ID)[r.EPOCH].agg(["max", "count"])
    for trial, ran in zip(trials[r.TRIAL_ID], trials[r.EPOCHS], strict=True):
        last, rows = found.loc[trial] if trial in found.index else (0, 0)
        if rows < ran or last != rows:
            raise SchemaError(f"must hold all {ran} epochs of trial {trial}, got {rows} up to epoch {last}")


def check_members(members: pd.DataFrame) -> None:
    """Raises SchemaError unless each ensemble has a row for every size from 1 on."""
    sizes = members.groupby([r.TRIAL_ID, r.EPOCH])[r.MEMBERS].agg(["max", "count"])
    for (trial, epoch), (largest, rows) in sizes[sizes["max"] != sizes["count"]].head(1).iterrows():
        raise SchemaError(f"must hold all {largest} sizes of trial {trial} in epoch {epoch}, got {rows}")


def _numbers(values: pd.Series) -> pd.Series:
    name = str(values.name)
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        raise SchemaError(f"must hold numbers in {name}, got {values.dtype}")
    try:
        numbers = values.astype("float64")
    except (ValueError, TypeError) as error:
        raise SchemaError(f"must hold numbers in {name}: {' '.join(str(error).split())}") from None
    if name.endswith("accuracy"):
        _require(values, numbers.between(0, 1) | numbers.isna(), "fractions")
    elif not name.endswith("loss"):  # which is infinite where a training diverged
        _require(values, numbers.between(0, float("inf"), inclusive="left") | numbers.isna(), "numbers of at least 0")
    return numbers


def _each(values: pd.Series, kind: type | tuple[type, ...], *, or_none: bool) -> pd.Series:
    fits = [
        isinstance(value, kind) or (or_none and pd.api.types.is_scalar(value) and pd.isna(value)) for value in values
    ]
    return pd.Series(fits, index=values.index, dtype=bool)


def _require(values: pd.Series, good: pd.Series, what: str) -> None:
    if not good.all():
        raise SchemaError(f"must hold {what} in {values.name}, got {values[~good].iloc[0]!r:.40}")
