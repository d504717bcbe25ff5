"""Epochs until random search's best result is reached: ASHA with TPE against random search that stops nobody.

Both searches are the platform's own, two trials at a time; a trial's accuracies are those that its nearest recorded
configuration had, epoch by epoch (tests.benchmarks.record_curves).
"""

from __future__ import annotations

import csv
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


def search(curves: Curves, searcher: str, scheduler: str, trials: int, seed: int) -> list[tuple[int, float]]:
    """Epochs trained in all, and accuracy, at the end of each trial that was not stopped."""
    study = study_of(curves)
    proposals = OptunaProposals(study, searcher, trials, seed)
    rule = make_rule(scheduler, grace=study.grace_epochs, epochs=study.epochs, factor=study.reduction_factor)
    running: list[tuple[int, int, list[float], int]] = []  # time, trial, curve, epochs done
    numbers = itertools.count()
    finished, trained = [], 0

    def begin(time: int) -> None:
        number = next(numbers)
        if number < trials:
            config, _, _ = proposals.propose(number)
            nearest = min(GRID["lr"], key=lambda lr: abs(math.log(lr / config["lr"])))
            heapq.heappush(running, (time, number, curves[nearest, config["momentum"], config["batch_size"]], 0))

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
    pairs = []
    for seed in range(SEEDS):
        random = search(curves, "random", "none", RANDOM_TRIALS, seed)
        best = max(accuracy for _, accuracy in random)
        asha = search(curves, "tpe", "asha", MOST_TRIALS, seed)
        pairs.append((epochs_until(random, best), epochs_until(asha, best)))
    columns = {
        "random": spread([slow for slow, _ in pairs]),
        "asha with tpe": spread([fast for _, fast in pairs]),
        "share": spread([fast / slow for slow, fast in pairs]),
        "share of the whole search": spread(
            [fast / (RANDOM_TRIALS * len(next(iter(curves.values())))) for _, fast in pairs]
        ),
    }
    head("epochs to random search's best", "random", "ASHA and TPE", "share", "of random's 64 trials", "goal")
    row(f"LeNet, {SEEDS} seeds", *map(cell, columns.values()), "at most 0.33")
    return columns
