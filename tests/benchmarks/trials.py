"""A study of many short trials: ours, bare Ray Tune that starts an actor a trial, a plain loop. All train the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.benchmarks.report import cell, head, row, spread

TRIALS = 12
SPACE = "spaces/lenet_batch_size.py"
HYPERPARAMETERS = {"epochs": 1, "train_images": 1000}

# One trial, as every way runs it.
TRIAL = f"""
import torch
from trainables.base import build
from trainables.data.datasets import load
from trainables.lenet import LeNetTrainable
from trainables.data.task import DeviceData
def trial(config):
    torch.set_num_threads(1)
    data = DeviceData(load("digits"))
    return {{"val_accuracy": build(LeNetTrainable, config | {HYPERPARAMETERS!r}, data).run_epoch()["val_accuracy"]}}
"""
LOOP = f"""{TRIAL}
for number in range({TRIALS}):
    trial({{"seed": number}})
"""
BARE = f"""
import sys
import ray
from ray import tune
ray.init(log_to_driver=False, logging_level="ERROR", runtime_env={{"env_vars": {{"PYTHONPATH": sys.path[0]}}}})
{TRIAL}
tune.Tuner(
    tune.with_resources(trial, {{"cpu": 1}}),
    param_space={{"seed": tune.randint(0, 1000)}},
    tune_config=tune.TuneConfig(num_samples={TRIALS}),
    run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
).fit()
"""


def _seconds(*arguments: str) -> float:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PYTHONPATH": os.getcwd(),
    }
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[:3]} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - start


def ours() -> float:
    fixed = [word for name, value in HYPERPARAMETERS.items() for word in ("--set", f"{name}={value}")]
    with tempfile.TemporaryDirectory() as results:
        command = ["-m", "search.run", SPACE, "--smoke", "--samples", str(TRIALS), "--scheduler", "none"]
        return _seconds(*command, *fixed, "--results", results)


def bare() -> float:
    with tempfile.TemporaryDirectory() as results:
        return _seconds("-c", BARE, results)


def loop() -> float:
    return _seconds("-c", LOOP)


def measure(repeats: int, device: str) -> dict[str, Any]:
    rounds = [(ours(), bare(), loop()) for _ in range(repeats)]
    columns = {
        name: spread(list(values))
        for name, values in zip(("ours", "bare", "loop"), zip(*rounds, strict=True), strict=True)
    }
    columns["ratio"] = spread([slow / fast for fast, slow, _ in rounds])
    head("many short trials, s", "this platform", "bare Ray Tune", "plain loop", "bare / ours")
    row(f"{TRIALS} trials of one epoch", *map(cell, columns.values()))
    return columns
