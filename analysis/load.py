"""Read results folders into tables: the only way into this room.

The layout and the column names are the contract in `search.records`. Nothing is unpickled.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.parquet_table import read_rows, read_table
from analysis.runs import ResultsError as ResultsError
from analysis.runs import choose, is_run, runs_below
from analysis.schema import SchemaError, check_epochs, check_members, checked, empty
from search.records import (
    ARM,
    COMPLETED,
    CONFIG,
    ENGINE_COLUMN,
    IMAGE,
    MEMBERS,
    OLD_ENGINE_COLUMN,
    PROTOCOL,
    RECOVERY_PROTOCOL,
    STATUS,
    STUDY_FILE,
    TRIAL_ID,
    WITH_ENGINES,
    RecordError,
    StudyRecord,
    Training,
)

OPTIONAL = ("members", "predictions")  # tables that a run may lack: single models have no members
FEW = 8  # most runs that one line names


@dataclass(frozen=True, eq=False)
class Results:
    """One run. Columns as `search.records` names them; accuracies are fractions, losses nats per image.

    `partial`: the run had not ended when it was read, so more trials may come.
    """

    record: StudyRecord
    trials: pd.DataFrame
    epochs: pd.DataFrame
    members: pd.DataFrame
    path: Path
    partial: bool
    _predictions: dict[int, pd.DataFrame] = field(default_factory=dict, repr=False)

    def predictions(self, trial_id: int) -> pd.DataFrame:
        """Return one trial's final test labels in order of image, read on demand; no rows if none were kept.

        Raises ResultsError if predictions.parquet is damaged.
        """
        if trial_id not in self._predictions:
            rows = _table(self.path, "predictions", self.record, trial_id)
            self._predictions[trial_id] = rows.sort_values(IMAGE, ignore_index=True)
        return self._predictions[trial_id]

    def finished(self) -> pd.DataFrame:
        """Return the trials that ran to their end under a protocol whose figures may stand in a table."""
        trials = self.trials
        return trials[(trials[STATUS] == COMPLETED) & (trials[PROTOCOL] != RECOVERY_PROTOCOL)]

    def searched(self) -> pd.DataFrame:
        """Return the finished searched trials that the study's metric ranks; for a recovery, its own trials."""
        trials = self.trials[self.trials[STATUS] == COMPLETED] if self.recovery else self.finished()
        if self.record.metric not in trials:
            return trials[:0]
        return trials[trials[ARM].isna() & trials[self.record.metric].notna()]

    def best(self) -> pd.Series | None:
        """Return the searched trial with the best metric, None before any has finished."""
        trials, record = self.searched(), self.record
        if trials.empty:
            return None
        metric = trials[record.metric]
        return trials.loc[metric.idxmax() if record.mode == "max" else metric.idxmin()]

    def tried(self, trial: pd.Series) -> dict[str, object]:
        """Return a trial's values of the searched hyperparameters. Raises ResultsError if the table lacks one."""
        if missing := [CONFIG + name for name in self.record.space if CONFIG + name not in trial]:
            raise ResultsError(f"{self.path / 'trials.parquet'} lacks {', '.join(missing)}")
        return {name: trial[CONFIG + name] for name in self.record.space}

    @property
    def changed(self) -> str:
        """Return what the command changed: "epochs=3, train_images=2000", and the engine if it is not the plain one."""
        changes = set(self.record.options.get("set", ()))
        if self.engine != "plain":
            changes.add(f"engine={self.engine}")
        return ", ".join(sorted(changes))

    def changed_of(self, arm: str) -> str:
        """Return what the command changed of an arm: `changed` without settings that the arm was declared with."""
        settings, declared = self.record.settings_of(arm), self.record.declared.get(arm, {})
        if settings is None:
            return self.changed
        kept = [each for each in self.changed.split(", ") if _differs(each.partition("=")[0], settings, declared)]
        return ", ".join(kept)

    @property
    def engine(self) -> str:
        """Return the engine that executed the training steps."""
        return str(self.record.options.get("engine") or "plain")

    def training_of(self, arm: str) -> Training | None:
        """Return what an arm's trials trained, None if unknown.

        An older record does not say; then the arm's first finished trial does.
        """
        record = self.record
        if (said := record.training_of(arm)) is not None:
            return said
        trials = self.finished()
        for _, trial in trials[trials[ARM] == arm].head(1).iterrows():
            told = {name.removeprefix(CONFIG): trial[name] for name in trial.index if name.startswith(CONFIG)}
            settings = {name: None if pd.isna(value) else value for name, value in told.items()}
            if isinstance(members := settings.get(MEMBERS), Real):
                settings |= {MEMBERS: int(float(members)), "engine": self.engine}
                code = record.definition.get("code")
                return Training.of(record.trainable, record.dataset_fingerprint, settings, code)
        return None

    @property
    def assigned(self) -> dict[str, object]:
        """Return each setting that `changed` names, with its value."""
        names = [each.partition("=")[0] for each in self.changed.split(", ") if each]
        values = {**self.record.fixed, "epochs": self.record.epochs, "engine": self.engine}
        return {name: values.get(name) for name in names}

    def meets(self, arm: str, assigned: Mapping[str, object]) -> bool:
        """Return whether an arm is as `--set` of these would have left it; False if its settings are not on record."""
        settings = self.record.settings_of(arm)
        return settings is not None and all(
            settings.get(name) == value or (name == MEMBERS and settings.get(name) == 1)
            for name, value in assigned.items()
        )

    @property
    def recovery(self) -> bool:
        """Return whether the study fits a printed test curve; its trials stand in no table of accuracies."""
        return self.record.protocol == RECOVERY_PROTOCOL


