"""A study -> a run on Ray Tune, resumable from its journal alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from search.journal import Journal, TrialLog, finished
from search.progress import Progress
from search.recorder import Recorder, best_trial
from search.records import PARAMETERS, TOTAL_EPOCHS
from search.results import ResultsWriter
from search.schedulers import EarlyStopping, make_rule
from search.searchers import Proposals, StudySearcher
from search.study import Study
from trainables.data import ImageData

RAY_FOLDER = "trials"  # Ray's own folder of the run: TensorBoard events, result.json, checkpoints
MAX_FAILURES = 1  # a trial whose worker died goes on once from its last checkpoint


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
        return f"{number:04d}-{','.join(parts)}"[:120]

    return name


def make_early_stopping(study: Study, scheduler: str) -> EarlyStopping:
    """A study's stopping rule; where parameters are an objective, a trial answers only to those no larger."""
    rule = make_rule(scheduler, grace=study.grace_epochs, epochs=study.trial_epochs, factor=study.reduction_factor)
    return EarlyStopping(rule, study.rank_by, study.mode, by_size=PARAMETERS in study.objectives)


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
) -> Outcome:
    """Run every trial that the journal does not know as finished. Ray must be initialised."""
    started = time.monotonic()
    early_stopping = make_early_stopping(study, scheduler)
    replay(early_stopping, journal)

    def checkpoint(log: TrialLog) -> str | None:
        return log.checkpoint if log.checkpoint and Path(log.checkpoint).is_dir() else None

    searcher = StudySearcher(
        proposals,
        journal,
        epochs=study.epochs,
        seed=seed,
        slots=slots,
        name=trial_name(study),
        checkpoint=checkpoint,
    )
    writer = ResultsWriter(folder, study.protocol)
    recorder = Recorder(study, journal, writer, data.test_labels, folder)
    progress = Progress(study, journal, early_stopping, proposals.total, slots())
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
                time_budget_s=time_budget,
                trial_name_creator=lambda trial: journal.trials[trial.config["trial"]].name,
                trial_dirname_creator=lambda trial: directory(folder, journal.trials[trial.config["trial"]]),
            ),
            run_config=tune.RunConfig(
                name=RAY_FOLDER,
                storage_path=str(folder),
                callbacks=[recorder, progress],
                verbose=1 if verbose else 0,
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1, checkpoint_at_end=False),
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
        finally:
            progress.stop()
            writer.refresh(journal.trials, force=True)
    else:
        writer.refresh(journal.trials, force=True)
    done = sum(finished(log) for log in journal.trials.values())
    best = best_trial(study, journal)
    return Outcome(
        trials=journal.trials,
        best=None if best is None else journal.trials[best],
        interrupted=interrupted or done < proposals.total,
        seconds=time.monotonic() - started,
    )


def replay(early_stopping: EarlyStopping, journal: Journal) -> None:
    """Show the stopping rule every result that Ray showed it before, in the same order."""
    for number, epoch in journal.order:
        result = journal.trials[number].results[epoch]
        # Ray asks no scheduler about a result with which a trial ends by itself.
        if epoch < int(result[TOTAL_EPOCHS]) and not result.get("diverged"):
            early_stopping.decide(number, result)


def directory(folder: Path, log: TrialLog) -> str:
    """A folder for the trial's logs and checkpoints; a resumed trial writes beside what it began."""
    name, attempt = log.name, 1
    while (folder / RAY_FOLDER / name).exists():
        attempt += 1
        name = f"{log.name}.part{attempt}"
    return name


def cluster_slots(resources: Resources) -> Callable[[], int]:
    """Trials side by side on the cluster as it is now: a node that joins late is used."""

    def slots() -> int:
        total = ray.cluster_resources()
        return resources.slots(total.get("CPU", 0.0), total.get("GPU", 0.0))

    return slots
