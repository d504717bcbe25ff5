"""Accuracy against parameters: what early stopping by size and a sampler of two objectives are worth.

`python -m tests.benchmarks.two_objectives --json FILE --workers 2` simulates every way on the recorded landscapes whose
networks differ in size, keeps each search as a line of FILE, goes on from there, and prints the tables.

The hypervolume of a search is that of its front: the finished trials of which none was seen to be better in accuracy
and parameters, each with the accuracy that is expected of it. It is the mean, over sizes from the space's least to its
greatest on a logarithmic scale, of the best accuracy with at most that size, as a share of the mean that the best
configurations of the space reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from search.records import COMPLETED, EPOCH, PARAMETERS, STOPPED
from search.schedulers import make_rule
from search.searchers import OptunaProposals
from tests.benchmarks.early_stopping import FRACTIONS, RANDOM_TRIALS, budget, mean_interval, surface
from tests.benchmarks.landscapes import LANDSCAPES, Landscape
from tests.benchmarks.simulation import Decision, simulate
from tests.benchmarks.ways import METRIC, NoPauses
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData

NAMES = ("convnet", "lenet_mixed")  # small_alexnet has two sizes and lenet one
FIRST_SEED, SEEDS = 100, 50
SLOTS = 2
LOOKED_AT = 20_000  # random configurations among which the best of each size is looked for


@functools.cache
def _data(classes: int) -> DeviceData:
    images, labels = np.zeros((2 * classes, 3, 32, 32), np.uint8), np.arange(2 * classes) % classes
    names = tuple(map(str, range(classes)))
    return DeviceData(ImageData("none", images, labels, images, labels, names, "", "made up"))


def size_of(landscape: Landscape, config: Mapping[str, Any]) -> int:
    """The parameters of a configuration's network."""
    shape = tuple((name, config[name]) for name in ("depth", "width", "conv1", "batch_norm") if name in config)
    return _size(landscape.name, shape)


@functools.cache
def _size(name: str, shape: tuple[tuple[str, Any], ...]) -> int:
    landscape = LANDSCAPES[name]
    training = build(landscape.trainable, dict(shape), _data(100 if landscape.dataset == "cifar100" else 10))
    return int(training.members[0].parameters)


class Ours(NoPauses):
    """The platform's searcher and its early stopping by size, as the tuner drives them."""

    def __init__(
        self, landscape: Landscape, seed: int, samples: int = 256, told: Callable[[int], float] = float, **changes: Any
    ) -> None:
        study = dataclasses.replace(landscape.study, objectives={PARAMETERS: "min"}, **changes)
        self.landscape = landscape
        self.told = told  # what the searcher is told of a size
        self.epochs = study.epochs
        self.proposals = OptunaProposals(study, study.searcher, samples, seed)
        self.rule = make_rule(study.scheduler, grace=study.grace, epochs=study.epochs, factor=study.factor)
        self.sizes: dict[int, int] = {}

    def begin(self, number: int) -> dict[str, Any]:
        config = self.proposals.propose(number)[0]
        self.sizes[number] = size_of(self.landscape, config)
        return config

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        result = {EPOCH: epoch, METRIC: accuracy, PARAMETERS: self.told(self.sizes[number])}
        self.proposals.report(number, result)
        if epoch == self.epochs:
            self.proposals.end(number, COMPLETED, result)
            return "go on"
        if self.rule.on_result(number, epoch, accuracy, self.sizes[number]):
            self.proposals.end(number, STOPPED, result)
            return "stop"
        return "go on"


