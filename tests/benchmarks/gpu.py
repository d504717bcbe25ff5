"""Seconds that a GPU takes for an epoch of 50,000 images, beside the goals. Nothing here was measured yet."""

from __future__ import annotations

import time
from typing import Any

import torch

from tests.benchmarks.report import cell, head, row, spread
from tests.benchmarks.throughput import made_up
from trainables.alexnet import BaggedAlexNet
from trainables.base import ImageTrainable, build
from trainables.task import DeviceData
from trainables.wide_resnet import WideResNetTrial

IMAGES = 50_000
AUGMENTED = {"augmentation": "real-time", "batch_size": 32, "validation": False}
ROWS: tuple[tuple[str, type[ImageTrainable], dict[str, Any], float], ...] = (
    ("AlexNet, real-time augmentation, batch 32", BaggedAlexNet, AUGMENTED, 1),
    ("six of them", BaggedAlexNet, AUGMENTED | {"members": 6}, 2),
    ("twelve of them", BaggedAlexNet, AUGMENTED | {"members": 12}, 3),
    ("WRN-34-10 with SAM, batch 128", WideResNetTrial, {"validation": False}, 15),
)


def seconds_per_epoch(trainable: type[ImageTrainable], config: dict[str, Any], device: str, steps: int) -> float:
    """Of IMAGES images, all members, from the given number of steps after a warm-up."""
    training = build(trainable, config, DeviceData(made_up(IMAGES), device))
    for member in training.members:
        member.train_epoch(1, steps=2)
    start = time.perf_counter()
    outcomes = [member.train_epoch(2, steps=steps) for member in training.members]
    return (time.perf_counter() - start) * IMAGES / outcomes[0].images


def measure(repeats: int, device: str) -> dict[str, Any]:
    report = {}
    head(f"{torch.cuda.get_device_name(0)}, s per epoch", "ours", "goal")
    for title, trainable, config, goal in ROWS:
        report[title] = spread([seconds_per_epoch(trainable, config, device, 200) for _ in range(repeats)])
        row(title, cell(report[title]), f"under {goal:g}")
    return report
