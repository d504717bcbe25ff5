"""From the command to the first epoch of a study, beside a bare ray.init and one import of torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.benchmarks.report import cell, head, row, spread

GOAL = 1.5
BARE = "import ray; ray.init('local', log_to_driver=False, logging_level='ERROR'); import torch"
STUDY = ("spaces/lenet_batch_size.py", "--smoke", "--samples", "1", "--set", "epochs=2")


def bare() -> float:
    """Seconds until both are there."""
    environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    command = [sys.executable, "-c", BARE + "; print('there', flush=True)"]
    return _seconds_until("there", command, environment)


def ours() -> float:
    """Seconds until the first epoch of a smoke study is reported; the epoch itself takes a fraction of one."""
    with tempfile.TemporaryDirectory() as results:
        return _seconds_until("epoch 1/", [sys.executable, "-m", "search.run", *STUDY, "--results", results])


def _seconds_until(word: str, command: list[str], environment: dict[str, str] | None = None) -> float:
    """Until a line of the command's output holds the word; the command runs to its end afterwards."""
    start, found = time.perf_counter(), None
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if found is None and word in line:
                found = time.perf_counter() - start
        if process.wait() or found is None:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {errors.read()[-2000:]}")
    return found


def measure(repeats: int, device: str) -> dict[str, Any]:
    pairs = [(bare(), ours()) for _ in range(repeats)]
    columns = {
        "bare": spread([one for one, _ in pairs]),
        "ours": spread([other for _, other in pairs]),
        "ratio": spread([other / one for one, other in pairs]),
    }
    head("start-up, s", "ray.init and torch", "command to first epoch", "ratio", "goal")
    row("LeNet on the digits", *map(cell, columns.values()), f"at most {GOAL:g}")
    return columns
