"""What the simulated searches search: spaces whose learning curves were recorded, on real images.

Each landscape but the first was drawn at random from its space and trained twice, with two seeds, so that the noise
between two runs of one configuration is part of it (tests.benchmarks.record_curves). Between recorded configurations
it is continued by `Surface`.
"""

from __future__ import annotations

import csv
import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.sample import Categorical, Domain
from sklearn.ensemble import ExtraTreesRegressor

from search.study import Study
from trainables.alexnet import BaggedAlexNet
from trainables.convnet import ConvNetTrainable
from trainables.lenet import LeNetTrainable
from trainables.small_alexnet import SmallAlexNetTrial
from trainables.wide_resnet import WideResNetTrial

CURVES = Path(__file__).parent / "curves"


@dataclass(frozen=True)
class Landscape:
    """One recorded table: `draws` configurations of `space`, each trained with `seeds` seeds.

    space   hyperparameter -> Ray Tune domain, or a fixed value
    brings  hyperparameter -> (other, value): it does something only if the other one has that value
    """

    name: str
    trainable: Any
    dataset: str
    space: Mapping[str, Any]
    brings: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    epochs: int = 12
    train_images: int = 1500
    validation_images: int = 2000
    draws: int = 64
    seeds: int = 2

    @property
    def path(self) -> Path:
        return CURVES / f"{self.name}.csv"

    @property
    def searched(self) -> dict[str, Any]:
        return {name: value for name, value in self.space.items() if isinstance(value, Domain)}

    @property
    def fixed(self) -> dict[str, Any]:
        return {name: value for name, value in self.space.items() if name not in self.searched}

    @functools.cached_property
    def study(self) -> Study:
        return Study(
            name=f"landscape_{self.name}",
            question="How many epochs does early stopping save?",
            source="none",
            trainable=self.trainable,
            dataset=self.dataset,
            epochs=self.epochs,
            param_space=self.space,
        )

    def drawn(self, number: int) -> dict[str, Any]:
        """Return the searched hyperparameters of recorded configuration `number`: a function of both names alone."""
        random = np.random.RandomState([zlib.crc32(self.name.encode()), number])
        return {name: _plain(domain.sample(random_state=random)) for name, domain in self.searched.items()}


