"""End a trial once its validation accuracy no longer rises (note D, outlook)."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

from trainables.ensembles.bagging import Bagging
from trainables.epoch_metrics import measure
from trainables.training.recipe import Recipe
from trainables.training.settings import SettingError, Settings, number


@dataclass(frozen=True, kw_only=True)
class PatienceSettings(Settings):
    """Hyperparameters of a trial that ends early.

    `patience`: epochs without a better validation accuracy after which the trial ends; None for all epochs.
    """

    patience: int | None = number(None, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience is not None and not self.validation:
            raise SettingError(f"patience must be None if validation is false, got {self.patience}")


class PatientBagging(Bagging):
    """Bagging that ends after `patience` epochs without a better validation accuracy.

    A trial that ends early is complete: its last epoch is tested, not its best.
    """

    def __init__(self, recipe: Recipe[Any]) -> None:
        super().__init__(recipe)
        self._epochs = self.trial_epochs(self.settings)
        self._best, self._best_epoch = -1.0, 0

    @property
    def total_epochs(self) -> int:
        return self._epochs

    def run_epoch(self) -> dict[str, Any]:
        metrics = super().run_epoch()
        patience = self.settings.patience
        if patience is None:
            return metrics
        if metrics["val_accuracy"] > self._best:
            self._best, self._best_epoch = metrics["val_accuracy"], self.epoch
        elif self.epoch - self._best_epoch >= patience and self.epoch < self._epochs:
            start = time.perf_counter()
            self._epochs = self.epoch
            metrics |= measure(functools.partial(self._scores, self.epoch), self.recipe, last=True)
            if metrics["train_accuracy"] is None:  # not measured: the epoch was not known to be the last
                voted = self.training_accuracies(self.epoch)
                metrics |= {"train_accuracy": voted[-1], "prefix_train_accuracy": voted}
            metrics["total_epochs"] = self._epochs
            metrics["seconds"] += time.perf_counter() - start
        return metrics

    def state_dict(self) -> dict[str, Any]:
        patience = {"epochs": self._epochs, "best": self._best, "best_epoch": self._best_epoch}
        return super().state_dict() | {"patience": patience}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._epochs = state["patience"]["epochs"]
        self._best, self._best_epoch = state["patience"]["best"], state["patience"]["best_epoch"]
