"""Release what Ray Tune keeps of ended trials, so that the memory of a long search does not grow.

Ray keeps each trial, with statistics of each of its metrics, for an analysis that a study never asks for: everything
that is read of a finished trial later is in the journal.
"""

from __future__ import annotations

import gc
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.logger import JsonLoggerCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.result import DONE, TRIAL_ID

from search.heap import return_holes

TRIM_EVERY = 50  # ended trials between two returns of free pages
NUMBER = "trial"  # the key of a trial's number in its configuration
# What an emptied trial keeps of its own, so that nothing that comes late is taken for another trial's.
OWN = ("trial_id", "status", "config", "custom_trial_name", "custom_dirname", "relative_logdir")


class Release(Callback):
    """Empty each trial at the end of the step in which it ended, after every other callback has seen the trial.

    Emptied trials also leave Ray's list, which Ray walks in every step and writes into each of its snapshots; one of
    them stays, since Ray's analysis at the end needs a trial.
    """

    def __init__(self) -> None:
        self.ended: list[Trial] = []
        self.listed: Trial | None = None  # the emptied trial that is still in Ray's list
        self.first: Trial | None = None
        self.count = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see search.journal.Journal

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended.append(trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        for trial in self.ended:
            empty(trial)
            self.first = self.first or trial
            if self.listed is not None:
                trials.remove(self.listed)
                share(self.listed, self.first)
            self.listed = trial
            self.count += 1
            if self.count % TRIM_EVERY == 0:
                gc.collect()
                return_holes()
        self.ended.clear()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Leave Ray a single trial, since it would read every trial's logs into a data frame."""
        del trials[1:]


def empty(trial: Trial) -> None:
    """Delete an ended trial's results and the statistics computed from them, but keep its status."""
    metadata = trial.run_metadata
    metadata.metric_analysis, metadata.metric_n_steps = {}, {}
    # If the last result is empty, Ray asks the trial's worker for one.
    metadata.last_result = {TRIAL_ID: trial.trial_id, DONE: True}
    manager = metadata.checkpoint_manager
    metadata.checkpoint_manager = type(manager)(manager.checkpoint_config)
    trial.evaluated_params = {}
    trial.invalidate_json_state()
    metadata.invalidate_cache()
    trial._default_result_or_future = None


def share(trial: Trial, other: Trial) -> None:
    """Replace all that an ended trial has of its own, but its identity, by what `other` has.

    Ray keeps ended trials in sets for good, each with some KB of configuration, resources, storage and state.
    """
    vars(trial).update({name: value for name, value in vars(other).items() if name not in OWN})
    trial.config = {name: value for name, value in trial.config.items() if name == NUMBER}


class ResultFiles(JsonLoggerCallback):
    """Write Ray's result.json of each trial, and forget the trial's configuration once the trial has ended."""

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        super().log_trial_end(trial, failed)
        self._trial_configs.pop(trial, None)


class NoPrinting(TrialProgressCallback):
    """Stand for Ray's printing of results, which keeps each trial's last print whether it prints or not."""

    def on_trial_result(self, *arguments: Any, **info: Any) -> None: ...

    def on_trial_error(self, *arguments: Any, **info: Any) -> None: ...

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None: ...
