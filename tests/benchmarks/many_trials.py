"""python -m tests.benchmarks.many_trials [--trials N] [--results R] [--json FILE]: our stack beside bare Ray Tune.

Trials that do nothing, one after the other on each core, through our whole stack (journal, searcher, stopping
rule, tables, progress) and through Ray Tune alone with the same trainable, its own searcher and scheduler; then
as many results as two trials can report. Every stack is a process of its own. The tenths of a run are timed
apart, so that what grows with the number of trials shows: by the clock, and by the driver's processor time, which
other processes lengthen less. Memory is the driver's own at a tenth's end, after a garbage collection and without
the pages of files. `--only ours` leaves Ray out.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from search.cluster import connect, disconnect
from search.heap import return_holes
from search.journal import Journal
from search.resources import Resources, cpu_count
from search.searchers import Listed, OptunaProposals
from search.study import Study
from search.tuner import run_study
from tests.benchmarks.report import head, row
from trainables.data.datasets import ImageData
from trainables.training import checkpoint
from trainables.training.settings import Settings, number

EPOCHS = 3
SLOTS = cpu_count()
WORKER_SECONDS = 8.0
COLLECTED = 100  # trials between two collections of garbage, one of them right before a tenth's end
STACKS = {"bare": "Ray Tune alone", "ours": "ours"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NothingSettings(Settings):
    quality: float = number(0.5, low=0, high=1)


class NothingRecipe:
    settings_type = NothingSettings

    @staticmethod
    def require(settings: Settings) -> None: ...


class NothingStrategy:
    @staticmethod
    def trial_epochs(settings: Settings) -> int:
        return settings.epochs


class Nothing(tune.Trainable):
    """An epoch is no work. A checkpoint is taken after the last one only, as of any trial of short epochs."""

    recipe, strategy = NothingRecipe, NothingStrategy

    def setup(self, config: dict[str, Any], data: Any) -> None:
        self.first = True
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.quality, self.epochs, self.epoch = new_config["quality"], new_config["epochs"], 0
        return True

    def step(self) -> dict[str, Any]:
        if self.first:
            # A worker's first trial lasts until every slot has a worker, as real trials do: else the first worker would
            # take all trials, while Ray requests and cancels a second worker for each of them.
            time.sleep(WORKER_SECONDS)
            self.first = False
        self.epoch += 1
        accuracy = self.quality * self.epoch / (self.epoch + 1)
        done = self.epoch >= self.epochs
        return {
            "epoch": self.epoch,
            "total_epochs": self.epochs,
            "seconds": 0.0,
            "parameters": 1,
            "train_loss": 1 - accuracy,
            "val_accuracy": accuracy,
            "member_val_accuracy": accuracy,
            "test_accuracy": accuracy if done else None,
            "done": done,
            "should_checkpoint": done,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        checkpoint.write(Path(checkpoint_dir), str(self.epoch).encode())

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.epoch = int(checkpoint.read(Path(checkpoint_dir)))


def resident() -> int:
    """Bytes of this process's own in memory: pages of libraries' files come and go as the system likes."""
    return sum(
        1024 * int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(("RssAnon", "RssShmem"))
    )


Mark = tuple[float, float, float]  # seconds, bytes, seconds of processor time


class Meter(tune.Callback):
    """When each trial ended and each result came, and the driver's memory and processor time then."""

    def __init__(self) -> None:
        self.trials, self.results = array("d"), array("d")  # three numbers a mark

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def _now(self) -> Mark:
        return time.monotonic(), float(resident()), time.process_time()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if (len(self.trials) // 3 + 1) % COLLECTED == 0:
            gc.collect()  # else the memory depends on when the last collection was, by 20 MiB
            return_holes()
        self.trials.extend(self._now())

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self.results.extend(self._now())


def tenths(numbers: array[float]) -> list[dict[str, float]]:
    """Return seconds and processor seconds per mark in each tenth, and MiB at its end."""
    marks = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    ends = [max(1, len(marks) * tenth // 10) for tenth in range(11)]
    found = []
    for start, end in itertools.pairwise(ends):
        (clock, _, cpu), (later, size, later_cpu) = marks[start - 1], marks[end - 1]
        each = 1 / (end - start)
        found.append({"seconds": (later - clock) * each, "cpu": (later_cpu - cpu) * each, "mib": size / 2**20})
    return found


def data() -> ImageData:
    images, labels = np.zeros((10, 3, 32, 32), np.uint8), np.arange(10)
    return ImageData("digits", images, labels, images, labels, tuple("abcdefghij"), "", "")


def ours(trials: int, epochs: int, folder: Path, meter: Meter) -> None:
    study = Study(
        name="nothing",
        question="?",
        source="none",
        trainable=Nothing,
        dataset="digits",
        epochs=epochs,
        samples=trials,
        param_space={"quality": tune.uniform(0.1, 0.9)},
    )
    few = trials <= SLOTS
    proposals = Listed([({"quality": 0.5}, None)] * trials) if few else OptunaProposals(study, "random", trials, 0)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        run_study(
            study,
            proposals,
            data(),
            Journal(folder),
            folder,
            seed=0,
            scheduler="none" if few else "asha",
            resources=Resources(1, 0),
            slots=lambda: SLOTS,
            callbacks=[meter],
        )


def bare(trials: int, epochs: int, folder: Path, meter: Meter) -> None:
    few = trials <= SLOTS
    sampler = optuna.samplers.RandomSampler(seed=0)
    searcher = OptunaSearch({"quality": tune.uniform(0.1, 0.9)}, metric="val_accuracy", mode="max", sampler=sampler)
    scheduler = ASHAScheduler("epoch", "val_accuracy", "max", max_t=epochs, grace_period=1, reduction_factor=3)
    trainable = tune.with_parameters(Nothing, data=data())
    tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0}])),
        param_space={"epochs": epochs} | ({"quality": 0.5} if few else {}),
        tune_config=tune.TuneConfig(
            num_samples=trials,
            search_alg=None if few else searcher,
            scheduler=None if few else scheduler,
            reuse_actors=True,
            max_concurrent_trials=None if few else SLOTS,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            callbacks=[meter],
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=False),
        ),
    ).fit()


