"""python -m tests.benchmarks [--repeats N] [--json FILE]: ours against the plain pipeline, in one run.

Each repeat times both in turn, so that a noisy machine disturbs both alike; medians and ranges are of
the repeats, ratios are taken pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from tests.benchmarks.plain import alexnet_images_per_second
from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.data import ImageData
from trainables.task import DeviceData

IMAGES = 640


def made_up(images: int) -> ImageData:
    """Random images: throughput does not depend on what they show."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(images) % 100
    return ImageData("cifar100", pixels, labels, pixels[:100], labels[:100], tuple(map(str, range(100))), "", "")


def ours(batch_size: int) -> float:
    """Images/s of one trial on one thread, after a warm-up."""
    torch.set_num_threads(1)
    config = {"batch_size": batch_size, "augmentation": "real-time", "validation": False}
    member = build(BaggedAlexNet, config, DeviceData(made_up(IMAGES))).members[0]
    member.train_epoch(1, steps=2)
    start = time.perf_counter()
    outcome = member.train_epoch(2)
    return outcome.images / (time.perf_counter() - start)


def side_by_side(batch_size: int) -> float:
    """Images/s of one trial per core, together."""
    command = [sys.executable, "-m", "tests.benchmarks", "--ours", str(batch_size)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--ours", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(ours(options.ours))
        return
    data = made_up(IMAGES)
    report: dict[str, object] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "n": options.repeats}
    print("| AlexNet, real-time augmentation | plain, images/s | ours, images/s | ratio |")
    print("| --- | ---: | ---: | ---: |")
    for batch_size in (16, 32, 64, 128):
        pairs = [
            (
                alexnet_images_per_second(data.train_images, data.train_labels, batch_size, os.cpu_count() or 1),
                side_by_side(batch_size),
            )
            for _ in range(options.repeats)
        ]
        columns = [[p for p, _ in pairs], [o for _, o in pairs], [o / p for p, o in pairs]]
        plain, fast, ratio = (spread(column) for column in columns)
        report[f"alexnet, batch {batch_size}"] = {"plain": plain, "ours": fast, "ratio": ratio}
        cells = " | ".join(f"{s['median']:.4g} ({s['min']:.4g} to {s['max']:.4g})" for s in (plain, fast, ratio))
        print(f"| batch {batch_size} | {cells} |", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
