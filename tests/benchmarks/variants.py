"""python -m tests.benchmarks.variants: weighted, gray, cached and unshuffled training beside plain training.

The goal is within 10 %. Run it on a machine that does nothing else; where there is a GPU it is measured, on
50,000 images an epoch.
"""

import statistics

import numpy as np
import torch

from trainables.alexnet import BaggedAlexNet, BoostedAlexNet
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData

PLAIN = "plain"
VARIANTS = {
    PLAIN: (BaggedAlexNet, {}),
    "weighted loss": (BoostedAlexNet, {"weighting": "loss"}),
    "weighted sampling": (BoostedAlexNet, {"weighting": "sampling"}),
    "gray": (BaggedAlexNet, {"gray": True}),
    "cached": (BaggedAlexNet, {"augmentation": "cached"}),
    "unshuffled": (BaggedAlexNet, {"shuffle": False}),
}


def images_per_second(images: int, rounds: int, device: str) -> dict[str, list[float]]:
    """Training rate of each variant in each of `rounds` epochs of `images`; the variants take turns."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % 100
    data = DeviceData(
        ImageData(
            name="cifar100",
            train_images=random.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8),
            train_labels=labels,
            test_images=np.zeros((100, 3, 32, 32), np.uint8),
            test_labels=np.arange(100),
            class_names=tuple(map(str, range(100))),
            fingerprint="0",
            source="made up",
        ),
        device,
    )
    # One epoch more than is measured: it warms up, and makes the cache.
    config = {"epochs": rounds + 2, "validation": False}
    trainings = {name: build(kind, config | changes, data) for name, (kind, changes) in VARIANTS.items()}
    for training in trainings.values():
        training.run_epoch()
    rates: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(rounds):
        for name, training in trainings.items():
            rates[name].append(training.run_epoch()["images_per_second"])
    return rates


def main() -> None:
    gpu = torch.cuda.is_available()
    rates = images_per_second(50_000 if gpu else 320, 5, "cuda" if gpu else "cpu")
    print("| training | images/s, median of 5 | of plain |\n| --- | ---: | ---: |")
    for name, measured in rates.items():
        share = statistics.median(ours / plain for ours, plain in zip(measured, rates[PLAIN], strict=True))
        print(f"| {name} | {statistics.median(measured):,.0f} | {share:.1%} |")


if __name__ == "__main__":
    main()
