"""The journal of a run -> the tables of the results folder, each written atomically."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from search import records as r
from search.journal import TrialLog

_PREFIX_LISTS = {
    "prefix_val_accuracy": r.VAL_ACCURACY,
    "prefix_test_accuracy": r.TEST_ACCURACY,
    "each_val_accuracy": r.OWN_VAL_ACCURACY,
    "each_test_accuracy": r.OWN_TEST_ACCURACY,
    "prefix_parameters": r.PARAMETERS,
    "each_alpha": "alpha",  # AdaBoost: each member's weight in the vote
}
_FLOATS = (
    r.SECONDS,
    r.TRAIN_LOSS,
    r.TRAIN_ACCURACY,
    r.VAL_LOSS,
    r.VAL_ACCURACY,
    r.MEMBER_VAL_ACCURACY,
    r.OOB_ACCURACY,
    r.TEST_LOSS,
    r.TEST_KL_LOSS,
    r.TEST_ACCURACY,
    r.TEST_TOP5_ACCURACY,
    r.MEMBER_TEST_ACCURACY,
    r.IMAGES_PER_SECOND,
)
_TRIAL_TYPES = {
    r.TRIAL_ID: pa.int64(),
    "name": pa.string(),
    r.ARM: pa.string(),
    r.SEED: pa.int64(),
    r.PROTOCOL: pa.string(),
    r.STATUS: pa.string(),
    r.EPOCHS: pa.int64(),
    **dict.fromkeys(_FLOATS, pa.float64()),
    r.BEST_VAL_ACCURACY: pa.float64(),
    r.BEST_VAL_EPOCH: pa.int64(),
    r.BEST_TEST_ACCURACY: pa.float64(),
    r.BEST_TEST_EPOCH: pa.int64(),
    r.PARAMETERS: pa.int64(),
    r.PEAK_MEMORY_BYTES: pa.int64(),
    r.ONE_IMAGE_MEMORY_BYTES: pa.int64(),
    r.ERROR: pa.string(),
}
_EPOCH_TYPES = {
    r.TRIAL_ID: pa.int64(),
    r.EPOCH: pa.int64(),
    r.LR: pa.float64(),
    **dict.fromkeys(_FLOATS, pa.float64()),
    r.TRAIN_SECONDS: pa.float64(),
    r.PARAMETERS: pa.int64(),
    r.PEAK_MEMORY_BYTES: pa.int64(),
    r.ONE_IMAGE_MEMORY_BYTES: pa.int64(),
}
_MEMBER_TYPES = {
    r.TRIAL_ID: pa.int64(),
    r.EPOCH: pa.int64(),
    r.MEMBERS: pa.int64(),
    r.VAL_ACCURACY: pa.float64(),
    r.TEST_ACCURACY: pa.float64(),
    r.OWN_VAL_ACCURACY: pa.float64(),
    r.OWN_TEST_ACCURACY: pa.float64(),
    "alpha": pa.float64(),
    r.PARAMETERS: pa.int64(),
}
_PREDICTION_TYPES = {
    r.TRIAL_ID: pa.int64(),
    r.IMAGE: pa.int32(),
    r.LABEL: pa.int16(),
    r.PREDICTED: pa.int16(),
    r.MEMBER_PREDICTED: pa.list_(pa.int16()),
}
# Results that are not a column of epochs.parquet.
_NOT_EPOCH = {*_PREFIX_LISTS, "done", "diverged", r.TOTAL_EPOCHS}


def protocol_of(config: dict[str, Any], declared: str = r.SEARCH_PROTOCOL) -> str:
    """ "search" where a validation set chooses and the test set is looked at once, else "replay"; "recovery"
    where the study declares it."""
    if declared == r.RECOVERY_PROTOCOL:
        return declared
    if config.get("validation", True) and not config.get("test_every_epoch", False):
        return r.SEARCH_PROTOCOL
    return "replay"


def trial_row(log: TrialLog, protocol: str = r.SEARCH_PROTOCOL) -> dict[str, Any]:
    """One row of trials.parquet: the last epoch's metrics, the best ones, the configuration.

    `protocol` is the one that the study declares.
    """
    epochs = [log.results[epoch] for epoch in sorted(log.results)]
    row: dict[str, Any] = {name: log.last.get(name) for name in _TRIAL_TYPES}
    row |= {
        r.TRIAL_ID: log.number,
        "name": log.name,
        r.ARM: log.arm,
        r.SEED: log.config.get("seed"),
        r.PROTOCOL: protocol_of(log.config, protocol),
        r.STATUS: log.status or r.RUNNING,
        r.EPOCHS: len(epochs),
        r.SECONDS: sum(result.get(r.SECONDS) or 0.0 for result in epochs),
        r.ERROR: log.error,
    }
    for metric, best, best_epoch in (
        (r.VAL_ACCURACY, r.BEST_VAL_ACCURACY, r.BEST_VAL_EPOCH),
        (r.TEST_ACCURACY, r.BEST_TEST_ACCURACY, r.BEST_TEST_EPOCH),
    ):
        measured = [result for result in epochs if result.get(metric) is not None]
        # A best of one look at the test set is no best.
        if measured and (metric == r.VAL_ACCURACY or len(measured) > 1):
            top = max(measured, key=lambda result: result[metric])
            row |= {best: top[metric], best_epoch: top[r.EPOCH]}
    if protocol == r.RECOVERY_PROTOCOL:
        row[r.CURVE_DISTANCE] = log.last.get(r.CURVE_DISTANCE)
    row |= {r.CONFIG + name: value for name, value in log.config.items()}
    return row


def epoch_rows(log: TrialLog) -> list[dict[str, Any]]:
    return [
        {
            r.TRIAL_ID: log.number,
            **{name: value for name, value in result.items() if name not in _NOT_EPOCH},
        }
        for _, result in sorted(log.results.items())
    ]


def member_rows(log: TrialLog) -> list[dict[str, Any]]:
    """A row for each ensemble size 1..n and epoch: the vote of the first members, and the last of them alone."""
    rows = []
    for epoch, result in sorted(log.results.items()):
        sizes = len(result.get("prefix_parameters") or ())
        for size in range(sizes):
            row: dict[str, Any] = {r.TRIAL_ID: log.number, r.EPOCH: epoch, r.MEMBERS: size + 1}
            for source, column in _PREFIX_LISTS.items():
                values = result.get(source)
                row[column] = values[size] if values else None
            rows.append(row)
    return rows


class ResultsWriter:
    """Keeps the tables of one run folder up to date with its journal.

    The whole of a table is written each time, so refreshing is held to a twentieth of the run's time; the
    journal and the predictions of each trial are there at once.
    """

    def __init__(self, folder: Path, protocol: str = r.SEARCH_PROTOCOL) -> None:
        self.folder = folder
        self.protocol = protocol
        self._cost = 0.0
        self._written = -np.inf

    def keep_predictions(self, log: TrialLog, arrays: dict[str, Any], labels: Any) -> None:
        """Write a finished trial's test labels; `arrays` as the training's last epoch returns them."""
        indices = np.asarray(arrays["test_indices"])
        table = pa.table(
            {
                r.TRIAL_ID: pa.array(np.full(len(indices), log.number), pa.int64()),
                r.IMAGE: pa.array(indices, pa.int32()),
                r.LABEL: pa.array(np.asarray(labels)[indices], pa.int16()),
                r.PREDICTED: pa.array(arrays["predicted"], pa.int16()),
                r.MEMBER_PREDICTED: pa.array(
                    list(np.ascontiguousarray(np.asarray(arrays["member_predicted"]).T)), pa.list_(pa.int16())
                ),
            }
        )
        parts = self.folder / "predictions"
        parts.mkdir(exist_ok=True)
        _write(table, parts / f"{log.number:06d}.parquet")

    def refresh(self, trials: dict[int, TrialLog], *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < 20 * self._cost:
            return
        logs = [trials[number] for number in sorted(trials)]
        # The trials last: who reads them first finds all that belongs to each in the others.
        self._merge_predictions(logs)
        _write(
            _table([row for log in logs for row in member_rows(log)], _MEMBER_TYPES), self.folder / "members.parquet"
        )
        _write(_table([row for log in logs for row in epoch_rows(log)], _EPOCH_TYPES), self.folder / "epochs.parquet")
        _write(_table([trial_row(log, self.protocol) for log in logs], _TRIAL_TYPES), self.folder / "trials.parquet")
        self._written = time.monotonic()
        self._cost = self._written - now

    def _merge_predictions(self, logs: list[TrialLog]) -> None:
        target = self.folder / "predictions.parquet"
        temporary = target.with_suffix(".tmp")
        schema = pa.schema(list(_PREDICTION_TYPES.items()))
        # Images come in order: as differences they take no room, as numbers most of the file.
        coded = [name for name in schema.names if name not in (r.IMAGE, r.MEMBER_PREDICTED)]
        with pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=[*coded, f"{r.MEMBER_PREDICTED}.list.element"],
            column_encoding={r.IMAGE: "DELTA_BINARY_PACKED"},
        ) as writer:
            for log in logs:
                part = self.folder / "predictions" / f"{log.number:06d}.parquet"
                if log.status == r.COMPLETED and part.exists():
                    writer.write_table(pq.read_table(part, schema=schema))
        os.replace(temporary, target)


def write_record(folder: Path, record: r.StudyRecord) -> None:
    temporary = folder / f"{r.STUDY_FILE}.tmp"
    temporary.write_text(record.to_json(), encoding="utf-8")
    os.replace(temporary, folder / r.STUDY_FILE)


def _table(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    """Known columns in their order and type, then the rest as they come."""
    names = dict.fromkeys(types) | dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = pa.array(values, types[name]) if name in types else _column(values)
    return pa.table(columns)


def _column(values: Iterable[Any]) -> pa.Array:
    """A hyperparameter's column: one type, text where a study mixes several."""
    values = list(values)
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {float} or kinds <= {bool} or kinds <= {str}:
        return pa.array(values)
    if kinds <= {int, float}:
        return pa.array(values, pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _write(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)
