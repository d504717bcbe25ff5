"""python -m tests.benchmarks.note_a_losses --data DIR --out FILE: first epochs of note A's printed runs, at two rates.

Two questions, in one set of trainings. Did note A train on its loss in bits, as it prints it? Then its rates are
1 / ln 2 times as large in nats. And what does the bf16 engine cost the training loss? Each training is one member of a
printed run, on the CPU without Ray; a line of JSON in FILE an epoch. What FILE holds is not trained again, so that the
command goes on where it was interrupted; several processes may share the work (`--part 1/2`).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.data.datasets import load
from trainables.data.task import DeviceData

BITS = 1 / math.log(2)  # what a loss in bits makes of a rate


class Series(NamedTuple):
    """Seeds 0, 1, ... of one printed run's first epochs, on one engine, with the rate multiplied."""

    run: str
    epochs: int
    seeds: int
    engine: str
    factor: float


# In the order of what is wanted first: the cheap ones, the other printed families, then the dear pairs of engines.
SERIES = [
    *(Series("a-4.8-single-cifar10", 3, 3, "plain", factor) for factor in (1.0, BITS)),
    *(Series("a-4.8-single-cifar10", 3, 3, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.3-single-cached", 3, 3, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.7-bagging12-cosine", 1, 3, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.6-bagging-p.3", 2, 2, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.1-bagging-no-bn", 2, 2, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.1-single-bn", 3, 3, "bf16", factor) for factor in (1.0, BITS)),
    *(Series("a-4.1-single-bn", 5, 3, "plain", factor) for factor in (1.0, BITS)),
]


def trainings() -> list[tuple[Series, int]]:
    """Every series' seeds, those of one run and seed side by side."""
    return sorted(
        ((series, seed) for series in SERIES for seed in range(series.seeds)),
        key=lambda one: [series.run for series in SERIES].index(one[0].run) * 100 + one[1],
    )


def train(series: Series, seed: int, data: DeviceData, out: Path) -> None:
    (run,) = reported(series.run)
    rate = float(run.config["lr"]) * series.factor
    config = replay(
        run, members=1, seed=seed, lr=rate, engine=series.engine, test_every_epoch=True, train_measure="running"
    )
    training = build(BaggedAlexNet, config, data)
    for _ in range(series.epochs):
        result = training.run_epoch()
        with out.open("a") as file:
            row: dict[str, Any] = {**series._asdict(), "seed": seed, "epoch": result["epoch"], "lr": result["lr"]}
            row |= {name: result[name] for name in ("train_loss", "train_accuracy", "test_accuracy", "seconds")}
            file.write(json.dumps(row) + "\n")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return our losses' mean and spread and the printed one (nats), by printed run, engine, factor and epoch."""
    keys = ["run", "engine", "factor", "epoch"]
    found = rows.groupby(keys)["train_loss"].agg(["mean", "std", "count"]).reset_index()
    printed = {
        (run.run, point["epoch"]): point["train_loss_printed"]
        for run in reported(*found["run"].unique())
        for point in run.curve
        if point["train_loss_printed"] is not None
    }
    note = [printed.get((run, epoch), math.nan) for run, epoch in zip(found["run"], found["epoch"], strict=True)]
    return found.assign(note=pd.Series(note, dtype=float) * math.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.note_a_losses", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="1/1", help="k/n: every n-th training, from the k-th")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    torch.set_num_threads(1)
    data: dict[str, DeviceData] = {}
    options.out.touch()
    for series, seed in trainings()[part - 1 :: parts]:
        rows = pd.DataFrame([json.loads(line) for line in options.out.read_text().splitlines()])
        if len(rows):
            same = (rows[list(Series._fields)] == pd.Series(series._asdict())).all(axis=1) & (rows["seed"] == seed)
            if (rows[same]["epoch"] == series.epochs).any():
                continue
        (run,) = reported(series.run)
        if run.dataset not in data:
            data[run.dataset] = DeviceData(load(run.dataset, options.data))
        train(series, seed, data[run.dataset], options.out)
    print(table(pd.DataFrame([json.loads(line) for line in options.out.read_text().splitlines()])).to_string())


if __name__ == "__main__":
    main()
