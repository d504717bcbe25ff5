"""The recorded landscapes and the simulation on them are what tests/benchmarks/early_stopping.md says they are."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.landscapes import LANDSCAPES, Surface
from tests.benchmarks.simulation import Decision, simulate
from tests.benchmarks.ways import IEpoch, Ours

RECORDED = [name for name, landscape in LANDSCAPES.items() if landscape.path.exists()]


@functools.cache
def surface(name: str) -> Surface:
    return Surface(LANDSCAPES[name])


@pytest.mark.parametrize("name", [name for name in RECORDED if LANDSCAPES[name].draws])
def test_a_landscape_holds_sixty_configurations_that_were_trained_twice(name: str) -> None:
    held = surface(name)
    assert len(held.configs) >= 60
    assert held.landscape.path.stat().st_size < 200_000
    for place, config in enumerate(held.configs):
        drawn = held.landscape.drawn(place)
        assert config == drawn, f"configuration {place} is not the one that the landscape's name draws"
        assert held.expected(config) == pytest.approx(held.curves[place])
    assert held.deviations.std() > 0.001


def test_what_does_nothing_does_not_change_a_curve() -> None:
    held = surface("lenet_mixed")
    config = {**held.landscape.drawn(0), "optimizer": "adam"}
    curves = [held.expected({**config, "momentum": momentum}) for momentum in (0.1, 0.9)]
    np.testing.assert_array_equal(*curves)
    sgd = [held.expected({**config, "optimizer": "sgd", "momentum": momentum}) for momentum in (0.1, 0.9)]
    assert not np.array_equal(*sgd)


class Fixed:
    """Every trial the best recorded configuration; stopped after two epochs, but for every third."""

    def __init__(self, held: Surface) -> None:
        self.config = held.configs[int(held.curves[:, -1].argmax())]

    def resume(self) -> int | None:
        return None

    def begin(self, number: int) -> dict[str, Any]:
        return self.config

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        return "go on" if number % 3 == 0 or epoch < 2 else "stop"


def test_a_simulated_search_counts_every_epoch_and_hands_over_what_finished() -> None:
    held = surface("lenet")
    epochs = held.landscape.epochs
    found = simulate(held, Fixed(held), slots=1, budget=2 * (epochs + 4), seed=0)
    assert (found.begun, found.finished) == (7, 2)  # the seventh has begun and trained nothing
    assert found.epochs[0] == epochs
    assert found.accuracies[0] == pytest.approx(held.curves[:, -1].max())
    assert np.isnan(found.after(epochs - 1))
    assert found.after(epochs) == found.accuracies[0]
    assert found.until(2.0) == float("inf")


def test_the_same_seed_searches_the_same_and_slots_shorten_it() -> None:
    held = surface("lenet_mixed")
    two, again, eight = (
        simulate(held, Ours(held.landscape, 3), slots=slots, budget=200, seed=3) for slots in (2, 2, 8)
    )
    assert two == again
    assert eight.times[-1] < 0.6 * two.times[-1]


def test_of_every_eight_trials_i_epoch_trains_the_best_on() -> None:
    held = surface("lenet_mixed")
    found = simulate(held, IEpoch(held.landscape, 1), slots=1, budget=2 * (8 + held.landscape.epochs - 1), seed=1)
    assert (found.begun, found.finished) == (17, 2)
