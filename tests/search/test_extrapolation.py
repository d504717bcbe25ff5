"""A Gaussian process learns from stopped trials by a guess of where they would have ended."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.extrapolation import extrapolated, suggestion

DISTRIBUTIONS = {"lr": FloatDistribution(0.0, 1.0)}


def trial(curve: list[float], state: TrialState, lr: float = 0.5) -> FrozenTrial:
    return create_trial(
        state=state,
        value=curve[-1] if state == TrialState.COMPLETE else None,
        params={"lr": lr},
        distributions=DISTRIBUTIONS,
        intermediate_values=dict(enumerate(curve, 1)),
    )


def complete(*curve: float, lr: float = 0.5) -> FrozenTrial:
    return trial([*curve], TrialState.COMPLETE, lr)


def stopped(*curve: float, lr: float = 0.5) -> FrozenTrial:
    return trial([*curve], TrialState.PRUNED, lr)


def test_a_stopped_trial_gains_what_the_completed_ones_gained_from_its_epoch() -> None:
    trials = [complete(0.2, 0.3, 0.5), complete(0.3, 0.5, 0.6), stopped(0.1), stopped(0.1, 0.2)]
    assert [each.value for each in extrapolated(trials)] == pytest.approx([0.5, 0.6, 0.4, 0.35])
    assert {each.state for each in extrapolated(trials)} == {TrialState.COMPLETE}


def test_what_falls_gains_less_than_nothing() -> None:
    assert extrapolated([complete(3.0, 2.0, 1.0), stopped(4.0)])[1].value == pytest.approx(2.0)


def test_where_none_completed_the_last_value_stands() -> None:
    assert [each.value for each in extrapolated([stopped(0.1, 0.2), stopped(0.3)])] == [0.2, 0.3]


def test_running_trials_stay_and_what_says_nothing_is_left_out() -> None:
    nothing, diverged = stopped(0.1), trial([0.1], TrialState.FAIL)
    nothing.intermediate_values.clear()
    running = create_trial(state=TrialState.RUNNING, params={"lr": 0.1}, distributions=DISTRIBUTIONS)
    assert extrapolated([nothing, diverged, running]) == [running]


def test_stopped_trials_say_where_not_to_look() -> None:
    """All that completed lies in a corner; where the rest was stopped decides where the next one is looked for."""

    def next_lr(bad: list[float]) -> float:
        sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=1, deterministic_objective=False)
        trials = [complete(0.5, 0.6, lr=0.5), *(stopped(0.1, lr=lr) for lr in bad)]
        found = suggestion(sampler, optuna.study.StudyDirection.MAXIMIZE, trials, DISTRIBUTIONS)["lr"]
        assert isinstance(found, float)
        return found

    assert next_lr([0.1, 0.2, 0.3, 0.4]) > 0.45
    assert next_lr([0.6, 0.7, 0.8, 0.9]) < 0.55
