"""A study -> a run on Ray Tune, resumable from its journal alone."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.error import TuneError

from search.checkpoints import RAY_FOLDER, CheckpointError, newest_whole, read
from search.failures import Halted, disk_full
from search.journal import Journal, JournalError, TrialLog, finished
from search.progress import Progress
from search.recorder import BEST_FILE, Recorder, best_trial
from search.records import COMPLETED, PARAMETERS, SECONDS, TOTAL_EPOCHS
from search.results import PARTS, PartError, ResultsWriter, schema_of
from search.schedulers import EarlyStopping, make_rule
from search.searchers import Proposals, StudySearcher
from search.study import Study
from search.watch import TimeBudget, Watch
from trainables.data import ImageData

LONGEST_NAME = 120  # bytes of a trial's name that says what was searched


@dataclass(frozen=True)
class Resources:
    cpus_per_trial: float
    gpus_per_trial: float

    def slots(self, cpus: float, gpus: float) -> int:
        """How many trials fit side by side."""
        fits = cpus / self.cpus_per_trial if self.cpus_per_trial else float("inf")
        if self.gpus_per_trial:
            # A trial never spans two devices with a fraction of each.
            per_device = 1 / self.gpus_per_trial if self.gpus_per_trial <= 1 else 0
            fits = min(fits, gpus * int(per_device) if per_device else gpus / self.gpus_per_trial)
        return max(1, int(fits))


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `interrupted`: a signal or the time budget stopped it with trials to go."""

    trials: dict[int, TrialLog]
    best: TrialLog | None
    interrupted: bool
    seconds: float


def _remove_snapshots(journal: Journal) -> None:
    """Remove Ray's own snapshots of the experiment: 34 KB a trial, from which nothing is restored."""
    for name in journal.disk.names(RAY_FOLDER):
        if "_state-" in name and name.endswith(".json"):
            journal.disk.remove(f"{RAY_FOLDER}/{name}")


def trial_name(study: Study) -> Callable[[int, dict[str, Any], str | None], str]:
    """Readable names: the number, then the arm or what was searched, e.g. 0007-lr=0.052,members=3."""
    searched = sorted(study.searched(), key=list(study.param_space).index)

    def name(number: int, config: dict[str, Any], arm: str | None) -> str:
        if arm is not None:
            return f"{number:04d}-{arm},seed={config['seed']}"
        parts = []
        for key in searched:
            value = config[key]
            parts.append(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}")
        # It names a folder: a text among the values may hold anything.
        text = re.sub(r"[^\w.,=+-]", "_", ",".join(parts))
        return f"{number:04d}-{text}".encode()[:LONGEST_NAME].decode(errors="ignore")

    return name


def make_early_stopping(study: Study, scheduler: str) -> EarlyStopping:
    """A study's stopping rule; where parameters are an objective, a trial answers only to those no larger."""
    rule = make_rule(scheduler, grace=study.grace_epochs, epochs=study.trial_epochs, factor=study.reduction_factor)
    return EarlyStopping(rule, study.rank_by, study.mode, by_size=PARAMETERS in study.objectives)


@dataclass(frozen=True)
class Driver:
    """What goes on with a run, as its journal has it so far: all but Ray, which asks and reports."""

    study: Study
    proposals: Proposals
    journal: Journal
    early_stopping: EarlyStopping
    searcher: StudySearcher
    writer: ResultsWriter
    recorder: Recorder
    watch: Watch
    warn: Callable[[str], None]

    def finish(self) -> bool:
        """Write the tables; True if every trial is finished. Raises Halted."""
        try:
            self.writer.refresh(self.journal.trials, force=True)
            for number, error in sorted(self.writer.damaged.items()):
                self.warn(f"{number:04d} has to run again: {error}")
                self.journal.append("again", number, reason=str(error))
            best = best_trial(self.study, self.journal)
            if best is not None and not self._kept(self.journal.trials[best]):
                self.warn(f"{best:04d} has the best {self.study.metric}, but its weights are not in {BEST_FILE}")
        except JournalError as error:
            raise Halted(str(error)) from error
        except OSError as error:
            raise Halted(f"the tables in {self.journal.path.parent} cannot be written: {error.strerror}") from error
        return sum(finished(log) for log in self.journal.trials.values()) >= self.proposals.total

    def _kept(self, log: TrialLog) -> bool:
        if not self.journal.disk.is_file(BEST_FILE):
            return not log.weights_kept
        return log.best is None or hashlib.sha256(self.journal.disk.read(BEST_FILE)).hexdigest() == log.best


def assemble(
    study: Study,
    proposals: Proposals,
    data: ImageData,
    journal: Journal,
    folder: Path,
    *,
    seed: int,
    early_stopping: EarlyStopping,
    slots: Callable[[], int],
    watch: Watch,
    warn: Callable[[str], None],
) -> Driver:
    """Bring everything that learns from results to where the journal is. Raises OSError, JournalError, RecallError."""
    journal.disk.sweep("", PARTS)
    writer = ResultsWriter(folder, study.protocol, schema_of(study), disk=journal.disk, clock=journal.clock)
    best = best_trial(study, journal)
    for number, log in sorted(journal.trials.items()):
        if reason := damaged(journal, writer, log, best=number == best):
            warn(f"{log.number:04d} runs again: {reason}")
            journal.append("again", log.number, reason=reason)
        if log.status is None and log.checkpoints:
            # What cannot be read is no checkpoint: a trial that has ended but for its weights needs them.
            whole = newest_whole(journal.disk, log, warn)
            names = [name for _, name in log.checkpoints]
            del log.checkpoints[names.index(whole) + 1 if whole else 0 :]
    replay(early_stopping, journal)

    def checkpoint(log: TrialLog) -> str | None:
        name = newest_whole(journal.disk, log, warn)
        return None if name is None else str(folder / name)

    searcher = StudySearcher(
        proposals, journal, epochs=study.epochs, seed=seed, slots=slots, name=trial_name(study), checkpoint=checkpoint
    )
    for number, epoch in journal.order:
        watch.expect(journal.trials[number].results[epoch].get(SECONDS) or 0.0)
    recorder = Recorder(study, journal, searcher, writer, watch, data.test_labels, warn)
    return Driver(study, proposals, journal, early_stopping, searcher, writer, recorder, watch, warn)


