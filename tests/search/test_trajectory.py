"""An engine's losses may part from plain's by less than other batches make them part, and to neither side."""

import math

import pytest

from search.trajectory import FEWEST, STEPS, Trajectory, affordable

PLAIN = [3.0 - 0.02 * step for step in range(20)]
OTHERS = [loss + (0.25 if step % 2 else -0.25) for step, loss in enumerate(PLAIN)]


def trajectory(*, wobble: float = 0.0, drift: float = 0.0) -> Trajectory:
    path = [loss + drift + (wobble if step % 4 < 2 else -wobble) for step, loss in enumerate(PLAIN)]
    return Trajectory.of(path, PLAIN, OTHERS)


def test_the_same_losses_agree() -> None:
    assert trajectory().agrees


def test_losses_that_part_by_less_than_other_batches_agree() -> None:
    found = trajectory(wobble=0.2)
    assert found.agrees
    assert (found.apart, found.noise) == (pytest.approx(0.2), pytest.approx(0.25))


def test_losses_that_part_by_more_than_other_batches_disagree() -> None:
    assert not trajectory(wobble=0.3).agrees


@pytest.mark.parametrize("drift", [0.15, -0.15])
def test_a_drift_to_one_side_disagrees_sooner(drift: float) -> None:
    found = trajectory(drift=drift)
    assert found.apart < found.noise
    assert not found.agrees
    assert trajectory(drift=drift / 2).agrees


def test_a_path_that_diverges_disagrees() -> None:
    assert not Trajectory.of([*PLAIN[:-1], math.nan], PLAIN, OTHERS).agrees


def test_the_comparison_takes_seconds_and_says_nothing_of_a_few_steps() -> None:
    assert affordable(0.001, 1000) == STEPS
    assert affordable(0.25, 1000) == 10
    assert affordable(0.001, 12) == 12
    assert affordable(1.0, 1000) == affordable(0.001, FEWEST - 1) == 0