def measure(stack: str, trials: int, results: int) -> dict[str, Any]:
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    run = {"ours": ours, "bare": bare}[stack]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    figures: dict[str, Any] = {}
    connect(None)
    for what, count, epochs in (("trial", trials, EPOCHS), ("result", SLOTS, results // SLOTS)):
        meter = Meter()
        with tempfile.TemporaryDirectory() as folder:
            run(count, epochs, Path(folder), meter)
        figures[what] = tenths(meter.trials if what == "trial" else meter.results)
    disconnect()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.many_trials", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", choices=STACKS, help="one of the two")
    parser.add_argument("--stack", choices=STACKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stack:
        print(json.dumps(measure(options.stack, options.trials, options.results)))
        return
    report: dict[str, Any] = {}
    head("", "ms each, first tenth", "last", "driver's CPU ms, first", "last", "its MiB, after a tenth", "at the end")
    for stack in [options.only] if options.only else STACKS:
        command = [sys.executable, "-m", "tests.benchmarks.many_trials", "--stack", stack]
        sizes = ["--trials", str(options.trials), "--results", str(options.results)]
        output = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, text=True, check=True).stdout
        report[stack] = json.loads(output.splitlines()[-1])
        for what, found in report[stack].items():
            first, last = found[0], found[-1]
            times = [f"{1e3 * tenth[kind]:.1f}" for kind in ("seconds", "cpu") for tenth in (first, last)]
            row(f"{what}s, {STACKS[stack]}", *times, f"{first['mib']:.0f}", f"{last['mib']:.0f}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
