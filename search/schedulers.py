"""Stop trials early by rules that depend on nothing but the results so far.

Ray's own schedulers keep their rungs in memory only, and a restored experiment starts with empty rungs (ray#30838): a
search killed half-way then decides otherwise than one that ran through. A rule here is a plain function of the results
in the order in which they came, so that reading the journal again rebuilds the rule's state exactly.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, Protocol

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.records import EPOCH, PARAMETERS


class StoppingRule(Protocol):
    def on_result(self, trial: int, epoch: int, reward: float, size: float) -> bool:
        """Take a result into account and return whether the trial should stop.

        reward: value to be maximised, NaN if the trial diverged. size: parameter count; a trial is compared only with
        trials no larger; constant if size is no objective.
        """


class SuccessiveHalving:
    """Stop trials by asynchronous successive halving with one bracket (ASHA) or several (asynchronous HyperBand).

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning". Rungs lie at grace * factor**k
    epochs. A trial that reaches a rung stops unless the trial is at least as good as the best 1/factor of the trials
    that reached the rung before; the last epoch stops no trial.

    With several objectives a trial is compared only with trials no larger: a small network is never stopped for being
    less accurate than a large one, so that the cheap end of the front survives.
    """

    def __init__(self, grace: int, max_epochs: int, factor: int, brackets: int = 1) -> None:
        self.factor = factor
        self.brackets: list[dict[int, dict[int, tuple[float, float]]]] = []
        for bracket in range(brackets):
            milestones = []
            milestone = grace * factor**bracket
            while milestone < max_epochs:
                milestones.append(milestone)
                milestone *= factor
            self.brackets.append({milestone: {} for milestone in milestones})

    def on_result(self, trial: int, epoch: int, reward: float, size: float) -> bool:
        rung = self.brackets[trial % len(self.brackets)].get(epoch)
        if rung is None or trial in rung:
            return False
        rivals = [other for other, other_size in rung.values() if other_size <= size and not math.isnan(other)]
        rung[trial] = (reward, size)
        return bool(rivals) and reward < float(np.percentile(rivals, (1 - 1 / self.factor) * 100))


class MedianStopping:
    """Stop a trial whose best result so far is below the median of the other trials' running means at that epoch.

    The rule applies after a grace period and three other trials (Golovin et al. 2017, "Google Vizier").
    """

    def __init__(self, grace: int, min_trials: int = 3) -> None:
        self.grace = grace
        self.min_trials = min_trials
        self.rewards: dict[int, list[float]] = {}  # trial -> rewards, epoch by epoch
        self.means: dict[int, dict[int, tuple[float, float]]] = {}  # epoch -> trial -> (running mean, size)

    def on_result(self, trial: int, epoch: int, reward: float, size: float) -> bool:
        means = self.means.setdefault(epoch, {})
        if trial in means:
            return False
        rewards = self.rewards.setdefault(trial, [])
        rewards.append(reward)
        others = [mean for mean, other_size in means.values() if other_size <= size and not math.isnan(mean)]
        means[trial] = (statistics.fmean(rewards), size)
        if epoch < self.grace or len(others) < self.min_trials:
            return False
        return max(rewards) < statistics.median(others)


class NeverStop:
    def on_result(self, trial: int, epoch: int, reward: float, size: float) -> bool:
        return False


def make_rule(scheduler: str, *, grace: int, epochs: int, factor: int) -> StoppingRule:
    """Return the rule that `--scheduler` names."""
    if scheduler == "asha":
        return SuccessiveHalving(grace, epochs, factor)
    if scheduler == "hyperband":
        brackets = 1
        while grace * factor**brackets <= epochs:
            brackets += 1
        return SuccessiveHalving(grace, epochs, factor, brackets)
    if scheduler == "median":
        return MedianStopping(grace)
    return NeverStop()


class EarlyStopping(FIFOScheduler):
    """Present a stopping rule to Ray Tune as a scheduler.

    `rank_by` is the metric compared, larger being better unless `mode` is "min"; with `by_size` a trial is compared
    only with trials that have no more parameters.
    """

    def __init__(self, rule: StoppingRule, rank_by: str, mode: str = "max", by_size: bool = False) -> None:
        super().__init__()
        self.rule = rule
        self.rank_by = rank_by
        self.sign = 1.0 if mode == "max" else -1.0
        self.by_size = by_size

    def decide(self, number: int, result: dict[str, Any]) -> bool:
        """Return whether trial `number` should stop after this result, which comes from Ray or from the journal.

        The journal keeps null for what is not finite: a resumed run must decide as the run did while it was live.
        """
        value = result.get(self.rank_by)
        reward = math.nan if value is None or not math.isfinite(value) else self.sign * float(value)
        return self.rule.on_result(
            number,
            int(result[EPOCH]),
            reward,
            float(result.get(PARAMETERS) or 0) if self.by_size else 0.0,
        )

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if EPOCH not in result:
            return TrialScheduler.CONTINUE
        stop = self.decide(trial.config["trial"], result)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
