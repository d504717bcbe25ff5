"""Write the tables of the results folder from a run's journal, each atomically."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from search import columns
from search.disk import Disk
from search.events import TrialLog, finished
from search.records import (
    ARM,
    BEST_TEST_ACCURACY,
    BEST_TEST_EPOCH,
    BEST_VAL_ACCURACY,
    BEST_VAL_EPOCH,
    COMPLETED,
    CONFIG,
    EPOCH,
    EPOCHS,
    ERROR,
    IMAGE,
    LABEL,
    MEMBER_PREDICTED,
    MEMBERS,
    PREDICTED,
    PROTOCOL,
    RECOVERY_PROTOCOL,
    RUNNING,
    SEARCH_PROTOCOL,
    SECONDS,
    SEED,
    STATUS,
    STUDY_FILE,
    TEST_ACCURACY,
    TRIAL_ID,
    VAL_ACCURACY,
    StudyRecord,
)
from search.study import Study

_ARROW: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int16": pa.int16(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "list<int16>": pa.list_(pa.int16()),
}


@dataclass(frozen=True)
class Schema:
    """The columns of one study's tables: the common ones, its trainable's own metrics, its hyperparameters.

    own         the trainable's metrics
    settings    hyperparameter -> Arrow's name of its type, from the settings' declaration and never from the values
    configured  a trial's configuration -> the value of every hyperparameter, including those left at their defaults
    sometimes   hyperparameters that not every trial of a search has: null for a trial without them
    foreign     whether the hyperparameters are a Ray Tune trainable's own, so that none says how a trial is measured
    """

    own: tuple[columns.Column, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    configured: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    sometimes: frozenset[str] = frozenset()
    foreign: bool = False

    def of(self, table: str) -> dict[str, pa.DataType]:
        types = {name: _ARROW[column.type] for name, column in columns.of(table, self.own).items()}
        if table == "trials":
            types |= {CONFIG + name: _ARROW[kind] for name, kind in self.settings.items()}
        return types

    def names(self) -> dict[str, list[str]]:
        """Return the names of each table's columns, as study.json keeps them."""
        return {table: list(self.of(table)) for table in columns.TABLES}

    def hyperparameters(self, log: TrialLog) -> dict[str, Any]:
        """Return the trial's hyperparameters by column, as text if the declared type is text."""
        values = {name: value for name, value in self.configured(log.config).items() if name in self.settings}
        if log.arm is None:
            values |= dict.fromkeys(self.sometimes - log.config.keys())
        return {
            CONFIG + name: str(value) if self.settings[name] == "string" and value is not None else value
            for name, value in values.items()
        }


def schema_of(study: Study) -> Schema:
    """Return the columns of a study's tables."""
    types, sometimes = study.hyperparameter_types(), frozenset(study.space.conditions)
    return Schema(study.metrics, types, study.configured, sometimes, study.foreign)


_PREFIX_LISTS = columns.prefix_lists()
PARTS = "predictions"  # folder of the predictions, a file for each completed trial
CHUNK = 100  # finished trials whose rows are kept as one Arrow table: a row takes a tenth of its dict's memory


class PartError(ValueError):
    """A trial's predictions that are missing or damaged; the message is a phrase about the trial."""


def protocol_of(config: dict[str, Any], declared: str = SEARCH_PROTOCOL) -> str:
    """Return "recovery" if declared, "search" if validation data choose and the test set is used once; or "replay"."""
    if declared == RECOVERY_PROTOCOL:
        return declared
    if config.get("validation", True) and not config.get("test_every_epoch", False):
        return SEARCH_PROTOCOL
    return "replay"