def _plain(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


LANDSCAPES = {
    each.name: each
    for each in (
        Landscape(  # A grid of 7 rates, 4 momenta and 2 batch sizes, 5,000 images, one seed, validated on 1,000.
            "lenet",
            LeNetTrainable,
            "cifar10",
            {
                "lr": tune.loguniform(0.001, 1.0),
                "momentum": tune.choice([0.0, 0.5, 0.9, 0.98]),
                "batch_size": tune.choice([32, 128]),
            },
            epochs=15,
            draws=0,
        ),
        Landscape(
            "lenet_mixed",
            LeNetTrainable,
            "cifar10",
            {
                "optimizer": tune.choice(["sgd", "adam"]),
                "lr": tune.loguniform(1e-4, 0.3),
                "momentum": tune.uniform(0.0, 0.98),
                "weight_decay": tune.loguniform(1e-6, 1e-2),
                "batch_size": tune.choice([16, 32, 64, 128]),
                "decay": tune.choice(["constant", "step", "cosine"]),
                "step_factor": tune.uniform(0.1, 0.9),
                "batch_norm": tune.choice([False, True]),
                "dropout": tune.uniform(0.0, 0.5),
                "conv1": tune.lograndint(4, 25),
            },
            {"momentum": ("optimizer", "sgd"), "step_factor": ("decay", "step")},
            epochs=15,
        ),
        Landscape(
            "convnet",
            ConvNetTrainable,
            "cifar100",
            {
                "depth": tune.choice([1, 2, 3, 4]),
                "width": tune.choice([4, 8, 16]),
                "optimizer": tune.choice(["sgd", "adam"]),
                "lr": tune.loguniform(1e-4, 1.0),
                "weight_decay": tune.loguniform(1e-6, 1e-2),
                "batch_size": tune.choice([32, 64, 128]),
                "label_smoothing": tune.uniform(0.0, 0.3),
            },
            train_images=2000,
        ),
        Landscape(
            "small_alexnet",
            SmallAlexNetTrial,
            "cifar10",
            {
                "lr": tune.loguniform(1e-4, 0.3),
                "momentum": tune.choice([0.0, 0.9]),
                "decay": tune.choice(["constant", "cosine"]),
                "batch_size": tune.choice([32, 64]),
                "dropout": tune.uniform(0.0, 0.6),
                "initialization": tune.choice(["he", "default"]),
                "batch_norm": tune.choice([False, True]),
                "engine": "bf16",
                "evaluation": "bf16",
            },
            train_images=500,
            validation_images=1000,
            draws=60,
        ),
        Landscape(
            "alexnet",
            BaggedAlexNet,
            "cifar100",
            {
                "lr": tune.loguniform(1e-3, 0.3),
                "momentum": tune.choice([0.0, 0.9]),
                "weight_decay": tune.loguniform(1e-6, 1e-2),
                "batch_size": tune.choice([16, 32, 64]),
                "dropout": tune.uniform(0.0, 0.9),
                "decay": tune.choice(["constant", "exponential", "cosine"]),
                "batch_norm": tune.choice([False, True]),
                "engine": "bf16",
                "evaluation": "bf16",
            },
            validation_images=1000,
            draws=60,
        ),
        Landscape(
            "thin_wide_resnet",
            WideResNetTrial,
            "cifar10",
            {
                "lr": tune.loguniform(1e-3, 3.0),
                "momentum": tune.uniform(0.0, 0.99),
                "weight_decay": tune.loguniform(1e-5, 1e-2),
                "batch_size": tune.choice([32, 64, 128]),
                "decay": tune.choice(["constant", "cosine"]),
                "label_smoothing": tune.uniform(0.0, 0.3),
                "cutout": tune.choice([0, 8]),
                "depth": 10,
                "width": 1,
                "rho": 0.0,
                "engine": "bf16",
                "evaluation": "bf16",
            },
            train_images=1000,
        ),
    )
}


class Surface:
    """A landscape at any configuration: the learning curve that is expected there, and one run's own.

    Extremely randomised trees (Geurts et al. 2006) on the recorded curves, all epochs at once: a forest is what
    surrogate benchmarks were found to need (Eggensperger et al. 2015). Every leaf is one recorded curve, so that a
    prediction is a weighted mean of real curves, and a recorded configuration has its own. A run's curve has half the
    difference of the two recorded runs of a nearby configuration as its noise, times root 2 and either way.
    """

    TREES = 60
    LOOKED_AT = 20_000  # random configurations among which the best is looked for

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        with landscape.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        by_config: dict[tuple[str, ...], list[list[float]]] = {}
        for row in rows:
            curve = [float(row[str(epoch)]) for epoch in range(1, landscape.epochs + 1)]
            by_config.setdefault(tuple(row[name] for name in landscape.searched), []).append(curve)
        if landscape.draws:
            by_config = {config: curves for config, curves in by_config.items() if len(curves) == landscape.seeds}
        self.configs = [
            {
                name: _parsed(domain, text)
                for (name, domain), text in zip(landscape.searched.items(), texts, strict=True)
            }
            for texts in by_config
        ]
        self.curves = np.array([np.mean(curves, axis=0) for curves in by_config.values()])
        self.deviations = np.array([(np.array(curves[0]) - curves[-1]) / 2 for curves in by_config.values()])
        self.points = np.array([self.encoded(config) for config in self.configs])
        forest = ExtraTreesRegressor(self.TREES, min_samples_leaf=1, random_state=0)
        forest.fit(self.points, self.curves)
        self._plant([tree.tree_ for tree in forest.estimators_])

    def _plant(self, trees: list[Any]) -> None:
        """Lay the trees end to end in arrays: asked one configuration at a time, scikit-learn takes 20 times longer."""
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        self._roots = starts[:-1]
        shifted = [
            (
                np.where(tree.children_left < 0, -1, tree.children_left + start),
                np.where(tree.children_right < 0, -1, tree.children_right + start),
            )
            for tree, start in zip(trees, starts, strict=False)
        ]
        self._left = np.concatenate([left for left, _ in shifted])
        self._right = np.concatenate([right for _, right in shifted])
        self._feature = np.concatenate([np.maximum(tree.feature, 0) for tree in trees])
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        self._value = np.concatenate([tree.value[:, :, 0] for tree in trees])
        of_point = np.full(len(self._left), -1)
        for number, point in enumerate(self.points):
            of_point[self._leaves(point)] = number
        self._recorded = of_point

    def _leaves(self, point: np.ndarray) -> np.ndarray:
        nodes = self._roots.copy()
        point = point.astype(np.float32)
        while (inner := self._left[nodes] >= 0).any():
            at = nodes[inner]
            goes_left = point[self._feature[at]] <= self._threshold[at]
            nodes[inner] = np.where(goes_left, self._left[at], self._right[at])
        return nodes

    def encoded(self, config: Mapping[str, Any]) -> np.ndarray:
        """Return a configuration as numbers from 0 to 1; what does nothing has one value, -1."""
        values: list[float] = []
        for name, domain in self.landscape.searched.items():
            other, wanted = self.landscape.brings.get(name, (name, config[name]))
            acts = config[other] == wanted
            if isinstance(domain, Categorical):
                ordered = all(type(choice) in (int, float) for choice in domain.categories)
                place = domain.categories.index(config[name])
                if ordered or len(domain.categories) == 2:
                    values.append(place / (len(domain.categories) - 1) if acts else -1.0)
                else:
                    values.extend(float(number == place) for number in range(len(domain.categories)))
                continue
            low, high, value = domain.lower, domain.upper, config[name]
            if "Log" in type(domain.sampler).__name__:
                low, high, value = np.log(low), np.log(high), np.log(value)
            values.append((value - low) / (high - low) if acts else -1.0)
        return np.array(values)

    def expected(self, config: Mapping[str, Any]) -> np.ndarray:
        """Return the curve [epochs] expected of a configuration."""
        curve: np.ndarray = self._value[self._leaves(self.encoded(config))].mean(0)
        return curve

    def run(self, config: Mapping[str, Any], random: np.random.RandomState) -> np.ndarray:
        """Return the curve [epochs] of one run of a configuration."""
        leaves = self._leaves(self.encoded(config))
        noise = self.deviations[self._recorded[random.choice(leaves)]] * np.sqrt(2) * random.choice((-1, 1))
        curve: np.ndarray = (self._value[leaves].mean(0) + noise).clip(0, 1)
        return curve

    @functools.cached_property
    def best(self) -> float:
        """The best expected final accuracy of many configurations, the recorded ones among them."""
        random = np.random.RandomState(0)
        drawn = (
            {name: domain.sample(random_state=random) for name, domain in self.landscape.searched.items()}
            for _ in range(self.LOOKED_AT)
        )
        return max(float(self.expected(config)[-1]) for config in (*self.configs, *drawn))


def _parsed(domain: Any, text: str) -> Any:
    if isinstance(domain, Categorical):
        texts = {str(choice): choice for choice in domain.categories}
        return texts[text]
    return type(domain.lower)(text) if isinstance(domain.lower, int) else float(text)
