"""Run a study on Ray Tune so that its journal alone suffices to resume the run."""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.execution import class_cache

from search.actor_labels import named
from search.checkpoints import RAY_FOLDER, CheckpointError, newest_whole, read
from search.cluster import is_own, session_folder
from search.failures import Halted, halted_by
from search.gauges import Gauges
from search.journal import Journal, JournalError, TrialLog, finished
from search.monitor import Monitor
from search.progress import Progress
from search.recorder import BEST_FILE, Recorder, best_trial
from search.records import COMPLETED, PARAMETERS, SECONDS, TOTAL_EPOCHS
from search.release import NoPrinting, Release, ResultFiles
from search.resources import Resources
from search.results import PARTS, PartError, ResultsWriter, schema_of
from search.schedulers import EarlyStopping, make_rule
from search.searchers import Proposals, StudySearcher
from search.study import Study
from search.watch import TimeBudget, Watch
from trainables.data.datasets import ImageData

LONGEST_NAME = 120  # limit of a trial's name, in bytes
NO_SNAPSHOT = "No experiment snapshot file"  # how Ray's error begins if its one snapshot, at the end, is not there


@dataclass(frozen=True)
class Outcome:
    """Hold how a run ended; `interrupted` if a signal or the time budget stopped the run with trials to go.

    `out_of_time`: it was the time budget.
    """

    trials: dict[int, TrialLog]
    best: TrialLog | None
    interrupted: bool
    out_of_time: bool
    seconds: float


def _remove_snapshots(journal: Journal) -> None:
    """Remove Ray's own snapshots of the experiment: some KB a trial, from which nothing is restored."""
    for name in journal.disk.names(RAY_FOLDER):
        if "_state-" in name and name.endswith(".json"):
            journal.disk.remove(f"{RAY_FOLDER}/{name}")


def trial_name(study: Study) -> Callable[[int, dict[str, Any], str | None], str]:
    """Return a function that names trials by number, then arm or searched values, e.g. 0007-lr=0.052,members=3."""
    searched = sorted(study.searched(), key=list(study.param_space).index)

    def name(number: int, config: dict[str, Any], arm: str | None) -> str:
        if arm is not None:
            return f"{number:04d}-{arm},seed={config['seed']}"
        parts = []
        for key in (key for key in searched if key in config):
            value = config[key]
            parts.append(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}")
        # The name is a folder's too, and a text among the values may hold any character.
        text = re.sub(r"[^\w.,=+-]", "_", ",".join(parts))
        return f"{number:04d}-{text}".encode()[:LONGEST_NAME].decode(errors="ignore")

    return name


def make_early_stopping(study: Study, scheduler: str) -> EarlyStopping:
    """Return a study's stopping rule; if parameters are an objective, a trial is compared only with ones no larger."""
    rule = make_rule(scheduler, grace=study.grace, epochs=study.trial_epochs, factor=study.factor)
    return EarlyStopping(rule, study.rank_by, study.mode, by_size=PARAMETERS in study.objectives)


