"""Results folders -> tables: the only way into this room.

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

from analysis.folders import ResultsError as ResultsError
from analysis.folders import choose, is_run, runs_below
from analysis.parquet_table import read_rows, read_table
from analysis.schema import SchemaError, check_epochs, check_members, checked, empty
from search import records as r

OPTIONAL = ("members", "predictions")  # a study of single models has no members
FEW = 8  # runs that one line can name


@dataclass(frozen=True, eq=False)
class Results:
    """One run. Columns as `search.records` names them; accuracies are fractions, losses nats per image.

    `partial`: the run had not ended when it was read, so more trials may come.
    """

    record: r.StudyRecord
    trials: pd.DataFrame
    epochs: pd.DataFrame
    members: pd.DataFrame
    path: Path
    partial: bool
    _predictions: dict[int, pd.DataFrame] = field(default_factory=dict, repr=False)

    def predictions(self, trial_id: int) -> pd.DataFrame:
        """One trial's final test labels in order of image; no rows if none were kept. Read on demand.

        Raises ResultsError if predictions.parquet is damaged.
        """
        if trial_id not in self._predictions:
            rows = _table(self.path, "predictions", self.record, trial_id)
            self._predictions[trial_id] = rows.sort_values(r.IMAGE, ignore_index=True)
        return self._predictions[trial_id]

    def finished(self) -> pd.DataFrame:
        """Trials that ran to their end under a protocol whose figures may stand in a table."""
        trials = self.trials
        return trials[(trials[r.STATUS] == r.COMPLETED) & (trials[r.PROTOCOL] != r.RECOVERY_PROTOCOL)]

    def searched(self) -> pd.DataFrame:
        """Finished trials that the study's metric ranks: its searched ones, of a recovery its own."""
        trials = self.trials[self.trials[r.STATUS] == r.COMPLETED] if self.recovery else self.finished()
        if self.record.metric not in trials:
            return trials[:0]
        return trials[trials[r.ARM].isna() & trials[self.record.metric].notna()]

    def best(self) -> pd.Series | None:
        """The searched trial with the best metric, None before any has finished."""
        trials, record = self.searched(), self.record
        if trials.empty:
            return None
        metric = trials[record.metric]
        return trials.loc[metric.idxmax() if record.mode == "max" else metric.idxmin()]

    def tried(self, trial: pd.Series) -> dict[str, object]:
        """What a trial had of each searched hyperparameter. Raises ResultsError where the table does not say."""
        if missing := [r.CONFIG + name for name in self.record.space if r.CONFIG + name not in trial]:
            raise ResultsError(f"{self.path / 'trials.parquet'} lacks {', '.join(missing)}")
        return {name: trial[r.CONFIG + name] for name in self.record.space}

    @property
    def changed(self) -> str:
        """What a run's figures depend on beside the study: "epochs=3, train_images=2000" of the command line, and the
        path of its training steps where that is not the plain one."""
        changes = set(self.record.options.get("set", ()))
        if self.engine != "plain":
            changes.add(f"path={self.engine}")
        return ", ".join(sorted(changes))

    def changed_of(self, arm: str) -> str:
        """What the command line changed of an arm: what `changed` says, less what the arm has been declared with."""
        settings, declared = self.record.settings_of(arm), self.record.declared.get(arm, {})
        if settings is None:
            return self.changed
        kept = [each for each in self.changed.split(", ") if _differs(each.partition("=")[0], settings, declared)]
        return ", ".join(kept)

    @property
    def engine(self) -> str:
        """The path that the training steps took."""
        return str(self.record.options.get("path") or "plain")

    def training_of(self, arm: str) -> r.Training | None:
        """What an arm's trials trained; of an older record, which does not say, as its finished trials do, if any."""
        record = self.record
        if (said := record.training_of(arm)) is not None:
            return said
        trials = self.finished()
        for _, trial in trials[trials[r.ARM] == arm].head(1).iterrows():
            told = {name.removeprefix(r.CONFIG): trial[name] for name in trial.index if name.startswith(r.CONFIG)}
            settings = {name: None if pd.isna(value) else value for name, value in told.items()}
            if isinstance(members := settings.get(r.MEMBERS), Real):
                settings |= {r.MEMBERS: int(float(members)), "path": self.engine}
                return r.Training.of(record.trainable, record.dataset_fingerprint, settings)
        return None

    @property
    def assigned(self) -> dict[str, object]:
        """Each setting that `changed` names, with its value."""
        names = [each.partition("=")[0] for each in self.changed.split(", ") if each]
        values = {**self.record.fixed, "epochs": self.record.epochs, "path": self.engine}
        return {name: values.get(name) for name in names}

    def meets(self, arm: str, assigned: Mapping[str, object]) -> bool:
        """Whether an arm is as `--set` of these would have left it; False if the record does not say how it is."""
        settings = self.record.settings_of(arm)
        return settings is not None and all(
            settings.get(name) == value or (name == r.MEMBERS and settings.get(name) == 1)
            for name, value in assigned.items()
        )

    @property
    def recovery(self) -> bool:
        """The study fits a printed test curve; its trials stand in no table of accuracies."""
        return self.record.protocol == r.RECOVERY_PROTOCOL


