"""AdaBoost: members train one after the other, each on the images its predecessors got wrong (note A, section 3).

A round is one member's `epochs`. A trial runs `members` rounds, one epoch a step: at the same step two trials of a
study have done the same work, and the first k rounds are the k-member ensemble.

Which predictions count: the note's alpha follows from the training accuracy that its logs print, the running accuracy
of the round's last epoch. Its image weights do not: those printed in 4.4 (images with 5, 0, 0, 3, 5 and 0 wrong rounds
of six) sum to 1 over the running predictions, 54 % right, only if members err nearly independently; but then
three such images in six would not have been right in all rounds. Predictions of the finished member, in
evaluation mode on its training images, fit both. So here those predictions decide which images were wrong, and also
give SAMME's error. They give the note's too if images are drawn by their weights (weighting "sampling"), since the
running accuracy is then that of the drawn images. Before its round ends a member votes by its running accuracy in any
case: the other costs an evaluation of the training images each epoch.

The arithmetic for K classes is SAMME's or note A's variant of it. Both start from the odds of a member with error e
against chance, (K-1) (1-e)/e:

    variant   error counted             alpha           weight of a training image, then normalised to sum 1
    samme     with the weights          ln(odds)        times exp(alpha) where the member is wrong
    note      every image alike         log2(odds) / K  times exp(alpha) where wrong, exp(-alpha) where right

samme: Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost". note: note A, sections 3 and 4, whose 24
printed alphas are this formula to the last digit ("alpha divider: classes" is the division by K).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Literal

import torch

from search.records import ROUND
from trainables.data.task import Task
from trainables.ensembles.votes import accuracy, weighted_scores, weighted_votes
from trainables.epoch_metrics import (
    Split,
    augments,
    labels_of,
    measure,
    measures_training,
    member_logits,
    training_accuracies,
)
from trainables.training.loop import EpochOutcome, Member
from trainables.training.recipe import Recipe
from trainables.training.seeds import generator
from trainables.training.settings import Settings

Variant = Literal["note", "samme"]

CHANCE_TOLERANCE = 1e-9  # tolerance in accuracy, since sums of weights are not exact


def alpha(variant: Variant, error: float, classes: int) -> float:
    """Return a member's weight in the vote: 0 at chance (error 1 - 1/K) or worse, infinite without an error."""
    if error == 0:
        return math.inf
    if 1 - error <= 1 / classes + CHANCE_TOLERANCE:
        return 0.0
    odds = (classes - 1) * (1 - error) / error
    return math.log2(odds) / classes if variant == "note" else math.log(odds)