def trial_row(log: TrialLog, schema: Schema, protocol: str = SEARCH_PROTOCOL) -> dict[str, Any]:
    """Return a row of trials.parquet: the last epoch's metrics, the best ones, the whole configuration.

    `protocol` is the one that the study declares.
    """
    epochs = [log.results[epoch] for epoch in sorted(log.results)]
    row: dict[str, Any] = {name: log.last.get(name) for name in columns.of("trials", schema.own)}
    row |= {
        TRIAL_ID: log.number,
        "name": log.name,
        ARM: log.arm,
        SEED: log.config.get("seed"),
        PROTOCOL: protocol if schema.foreign else protocol_of(log.config, protocol),
        STATUS: log.status or RUNNING,
        EPOCHS: len(epochs),
        SECONDS: sum(result.get(SECONDS) or 0.0 for result in epochs),
        ERROR: log.error,
    }
    for metric, best, best_epoch in (
        (VAL_ACCURACY, BEST_VAL_ACCURACY, BEST_VAL_EPOCH),
        (TEST_ACCURACY, BEST_TEST_ACCURACY, BEST_TEST_EPOCH),
    ):
        measured = [result for result in epochs if result.get(metric) is not None]
        # A single measurement on the test set has no best.
        if measured and (metric == VAL_ACCURACY or len(measured) > 1):
            top = max(measured, key=lambda result: result[metric])
            row |= {best: top[metric], best_epoch: top[EPOCH]}
    return row | schema.hyperparameters(log)


def epoch_rows(log: TrialLog, schema: Schema) -> list[dict[str, Any]]:
    names = columns.of("epochs", schema.own)
    return [
        {**{name: result.get(name) for name in names}, TRIAL_ID: log.number}
        for _, result in sorted(log.results.items())
    ]


def member_rows(log: TrialLog) -> list[dict[str, Any]]:
    """Return a row for each epoch and ensemble size 1..n: the vote of the first members, and the last of them alone."""
    rows = []
    for epoch, result in sorted(log.results.items()):
        sizes = len(result.get("prefix_parameters") or ())
        for size in range(sizes):
            row: dict[str, Any] = {TRIAL_ID: log.number, EPOCH: epoch, MEMBERS: size + 1}
            for source, column in _PREFIX_LISTS.items():
                values = result.get(source)
                row[column] = values[size] if values else None
            rows.append(row)
    return rows


