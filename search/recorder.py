"""What Ray tells the driver about trials -> the journal, the tables, the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyarrow.fs import FileSystem
from ray.tune import Callback
from ray.tune.experiment import Trial

from search.journal import Journal, finished
from search.records import COMPLETED, FAILED
from search.results import ResultsWriter
from search.study import Study

_ARRAYS = ("predicted", "member_predicted", "test_indices")
# Ray's own entries of a result; the journal keeps what the trainable measured.
_RAYS_OWN = {
    "config",
    "date",
    "done",
    "experiment_tag",
    "hostname",
    "iterations_since_restore",
    "node_ip",
    "pid",
    "should_checkpoint",
    "time_since_restore",
    "time_this_iter_s",
    "time_total_s",
    "timestamp",
    "training_iteration",
    "trial_id",
    "checkpoint_dir_name",
}


class Recorder(Callback):
    """Must be the first callback: it takes the predictions out of a result before Ray's loggers see them."""

    def __init__(self, study: Study, journal: Journal, writer: ResultsWriter, test_labels: Any, folder: Path):
        self.study = study
        self.journal = journal
        self.writer = writer
        self.test_labels = test_labels
        self.folder = folder

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Journal

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["trial"]
        arrays = {name: result.pop(name) for name in _ARRAYS if name in result}
        kept = {name: value for name, value in result.items() if name not in _RAYS_OWN}
        if result.get("done"):
            kept["done"] = True
        if arrays:
            self.writer.keep_predictions(self.journal.trials[number], arrays, self.test_labels)
        self.journal.append("result", number, result=kept)

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        self.journal.append("checkpoint", trial.config["trial"], path=checkpoint.path)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._after(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        # The driver's own copy: `get_pickled_error` looks in the storage, where the file is not yet.
        text = Path(trial.error_file).read_text(encoding="utf-8").strip() if trial.error_file else "no error message"
        self.journal.append("error", trial.config["trial"], error=text.splitlines()[-1])
        self._after(trial)

    def _after(self, trial: Trial) -> None:
        log = self.journal.trials[trial.config["trial"]]
        if finished(log) and trial.checkpoint:
            filesystem, path = trial.checkpoint.filesystem, trial.checkpoint.path
            if log.status == COMPLETED and self.best() == log.number:
                self._keep_best(filesystem, path)
            if log.status != FAILED:
                filesystem.delete_dir(path)
        self.writer.refresh(self.journal.trials)

    def best(self) -> int | None:
        return best_trial(self.study, self.journal)

    def _keep_best(self, filesystem: FileSystem, path: str) -> None:
        with filesystem.open_input_stream(f"{path}/trial.pt") as source:
            content = source.read()
        temporary = self.folder / "best.pt.tmp"
        temporary.write_bytes(content)
        temporary.replace(self.folder / "best.pt")


def best_trial(study: Study, journal: Journal) -> int | None:
    """The completed trial with the best metric; the earlier of two equals. None before any completed."""
    sign = 1 if study.mode == "max" else -1
    candidates = [
        (sign * log.last[study.metric], -number)
        for number, log in journal.trials.items()
        if log.status == COMPLETED and log.last.get(study.metric) is not None
    ]
    return -max(candidates)[1] if candidates else None
