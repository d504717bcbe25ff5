"""Every space file can be run: it loads, says what it is, and each of its configurations trains a step."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.study import Study, load
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData

FOLDER = Path(__file__).parents[2] / "spaces"
SPACES = [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("__init__", "notes")]
CLASSES = {"cifar10": 10, "cifar100": 100}
# A step of one member on two images proves as much.
SIZE = {"batch_size": 2, "members": 1, "train_images": None, "test_images": None}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two images are too little to share among threads: waiting for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def study(space: str) -> Study:
    return load(FOLDER / f"{space}.py")


@functools.cache
def data(dataset: str) -> DeviceData:
    """Random images in the shape of the data set, four of each class to train on; the digits as they are."""
    if dataset == "digits":
        return DeviceData(load_data("digits"))
    classes = CLASSES[dataset]
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n * classes, 3, 32, 32), dtype=np.uint8) for n in (4, 1))
    return DeviceData(
        ImageData(
            name=dataset,
            train_images=train,
            train_labels=np.arange(4 * classes) % classes,
            test_images=test,
            test_labels=np.arange(classes),
            class_names=tuple(map(str, range(classes))),
            fingerprint="0",
            source="made up",
        )
    )


def drawn(study: Study, n: int) -> list[dict[str, Any]]:
    random = np.random.RandomState(0)
    return [
        {**study.fixed(), **{name: domain.sample(random_state=random) for name, domain in study.searched().items()}}
        for _ in range(n)
    ]


def train_a_step(study: Study, config: Mapping[str, Any], dataset: str) -> None:
    small = {"epochs": study.epochs, **config, **SIZE}
    if "weights" in study.trainable.recipe.settings_type.__dataclass_fields__:
        small["weights"] = "random"  # the real ones are a download of hundreds of megabytes
    training = build(study.trainable, small, data(dataset))
    outcome = training.members[0].train_epoch(1, steps=1)
    assert outcome.images == 2
    assert math.isfinite(outcome.loss)


def test_there_are_spaces() -> None:
    assert "alexnet_bagging" in SPACES


@pytest.mark.parametrize("space", SPACES)
def test_a_space_says_what_it_asks_where_it_is_from_and_how_to_run_it(space: str) -> None:
    doc = ast.get_docstring(ast.parse((FOLDER / f"{space}.py").read_text(encoding="utf-8")))
    assert doc is not None
    lines = {line.split()[0]: line.partition(" ")[2].strip() for line in doc.splitlines() if line.split()}
    assert doc.splitlines()[0].endswith("?")
    assert "note" in lines["Source"]
    assert lines["Question"]
    assert lines["Cost"]
    assert lines["Command"].startswith(f"python -m search.run spaces/{space}.py")


@pytest.mark.parametrize("space", SPACES)
def test_a_space_is_a_study_of_its_name_whose_domains_can_be_drawn_from(space: str) -> None:
    loaded = study(space)
    assert loaded.name == space
    assert loaded.question.endswith("?")
    assert loaded.searched()
    for config in drawn(loaded, 50):
        loaded.settings(config)
    smoke = loaded.as_smoke()
    assert smoke.dataset == "digits"
    assert smoke.samples <= 10
    assert smoke.epochs <= 4


@pytest.mark.parametrize("space", SPACES)
def test_no_arm_has_a_seed_of_its_own_which_a_replay_would_refuse(space: str) -> None:
    study(space).require_free_seeds()


# A step of these takes seconds; the others train all their arms in the everyday suite.
LARGE = ("wide_resnet", "pretrained_models", "model_size")


@pytest.mark.parametrize(
    "space", [pytest.param(space, marks=[pytest.mark.long] if space.startswith(LARGE) else []) for space in SPACES]
)
def test_what_a_space_runs_trains_a_step(space: str) -> None:
    loaded = study(space)
    arms = [config for config, _ in loaded.replay_configs(1, 0)] if loaded.arms else []
    for config in (*drawn(loaded, 2), *arms):
        train_a_step(loaded, config, loaded.dataset)
    smoke = loaded.as_smoke()
    train_a_step(smoke, drawn(smoke, 1)[0], "digits")
