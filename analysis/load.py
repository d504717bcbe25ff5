"""Results folders -> tables: the only way into this room.

The layout and the column names are the contract in `search.records`. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from search import records as r

# Columns without which a table cannot be read as one.
REQUIRED = {
    "trials": (r.TRIAL_ID, r.ARM, r.SEED, r.PROTOCOL, r.STATUS, r.EPOCHS),
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
            rows = _table(self.path, "predictions", filters=[(r.TRIAL_ID, "==", trial_id)])
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

    @property
    def changed(self) -> str:
        """What the command line set otherwise than the study says, arms included: "epochs=3, train_images=2000"."""
        return ", ".join(sorted(self.record.options.get("set", ())))

    @property
    def recovery(self) -> bool:
        """The study fits a printed test curve; its trials stand in no table of accuracies."""
        return self.record.protocol == r.RECOVERY_PROTOCOL


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
    return max(runs, key=lambda run: (_record(run).started, run.name))


def _read(folder: Path) -> Results:
    record = _record(folder)
    trials = _table(folder, "trials")
    file = folder / "trials.parquet"
    if unknown := sorted(set(trials[r.STATUS]) - set(r.STATUSES), key=str):
        raise ResultsError(f"{file} has an unknown status: {', '.join(map(str, unknown))}")
    if trials[r.TRIAL_ID].duplicated().any():
        raise ResultsError(f"{file} has more than one row for a trial")
    return Results(
        record=record,
        trials=trials,
        epochs=_table(folder, "epochs"),
        members=_table(folder, "members"),
        path=folder,
        partial=not record.finished,
    )


def _record(folder: Path) -> r.StudyRecord:
    file = folder / r.STUDY_FILE
    try:
        return r.StudyRecord.from_json(file.read_text(encoding="utf-8"), str(file))
    except (r.RecordError, OSError, UnicodeDecodeError) as error:
        raise ResultsError(_line(error)) from None


def _table(folder: Path, name: str, filters: list[tuple[str, str, int]] | None = None) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.exists():
        if name not in OPTIONAL:
            raise ResultsError(f"{folder} is not a whole results folder: it has no {file.name}")
        dtypes = dict.fromkeys(REQUIRED[name], "int64") | dict.fromkeys(MEASURED[name], "float64")
        return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in dtypes.items()})
    try:
        # Opened once: a run that goes on replaces the file, and a second look would see another one.
        with file.open("rb") as opened:
            frame = pq.read_table(opened, filters=filters).to_pandas()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:  # what damaged metadata raises too
        raise ResultsError(f"{file} cannot be read: {_line(error)}") from None
    if missing := [column for column in REQUIRED[name] if column not in frame]:
        raise ResultsError(f"{file} lacks {', '.join(missing)}")
    for column in MEASURED[name]:
        try:
            frame[column] = frame[column].astype("float64") if column in frame else float("nan")
        except (ValueError, TypeError) as error:
            raise ResultsError(f"{file} must hold numbers in {column}: {_line(error)}") from None
    return frame


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
