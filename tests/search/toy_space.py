"""How good is a network that only pretends to train? The search room's tests run this on the real path.

Question   none: each epoch takes no time and its accuracy is a formula
Source     none
Command    python -m search.run tests/search/toy_space.py --smoke
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ray import tune

from search.columns import metric
from search.study import Study
from trainables.training import checkpoint
from trainables.training.settings import Settings, number

PARAMETERS = 1000  # of one member
FILLING_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class ToySettings(Settings):
    """`fate` is what happens in epoch 2 ("dies": the process, the first time; "fills": the checkpoint outgrows a
    small disk); `wait` is seconds per epoch."""

    quality: float = number(0.5, low=0, high=1)
    fate: Literal["well", "diverges", "raises", "dies", "hangs", "hogs", "fills"] = "well"
    switch: bool | None = None
    wait: float = number(0.0, low=0)


class ToyRecipe:
    settings_type = ToySettings

    @staticmethod
    def require(settings: Settings) -> None: ...


class ToyStrategy:
    @staticmethod
    def trial_epochs(settings: Settings) -> int:
        return settings.epochs


class Toy(tune.Trainable):
    """Reports what an ImageTrainable reports; `process` and `began` say where and from which epoch."""

    recipe = ToyRecipe
    strategy = ToyStrategy
    metrics = (
        metric("process", "Its worker.", measured_on="count", better="min", unit=""),
        metric("began", "The epoch that it went on from.", measured_on="count", better="min", unit=""),
    )

    def setup(self, config: dict[str, Any], data: Any) -> None:
        self.images = len(data.test_labels)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        hyperparameters = {name: value for name, value in config.items() if name not in ("trial", "restore")}
        self.settings = ToySettings.from_config(hyperparameters)
        self.epoch = self.began = 0
        if config["restore"]:
            self.load_checkpoint(config["restore"])

    def step(self) -> dict[str, Any]:
        settings = self.settings
        time.sleep(settings.wait)
        self.epoch += 1
        if self.epoch == 2 and settings.fate == "raises":
            raise RuntimeError("the toy is broken")
        if self.epoch == 2 and settings.fate == "hangs":
            time.sleep(10_000)
        if self.epoch == 2 and settings.fate == "hogs":
            np.ones(2**50)
        if self.epoch == 2 and settings.fate == "dies" and not self.began:
            os._exit(1)
        result: dict[str, Any] = {
            "epoch": self.epoch,
            "total_epochs": settings.epochs,
            "seconds": settings.wait,
            "parameters": PARAMETERS * settings.members,
            "process": os.getpid(),
            "began": self.began,
            "should_checkpoint": True,
        }
        if self.epoch == 2 and settings.fate == "diverges":
            worst = {"val_accuracy": math.nan, "member_val_accuracy": math.nan}
            return result | worst | {"diverged": "training loss is nan in epoch 2", "done": True}
        accuracy = settings.quality * self.epoch / (self.epoch + 1)
        sizes = range(1, settings.members + 1)
        result |= {
            "lr": settings.lr,
            "train_loss": 1 - accuracy,
            "val_accuracy": accuracy,
            "member_val_accuracy": accuracy,
            "each_val_accuracy": [accuracy for _ in sizes],
            "prefix_val_accuracy": [accuracy * size / settings.members for size in sizes],
            "prefix_parameters": [PARAMETERS * size for size in sizes],
            "done": self.epoch >= settings.epochs,
        }
        if result["done"]:
            result |= {
                "test_accuracy": accuracy,
                "prefix_test_accuracy": result["prefix_val_accuracy"],
                "each_test_accuracy": result["each_val_accuracy"],
                "predicted": np.zeros(self.images, np.int16),
                "member_predicted": np.zeros((settings.members, self.images), np.int16),
                "test_indices": np.arange(self.images, dtype=np.int32),
            }
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        content = f"{self.settings.quality} {self.epoch}"
        if self.epoch == 2 and self.settings.fate == "fills":
            content += " " * FILLING_BYTES
        checkpoint.write(Path(checkpoint_dir), content.encode())

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.epoch = self.began = int(checkpoint.read(Path(checkpoint_dir)).split()[1])


study = Study(
    name="toy",
    question="How good is a network that only pretends to train?",
    source="none",
    trainable=Toy,
    dataset="cifar10",
    epochs=3,
    samples=8,
    param_space={
        "quality": tune.uniform(0.1, 0.9),
        "members": tune.choice([1, 2, 3]),
        "switch": tune.choice([None, False, True]),
    },
)