class ResultsWriter:
    """Keep the tables of one run folder up to date with its journal.

    Each refresh writes whole tables, so refreshing is limited to a twentieth of the run's time; the journal and each
    trial's predictions are written at once.
    """

    def __init__(
        self,
        folder: Path,
        protocol: str = SEARCH_PROTOCOL,
        schema: Schema | None = None,
        *,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disk = disk or Disk(folder)
        self.schema = schema or Schema()
        self._predictions = pa.schema(list(self.schema.of("predictions").items()))
        self._chunks: list[dict[str, pa.Table]] = []  # rows of the first finished trials, which no longer change
        self.protocol = protocol
        self.clock = clock
        self.damaged: dict[int, PartError] = {}  # completed trials whose predictions are missing or damaged
        self._merged: list[tuple[int, str | None]] | None = None  # trials in predictions.parquet
        self._cost = 0.0
        self._written = -np.inf

    def keep_predictions(self, log: TrialLog, arrays: dict[str, Any], labels: Any) -> str:
        """Write a finished trial's test labels, and return their sha256 once they are on the disk.

        `arrays` is what the training's last epoch reports, `labels` the labels of the whole test set.
        """
        indices = np.asarray(arrays["test_indices"])
        table = pa.table(
            {
                TRIAL_ID: pa.array(np.full(len(indices), log.number), pa.int64()),
                IMAGE: pa.array(indices, pa.int32()),
                LABEL: pa.array(np.asarray(labels)[indices], pa.int16()),
                PREDICTED: pa.array(arrays["predicted"], pa.int16()),
                MEMBER_PREDICTED: pa.array(
                    list(np.ascontiguousarray(np.asarray(arrays["member_predicted"]).T)), pa.list_(pa.int16())
                ),
            }
        )
        content = _bytes(table)
        if not self.disk.is_folder(PARTS):
            self.disk.make_folder(PARTS)
            self.disk.sync_folder()
        self.disk.write(part_name(log), content)
        return hashlib.sha256(content).hexdigest()

    def part(self, log: TrialLog) -> pa.Table | None:
        """Return a completed trial's predictions, None if it never had any. Raises PartError if they are damaged."""
        name = part_name(log)
        try:
            content = self.disk.read(name)
        except FileNotFoundError:
            if log.predictions:
                raise PartError(f"its predictions, {name}, are gone") from None
            return None
        except OSError as error:
            raise PartError(f"its predictions, {name}, cannot be read: {error.strerror}") from None
        if log.predictions and hashlib.sha256(content).hexdigest() != log.predictions:
            raise PartError(f"its predictions, {name}, are damaged: their sha256 is not the journal's")
        try:
            table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
            if table.schema.equals(self._predictions):
                return table
            # Of an earlier version; for the others this takes twice as long.
            return pq.read_table(pa.BufferReader(content), schema=self._predictions, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise PartError(f"its predictions, {name}, are damaged: {str(error).splitlines()[0]:.80}") from None

    def refresh(self, trials: dict[int, TrialLog], *, force: bool = False) -> None:
        now = self.clock()
        if not force and now - self._written < 20 * self._cost:
            return
        logs = [trials[number] for number in sorted(trials)]
        # The trials come last: a reader who starts with them finds all that belongs to each trial in the other tables.
        completed = [(log.number, log.predictions) for log in logs if log.status == COMPLETED]
        if force or completed != self._merged:  # reads and writes the predictions of the whole run
            self._merge_predictions(logs)
            self._merged = completed
        for table, content in self._tables(logs).items():
            self.disk.write(f"{table}.parquet", _bytes(content))
        self._written = self.clock()
        self._cost = self._written - now

    def _tables(self, logs: list[TrialLog]) -> dict[str, pa.Table]:
        """Return the tables of all trials; only rows that may still change are made anew."""
        if not all(finished(log) for log in logs[: len(self._chunks) * CHUNK]):
            self._chunks.clear()  # a trial has to run again
        while len(chunk := logs[(kept := len(self._chunks) * CHUNK) : kept + CHUNK]) == CHUNK and all(
            map(finished, chunk)
        ):
            self._chunks.append(self._rows_of(chunk))
        parts = [*self._chunks, self._rows_of(logs[kept:])]
        return {table: pa.concat_tables([part[table] for part in parts]) for table in parts[0]}

    def _rows_of(self, logs: list[TrialLog]) -> dict[str, pa.Table]:
        # The trials come last, see `refresh`.
        rows: dict[str, list[dict[str, Any]]] = {
            "members": [row for log in logs for row in member_rows(log)],
            "epochs": [row for log in logs for row in epoch_rows(log, self.schema)],
            "trials": [trial_row(log, self.schema, self.protocol) for log in logs],
        }
        return {table: _table(lines, self.schema.of(table)) for table, lines in rows.items()}

    def _merge_predictions(self, logs: list[TrialLog]) -> None:
        # Image numbers are in order: stored as differences they take no room, as numbers most of the file.
        coded = [name for name in self._predictions.names if name not in (IMAGE, MEMBER_PREDICTED)]
        with (
            self.disk.whole("predictions.parquet") as file,
            pq.ParquetWriter(
                file,
                self._predictions,
                compression="zstd",
                use_dictionary=[*coded, f"{MEMBER_PREDICTED}.list.element"],
                column_encoding={IMAGE: "DELTA_BINARY_PACKED"},
            ) as writer,
        ):
            for log in logs:
                if log.status != COMPLETED:
                    continue
                try:
                    part = self.part(log)
                except PartError as error:
                    self.damaged[log.number] = error
                    continue
                if part is not None:
                    writer.write_table(part)


def part_name(log: TrialLog) -> str:
    return f"{PARTS}/{log.number:06d}.parquet"


def write_record(folder: Path, record: StudyRecord, disk: Disk | None = None) -> None:
    (disk or Disk(folder)).write(STUDY_FILE, record.to_json().encode())


def _table(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def _bytes(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())
