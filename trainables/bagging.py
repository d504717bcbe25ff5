"""An ensemble whose members train side by side on the same images and vote (note A, section 3).

One member is the single model. The note draws no bootstrap samples: its members differ in initialisation
and batch order only; `bootstrap` is the textbook's variant, with an out-of-bag accuracy.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from trainables.ensembles import accuracy, most_votes, scores
from trainables.fused import Fused, can_fuse
from trainables.loop import EpochOutcome, Member
from trainables.measure import Split, labels_of, mean, measure, member_logits
from trainables.recipe import Recipe
from trainables.settings import Settings
from trainables.task import Task


class Bagging:
    """All members of one trial. `run_epoch` trains each for one epoch and measures the vote."""

    def __init__(self, recipe: Recipe[Any]) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.members = [Member(recipe, index) for index in range(self.settings.members)]
        self.epoch = 0
        self.fused: Fused | None = None  # made when it first trains

    @staticmethod
    def trial_epochs(settings: Settings) -> int:
        """Steps of a full trial."""
        return settings.epochs

    @staticmethod
    def work(settings: Settings, task: Task) -> tuple[int, int]:
        """Images a full trial trains on and images it evaluates, each counted once a member."""
        evaluated = settings.epochs * len(task.validation)
        evaluated += len(task.test) * (settings.epochs if settings.test_every_epoch else 1)
        evaluated += settings.epochs * len(task.train) if settings.train_measure != "running" else 0
        return settings.members * settings.epochs * len(task.train), settings.members * evaluated

    @property
    def total_epochs(self) -> int:
        return self.trial_epochs(self.settings)

    @property
    def parameters(self) -> int:
        return sum(member.parameters for member in self.members)

    def run_epoch(self) -> dict[str, Any]:
        """See trainables.strategy. Raises Diverged."""
        settings = self.settings
        epoch = self.epoch + 1
        start = time.perf_counter()
        outcomes = self.train_epoch(epoch)
        train_seconds = time.perf_counter() - start
        metrics: dict[str, Any] = {
            "epoch": epoch,
            "total_epochs": self.total_epochs,
            "lr": outcomes[0].lr,
            "train_loss": mean([outcome.loss for outcome in outcomes]),
            "train_accuracy": mean([outcome.accuracy for outcome in outcomes]),
            "train_seconds": train_seconds,
            "images_per_second": sum(outcome.images for outcome in outcomes) / train_seconds,
            "parameters": self.parameters,
            "prefix_parameters": torch.tensor([m.parameters for m in self.members]).cumsum(0).tolist(),
        }
        if settings.train_measure != "running":
            metrics["train_accuracy"] = self._scores("train")["accuracy"]
        metrics |= measure(self._scores, self.recipe, last=epoch == self.total_epochs)
        if settings.bootstrap:
            metrics["oob_accuracy"] = self.out_of_bag_accuracy()
        metrics["seconds"] = time.perf_counter() - start
        if "each_val_accuracy" in metrics:
            for member, value in zip(self.members, metrics["each_val_accuracy"], strict=True):
                member.val_accuracies.append(value)
        self.epoch = epoch
        return metrics

    def train_epoch(self, epoch: int, steps: int | None = None) -> list[EpochOutcome]:
        """Train every member one epoch (from 1), or its first `steps` batches; together where the path says so."""
        rates = {member.rate(epoch) for member in self.members}
        if not can_fuse(self.recipe) or len(rates) > 1:
            return [member.train_epoch(epoch, steps=steps) for member in self.members]
        if self.fused is None:
            self.fused = Fused(self.members)
        return self.fused.train_epoch(epoch, steps)

    def _scores(self, split: Split) -> dict[str, Any]:
        probabilities = torch.stack(
            [member_logits(member, split, self.epoch + 1).softmax(1) for member in self.members]
        )
        return scores(probabilities, labels_of(self.recipe.task, split), self.settings.vote)

    def out_of_bag_accuracy(self) -> float:
        """Hard vote on each training image by the members that did not train on it; the rest is left out."""
        task, classes = self.recipe.task, self.recipe.task.data.classes
        counts = torch.zeros(len(task.data.train_labels), classes, dtype=torch.int64, device=self.recipe.device)
        for member in self.members:
            unseen = task.train[~torch.isin(task.train, member.images)]
            labels = member.probabilities(task.data.train_images, unseen).argmax(1)
            counts[unseen] += torch.nn.functional.one_hot(labels, classes)
        voted = counts.sum(1) > 0
        return accuracy(most_votes(counts[voted]), task.data.train_labels[voted]).item()

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.epoch = int(state["epoch"])