def _differs(name: str, settings: Mapping[str, object], declared: Mapping[str, object]) -> bool:
    return name not in declared or settings[name] != declared[name]


def load(paths: Iterable[str | Path], say: Callable[[str], None] | None = None) -> list[Results]:
    """Read the runs that `paths` stand for: a run's folder that run, any other folder all runs in it, at any depth.

    The rule of `analysis.runs` says which of them are left out, and why; `say` receives a line on what a folder was
    taken for, and a line on each run left out. Raises ResultsError for a missing folder, a folder without results, a
    damaged run that is named or the only one, and one run named twice.
    """
    places = [Path(path) for path in paths]
    named = [place for place in places if is_run(place)]
    roots = [place for place in places if place not in named]
    inside = {root: runs_below(root) for root in roots}
    folders = [*named, *itertools.chain(*inside.values())]
    once: dict[str, Path] = {}
    for folder in folders:
        if once.setdefault(os.path.realpath(folder), folder) is not folder:
            raise ResultsError(f"each run must be named once, got {folder} twice")
    read, unreadable = [], dict[Path, str]()
    for folder in folders[len(named) :]:
        try:
            read.append(_read(folder))
        except ResultsError as error:
            if len(folders) == 1:
                raise
            unreadable[folder] = str(error)
    used, left_out = choose([_read(folder) for folder in named], read)
    left_out |= unreadable
    if folders and not used:
        raise ResultsError(f"none of {len(folders)} runs can be read; the first: {next(iter(unreadable.values()))}")
    if say:
        for root, runs in inside.items():
            _say_which(root, runs, used, left_out, say)
    return used


def _say_which(
    root: Path, runs: Sequence[Path], used: Sequence[Results], left_out: Mapping[Path, str], say: Callable[[str], None]
) -> None:
    """Report for which of its runs a folder stands, unless the folder is just one run."""
    if len(runs) == 1:
        return
    taken = [result.record for result in used if result.path in runs]
    studies = list(dict.fromkeys(record.study for record in taken))
    which = f"study {studies[0]}" if len(studies) == 1 else f"{len(studies)} studies"
    names = f" ({', '.join(record.run for record in taken)})" if len(taken) <= FEW else ""
    say(f"{root} stands for {len(taken)} of {len(runs)} runs, of {which}{names}.")
    for run in runs:
        if reason := left_out.get(run):
            say(f"Not read: {reason}." if str(run) in reason else f"Not read: {run}: {reason}.")


