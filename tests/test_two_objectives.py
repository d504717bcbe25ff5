"""The measure of a search for accuracy against parameters, and the rule that it is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.landscapes import LANDSCAPES
from tests.benchmarks.two_objectives import MOASHA, area, front, ranked, size_of


def test_the_area_is_the_mean_over_sizes_of_the_best_accuracy_with_at_most_that_size() -> None:
    assert area([(0.5, 10)], 10, 1000) == pytest.approx(0.5)
    assert area([(0.5, 100)], 10, 1000) == pytest.approx(0.25)
    assert area([(0.5, 10), (0.8, 100)], 10, 1000) == pytest.approx(0.5 * 0.5 + 0.5 * 0.8)
    assert area([(0.8, 10), (0.5, 100), (0.9, 1000)], 10, 1000) == pytest.approx(0.8)
    assert area([], 10, 1000) == 0


def test_a_front_is_chosen_by_what_was_seen_and_worth_what_is_expected() -> None:
    ended = [(12, 0.5, 0.45, 100), (24, 0.6, 0.4, 200), (36, 0.55, 0.9, 300), (48, 0.5, 0.99, 150)]
    assert front(ended) == [(0.45, 100), (0.4, 200)]


def test_trials_are_ranked_front_by_front_and_spread_within_a_front() -> None:
    points = np.array([[0.5, 1.0], [0.1, 9.0], [0.3, 5.0], [0.12, 8.5], [0.6, 2.0], [0.2, 9.0]])
    # The most accurate of the first front, the one furthest from it, then the middle before its neighbour.
    assert ranked(points) == [1, 0, 2, 3, 5, 4]
    assert ranked(points[:1]) == [0]


def test_mo_asha_promotes_the_best_third_of_a_rung_and_no_trial_twice() -> None:
    landscape = LANDSCAPES["convnet"]
    way = MOASHA(landscape, seed=0)
    sizes = [way.begin(number) and way.sizes[number] for number in range(3)]
    assert all(size > 0 for size in sizes)
    for number, accuracy in enumerate((0.1, 0.9, 0.2)):
        assert way.resume() is None
        assert way.result(number, 1, accuracy) == "pause"
    assert way.resume() == 1
    assert way.resume() is None
    assert way.result(1, 2, 0.9) == "go on"
    assert way.result(1, 3, 0.9) == "pause"
    assert way.resume() is None  # one of a rung is no third of it


def test_sizes_are_those_of_the_networks() -> None:
    convnet = LANDSCAPES["convnet"]
    small, large = ({"depth": 1, "width": width, "lr": 0.1} for width in (4, 16))
    assert 0 < size_of(convnet, small) < size_of(convnet, large)
    assert size_of(LANDSCAPES["lenet_mixed"], {"conv1": 6, "batch_norm": False}) == 62_006  # LeNet-5's own
