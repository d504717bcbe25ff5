"""Measure how far a configuration's test curves lie from printed ones, to recover a setting that a note leaves out.

The measure looks at the test set at every epoch and the setting is chosen by it. So the results are good for nothing
else, and only a study under the protocol "recovery" may use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from search import columns
from trainables.data.task import Task
from trainables.ensembles.bagging import Bagging
from trainables.epoch_metrics import mean
from trainables.training.loop import Member
from trainables.training.recipe import Recipe
from trainables.training.settings import SettingError, Settings


class CurveFit:
    """Strategy that trains one network for each printed curve, all with the same trial's configuration.

    `curves` gives, for each value of the hyperparameter `vary`, the printed test accuracy of epochs 1, 2, ...
    """

    def __init__(self, vary: str, curves: Mapping[str, Sequence[float]]) -> None:
        self.vary = vary
        self.curves = {value: list(curve) for value, curve in curves.items()}

    @property
    def metrics(self) -> tuple[columns.Column, ...]:
        """Return the columns that a trainable with this strategy declares: the test accuracy of each curve."""
        return tuple(
            columns.metric(
                f"{value}_test_accuracy",
                f"Test accuracy of the network with {self.vary} {value}.",
                measured_on="test",
                better="max",
            )
            for value in self.curves
        )

    def __call__(self, recipe: Recipe[Any]) -> FittedCurves:
        settings, printed = recipe.settings, min(map(len, self.curves.values()))
        if not settings.test_every_epoch:
            raise SettingError("test_every_epoch must be true if a printed test curve is fitted, got False")
        if settings.epochs > printed:
            raise SettingError(f"epochs must be at most the {printed} that are printed, got {settings.epochs}")
        varied = {value: dataclasses.replace(settings, **{self.vary: value}) for value in self.curves}
        runs = {value: Bagging(type(recipe)(own, recipe.task)) for value, own in varied.items()}
        return FittedCurves(recipe, runs, self.curves)

    def trial_epochs(self, settings: Settings) -> int:
        return Bagging.trial_epochs(settings)

    def work(self, settings: Settings, task: Task) -> tuple[int, int]:
        trained, evaluated = Bagging.work(settings, task)
        return trained * len(self.curves), evaluated * len(self.curves)


class FittedCurves:
    """Training of one trial of CurveFit; implements trainables.ensembles.strategy.Training."""

    def __init__(self, recipe: Recipe[Any], runs: Mapping[str, Bagging], curves: Mapping[str, Sequence[float]]) -> None:
        self.recipe = recipe
        self.runs = runs
        self.curves = curves
        self.epoch = 0
        self.distances: list[float] = []  # mean over the curves, one value an epoch

    @property
    def members(self) -> list[Member]:
        return [member for run in self.runs.values() for member in run.members]

    @property
    def total_epochs(self) -> int:
        return Bagging.trial_epochs(self.recipe.settings)

    @property
    def parameters(self) -> int:
        """Return the parameter count of one network: each of the networks is a predictor of its own."""
        return next(iter(self.runs.values())).parameters

    def run_epoch(self) -> dict[str, Any]:
        """Train and measure one epoch of every network. Raises Diverged.

        `curve_distance` is the mean absolute difference between our test accuracy and the printed one, over the
        curves and the epochs so far; `<value>_test_accuracy` is the accuracy of the network of each curve.
        """
        results = {value: run.run_epoch() for value, run in self.runs.items()}
        own = {value: result["test_accuracy"] for value, result in results.items()}
        self.distances.append(mean([abs(own[value] - curve[self.epoch]) for value, curve in self.curves.items()]))
        self.epoch += 1
        each = list(results.values())
        accuracies = [result["train_accuracy"] for result in each]
        train_seconds = sum(result["train_seconds"] for result in each)
        images = sum(result["images_per_second"] * result["train_seconds"] for result in each)
        return {
            "epoch": self.epoch,
            "total_epochs": self.total_epochs,
            "lr": each[0]["lr"],
            "curve_distance": mean(self.distances),
            **{f"{value}_test_accuracy": accuracy for value, accuracy in own.items()},
            "train_loss": mean([result["train_loss"] for result in each]),
            "train_accuracy": None if None in accuracies else mean(accuracies),
            "running_train_accuracy": mean([result["running_train_accuracy"] for result in each]),
            "train_seconds": train_seconds,
            "images_per_second": images / train_seconds,
            "parameters": self.parameters,
            "seconds": sum(result["seconds"] for result in each),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "distances": list(self.distances),
            "runs": {value: run.state_dict() for value, run in self.runs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for value, run in self.runs.items():
            run.load_state_dict(state["runs"][value])
        self.distances = list(state["distances"])
        self.epoch = int(state["epoch"])
