"""Results folders -> tables: the only way into this room.

The layout and the column names are the contract in `search.records`. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.schema import SchemaError, check_epochs, check_members, checked, empty
from search import records as r

OPTIONAL = ("members", "predictions")  # a study of single models has no members


class ResultsError(ValueError):
    """What was asked of a results folder cannot be answered; the message is one line for the user."""


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
            rows = _table(self.path, "predictions", self.record, filters=[(r.TRIAL_ID, "==", trial_id)])
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


def load(paths: Iterable[str | Path]) -> list[Results]:
    """Each path is a run's folder, or a study's, which stands for its newest run.

    Raises ResultsError: no such folder, not a results folder, a damaged file, one run named twice.
    """
    folders = [_run_folder(Path(path)) for path in paths]
    for i, folder in enumerate(folders):
        if any(folder.samefile(earlier) for earlier in folders[:i]):
            raise ResultsError(f"each run must be named once, got {folder} twice")
    return [_read(folder) for folder in folders]


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


def _run_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ResultsError(f"{path} is not a folder" if path.exists() else f"{path}: no such folder")
    if (path / r.STUDY_FILE).is_file():
        return path
    runs = [file.parent for file in path.glob(f"*/{r.STUDY_FILE}")]
    if not runs:
        raise ResultsError(f"{path} is not a results folder: no {r.STUDY_FILE} in it or its runs")
    return max(runs, key=lambda run: r.run_order(run.name, _record(run)))


def _read(folder: Path) -> Results:
    record = _record(folder)
    # In this order: a run that goes on writes the trials last, so that each has all its rows in what is read later.
    trials, epochs, members = (_table(folder, name, record) for name in ("trials", "epochs", "members"))
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
    assigned, path = record.options.get("set", []), record.options.get("path")
    if not (isinstance(assigned, list) and all(isinstance(each, str) for each in assigned)):
        raise ResultsError(f"{file}: options must hold what --set was given, got {assigned!r:.40}")
    if not isinstance(path, str | None):
        raise ResultsError(f"{file}: options must hold the path that was taken, got {path!r:.40}")
    return record


def _table(
    folder: Path, name: str, record: r.StudyRecord, filters: list[tuple[str, str, int]] | None = None
) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.exists():
        if name not in OPTIONAL:
            raise ResultsError(f"{folder} is not a whole results folder: it has no {file.name}")
        return empty(name)
    try:
        # Opened once: a run that goes on replaces the file, and a second look would see another one.
        with file.open("rb") as opened:
            frame = pq.read_table(opened, filters=filters).to_pandas()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:  # what damaged metadata raises too
        raise ResultsError(f"{file} cannot be read: {_line(error)}") from None
    with _telling(file):
        return checked(name, frame, record.own_columns, record.columns.get(name, ()))


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise ResultsError(f"{file} {error}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
