"""Seconds that a GPU takes for an epoch of 50,000 images on each engine, beside the goals. Not run on a GPU yet."""

from __future__ import annotations

import gc
import time
from typing import Any

import torch

from tests.benchmarks.report import cell, head, row, spread
from tests.benchmarks.throughput import made_up
from trainables.alexnet import BaggedAlexNet
from trainables.base import ImageTrainable, build
from trainables.data.task import DeviceData
from trainables.ensembles.strategy import Training
from trainables.training.engine import ENGINES, FUSE, features
from trainables.training.steps import first_steps, fuses
from trainables.wide_resnet import WideResNetTrial

IMAGES = 50_000
STEPS = 200  # that are measured, after WARM_UP in which an engine is compiled and its CUDA graphs are recorded
WARM_UP = 4
AUGMENTED = {"augmentation": "real-time", "batch_size": 32, "validation": False}
ROWS: tuple[tuple[str, type[ImageTrainable], dict[str, Any], float], ...] = (
    ("AlexNet, real-time augmentation, batch 32", BaggedAlexNet, AUGMENTED, 1),
    ("six of them", BaggedAlexNet, AUGMENTED | {"members": 6}, 2),
    ("twelve of them", BaggedAlexNet, AUGMENTED | {"members": 12}, 3),
    ("WRN-34-10 with SAM, batch 128", WideResNetTrial, {"validation": False}, 15),
)


def ready(trainable: type[ImageTrainable], config: dict[str, Any], data: DeviceData) -> tuple[Training, float] | None:
    """A training that has warmed up, and the seconds it took; None where its engine is no other than without fuse."""
    training = build(trainable, config, data)
    if FUSE in features(config["engine"]) and not fuses(training):
        return None
    start = time.perf_counter()
    first_steps(training, WARM_UP)
    return training, time.perf_counter() - start


def seconds_per_epoch(training: Training, steps: int) -> float:
    """Of IMAGES images, all members; reading the losses at the end waits for the GPU."""
    start = time.perf_counter()
    outcomes = first_steps(training, steps)
    return (time.perf_counter() - start) * IMAGES / outcomes[0].images


def measure(repeats: int, device: str, rows: Any = ROWS, images: int = IMAGES, steps: int = STEPS) -> dict[str, Any]:
    """What fails, as an engine may on one machine or another, is a row that says so."""
    report: dict[str, Any] = {}
    data = DeviceData(made_up(images), device)
    name = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    head(f"{name}, s per epoch", "engine", "warm-up, s", "ours", "goal")
    for title, trainable, config, goal in rows:
        for engine in ENGINES:
            torch.compiler.reset()  # the last one's CUDA graphs hold memory
            gc.collect()
            try:
                made = ready(trainable, config | {"engine": engine}, data)
                if made is None:
                    continue
                training, warm_up = made
                found = spread([seconds_per_epoch(training, steps) for _ in range(repeats)])
            except Exception as error:  # noqa: BLE001 - a compiler, a driver or memory may raise anything
                row(title, engine, "", f"failed: {' '.join(str(error).split())[:120]}", f"under {goal:g}")
                continue
            report[f"{title}, {engine}"] = found | {"warm_up": warm_up}
            row(title, engine, f"{warm_up:.1f}", cell(found), f"under {goal:g}")
    return report
