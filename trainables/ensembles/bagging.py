"""Bagging: an ensemble whose members train side by side on the same images and vote (note A, section 3).

An ensemble of one member is the single model. The note draws no bootstrap samples: its members differ only in
initialisation and batch order. `bootstrap` is the textbook's variant, with an out-of-bag accuracy.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import torch

from trainables.data.task import Task
from trainables.ensembles.fused import Fused, can_fuse
from trainables.ensembles.votes import accuracy, most_votes, scores, votes
from trainables.epoch_metrics import (
    Split,
    labels_of,
    mean,
    measure,
    measures_training,
    member_logits,
    training_accuracies,
)
from trainables.training.loop import EpochOutcome, Member
from trainables.training.recipe import Recipe
from trainables.training.settings import Settings


class Bagging:
    """All members of one trial, trained side by side; `run_epoch` trains each for one epoch and measures the vote."""

    def __init__(self, recipe: Recipe[Any]) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.members = [Member(recipe, index) for index in range(self.settings.members)]
        self.epoch = 0
        self.fused: Fused | None = None  # made at the first epoch of fused training

    @staticmethod
    def trial_epochs(settings: Settings) -> int:
        """Return the steps of a full trial."""
        return settings.epochs

    @staticmethod
    def work(settings: Settings, task: Task) -> tuple[int, int]:
        """Return how many images a full trial trains on and how many it evaluates, each counted once a member."""
        evaluated = settings.epochs * len(task.validation)
        evaluated += len(task.test) * (settings.epochs if settings.test_every_epoch else 1)
        epochs = range(1, settings.epochs + 1)
        measured = sum(measures_training(settings, epoch, last=epoch == settings.epochs) for epoch in epochs)
        evaluated += measured * len(task.train)
        return settings.members * settings.epochs * len(task.train), settings.members * evaluated

    @property
    def total_epochs(self) -> int:
        return self.trial_epochs(self.settings)

    @property
    def parameters(self) -> int:
        return sum(member.parameters for member in self.members)

    def run_epoch(self) -> dict[str, Any]:
        """Train and measure the next epoch, see trainables.ensembles.strategy. Raises Diverged."""
        settings = self.settings
        epoch = self.epoch + 1
        last = epoch == self.total_epochs
        start = time.perf_counter()
        outcomes = self.train_epoch(epoch)
        train_seconds = time.perf_counter() - start
        metrics: dict[str, Any] = {
            "epoch": epoch,
            "total_epochs": self.total_epochs,
            "lr": outcomes[0].lr,
            "train_loss": mean([outcome.loss for outcome in outcomes]),
            "each_train_loss": [outcome.loss for outcome in outcomes],
            "train_seconds": train_seconds,
            "images_per_second": sum(outcome.images for outcome in outcomes) / train_seconds,
            "parameters": self.parameters,
            "prefix_parameters": torch.tensor([m.parameters for m in self.members]).cumsum(0).tolist(),
        }
        voted = self.training_accuracies(epoch) if measures_training(settings, epoch, last=last) else None
        running = [outcome.accuracy for outcome in outcomes]
        metrics |= training_accuracies(mean(running), running, voted, settings)
        metrics |= measure(functools.partial(self._scores, epoch), self.recipe, last=last)
        if settings.bootstrap:
            metrics["prefix_oob_accuracy"] = self.out_of_bag_accuracies()
            metrics["oob_accuracy"] = metrics["prefix_oob_accuracy"][-1]
        metrics["seconds"] = time.perf_counter() - start
        if "each_val_accuracy" in metrics:
            for member, value in zip(self.members, metrics["each_val_accuracy"], strict=True):
                member.val_accuracies.append(value)
        self.epoch = epoch
        return metrics

    def train_epoch(self, epoch: int, steps: int | None = None) -> list[EpochOutcome]:
        """Train every member one epoch (from 1), or its first `steps` batches; fused if the engine says so."""
        rates = {member.rate(epoch) for member in self.members}
        if not can_fuse(self.recipe) or len(rates) > 1:
            return [member.train_epoch(epoch, steps=steps) for member in self.members]
        if self.fused is None:
            self.fused = Fused(self.members)
        return self.fused.train_epoch(epoch, steps)

    def training_accuracies(self, epoch: int) -> list[float]:
        """Return the training accuracy of the vote of the first 1..n members after an epoch, as the protocol asks."""
        together = votes(self._probabilities("train", epoch), self.settings.vote)
        accuracies: list[float] = accuracy(together, labels_of(self.recipe.task, "train")).tolist()
        return accuracies

    def _scores(self, epoch: int, split: Split) -> dict[str, Any]:
        probabilities = self._probabilities(split, epoch)
        return scores(probabilities, labels_of(self.recipe.task, split), self.settings.vote)

    def _probabilities(self, split: Split, epoch: int) -> torch.Tensor:
        return torch.stack([member_logits(member, split, epoch).softmax(1) for member in self.members])

    def out_of_bag_accuracies(self) -> list[float | None]:
        """Return the out-of-bag accuracy of the first 1..n members: members vote on images that they did not train on.

        The vote is hard. An image that all of them trained on is left out; None if no image is left.
        """
        task, classes = self.recipe.task, self.recipe.task.data.classes
        counts = torch.zeros(len(task.data.train_labels), classes, dtype=torch.int64, device=self.recipe.device)
        accuracies: list[float | None] = []
        for member in self.members:
            unseen = task.train[~torch.isin(task.train, member.images)]
            if len(unseen):
                labels = member.probabilities(task.data.train_images, unseen, self.epoch + 1).argmax(1)
                counts[unseen] += torch.nn.functional.one_hot(labels, classes)
            voted = counts.sum(1) > 0
            right = accuracy(most_votes(counts[voted]), task.data.train_labels[voted])
            accuracies.append(right.item() if voted.any() else None)
        return accuracies

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.epoch = int(state["epoch"])
