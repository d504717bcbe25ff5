"""Guess where trials that were stopped would have ended, so that a searcher can learn from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial


def extrapolated(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the completed trials and those running, and each stopped one as completed, with a value guessed.

    The guess is the value that the stopped trial had, and what the completed trials gained on average from that epoch
    to their end (nothing if none completed). Trials have one objective; those without any value are left out.
    """
    trials = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    gains: dict[int, float] = {}
    found = []
    for trial in trials:
        if trial.state != TrialState.PRUNED:
            found.append(trial)
            continue
        if trial.last_step is None:
            continue
        epoch = trial.last_step
        if epoch not in gains:
            gained = [
                each.value - each.intermediate_values[epoch]
                for each in complete
                if each.value is not None and epoch in each.intermediate_values
            ]
            gains[epoch] = statistics.fmean(gained) if gained else 0.0
        value = trial.intermediate_values[epoch] + gains[epoch]
        if math.isfinite(value):
            found.append(create_trial(value=value, params=trial.params, distributions=trial.distributions))
    return found


def suggestion(
    sampler: optuna.samplers.BaseSampler,
    direction: optuna.study.StudyDirection,
    trials: Iterable[FrozenTrial],
    distributions: dict[str, optuna.distributions.BaseDistribution],
) -> dict[str, object]:
    """Return what a sampler suggests that takes stopped trials for completed ones, see `extrapolated`."""
    study = optuna.create_study(sampler=sampler, direction=direction)
    study.add_trials(extrapolated(trials))
    return dict(study.ask(distributions).params)
