"""Early stopping decides as its papers say, from the results alone, so that a journal rebuilds it."""

from __future__ import annotations

import dataclasses
import math
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.journal import Journal
from search.schedulers import EarlyStopping, MedianStopping, StoppingRule, SuccessiveHalving, make_rule
from search.study import load
from search.tuner import make_early_stopping, rebuild

Result = tuple[int, int, float, float]  # trial, epoch, reward, size


def results(seed: int, trials: int, epochs: int, *, nan: float = 0.0, sizes: int = 1) -> Iterator[Result]:
    """Trials side by side, each a random walk upwards with ties, a share `nan` of them NaN from somewhere on."""
    random = np.random.default_rng(seed)
    size = random.integers(1, sizes, trials, endpoint=True)
    curves = np.round(np.cumsum(random.normal(0.1, 1, (trials, epochs)), axis=1), 1)
    for trial in np.flatnonzero(random.random(trials) < nan):
        curves[trial, random.integers(epochs) :] = math.nan
    waiting = [(trial, epoch) for trial in range(trials) for epoch in range(1, epochs + 1)]
    # Each trial's epochs in order, the trials interleaved at random.
    turns = random.permutation([trial for trial, _ in waiting])
    reached = dict.fromkeys(range(trials), 0)
    for trial in turns.tolist():
        reached[trial] += 1
        yield trial, reached[trial], float(curves[trial, reached[trial] - 1]), float(size[trial])


# Successive halving


@pytest.mark.parametrize("epochs", [9, 20, 27])
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("nan", [0.0, 0.3])
def test_one_bracket_decides_as_rays_own_asha(factor: int, epochs: int, nan: float) -> None:
    stopped_in_all = 0
    for seed in range(5):
        ours = SuccessiveHalving(1, epochs, factor)
        rays = AsyncHyperBandScheduler(
            "epoch", "reward", "max", max_t=epochs, grace_period=1, reduction_factor=factor, brackets=1
        )
        trials = {number: SimpleNamespace(trial_id=str(number)) for number in range(40)}
        for trial in trials.values():
            rays.on_trial_add(None, trial)
        stopped: set[int] = set()
        for number, epoch, reward, _ in results(seed, 40, epochs, nan=nan):
            if number in stopped:
                continue
            stop = ours.on_result(number, epoch, reward, 0.0)
            if epoch == epochs:
                assert not stop  # such a trial is complete; Ray's "stops" it
                continue
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                decision = rays.on_trial_result(None, trials[number], {"epoch": epoch, "reward": reward})
            assert stop == (decision == TrialScheduler.STOP), (seed, number, epoch)
            if stop:
                stopped.add(number)
        stopped_in_all += len(stopped)
    assert stopped_in_all > 50


def test_rungs_lie_at_powers_of_the_factor_below_the_last_epoch() -> None:
    assert list(SuccessiveHalving(1, 20, 3).brackets[0]) == [1, 3, 9]
    assert list(SuccessiveHalving(2, 16, 2).brackets[0]) == [2, 4, 8]
    assert list(SuccessiveHalving(1, 1, 3).brackets[0]) == []


def test_a_trial_between_two_rungs_or_at_one_again_goes_on() -> None:
    rule = SuccessiveHalving(1, 9, 3)
    assert not rule.on_result(0, 1, 1.0, 0)
    assert rule.on_result(1, 1, 0.0, 0)
    assert not rule.on_result(2, 2, -9.0, 0)
    assert not rule.on_result(1, 1, -9.0, 0)
    assert rule.brackets == [{1: {0: (1.0, 0), 1: (0.0, 0)}, 3: {}}]


@pytest.mark.parametrize("make", [lambda: SuccessiveHalving(1, 27, 3), lambda: MedianStopping(1)])
def test_nan_stops_nobody(make: Any) -> None:
    with_nan, without = make(), make()
    decisions = 0
    for seed in range(5):
        for number, epoch, reward, size in results(seed, 40, 27, nan=0.4):
            trial = 100 * seed + number
            decision = with_nan.on_result(trial, epoch, reward, size)
            if not math.isnan(reward):
                # A trial that turned NaN did report numbers before: those still count in both.
                assert decision == without.on_result(trial, epoch, reward, size)
                decisions += decision
    assert decisions > 50


