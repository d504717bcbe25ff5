"""python -m tests.benchmarks.record_curves DATA [LANDSCAPE...]: the learning curves that early_stopping searches.

Configurations drawn at random from a landscape's space (tests.benchmarks.landscapes) are trained on a few images of
CIFAR with two seeds each, and validated after each epoch on held-out training images, never on test images. Validation
accuracies go to curves/LANDSCAPE.csv, part of the project: simulated searches then cost seconds, where real ones would
take hours. A recording that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.landscapes import CURVES, LANDSCAPES, Landscape
from trainables.data.datasets import load
from trainables.data.task import DeviceData, Task
from trainables.ensembles.votes import accuracy
from trainables.training.loop import Diverged, Member


def curve(landscape: Landscape, config: dict[str, Any], seed: int, data: DeviceData) -> list[float]:
    """Return validation accuracy after each epoch, at chance from where it diverged."""
    recipe = landscape.trainable.recipe
    settings = recipe.settings_type.from_config(
        {
            **landscape.fixed,
            "epochs": landscape.epochs,
            "train_images": landscape.train_images,
            "seed": seed,
            **config,
        }
    )
    task = Task.of(data, settings)
    held_out = task.validation[torch.randperm(len(task.validation), generator=torch.Generator().manual_seed(0))]
    task = dataclasses.replace(task, validation=held_out[: landscape.validation_images])
    member = Member(recipe(settings, task), 0)
    accuracies: list[float] = []
    for epoch in range(1, landscape.epochs + 1):
        try:
            member.train_epoch(epoch)
            predicted = member.probabilities(data.train_images, task.validation).argmax(1)
        except Diverged:
            return accuracies + [1 / data.classes] * (landscape.epochs - len(accuracies))
        accuracies.append(accuracy(predicted, data.train_labels[task.validation]).item())
        member.val_accuracies.append(accuracies[-1])
    return accuracies


def record(landscape: Landscape, folder: Path, out: Path, draws: int) -> None:
    """Add what is missing to the landscape's table in `out`: the first `draws` configurations, with every seed."""
    path = out / landscape.path.name
    header = [*landscape.searched, "draw", "seed", *map(str, range(1, landscape.epochs + 1))]
    known = set()
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != header:
                raise SystemExit(f"{path} must have the columns of {landscape.name} as it is today: remove it first")
            known = {(int(row["draw"]), int(row["seed"])) for row in rows}
    data = DeviceData(load(landscape.dataset, folder))
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not known:
            writer.writerow(header)
        for draw, seed in itertools.product(range(draws), range(landscape.seeds)):
            if (draw, seed) in known:
                continue
            started = time.process_time()
            config = landscape.drawn(draw)
            accuracies = curve(landscape, config, seed, data)
            writer.writerow([*config.values(), draw, seed, *(f"{value:.4f}" for value in accuracies)])
            file.flush()
            spent = time.process_time() - started
            print(f"{landscape.name} {draw} {seed}: {max(accuracies):.3f}, {spent:.1f} s of CPU", flush=True)


def main() -> None:
    recorded = [name for name, each in LANDSCAPES.items() if each.draws]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.record_curves", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the CIFAR files")
    parser.add_argument("landscapes", nargs="*", choices=[[], *recorded], metavar="LANDSCAPE")
    parser.add_argument("--draws", type=int, help="configurations of each; default: what the landscape declares")
    parser.add_argument("--out", type=Path, default=CURVES, help="folder of the tables, default: the project's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.landscapes or recorded:
        record(LANDSCAPES[name], options.data, options.out, options.draws or LANDSCAPES[name].draws)


if __name__ == "__main__":
    main()