@dataclass(frozen=True)
class Driver:
    """Hold the parts of a run that learn from results, restored to where the journal ends; Ray calls them."""

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
        """Write the tables and return whether every trial is finished. Raises Halted."""
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
    """Restore everything that learns from results to where the journal ends.

    Raises OSError, JournalError, RecallError.
    """
    journal.disk.sweep("", PARTS)
    writer = ResultsWriter(folder, study.protocol, schema_of(study), disk=journal.disk, clock=journal.clock)
    best = best_trial(study, journal)
    for number, log in sorted(journal.trials.items()):
        if reason := damaged(journal, writer, log, best=number == best):
            warn(f"{log.number:04d} runs again: {reason}")
            journal.append("again", log.number, reason=reason)
        if log.status is None and log.checkpoints:
            # An unreadable checkpoint counts as none: a trial that lacks only its final weights must train them again.
            whole = newest_whole(journal.disk, log, warn)
            names = [name for _, name in log.checkpoints]
            del log.checkpoints[names.index(whole) + 1 if whole else 0 :]
    rebuild(early_stopping, journal)

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
    """Return why a completed trial must run again (predictions or weights lost or damaged), or None if it need not."""
    if log.status != COMPLETED:
        return None
    # The process may have ended before best.pt was made from the checkpoint.
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

    Raises Halted if the machine prevents the run from continuing: the journal has all that was known by then.
    """
    started = time.monotonic()
    gc.collect()
    gc.freeze()  # what has been imported stays: looking through it for garbage would take half a second each time
    atexit.register(gc.unfreeze)  # what still stays when Python ends, Triton's bindings report as leaked, line by line
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pool keeps pages of every table that it has made
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
    _remove_snapshots(journal)  # left by a process that was killed
    interrupted = False
    budget = None if time_budget is None else TimeBudget(time_budget)
    if searcher.remaining:
        monitor = Monitor(study, Gauges(study, folder.name, journal.trials, lambda: recorder.best, proposals.total))
        tuner = tune.Tuner(
            named(
                tune.with_resources(
                    tune.with_parameters(study.trainable, data=data),
                    tune.PlacementGroupFactory([{"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}]),
                )
            ),
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=searcher,
                scheduler=early_stopping,
                reuse_actors=getattr(study.trainable, "reusable", True),
                trial_name_creator=lambda trial: journal.trials[trial.config["trial"]].name,
                trial_dirname_creator=lambda trial: directory(journal, trial.config["trial"]),
            ),
            run_config=tune.RunConfig(
                name=RAY_FOLDER,
                storage_path=str(folder),
                callbacks=[
                    *(recorder, watch, progress, monitor),
                    *callbacks,
                    *(ResultFiles(), Release()),
                    *([] if verbose else [NoPrinting()]),
                ],
                verbose=1 if verbose else 0,
                stop=budget,
                # The searcher retries a failed trial the way `--resume` does, so Ray must not.
                failure_config=tune.FailureConfig(max_failures=0),
                # The trial decides when to save, and the recorder deletes old checkpoints: if Ray deletes them, it
                # writes all that it knows of every trial whenever one trial saves a checkpoint.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        if not verbose:
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        progress.start()
        monitor.start()
        try:
            with started_workers() if is_own() else contextlib.nullcontext():
                tuner.fit()
        except KeyboardInterrupt:
            interrupted = True
        except (TuneError, JournalError, OSError, Halted) as error:
            if isinstance(error, Halted):
                raise
            if recorder.halted:
                raise recorder.halted from error
            halted = Halted(journal.failure) if journal.failure else halted_by(error, journal.disk, session_folder())
            if halted is None:
                raise
            raise halted from error
        except ValueError as error:
            # Ray misses a snapshot that it could not write; `finish` below finds out whether the tables can be written.
            if NO_SNAPSHOT not in str(error):
                raise
        finally:
            monitor.stop()
            progress.stop()
    whole = driver.finish()
    _remove_snapshots(journal)
    best = best_trial(study, journal)
    return Outcome(
        trials=journal.trials,
        best=None if best is None else journal.trials[best],
        interrupted=interrupted or not whole,
        out_of_time=budget is not None and budget.over and not interrupted,
        seconds=time.monotonic() - started,
    )


@contextlib.contextmanager
def started_workers() -> Iterator[None]:
    """Let trials run in the workers that Ray starts beforehand.

    Ray Tune gives each trial's worker an environment of a few variables, for which Ray starts another process. The
    workers of this process's own Ray have these variables from this process.
    """
    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = before


def rebuild(early_stopping: EarlyStopping, journal: Journal) -> None:
    """Show the stopping rule every result that Ray showed it in earlier processes, in the same order."""
    for number, epoch in journal.order:
        result = journal.trials[number].results[epoch]
        # Ray does not ask a scheduler about a result with which a trial ends by itself.
        if epoch < int(result[TOTAL_EPOCHS]) and not result.get("diverged"):
            early_stopping.decide(number, result)


def directory(journal: Journal, number: int) -> str:
    """Name a new folder for the logs and checkpoints of a trial's next attempt, and journal the name.

    Journal the name first: Ray creates the folder at an unspecified time, and renames it if the name is taken.
    """
    log = journal.trials[number]
    name = f"{log.name}.part{len(log.folders) + 1}" if log.folders else log.name
    journal.append("start", number, folder=name)
    journal.sync()
    return name


def cluster_slots(resources: Resources) -> Callable[[], int]:
    """Return a function that counts the trials that fit side by side on the cluster, late nodes included."""

    def slots() -> int:
        total = ray.cluster_resources()
        return resources.slots(total.get("CPU", 0.0), total.get("GPU", 0.0))

    return slots
