"""python -m tests.benchmarks.record_curves DATA: the learning curves that tests.benchmarks.early_stopping searches.

Every configuration of a grid, a small LeNet on 5,000 images of CIFAR-10 for 15 epochs, validated on 1,000 others
after each. What a configuration had reached goes to lenet_curves.csv, which is part of the project: the simulated
searches then cost seconds, where real ones would take hours.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import sys
from pathlib import Path

import torch

from trainables.data import load
from trainables.ensembles import accuracy
from trainables.loop import Diverged, Member
from trainables.models.lenet import LeNetRecipe, LeNetSettings
from trainables.task import DeviceData, Task

CURVES = Path(__file__).with_name("lenet_curves.csv")
EPOCHS = 15
TRAIN_IMAGES = 5000
GRID = {
    "lr": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "momentum": (0.0, 0.5, 0.9, 0.98),
    "batch_size": (32, 128),
}
VALIDATION_IMAGES = 1000


def curve(config: dict[str, float], data: DeviceData) -> list[float]:
    """Validation accuracy after each epoch, at chance from where it diverged."""
    settings = LeNetSettings.from_config({"epochs": EPOCHS, "train_images": TRAIN_IMAGES, **config})
    task = Task.of(data, settings)
    held_out = task.validation[torch.randperm(len(task.validation), generator=torch.Generator().manual_seed(0))]
    task = dataclasses.replace(task, validation=held_out[:VALIDATION_IMAGES])
    member = Member(LeNetRecipe(settings, task), 0)
    accuracies = []
    for epoch in range(1, EPOCHS + 1):
        try:
            member.train_epoch(epoch)
            predicted = member.probabilities(data.train_images, task.validation).argmax(1)
        except Diverged:
            return accuracies + [1 / data.classes] * (EPOCHS - len(accuracies))
        accuracies.append(accuracy(predicted, data.train_labels[task.validation]).item())
    return accuracies


def main() -> None:
    torch.set_num_threads(1)
    data = DeviceData(load("cifar10", Path(sys.argv[1])))
    with CURVES.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*GRID, *range(1, EPOCHS + 1)])
        for values in itertools.product(*GRID.values()):
            accuracies = curve(dict(zip(GRID, values, strict=True)), data)
            writer.writerow([*values, *(f"{value:.3f}" for value in accuracies)])
            file.flush()


if __name__ == "__main__":
    main()
