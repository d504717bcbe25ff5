"""What becomes of a search that is killed again and again?

Question   none: the crash tests' study, small real networks with every kind of random draw
Source     none
Command    python -m tests.search.crashes
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from ray import tune

from search.study import load, when
from trainables.lenet import LeNetTrainable


class Eager(LeNetTrainable):
    """Saves after every epoch, so that a crash finds a checkpoint."""

    checkpoint_seconds: ClassVar[float] = 0.0


study = dataclasses.replace(
    load(Path(__file__).parents[2] / "spaces" / "lenet_best.py"),
    name="crash",
    trainable=Eager,
    epochs=6,
    samples=14,
    param_space={
        "batch_norm": True,
        "flip": True,
        "crop_padding": 2,
        "conv1": 8,
        "conv2": 16,
        "optimizer": tune.choice(["sgd", "adam"]),
        "momentum": when("optimizer", "sgd", tune.uniform(0.0, 0.9)),
        "policy": tune.choice(["none", "autoaugment", "augmix"]),
        "lr": tune.loguniform(3e-4, 1e-2),
        "dropout": tune.uniform(0.0, 0.3),
        "members": tune.choice([1, 2]),
    },
    arms={},
    reported=(),
    claims=(),
    smoke={"samples": 14, "train_images": 200, "test_images": 50},
)
