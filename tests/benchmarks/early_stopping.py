"""Epochs until random search's best result is reached: early stopping with TPE against random that stops nobody.

All searches are the platform's own, two trials at a time. A trial's accuracies, epoch by epoch, lie between those of
the two recorded configurations on either side of its learning rate (tests.benchmarks.record_curves).
"""

from __future__ import annotations

import bisect
import csv
import dataclasses
import heapq
import itertools
import math
from typing import Any

from ray import tune

from search.records import COMPLETED, STOPPED
from search.schedulers import make_rule
from search.searchers import OptunaProposals
from search.study import Study
from tests.benchmarks.record_curves import CURVES, GRID
from tests.benchmarks.report import cell, head, row, spread
from trainables.lenet import LeNetTrainable

GOAL = 1 / 3
SEEDS = 10
RANDOM_TRIALS = 64
MOST_TRIALS = 256  # after which ASHA with TPE gives up
SLOTS = 2
# Name -> searcher, scheduler, epochs before anybody is stopped.
WAYS = {
    "TPE": ("tpe", "none", 1),
    "ASHA and TPE": ("tpe", "asha", 1),
    "ASHA and TPE, grace 5": ("tpe", "asha", 5),
    "HyperBand and TPE": ("tpe", "hyperband", 1),
    "median and TPE": ("tpe", "median", 1),
}

Curves = dict[tuple[float, ...], list[float]]


def recorded() -> Curves:
    """Validation accuracy after each epoch, by the values of GRID."""
    if not CURVES.exists():
        raise SystemExit(f"{CURVES.name} required, found none: python -m tests.benchmarks.record_curves DATA makes it")
    with CURVES.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        return {tuple(map(float, row[: len(GRID)])): list(map(float, row[len(GRID) :])) for row in rows}


def study_of(curves: Curves) -> Study:
    return Study(
        name="early_stopping",
        question="How many epochs does early stopping save?",
        source="none",
        trainable=LeNetTrainable,
        epochs=len(next(iter(curves.values()))),
        param_space={
            "lr": tune.loguniform(min(GRID["lr"]), max(GRID["lr"])),
            "momentum": tune.choice(list(GRID["momentum"])),
            "batch_size": tune.choice(list(GRID["batch_size"])),
        },
    )


def curve_of(curves: Curves, config: dict[str, Any]) -> list[float]:
    rates = sorted(GRID["lr"])
    place = min(max(bisect.bisect(rates, config["lr"]), 1), len(rates) - 1)
    low, high = rates[place - 1 : place + 1]
    share = math.log(config["lr"] / low) / math.log(high / low)
    beside = (curves[rate, config["momentum"], config["batch_size"]] for rate in (low, high))
    return [(1 - share) * one + share * other for one, other in zip(*beside, strict=True)]


def search(
    curves: Curves, searcher: str, scheduler: str, trials: int, seed: int, grace: int = 1
) -> list[tuple[int, float]]:
    """Epochs trained in all, and accuracy, at the end of each trial that was not stopped."""
    study = dataclasses.replace(study_of(curves), grace_epochs=grace)
    proposals = OptunaProposals(study, searcher, trials, seed)
    rule = make_rule(scheduler, grace=study.grace_epochs, epochs=study.epochs, factor=study.reduction_factor)
    running: list[tuple[int, int, list[float], int]] = []  # time, trial, curve, epochs done
    numbers = itertools.count()
    finished, trained = [], 0

    def begin(time: int) -> None:
        number = next(numbers)
        if number < trials:
            config, _, _ = proposals.propose(number)
            heapq.heappush(running, (time, number, curve_of(curves, config), 0))

    for _ in range(SLOTS):
        begin(0)
    while running:
        time, number, curve, done = heapq.heappop(running)
        epoch, accuracy, trained = done + 1, curve[done], trained + 1
        result = {"epoch": epoch, study.metric: accuracy}
        proposals.report(number, result)
        if epoch == study.epochs:
            finished.append((trained, accuracy))
            proposals.end(number, COMPLETED, result)
        elif rule.on_result(number, epoch, accuracy, 0.0):
            proposals.end(number, STOPPED, result)
        else:
            heapq.heappush(running, (time + 1, number, curve, epoch))
            continue
        begin(time + 1)
    return finished


def epochs_until(finished: list[tuple[int, float]], accuracy: float) -> float:
    """Infinite where it was not reached."""
    return next((float(trained) for trained, found in finished if found >= accuracy), math.inf)


def measure(repeats: int, device: str) -> dict[str, Any]:
    curves = recorded()
    randoms = [search(curves, "random", "none", RANDOM_TRIALS, seed) for seed in range(SEEDS)]
    bests = [max(accuracy for _, accuracy in random) for random in randoms]
    slow = [epochs_until(random, best) for random, best in zip(randoms, bests, strict=True)]
    report = {"random": {"epochs": spread(slow)}}
    head("epochs to random search's best", "epochs", "share of random's", "seeds that reached it", "goal")
    row("random, nobody stopped", cell(report["random"]["epochs"]), "", f"{SEEDS} of {SEEDS}", "")
    for way, (searcher, scheduler, grace) in WAYS.items():
        fast = [
            epochs_until(search(curves, searcher, scheduler, MOST_TRIALS, seed, grace), best)
            for seed, best in enumerate(bests)
        ]
        shares = [one / other for one, other in zip(fast, slow, strict=True)]
        report[way] = {"epochs": spread(fast), "share": spread(shares)}
        reached = sum(map(math.isfinite, fast))
        row(way, *map(cell, report[way].values()), f"{reached} of {SEEDS}", f"at most {GOAL:.2g}")
    return report