def reweighted(variant: Variant, weights: torch.Tensor, wrong: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the next round's image weights, float64 [n] with sum 1.

    `weights` [n] are this round's; `wrong` (bool [n]) says which images the member got wrong.
    """
    factor_right = math.exp(-alpha) if variant == "note" else 1.0
    weights = weights * torch.where(wrong, math.exp(alpha), factor_right)
    return weights / weights.sum()


def shares(alphas: Sequence[float]) -> list[float]:
    """Return each member's share of the vote: its alpha over the sum of alphas.

    A member without an error (infinite alpha) decides alone; if no alpha is above 0, all members vote alike.
    """
    if math.inf in alphas:
        alphas = [1.0 if alpha == math.inf else 0.0 for alpha in alphas]
    elif not any(alphas):
        alphas = [1.0] * len(alphas)
    total = sum(alphas)
    return [alpha / total for alpha in alphas]


class AdaBoost:
    """One trial of AdaBoost, as the settings `boosting`, `weighting` and `vote` specify it.

    During a round its member votes with a provisional alpha, from its running training accuracy. As in SAMME a round
    ends the trial if its member makes no error (then this member decides alone) or is no better than chance (then it
    is left out, unless it is the first).
    """

    def __init__(self, recipe: Recipe[Any]) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.members = [Member(recipe, 0)]
        self.alphas: list[float] = []  # alphas of the finished rounds
        self.running: list[tuple[float | None, float | None]] = []  # each member's last training loss and accuracy
        images = len(recipe.task.train)
        self.weights = torch.full((images,), 1 / images, dtype=torch.float64)
        self.epoch = 0
        self.total_epochs = self.trial_epochs(self.settings)
        self._finished: dict[Split, list[torch.Tensor]] = {"train": [], "validation": [], "test": []}

    @staticmethod
    def trial_epochs(settings: Settings) -> int:
        """Return the steps of a full trial."""
        return settings.members * settings.epochs

    @staticmethod
    def work(settings: Settings, task: Task) -> tuple[int, int]:
        """Return how many images a full trial trains on and how many it evaluates, each counted once a member."""
        epochs = range(1, AdaBoost.trial_epochs(settings) + 1)
        tested = epochs if settings.test_every_epoch else epochs[-1:]
        voted = [epoch for epoch in epochs if measures_training(settings, epoch, last=epoch == epochs[-1])]
        evaluated = AdaBoost._looks(settings, "validation", epochs) * len(task.validation)
        evaluated += AdaBoost._looks(settings, "test", tested) * len(task.test)
        evaluated += (settings.members + AdaBoost._looks(settings, "train", voted)) * len(task.train)
        return len(epochs) * len(task.train), evaluated

    @staticmethod
    def _looks(settings: Settings, split: Split, epochs: Sequence[int]) -> int:
        """Count how often members predict a split that is measured after these epochs."""
        if augments(settings, split):  # all members so far predict it each time
            return sum(math.ceil(epoch / settings.epochs) for epoch in epochs)
        # Each member predicts it once when finished, and whenever the split is measured before that.
        return sum(1 for epoch in epochs if epoch % settings.epochs) + (settings.members if epochs else 0)

    @property
    def parameters(self) -> int:
        return self._prefix_parameters()[-1]

    def run_epoch(self) -> dict[str, Any]:
        """Train and measure the next epoch; also return `round` (from 1) and `each_alpha`. Raises Diverged.

        See trainables.ensembles.strategy. Training figures are those of the round's member; `train_accuracy` is the
        vote's if `train_measure` asks for the vote.
        """
        settings = self.settings
        epoch = self.epoch + 1
        finished, round_epoch = divmod(self.epoch, settings.epochs)
        if finished == len(self.members):
            self.members.append(Member(self.recipe, finished))
        start = time.perf_counter()
        member = self.members[-1]
        outcome = self._train(member, round_epoch + 1)
        train_seconds = time.perf_counter() - start
        self.running[finished:] = [(outcome.loss, outcome.accuracy)]
        if round_epoch + 1 == settings.epochs:
            self._end_round(outcome, epoch)
        last = epoch == self.total_epochs
        alphas = list(self.alphas)
        if len(alphas) < len(self.members):
            alphas.append(alpha(settings.boosting, 1 - outcome.accuracy, self.recipe.task.data.classes))
        votes = [shares(alphas[:size]) for size in range(1, len(alphas) + 1)]

        def score(split: Split) -> dict[str, Any]:
            logits = self._logits(split, epoch)
            return weighted_scores(logits, labels_of(self.recipe.task, split), settings.vote, votes)

        metrics: dict[str, Any] = {
            "epoch": epoch,
            "total_epochs": self.total_epochs,
            ROUND: finished + 1,
            "lr": outcome.lr,
            "train_loss": outcome.loss,
            "each_train_loss": [loss for loss, _ in self.running],
            "train_seconds": train_seconds,
            "images_per_second": outcome.images / train_seconds,
            "parameters": self.parameters,
            "prefix_parameters": self._prefix_parameters(),
            "each_alpha": [1.0 if math.isinf(value) else value for value in alphas],
        }
        voted = None
        if measures_training(settings, epoch, last=last):
            together = weighted_votes(self._logits("train", epoch), settings.vote, votes)
            voted = accuracy(together, labels_of(self.recipe.task, "train")).tolist()
        each = [right for _, right in self.running]
        metrics |= training_accuracies(outcome.accuracy, each, voted, settings)
        metrics |= measure(score, self.recipe, last=last)
        metrics["seconds"] = time.perf_counter() - start
        if "each_val_accuracy" in metrics and member is self.members[-1]:
            member.val_accuracies.append(metrics["each_val_accuracy"][-1])
        # Set last: an epoch whose evaluation diverged has not finished.
        self.epoch = epoch
        return metrics

    def _train(self, member: Member, round_epoch: int) -> EpochOutcome:
        images, device = len(self.weights), self.recipe.device
        if self.settings.weighting == "loss":
            weights = (self.weights * images).to(device=device, dtype=torch.float32)
            return member.train_epoch(round_epoch, weights=weights)
        draws = generator(self.settings.seed, member.index, "order", round_epoch)
        order = torch.multinomial(self.weights, images, replacement=True, generator=draws)
        if not self.settings.shuffle:
            order = order.sort().values
        return member.train_epoch(round_epoch, order=order.to(device))

    def _end_round(self, outcome: EpochOutcome, epoch: int) -> None:
        """Weigh the round's member and, for the next round, the training images."""
        recipe, variant = self.recipe, self.settings.boosting
        member = self.members[-1]
        predicted = member.logits(recipe.training_images(), recipe.task.train, None, epoch).argmax(1)
        wrong = (predicted != labels_of(recipe.task, "train")).cpu()
        if variant == "samme":
            error = self.weights[wrong].sum().item()
        elif self.settings.weighting == "sampling":
            error = wrong.double().mean().item()
        else:
            error = 1 - outcome.accuracy
        weight = alpha(variant, error, recipe.task.data.classes)
        if weight == 0 and self.alphas:
            self.members.pop()
            self.running.pop()
        else:
            self.alphas.append(weight)
        if weight in (0, math.inf):
            self.total_epochs = epoch
        else:
            self.weights = reweighted(variant, self.weights, wrong, weight)
        # A finished network needs neither gradients nor optimizer state, and a checkpoint would carry both.
        member.optimizer.zero_grad(set_to_none=True)
        member.optimizer.state.clear()

    def _logits(self, split: Split, epoch: int) -> torch.Tensor:
        """Return outputs [members, images, classes]; those of finished members on fixed images are computed once."""
        if augments(self.settings, split):
            return torch.stack([member_logits(member, split, epoch) for member in self.members])
        kept = self._finished[split]
        for member in self.members[len(kept) : len(self.alphas)]:
            # Its own last epoch decides what it draws: a restored trial computes these anew, in a later epoch.
            kept.append(member_logits(member, split, (len(kept) + 1) * self.settings.epochs))
        return torch.stack([*kept, *(member_logits(m, split, epoch) for m in self.members[len(self.alphas) :])])

    def _prefix_parameters(self) -> list[int]:
        """Return the parameters of the first 1..n members; a member that decides alone counts alone."""
        counts: list[int] = torch.tensor([member.parameters for member in self.members]).cumsum(0).tolist()
        if math.inf in self.alphas:
            counts[-1] = self.members[-1].parameters
        return counts

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "total_epochs": self.total_epochs,
            "alphas": list(self.alphas),
            "weights": self.weights,
            "running": [list(figures) for figures in self.running],
            "members": [member.state_dict() for member in self.members],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.members = [Member(self.recipe, index) for index in range(len(state["members"]))]
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)
        self.alphas = list(state["alphas"])
        self.weights = state["weights"].cpu()
        # Checkpoints from before 2026-11-25 do not hold the running figures.
        self.running = [(loss, right) for loss, right in state.get("running", [(None, None)] * len(self.members))]
        self.epoch, self.total_epochs = int(state["epoch"]), int(state["total_epochs"])
        for kept in self._finished.values():
            kept.clear()
