"""A task and a network so small that a whole trial of an ensemble takes a fraction of a second."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.alexnet import AlexNetRecipe
from trainables.data.datasets import ImageData, load
from trainables.data.task import DeviceData, Task
from trainables.ensembles.bagging import Bagging

TINY = {"epochs": 2, "train_images": 60, "batch_size": 16, "lr": 0.1}


class TinyRecipe(AlexNetRecipe):
    """AlexNet's preprocessing and settings around a network that needs no 224 x 224 pixels."""

    def network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1 if self.settings.gray else 3, 6, 5, stride=3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(6 * 10 * 10, self.task.data.classes),
        )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # How a sum is divided among threads decides its last bit, and ImageTrainable sets this for the process.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """300 training images, of which 30 are for validation, and 50 test images."""
    data = load("digits")
    return dataclasses.replace(
        data,
        train_images=data.train_images[:300],
        train_labels=data.train_labels[:300],
        test_images=data.test_images[:50],
        test_labels=data.test_labels[:50],
    )


@pytest.fixture(scope="session")
def make_recipe(digits: ImageData) -> Callable[..., TinyRecipe]:
    data = DeviceData(digits)

    def build(**config: Any) -> TinyRecipe:
        settings = TinyRecipe.settings_type.from_config(TINY | config)
        return TinyRecipe(settings, Task.of(data, settings))

    return build


@pytest.fixture(scope="session")
def make_bagging(make_recipe: Callable[..., TinyRecipe]) -> Callable[..., Bagging]:
    return lambda **config: Bagging(make_recipe(**config))