class MOASHA:
    """Multi-objective asynchronous successive halving over random configurations (Schmucker et al. 2021, 2106.12639).

    A trial pauses at each rung. It is promoted if it belongs to the best 1/factor of its rung, ranked front by front,
    and within a front by an epsilon-net, in which each next trial is the one furthest from those before. Distances are
    between objectives scaled to 0..1 over the rung; the net begins with the most accurate trial.
    """

    def __init__(self, landscape: Landscape, seed: int, grace: int = 1, factor: int = 3) -> None:
        self.random = Ours(landscape, seed, searcher="random", scheduler="none")
        self.factor = factor
        self.rungs: dict[int, dict[int, tuple[float, float]]] = {}  # epoch -> trial -> error, parameters
        milestone = grace
        while milestone < landscape.epochs:
            self.rungs[milestone] = {}
            milestone *= factor
        self.promoted: dict[int, set[int]] = {milestone: set() for milestone in self.rungs}

    @property
    def sizes(self) -> dict[int, int]:
        return self.random.sizes

    def close(self) -> None: ...

    def resume(self) -> int | None:
        for milestone in sorted(self.rungs, reverse=True):
            rung, promoted = self.rungs[milestone], self.promoted[milestone]
            numbers = list(rung)
            for place in ranked(np.array(list(rung.values())).reshape(-1, 2))[: len(rung) // self.factor]:
                if (number := numbers[place]) not in promoted:
                    promoted.add(number)
                    return number
        return None

    def begin(self, number: int) -> dict[str, Any]:
        return self.random.begin(number)

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        if epoch not in self.rungs:
            return "go on"
        self.rungs[epoch][number] = (1 - accuracy, float(self.sizes[number]))
        return "pause"


def ranked(points: np.ndarray) -> list[int]:
    """The rows of points [n, 2], both to be small, best first: by front, and within a front by an epsilon-net."""
    if not len(points):
        return []
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    order: list[int] = []
    left = list(range(len(points)))
    while left:
        front = [each for each in left if not any(_dominates(points[other], points[each]) for other in left)]
        left = [each for each in left if each not in front]
        net = [min(front, key=lambda each: points[each][0])]
        while len(net) < len(front):
            rest = [each for each in front if each not in net]
            net.append(max(rest, key=lambda each: min(np.linalg.norm(scaled[each] - scaled[one]) for one in net)))
        order += net
    return order


def _dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one <= other).all() and (one < other).any())


OURS = "ours: TPE, ASHA by size"
WAYS: dict[str, Callable[[Landscape, int], Any]] = {
    OURS: lambda landscape, seed: Ours(landscape, seed),
    "TPE told the logarithm of the size, ASHA by size": lambda landscape, seed: Ours(landscape, seed, told=math.log),
    "TPE, nobody stopped": lambda landscape, seed: Ours(landscape, seed, scheduler="none"),
    "random, ASHA by size": lambda landscape, seed: Ours(landscape, seed, searcher="random"),
    "random, nobody stopped": lambda landscape, seed: Ours(landscape, seed, searcher="random", scheduler="none"),
    # A search of 32 trials, what the budget pays, so that its population is 8: Optuna's own 50 would not breed.
    "NSGA-II, nobody stopped": lambda landscape, seed: Ours(
        landscape, seed, RANDOM_TRIALS, searcher="nsga2", scheduler="none"
    ),
    "MO-ASHA, grace 1, factor 3": MOASHA,
    "MO-ASHA, grace and factor of ours": lambda landscape, seed: MOASHA(
        landscape, seed, landscape.study.grace, landscape.study.factor
    ),
}

Key = tuple[str, str, int]  # landscape, way, seed
Ended = list[tuple[int, float, float, int]]  # epochs trained in all, accuracy seen, accuracy expected, parameters


def search(key: Key) -> tuple[Key, Ended]:
    name, way, seed = key
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = WAYS[way](LANDSCAPES[name], seed)
        found = simulate(surface(name), asked, slots=SLOTS, budget=budget(LANDSCAPES[name]), seed=seed)
    return key, [(epochs, seen, expected, asked.sizes[number]) for epochs, seen, expected, number in found.ended]


def simulated(keys: Iterable[Key], file: Path | None, workers: int) -> dict[Key, Ended]:
    """Every search of `keys`: those that are lines of the file, and the others, which are added to it."""
    known: dict[Key, Ended] = {}
    if file and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            held = json.loads(line)
            known[tuple(held["key"])] = [tuple(each) for each in held["ended"]]
    missing = [key for key in keys if key not in known]
    with ProcessPoolExecutor(workers) as pool:
        for key, ended in pool.map(search, missing):
            known[key] = ended
            if file:
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"key": key, "ended": ended}) + "\n")
    return known