def require_one(results: Sequence[Results], what: str, of: Callable[[Results], Iterable[str]]) -> None:
    """Raise ResultsError, naming the values, if `of` returns more than one value over all `results`."""
    where: dict[str, Path] = {}
    for result in results:
        for value in of(result):
            where.setdefault(value, result.path)
    if len(where) > 1:
        found = "; ".join(f"{value} ({path})" for value, path in where.items())
        raise ResultsError(f"runs compare only under one {what}, got {len(where)}: {found}")


def require_one_data_set(results: Sequence[Results]) -> None:
    """Raise ResultsError unless all runs used the same data: name and fingerprint."""
    require_one(results, "data set", lambda x: [x.record.dataset])
    require_one(results, "data set", lambda x: [f"{x.record.dataset} {x.record.dataset_fingerprint}"])


def by_study(results: Sequence[Results]) -> dict[str, list[Results]]:
    """Return the runs of each study, in the order given. Raises ResultsError if runs of one study differ in data."""
    pooled: dict[str, list[Results]] = {}
    for result in results:
        pooled.setdefault(result.record.study, []).append(result)
    for runs in pooled.values():
        require_one_data_set(runs)
    return pooled


def _read(folder: Path) -> Results:
    record = _record(folder)
    # Trials first: a run that is still going writes them last, so that the later tables have all rows of each trial.
    trials, epochs, members = (_table(folder, name, record) for name in ("trials", "epochs", "members"))
    if odd := [arm for arm in trials[ARM].dropna().unique() if not arm or set(arm) & set("/:@")]:
        raise ResultsError(f"{folder / 'trials.parquet'} must hold arms without '/', ':' and '@', got {odd[0]!r:.80}")
    with _telling(folder / "epochs.parquet"):
        check_epochs(trials, epochs)
    with _telling(folder / "members.parquet"):
        check_members(members)
    return Results(
        record=record, trials=trials, epochs=epochs, members=members, path=folder, partial=not record.finished
    )


def _record(folder: Path) -> StudyRecord:
    file = folder / STUDY_FILE
    try:
        record = StudyRecord.from_json(file.read_text(encoding="utf-8"), str(file))
    except (RecordError, OSError, UnicodeDecodeError) as error:
        raise ResultsError(_line(error)) from None
    try:
        record.to_json().encode()
    except ValueError as error:  # half a surrogate pair, or a number that JSON lacks
        raise ResultsError(f"{file}: text and numbers that can be written again required: {_line(error)}") from None
    assigned, engine = record.options.get("set", []), record.options.get("engine")
    if not (isinstance(assigned, list) and all(isinstance(each, str) for each in assigned)):
        raise ResultsError(f"{file}: options must hold the list of --set's texts, got {assigned!r:.40}")
    if not isinstance(engine, str | None):
        raise ResultsError(f"{file}: options must hold the engine's name, got {engine!r:.40}")
    return record


def _table(folder: Path, name: str, record: StudyRecord, trial_id: int | None = None) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.exists():
        if name not in OPTIONAL:
            raise ResultsError(f"{folder} is not a whole results folder: it has no {file.name}")
        return empty(name)
    promised = record.columns.get(name, ())
    if record.format < WITH_ENGINES:
        promised = [ENGINE_COLUMN if each == OLD_ENGINE_COLUMN else each for each in promised]
    with _telling(file):
        try:
            frame = read_table(file) if trial_id is None else read_rows(file, TRIAL_ID, trial_id)
        except SchemaError:
            raise
        # Damaged metadata raises any of these.
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{file} cannot be read: {_line(error)}") from None
        if record.format < WITH_ENGINES:
            frame = frame.rename(columns={OLD_ENGINE_COLUMN: ENGINE_COLUMN})
        return checked(name, frame, record.own_columns, promised)


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise ResultsError(f"{file} {error}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
