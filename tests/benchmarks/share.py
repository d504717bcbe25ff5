"""How much of the time that a trial holds its place it trains, for trials of a minute or more."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from search.records import SECONDS, TRIAL_ID
from tests.benchmarks.report import cell, head, row, spread

GOAL = 0.95
TRIALS = 2
HYPERPARAMETERS = ("train_images=1200", "epochs=10", "augmentation=real-time", "members=1")
COMMAND = ("spaces/alexnet_dropout.py", "--smoke", "--samples", str(TRIALS), "--scheduler", "none")


def shares() -> dict[int, tuple[float, float]]:
    """Of each trial: seconds from its start to its end, and the share of them spent in its epochs."""
    started, ended = {}, {}
    fixed = [word for assignment in HYPERPARAMETERS for word in ("--set", assignment)]
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "search.run", *COMMAND, *fixed, "--results", results]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if event := re.match(r"(\d{4}) (started|completed)", line):
                    (started if event[2] == "started" else ended)[int(event[1])] = time.perf_counter()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
        (table,) = Path(results).glob("*/*/epochs.parquet")
        epochs = pq.read_table(table, columns=[TRIAL_ID, SECONDS]).to_pylist()
    training = {number: sum(row[SECONDS] for row in epochs if row[TRIAL_ID] == number) for number in ended}
    walls = {number: ended[number] - started[number] for number in ended}
    return {number: (walls[number], training[number] / walls[number]) for number in ended}


def measure(repeats: int, device: str) -> dict[str, Any]:
    found = [trial for _ in range(repeats) for trial in shares().values()]
    columns = {"seconds": spread([wall for wall, _ in found]), "share": spread([share for _, share in found])}
    head("a trial", "seconds", "share spent in epochs", "goal")
    row("AlexNet on the digits, two side by side", *map(cell, columns.values()), f"at least {GOAL:g}")
    return columns