def area(points: Iterable[tuple[float, int]], least: int, greatest: int) -> float:
    """The mean over log sizes from `least` to `greatest` of the best accuracy of the points with at most that size."""
    whole, best, total = np.log(greatest / least), 0.0, 0.0
    for accuracy, size in sorted(points, key=lambda point: point[1]):
        if accuracy > best:
            total += (accuracy - best) * float(np.log(greatest / size) / whole)
            best = accuracy
    return total


def front(ended: Ended) -> list[tuple[float, int]]:
    """Expected accuracy and size of the trials that none was seen to beat."""
    kept: list[tuple[float, int]] = []
    best = -1.0
    for _, seen, expected, size in sorted(ended, key=lambda trial: (trial[3], -trial[1])):
        if seen > best:
            best = seen
            kept.append((expected, size))
    return kept


@functools.cache
def reachable(name: str) -> tuple[int, int, float]:
    """The least size, the greatest size and the best area of a landscape's space."""
    landscape, random = LANDSCAPES[name], np.random.RandomState(0)
    drawn = (
        {each: domain.sample(random_state=random) for each, domain in landscape.searched.items()}
        for _ in range(LOOKED_AT)
    )
    best: dict[int, float] = {}
    for config in (*surface(name).configs, *drawn):
        size = size_of(landscape, config)
        best[size] = max(best.get(size, 0.0), float(surface(name).expected(config)[-1]))
    least, greatest = min(best), max(best)
    return least, greatest, area([(accuracy, size) for size, accuracy in best.items()], least, greatest)


def volumes(searches: dict[Key, Ended], name: str, way: str, seeds: Iterable[int]) -> np.ndarray:
    """Hypervolume as a share of what is reachable, in percent [seeds, FRACTIONS]."""
    least, greatest, best = reachable(name)
    most = budget(LANDSCAPES[name])
    return np.array(
        [
            [
                100 / best * area(front([t for t in searches[name, way, seed] if t[0] <= most * f]), least, greatest)
                for f in FRACTIONS
            ]
            for seed in seeds
        ]
    )


def tables(searches: dict[Key, Ended], seeds: list[int]) -> None:
    """Print a table for each landscape; ways are compared seed by seed."""
    for name in NAMES:
        least, greatest, _ = reachable(name)
        epochs = ", ".join(f"{budget(LANDSCAPES[name]) * f:.0f}" for f in FRACTIONS)
        print(f"\n{name}: {least:,} to {greatest:,} parameters, two slots; hypervolume in percent of the reachable")
        print(f"after {epochs} epochs, 95 %, n = {len(seeds)} seeds\n")
        shares = " | ".join("all" if f == 1 else f"1/{1 / f:.0f}" for f in FRACTIONS)
        print(f"| way | {shares} | ours less it at 1/4, 1/2, 1 | finished |")
        print("| --- |" + " ---: |" * len(FRACTIONS) + " --- | ---: |")
        ours = volumes(searches, name, OURS, seeds)
        for way in WAYS:
            theirs = volumes(searches, name, way, seeds)
            cells = " | ".join(f"{m:.1f} ± {h:.1f}" for m, h in map(mean_interval, theirs.T))
            less = ", ".join(f"{m:+.1f} ± {h:.1f}" for m, h in map(mean_interval, (ours - theirs).T[1:]))
            finished = np.mean([len(searches[name, way, seed]) for seed in seeds])
            print(f"| {way} | {cells} | {'' if way == OURS else less} | {finished:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.two_objectives", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keeps each search, goes on from those in it")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"default {SEEDS}")
    options = parser.parse_args()
    seeds = list(range(FIRST_SEED, FIRST_SEED + options.seeds))
    keys = [(name, way, seed) for seed in seeds for name in NAMES for way in WAYS]
    tables(simulated(keys, options.json, options.workers), seeds)


if __name__ == "__main__":
    main()