def _differs(name: str, settings: Mapping[str, object], declared: Mapping[str, object]) -> bool:
    return name not in declared or settings[name] != declared[name]


def load(paths: Iterable[str | Path], say: Callable[[str], None] | None = None) -> list[Results]:
    """Read the runs that `paths` stand for: a run's folder that run, any other folder all runs in it, at any depth.

    Which of them are left out, and why, is the rule of `analysis.folders`; `say` receives a line on what a folder was
    taken for, and one on each run left out. Raises ResultsError: no such folder, not a results folder, a damaged run
    that is named or the only one, one run named twice.
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
        raise ResultsError(f"none of {len(folders)} runs can be read; of the first: {next(iter(unreadable.values()))}")
    if say:
        for root, runs in inside.items():
            _say_which(root, runs, used, left_out, say)
    return used


def _say_which(
    root: Path, runs: Sequence[Path], used: Sequence[Results], left_out: Mapping[Path, str], say: Callable[[str], None]
) -> None:
    """Say for which of its runs a folder stands, if that is not plain from its name."""
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
    """Raises ResultsError, naming them, where `of` gives more than one value over all `results`."""
    where: dict[str, Path] = {}
    for result in results:
        for value in of(result):
            where.setdefault(value, result.path)
    if len(where) > 1:
        found = "; ".join(f"{value} ({path})" for value, path in where.items())
        raise ResultsError(f"these compare only under one {what}, got {len(where)}: {found}")


def require_one_data_set(results: Sequence[Results]) -> None:
    """Raises ResultsError unless all ran on the same data: name and fingerprint."""
    require_one(results, "data set", lambda x: [x.record.dataset])
    require_one(results, "data set", lambda x: [f"{x.record.dataset} {x.record.dataset_fingerprint}"])


def by_study(results: Sequence[Results]) -> dict[str, list[Results]]:
    """The runs of each study, in the order given. Raises ResultsError where those of one differ in data."""
    pooled: dict[str, list[Results]] = {}
    for result in results:
        pooled.setdefault(result.record.study, []).append(result)
    for runs in pooled.values():
        require_one_data_set(runs)
    return pooled


def _read(folder: Path) -> Results:
    record = _record(folder)
    # In this order: a run that goes on writes the trials last, so that each has all its rows in what is read later.
    trials, epochs, members = (_table(folder, name, record) for name in ("trials", "epochs", "members"))
    if odd := [arm for arm in trials[r.ARM].dropna().unique() if not arm or set(arm) & set("/:@")]:
        raise ResultsError(f"{folder / 'trials.parquet'} must hold arms without '/', ':' and '@', got {odd[0]!r:.80}")
    with _telling(folder / "epochs.parquet"):
        check_epochs(trials, epochs)
    with _telling(folder / "members.parquet"):
        check_members(members)
    return Results(
        record=record, trials=trials, epochs=epochs, members=members, path=folder, partial=not record.finished
    )


def _record(folder: Path) -> r.StudyRecord:
    file = folder / r.STUDY_FILE
    try:
        record = r.StudyRecord.from_json(file.read_text(encoding="utf-8"), str(file))
    except (r.RecordError, OSError, UnicodeDecodeError) as error:
        raise ResultsError(_line(error)) from None
    try:
        record.to_json().encode()
    except ValueError as error:  # half a character, or a number that JSON has not
        raise ResultsError(f"{file}: text and numbers that can be written again required: {_line(error)}") from None
    assigned, path = record.options.get("set", []), record.options.get("path")
    if not (isinstance(assigned, list) and all(isinstance(each, str) for each in assigned)):
        raise ResultsError(f"{file}: options must hold what --set was given, got {assigned!r:.40}")
    if not isinstance(path, str | None):
        raise ResultsError(f"{file}: options must hold the path that was taken, got {path!r:.40}")
    return record


def _table(folder: Path, name: str, record: r.StudyRecord, trial_id: int | None = None) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.exists():
        if name not in OPTIONAL:
            raise ResultsError(f"{folder} is not a whole results folder: it has no {file.name}")
        return empty(name)
    with _telling(file):
        try:
            frame = read_table(file) if trial_id is None else read_rows(file, r.TRIAL_ID, trial_id)
        except SchemaError:
            raise
        # What damaged metadata raises too.
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{file} cannot be read: {_line(error)}") from None
        return checked(name, frame, record.own_columns, record.columns.get(name, ()))


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise ResultsError(f"{file} {error}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