@pytest.mark.parametrize("make", [lambda: SuccessiveHalving(1, 27, 3), lambda: MedianStopping(1)])
def test_a_smaller_trial_is_never_stopped_because_of_a_larger_one(make: Any) -> None:
    differs = 0
    for seed in range(10):
        stream = list(results(seed, 30, 27, sizes=4))
        rule, blind = make(), make()
        decisions = {(trial, epoch): rule.on_result(trial, epoch, *rest) for trial, epoch, *rest in stream}
        unsized = {(trial, epoch): blind.on_result(trial, epoch, reward, 0) for trial, epoch, reward, _ in stream}
        differs += decisions != unsized
        for largest in (1, 2, 3):
            alone = make()
            for trial, epoch, reward, size in stream:
                if size <= largest:
                    assert alone.on_result(trial, epoch, reward, size) == decisions[trial, epoch]
    assert differs == 10


def test_brackets_start_later_and_trials_take_turns() -> None:
    rule = make_rule("hyperband", grace=1, epochs=27, factor=3)
    assert isinstance(rule, SuccessiveHalving)
    assert [list(bracket) for bracket in rule.brackets] == [[1, 3, 9], [3, 9], [9], []]
    for trial in range(8):
        rule.on_result(trial, 9, float(-trial), 0.0)
    assert [list(bracket[9]) for bracket in rule.brackets[:3]] == [[0, 4], [1, 5], [2, 6]]
    # Trial 8 is in the first bracket: what the others reached there is no matter to it.
    assert not rule.on_result(8, 1, -99.0, 0.0)
    assert rule.on_result(12, 1, -100.0, 0.0)
    assert not any(rule.on_result(trial, epoch, -math.inf, 0.0) for trial in (3, 7, 11) for epoch in (1, 3, 9))


@pytest.mark.parametrize(
    ("epochs", "factor", "brackets"), [(1, 3, 1), (2, 3, 1), (9, 3, 3), (125, 5, 4), (243, 3, 6), (1000, 10, 4)]
)
def test_hyperband_has_a_bracket_for_every_power(epochs: int, factor: int, brackets: int) -> None:
    rule = make_rule("hyperband", grace=1, epochs=epochs, factor=factor)
    assert isinstance(rule, SuccessiveHalving)
    assert len(rule.brackets) == brackets


# Median stopping


class SlowMedian:
    """The rule of Vizier's paper, word for word, over a plain list of results."""

    def __init__(self, grace: int) -> None:
        self.grace = grace
        self.seen: list[Result] = []

    def on_result(self, trial: int, epoch: int, reward: float, size: float) -> bool:
        self.seen.append((trial, epoch, reward, size))
        if epoch < self.grace:
            return False
        running_means = []
        for other in {number for number, *_ in self.seen} - {trial}:
            history = {e: value for number, e, value, _ in self.seen if number == other}
            (other_size,) = {s for number, _, _, s in self.seen if number == other}
            if epoch in history and other_size <= size:
                running_means.append(statistics.fmean(history[e] for e in history if e <= epoch))
        if len(running_means) < 3:
            return False
        best = max(value for number, _, value, _ in self.seen if number == trial)
        return best < statistics.median(running_means)


@pytest.mark.parametrize("grace", [1, 3])
@pytest.mark.parametrize("sizes", [1, 3])
def test_median_stopping_decides_as_the_paper_says(grace: int, sizes: int) -> None:
    stopped = 0
    for seed in range(5):
        rule, slow = MedianStopping(grace), SlowMedian(grace)
        ended: set[int] = set()
        for trial, epoch, reward, size in results(seed, 12, 9, sizes=sizes):
            if trial in ended:
                continue
            stop = rule.on_result(trial, epoch, reward, size)
            assert stop == slow.on_result(trial, epoch, reward, size), (seed, trial, epoch)
            if stop:
                ended.add(trial)
        stopped += len(ended)
    assert stopped > 5


# Ray Tune's view


def test_none_stops_nobody() -> None:
    rule = make_rule("none", grace=1, epochs=9, factor=3)
    assert not any(rule.on_result(trial, epoch, -trial, 0) for trial in range(20) for epoch in range(1, 10))


def early(rule: StoppingRule, **options: Any) -> EarlyStopping:
    return EarlyStopping(rule, "member_val_accuracy", **options)


