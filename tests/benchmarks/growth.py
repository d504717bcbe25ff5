"""python -m tests.benchmarks.growth [--figure FILE] [--json FILE]: how the cost of a study grows with what it is asked.

Seconds of processor time of an epoch against training images, members and parameters, each with the exponent of
its growth (1: in proportion), seconds of a study against its trials, and a worker's memory from trial to trial.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from search.cluster import connect, disconnect
from tests.benchmarks.many_trials import EPOCHS, Meter, ours, resident
from tests.benchmarks.report import head, row
from tests.benchmarks.throughput import made_up
from trainables.alexnet import BaggedAlexNet
from trainables.base import ImageTrainable, build
from trainables.data.task import DeviceData
from trainables.lenet import LeNetTrainable

TRIALS = (50, 100, 200, 400, 800)
WORKER_TRIALS = 30
REPEATS = 3


def seconds(trainable: type[ImageTrainable], config: dict[str, Any], images: int) -> tuple[float, int]:
    """Processor time of one training epoch on one thread, and the parameters trained."""
    training = build(trainable, {"validation": False, **config}, DeviceData(made_up(images)))
    for member in training.members:
        member.train_epoch(1, steps=2)
    measured = []
    for _ in range(REPEATS):
        start = time.process_time()
        for member in training.members:
            member.train_epoch(2)
        measured.append(time.process_time() - start)
    return sorted(measured)[REPEATS // 2], training.parameters


def against_images() -> list[tuple[float, float]]:
    return [(images, seconds(LeNetTrainable, {}, images)[0]) for images in (1000, 2000, 4000, 8000)]


def against_members() -> list[tuple[float, float]]:
    return [(members, seconds(LeNetTrainable, {"members": members}, 1000)[0]) for members in (1, 2, 4, 8)]


def against_parameters() -> list[tuple[float, float]]:
    found = [seconds(BaggedAlexNet, {"ratio": ratio}, 128) for ratio in (1.0, 0.8, 0.6, 0.4, 0.2)]
    return [(parameters, taken) for taken, parameters in found]


def against_trials() -> list[tuple[float, float]]:
    """Of trials that do nothing: what the platform takes itself."""
    meter = Meter()
    connect(None)
    with tempfile.TemporaryDirectory() as folder:
        ours(TRIALS[-1], EPOCHS, Path(folder), meter)
    disconnect()
    begin = meter.trials[0][0]
    return [(trials, meter.trials[trials - 1][0] - begin) for trials in TRIALS]


def worker_memory() -> list[tuple[float, float]]:
    """MiB of a worker after each of many trials, one after the other, as one worker runs them."""
    data = DeviceData(made_up(256))
    marks = []
    for trial in range(1, WORKER_TRIALS + 1):
        build(BaggedAlexNet, {"seed": trial, "epochs": 1, "validation": False}, data).run_epoch()
        marks.append((float(trial), resident() / 2**20))
    return marks


AXES = {
    "training images": against_images,
    "members": against_members,
    "parameters": against_parameters,
    "trials": against_trials,
    "memory": worker_memory,
}


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Of the power of x that the values follow."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def figure(report: dict[str, list[tuple[float, float]]]) -> go.Figure:
    drawn = make_subplots(rows=1, cols=len(report), subplot_titles=list(report))
    for column, (axis, points) in enumerate(report.items(), 1):
        kind, title = ("linear", "MiB") if axis == "memory" else ("log", "seconds")
        drawn.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="lines+markers",
            row=1,
            col=column,
            showlegend=False,
        )
        drawn.update_xaxes(type=kind, title="trial" if axis == "memory" else axis, row=1, col=column)
        drawn.update_yaxes(type=kind, title=title, rangemode="tozero", row=1, col=column)
    return drawn.update_layout(template="none", height=420, width=320 * len(report))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--figure", metavar="FILE", help="an HTML page with the curves")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--axis", choices=AXES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.axis:
        print(json.dumps(AXES[options.axis]()))
        return
    report = {}
    head("growth", "from", "to", "seconds (memory: MiB)", "exponent")
    for axis in AXES:  # each in a process of its own: memory that one has freed is not the next one's
        command = [sys.executable, "-m", "tests.benchmarks.growth", "--axis", axis]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        points = report[axis] = json.loads(output.splitlines()[-1])
        (first, low), (last, high) = points[0], points[-1]
        row(axis, f"{first:,.0f}", f"{last:,.0f}", f"{low:.3g} to {high:.3g}", f"{exponent(points):.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.figure:
        figure(report).write_html(options.figure)


if __name__ == "__main__":
    main()
