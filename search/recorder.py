"""Write what Ray reports to the driver about trials into the journal, the tables and best.pt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search import columns
from search.checkpoints import CheckpointError, name_of, read, remove_checkpoints
from search.cluster import session_folder
from search.events import EventError, check_measured
from search.failures import Halted, cause_of, halted_by, node_lost
from search.journal import Journal, JournalError, TrialLog, finished, plain
from search.records import COMPLETED, EPOCH
from search.results import ResultsWriter
from search.searchers import StudySearcher
from search.study import Study
from search.watch import Watch

BEST_FILE = "best.pt"
_ARRAYS = ("predicted", "member_predicted", "test_indices")
# Ray's own entries of a result, which the journal leaves out: it keeps what the trainable measured.
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
    """Record each trial's events in the journal and the tables, and keep the best trial's weights.

    The Recorder must be the first callback: it takes the predictions out of a result before Ray's loggers see them.
    `halted` says why nothing more can be written. Ray swallows exceptions of some callbacks, so `halted` is raised
    again at the end of the step.
    """

    def __init__(
        self,
        study: Study,
        journal: Journal,
        searcher: StudySearcher,
        writer: ResultsWriter,
        watch: Watch,
        test_labels: Any,
        warn: Callable[[str], None],
    ) -> None:
        self.study = study
        self.journal = journal
        self.searcher = searcher
        self.writer = writer
        self.watch = watch
        self.test_labels = test_labels
        self.disk = journal.disk
        self.warn = warn
        self.halted: Halted | None = None
        self.best = best_trial(study, journal)
        for log in journal.trials.values():
            if finished(log):  # an earlier process may have been killed right after this trial's end
                self._keep_what_counts(log)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Journal

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["trial"]
        arrays = {name: result.pop(name) for name in _ARRAYS if name in result}
        kept = {name: value for name, value in result.items() if name not in _RAYS_OWN}
        for name in columns.prefix_lists():
            result.pop(name, None)  # Ray's loggers would make a histogram of each
        if result.get("done"):
            kept["done"] = True
        fields = {}
        with self._writing():
            try:
                check_measured(plain(kept), self.study.metrics)
            except EventError as error:
                raise Halted(f"trial {number}: {self.study.trainable.__name__} {error}") from None
            log = self.journal.trials[number]
            if arrays and not log.predictions:  # the first report counts
                # The predictions must be on the disk before the journal's line that names them.
                fields["predictions"] = self.writer.keep_predictions(log, arrays, self.test_labels)
            self.journal.append("result", number, result=kept, **fields)
        if result.get("should_checkpoint"):
            self.searcher.saving.add(number)

    def on_checkpoint(self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any) -> None:
        number, name = trial.config["trial"], name_of(checkpoint.path)
        with self._writing():
            if self.disk.is_folder(name):
                self.disk.sync_tree(name)
            self.journal.append("checkpoint", number, path=name, epoch=int(trial.last_result[EPOCH]))
            self.searcher.saving.discard(number)
            remove_checkpoints(self.journal, self.journal.trials[number], but=name)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._after(self.journal.trials[trial.config["trial"]])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        number = trial.config["trial"]
        # The driver's own copy of the error: `get_pickled_error` looks in the storage, to which it is copied later.
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        cause = cause_of(text)
        hangs = self.watch.overdue.pop(number, None)
        with self._writing():
            if halted := halted_by(text, self.disk, session_folder()):
                raise halted
            if node_lost(text):
                # If Ray's only node is gone, the next call to Ray ends this process.
                self.watch.require_node()
            if not finished(self.journal.trials[number]):
                self.searcher.fail(number, hangs or cause, again=hangs is None, counts=not node_lost(text))
        self._after(self.journal.trials[number])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if self.halted:
            raise self.halted

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, JournalError, Halted) as error:
            found = error if isinstance(error, Halted) else None
            if isinstance(error, OSError):
                found = halted_by(error, self.disk, session_folder())
            self.halted = found or Halted(str(error))
            raise

    def _after(self, log: TrialLog) -> None:
        with self._writing():
            if finished(log):
                rank = _rank(self.study, log)
                best = None if self.best is None else _rank(self.study, self.journal.trials[self.best])
                if rank and (best is None or rank > best):
                    self.best = log.number
                self._keep_what_counts(log)
            self.writer.refresh(self.journal.trials)

    def _keep_what_counts(self, log: TrialLog) -> None:
        """Copy an ended trial's weights to best.pt if they are the best so far, and remove its checkpoints."""
        kept = log.number != self.best or log.best or not log.weights_kept
        if not kept and self.disk.is_folder(name := log.checkpoints[-1][1]):
            try:
                weights = read(self.disk, name)
            except CheckpointError as error:
                self.warn(f"{log.number:04d} has the best {self.study.metric}, but no best.pt can be made: {error}")
            else:
                # After a power cut, best.pt must not hold a trial whose end the journal has lost.
                self.journal.sync()
                self.disk.write(BEST_FILE, weights)
                self.journal.append("best", log.number, sha256=hashlib.sha256(weights).hexdigest())
        remove_checkpoints(self.journal, log)


def best_trial(study: Study, journal: Journal) -> int | None:
    """Return the number of the completed trial with the best metric, the earlier of two equals; None without one."""
    ranks = [rank for log in journal.trials.values() if (rank := _rank(study, log))]
    return -max(ranks)[1] if ranks else None


def _rank(study: Study, log: TrialLog) -> tuple[float, int] | None:
    value = log.last.get(study.metric) if log.status == COMPLETED else None
    if value is None:
        return None
    return value if study.mode == "max" else -value, -log.number