def damaged(journal: Journal, writer: ResultsWriter, log: TrialLog, *, best: bool) -> str | None:
    """Why a completed trial has to run again: what it left behind is not there to be believed. None if it need not."""
    if log.status != COMPLETED:
        return None
    # The process may have ended before it made best.pt of the checkpoint.
    needed = log.checkpoints[-1][1] if best and not log.best and log.weights_kept else None
    try:
        writer.part(log)
        if needed and journal.disk.is_folder(needed):
            read(journal.disk, needed)
    except (PartError, CheckpointError) as error:
        return str(error)
    return None


def run_study(
    study: Study,
    proposals: Proposals,
    data: ImageData,
    journal: Journal,
    folder: Path,
    *,
    seed: int,
    scheduler: str,
    resources: Resources,
    slots: Callable[[], int],
    time_budget: float | None = None,
    verbose: bool = False,
    watch: Watch | None = None,
    callbacks: Sequence[tune.Callback] = (),
) -> Outcome:
    """Run every trial that the journal does not know as finished. Ray must be initialised.

    Raises Halted if the machine lets it go no further: the journal has all that was known by then.
    """
    started = time.monotonic()
    early_stopping = make_early_stopping(study, scheduler)
    progress = Progress(study, journal, early_stopping, proposals.total, slots())
    watch = watch or Watch(None)
    try:
        driver = assemble(
            study,
            proposals,
            data,
            journal,
            folder,
            seed=seed,
            early_stopping=early_stopping,
            slots=slots,
            watch=watch,
            warn=progress.warn,
        )
    except (OSError, JournalError) as error:
        raise Halted(journal.failure or f"{folder} cannot be written: {error}") from error
    searcher, recorder = driver.searcher, driver.recorder
    _remove_snapshots(journal)  # of a process that was killed
    interrupted = False
    if searcher.remaining:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(study.trainable, data=data),
                tune.PlacementGroupFactory([{"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}]),
            ),
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=searcher,
                scheduler=early_stopping,
                reuse_actors=True,
                trial_name_creator=lambda trial: journal.trials[trial.config["trial"]].name,
                trial_dirname_creator=lambda trial: directory(journal, trial.config["trial"]),
            ),
            run_config=tune.RunConfig(
                name=RAY_FOLDER,
                storage_path=str(folder),
                callbacks=[recorder, watch, progress, *callbacks],
                verbose=1 if verbose else 0,
                stop=None if time_budget is None else TimeBudget(time_budget),
                # The searcher tries a trial again, as `--resume` would: one way back, not two.
                failure_config=tune.FailureConfig(max_failures=0),
                # The trial says when. The recorder keeps one: where Ray does, it writes all that it knows of every
                # trial whenever one saves a checkpoint.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        if not verbose:
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        progress.start()
        try:
            tuner.fit()
        except KeyboardInterrupt:
            interrupted = True
        except (TuneError, JournalError, OSError, Halted) as error:
            if isinstance(error, Halted):
                raise
            if recorder.halted:
                raise recorder.halted from error
            if journal.failure is None and not disk_full(str(error)):
                raise
            raise Halted(journal.failure or f"{folder} cannot be written: {os.strerror(errno.ENOSPC)}") from error
        finally:
            progress.stop()
    whole = driver.finish()
    _remove_snapshots(journal)
    best = best_trial(study, journal)
    return Outcome(
        trials=journal.trials,
        best=None if best is None else journal.trials[best],
        interrupted=interrupted or not whole,
        seconds=time.monotonic() - started,
    )


def replay(early_stopping: EarlyStopping, journal: Journal) -> None:
    """Show the stopping rule every result that Ray showed it before, in the same order."""
    for number, epoch in journal.order:
        result = journal.trials[number].results[epoch]
        # Ray asks no scheduler about a result with which a trial ends by itself.
        if epoch < int(result[TOTAL_EPOCHS]) and not result.get("diverged"):
            early_stopping.decide(number, result)


def directory(journal: Journal, number: int) -> str:
    """A folder for the logs and checkpoints of a trial's next attempt, beside those of earlier ones.

    It is on record before anything is in it: Ray makes it when it likes, and changes a name that is taken.
    """
    log = journal.trials[number]
    name = f"{log.name}.part{len(log.folders) + 1}" if log.folders else log.name
    journal.append("start", number, folder=name)
    journal.sync()
    return name


def cluster_slots(resources: Resources) -> Callable[[], int]:
    """Trials side by side on the cluster as it is now: a node that joins late is used."""

    def slots() -> int:
        total = ray.cluster_resources()
        return resources.slots(total.get("CPU", 0.0), total.get("GPU", 0.0))

    return slots