def decisions(scheduler: EarlyStopping, values: list[float | None], parameters: list[int] | None = None) -> list[bool]:
    """What becomes of trials 0, 1, ... that all report in epoch 1."""
    taken = []
    for number, value in enumerate(values):
        trial = SimpleNamespace(config={"trial": number})
        result = {"epoch": 1, "member_val_accuracy": value, "parameters": parameters[number] if parameters else 1}
        taken.append(scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP)
    return taken


def test_the_larger_reward_goes_on_or_the_smaller_one_where_the_mode_is_min() -> None:
    values: list[float | None] = [0.5, 0.9, 0.1, None, math.nan]
    assert decisions(early(SuccessiveHalving(1, 9, 3)), values) == [False, False, True, False, False]
    assert decisions(early(SuccessiveHalving(1, 9, 3), mode="min"), values) == [False, True, False, False, False]


def test_size_counts_only_where_it_is_an_objective() -> None:
    values: list[float | None] = [0.9, 0.5, 0.4]
    sizes = [300, 100, 200]
    assert decisions(early(SuccessiveHalving(1, 9, 3)), values, sizes) == [False, True, True]
    assert decisions(early(SuccessiveHalving(1, 9, 3), by_size=True), values, sizes) == [False, False, True]


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_a_journal_rebuilds_the_rule_as_it_was(tmp_path: Path, name: str) -> None:
    epochs = 9

    def new() -> EarlyStopping:
        return early(make_rule(name, grace=1, epochs=epochs, factor=3), by_size=True)

    live, stopped, diverged = new(), set[int](), set[int]()
    journal = Journal(tmp_path)
    for number in range(20):
        journal.append("suggest", number, name=str(number), config={}, arm=None, state={})
    for number, epoch, reward, size in results(7, 20, epochs, nan=0.6, sizes=3):
        if number in stopped | diverged:
            continue
        result = {"epoch": epoch, "total_epochs": epochs, "member_val_accuracy": reward, "parameters": size}
        if math.isnan(reward):
            diverged.add(number)
            result["diverged"] = "loss is nan"
        elif epoch < epochs and live.decide(number, result):  # Ray asks about no result that ends a trial
            stopped.add(number)
        journal.append("result", number, result=result)
        if epoch == 3 and number not in stopped | diverged and number % 2:
            # The trial went back to a checkpoint: it reports the epoch again, with another figure.
            again = {**result, "member_val_accuracy": 99.0}
            assert not live.decide(number, again)
            journal.append("result", number, result=again)
    assert len(stopped) > 3
    assert diverged
    journal.close()
    rebuilt = new()
    rebuild(rebuilt, Journal(tmp_path))
    assert vars(rebuilt.rule) == vars(live.rule)


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_an_infinite_value_is_decided_alike_live_and_from_the_journal(tmp_path: Path, name: str, mode: str) -> None:
    live, rebuilt = (early(make_rule(name, grace=1, epochs=4, factor=2), mode=mode) for _ in range(2))
    journal = Journal(tmp_path)
    random = np.random.default_rng(1)
    decided = []
    for number in range(30):
        journal.append("suggest", number, name=str(number), config={}, arm=None, state={})
        for epoch in (1, 2, 3):
            value = random.choice([math.inf, -math.inf, 0.1, 0.5, 0.9])
            result = {"epoch": epoch, "total_epochs": 4, "member_val_accuracy": value}
            decided.append(live.decide(number, result))
            journal.append("result", number, result=result)
    kept = [journal.trials[number].results[epoch] for number, epoch in journal.order]
    assert decided == [rebuilt.decide(number, kept.pop(0)) for number, _ in journal.order]
    assert True in decided
    assert repr(vars(rebuilt.rule)) == repr(vars(live.rule))  # where NaN is equal to NaN


# What a study leaves to the default


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(2, [1]), (5, [1, 2, 4]), (12, [2, 4, 8]), (15, [3, 6, 12]), (30, [6, 12, 24])]
)
def test_a_fifth_of_a_trial_passes_before_anybody_is_stopped(toy_space: Path, epochs: int, rungs: list[int]) -> None:
    study = dataclasses.replace(load(toy_space), epochs=epochs)
    rule = make_early_stopping(study, "asha").rule
    assert isinstance(rule, SuccessiveHalving)
    assert (list(rule.brackets[0]), rule.factor) == (rungs, 2)
    # More epochs mean another grace, unless the study names its own.
    own = dataclasses.replace(study, grace_epochs=1, reduction_factor=3).with_set([f"epochs={epochs + 1}"])
    assert (own.grace, own.factor) == (1, 3)
