"""A search on a recorded landscape: every way of searching in the same event loop, without Ray's processes.

Time is counted in epochs of a trial of average speed. What a way is told is a noisy run's accuracy; what it is judged
by is the accuracy expected of the configuration that it would hand over, the best finished trial by what it saw.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from tests.benchmarks.landscapes import Surface

Decision = Literal["go on", "stop", "pause"]
SPREAD = 0.25  # a trial's epoch takes up to this much more or less than another's


class Way(Protocol):
    """One way of searching. Trials are numbered in the order of their beginning."""

    def resume(self) -> int | None:
        """The paused trial to go on with, None if a new one should begin."""

    def begin(self, number: int) -> dict[str, Any]: ...

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        """Called after every epoch, the last one included."""


@dataclass
class Search:
    """What a simulated search came to: a point whenever its best finished trial changed.

    epochs, times, accuracies   trained in all by then; simulated time; expected final accuracy of the best by then
    finished                    trials that ended their last epoch
    ended                       of each of these: epochs trained in all by then, accuracy seen, accuracy expected, trial
    """

    epochs: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    begun: int = 0
    finished: int = 0
    most_paused: int = 0
    ended: list[tuple[int, float, float, int]] = field(default_factory=list)

    def after(self, budget: float, counted: Literal["epochs", "times"] = "epochs") -> float:
        """The expected accuracy of the best finished trial after a budget; NaN before the first."""
        place = int(np.searchsorted(getattr(self, counted), budget, side="right"))
        return self.accuracies[place - 1] if place else math.nan

    def until(self, accuracy: float) -> float:
        """Epochs until the best finished trial is expected to have this accuracy, infinite if it never is."""
        return next((float(e) for e, a in zip(self.epochs, self.accuracies, strict=True) if a >= accuracy), math.inf)


def simulate(surface: Surface, way: Way, *, slots: int, budget: int, seed: int) -> Search:
    """Search until `budget` epochs have been trained in all."""
    epochs = surface.landscape.epochs
    search = Search()
    running: list[tuple[float, int]] = []  # when its next epoch ends, trial
    curves: list[np.ndarray] = []
    expected: list[float] = []
    seconds: list[float] = []
    done: list[int] = []
    paused: set[int] = set()
    best = -math.inf
    trained = 0

    def fill(now: float) -> None:
        while len(running) < slots:
            number = way.resume()
            if number is None:
                number = len(curves)
                config = way.begin(number)
                random = np.random.RandomState([seed, number])
                curves.append(surface.run(config, random))
                expected.append(float(surface.expected(config)[-1]))
                seconds.append(random.uniform(1 - SPREAD, 1 + SPREAD))
                done.append(0)
            paused.discard(number)
            heapq.heappush(running, (now + seconds[number], number))

    fill(0.0)
    while running and trained < budget:
        now, number = heapq.heappop(running)
        trained += 1
        done[number] += 1
        accuracy = float(curves[number][done[number] - 1])
        decision = way.result(number, done[number], accuracy)
        if done[number] == epochs:
            search.finished += 1
            search.ended.append((trained, accuracy, expected[number], number))
            if accuracy > best:
                best = accuracy
                search.epochs.append(trained)
                search.times.append(now)
                search.accuracies.append(expected[number])
        elif decision == "go on":
            heapq.heappush(running, (now + seconds[number], number))
        elif decision == "pause":
            paused.add(number)
            search.most_paused = max(search.most_paused, len(paused))
        fill(now)
    search.begun = len(curves)
    return search
