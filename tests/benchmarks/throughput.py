"""Training images per second of each family: one trial a core, side by side, beside the plain pipeline.

Ours both on the plain engine and in bfloat16, which is what a study takes where it is faster and agrees.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from search.resources import cpu_count
from tests.benchmarks import plain
from tests.benchmarks.plain import Rate
from tests.benchmarks.report import cell, head, row, spread
from trainables.alexnet import BaggedAlexNet
from trainables.base import ImageTrainable, build
from trainables.convnet import ConvNetTrainable
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData
from trainables.lenet import LeNetTrainable
from trainables.pretrained import PretrainedTrainable
from trainables.small_alexnet import SmallAlexNetTrial
from trainables.wide_resnet import WideResNetTrial

BATCH_SIZES = (16, 32, 64, 128)
ENGINES = ("plain", "bf16")
SGD_ALONE = {"rho": 0.0, "cutout": 0, "label_smoothing": 0.0}


@dataclass(frozen=True)
class Family:
    """`images` of an epoch: a few seconds' work of the plain pipeline. `goal` is the least ratio to it, None: none."""

    title: str
    trainable: type[ImageTrainable]
    images: int
    goal: float | None = None
    config: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "alexnet": Family("AlexNet, real-time augmentation", BaggedAlexNet, 640, 2.5, {"augmentation": "real-time"}),
    "lenet": Family("LeNet", LeNetTrainable, 10_240, 4),
    "convnet": Family("CNN_2", ConvNetTrainable, 5120),
    "small_alexnet": Family("small AlexNet, augmented", SmallAlexNetTrial, 2560),
    "wide_resnet": Family("WRN-10-2, plain SGD", WideResNetTrial, 640, None, {"depth": 10, "width": 2, **SGD_ALONE}),
    "pretrained": Family(
        "ResNet-18 at 224 px", PretrainedTrainable, 256, None, {"model": "resnet18", "weights": "random"}
    ),
}


def made_up(images: int) -> ImageData:
    """Random images: throughput does not depend on what they show."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(images) % 100
    return ImageData("cifar100", pixels, labels, pixels[:100], labels[:100], tuple(map(str, range(100))), "", "")


def ours(name: str, batch_size: int, engine: str, device: str) -> Rate:
    """Of one trial, after a warm-up; on a CPU with one thread."""
    torch.set_num_threads(1)
    family = FAMILIES[name]
    config = {"batch_size": batch_size, "validation": False, "engine": engine, **family.config}
    member = build(family.trainable, config, DeviceData(made_up(family.images), device)).members[0]
    member.train_epoch(1, steps=2)
    start, cpu = time.perf_counter(), time.process_time()
    images = member.train_epoch(2).images  # reads its loss at the end, and so waits for a GPU
    return Rate(images / (time.perf_counter() - start), images / (time.process_time() - cpu))


class SideBySide:
    """A process a core (one on a GPU), each of which measures when told, all at once."""

    def __init__(self, device: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.throughput", device]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.processes = [
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(cpu_count() if device == "cpu" else 1)
        ]

    def measure(self, family: str, batch_size: int, engine: str) -> Rate:
        """Images/s of all together; of a core's second on average."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{family} {batch_size} {engine}\n")
            process.stdin.flush()
        lines = [process.stdout.readline().split() for process in self.processes if process.stdout]
        return Rate(sum(float(a) for a, _ in lines), statistics.fmean(float(b) for _, b in lines))

    def close(self) -> None:
        for process in self.processes:
            process.communicate()


def measure(repeats: int, device: str) -> dict[str, Any]:
    report: dict[str, Any] = {}
    workers = SideBySide(device)
    each = ("images/s", "ratio", "ratio per core second")
    head("training", "pipeline, images/s", *(f"ours {engine}, {what}" for engine in ENGINES for what in each), "goal")
    for name, family in FAMILIES.items():
        data = made_up(family.images)
        for batch_size in BATCH_SIZES:
            rounds = [
                (
                    plain.rate(name, data.train_images, data.train_labels, batch_size, cpu_count(), device),
                    {engine: workers.measure(name, batch_size, engine) for engine in ENGINES},
                )
                for _ in range(repeats)
            ]
            columns = {"pipeline": spread([slow.per_second for slow, _ in rounds])}
            for engine in ENGINES:
                pairs = [(slow, fast[engine]) for slow, fast in rounds]
                columns |= {
                    f"ours {engine}": spread([fast.per_second for _, fast in pairs]),
                    f"ratio {engine}": spread([fast.per_second / slow.per_second for slow, fast in pairs]),
                    f"ratio {engine} per core second": spread(
                        [f.per_core_second / s.per_core_second for s, f in pairs]
                    ),
                }
            report[f"{name}, batch {batch_size}"] = columns
            goal = "" if family.goal is None else f"at least {family.goal:g}"
            row(f"{family.title}, batch {batch_size}", *map(cell, columns.values()), goal)
    workers.close()
    return report


def main() -> None:
    for line in sys.stdin:
        name, batch_size, engine = line.split()
        print(*ours(name, int(batch_size), engine, sys.argv[1]), flush=True)


if __name__ == "__main__":
    main()
