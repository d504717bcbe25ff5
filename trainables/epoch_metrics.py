"""Metrics of the vote after an epoch, the same for every way to combine networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from trainables.data.task import Task
from trainables.ensembles.votes import smoothed_divergence
from trainables.training.loop import Member
from trainables.training.recipe import Recipe
from trainables.training.seeds import generator
from trainables.training.settings import Settings

Split = Literal["train", "validation", "test"]
Scorer = Callable[[Split], dict[str, Any]]


def images_of(task: Task, split: Split) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images uint8 [n, c, h, w], labels int64 [n] and the positions (int64) of the images in the split."""
    data = task.data
    if split == "test":
        return data.test_images, data.test_labels, task.test
    return data.train_images, data.train_labels, task.train if split == "train" else task.validation


def labels_of(task: Task, split: Split) -> torch.Tensor:
    _, labels, indices = images_of(task, split)
    return labels[indices]


def augments(settings: Settings, split: Split) -> bool:
    """Return whether the protocol measures a split on augmented images, drawn anew each epoch."""
    if split == "train":
        return settings.train_measure == "augmented"
    return split == "test" and settings.test_augmented


def member_logits(member: Member, split: Split, epoch: int) -> torch.Tensor:
    """Return one member's outputs [images, classes] on a split, as the protocol measures it. Raises Diverged.

    If the split is measured on augmented images, every member sees the same augmentation, drawn anew each epoch.
    """
    recipe, seed = member.recipe, member.recipe.settings.seed
    images, _, indices = images_of(recipe.task, split)
    if not augments(recipe.settings, split):
        return member.logits(images, indices, None, epoch)
    if split == "test":
        return member.logits(images, indices, generator(seed, 0, "test", epoch, recipe.device), epoch)
    draws = generator(seed, 0, "evaluation", epoch, recipe.device)
    return member.logits(recipe.training_images(), indices, draws, epoch)


def measures_training(settings: Settings, epoch: int, *, last: bool) -> bool:
    """Return whether the vote's training accuracy is measured after this epoch (from 1)."""
    if settings.train_measure == "running":
        return False
    return epoch == 1 or last or epoch % settings.train_measure_every == 0


def training_accuracies(
    running: float, each: Sequence[float | None], voted: list[float] | None, settings: Settings
) -> dict[str, Any]:
    """Return the training accuracy of an epoch, measured during training and, if known, of the vote after it.

    `running`: accuracy over the epoch while weights changed; `each`: the same of every member's last epoch; `voted`:
    accuracy of the vote of the first 1..n members, None if it was not measured. If the protocol asks for the vote and
    `voted` is None, `train_accuracy` is None: one measure never replaces the other.
    """
    metrics: dict[str, Any] = {"running_train_accuracy": running, "each_running_train_accuracy": list(each)}
    if voted is not None:
        return metrics | {"train_accuracy": voted[-1], "prefix_train_accuracy": voted}
    return metrics | {"train_accuracy": running if settings.train_measure == "running" else None}


def measure(score: Scorer, recipe: Recipe[Any], *, last: bool) -> dict[str, Any]:
    """Return the validation metrics of an epoch, and its test metrics if the protocol measures them.

    `score` returns `trainables.ensembles.votes.scores` of a split.
    """
    task, settings = recipe.task, recipe.settings
    metrics: dict[str, Any] = {}
    if len(task.validation):
        metrics |= _named("val", score("validation"))
    if last or settings.test_every_epoch:
        result = score("test")
        metrics |= _named("test", result)
        metrics["test_top5_accuracy"] = result["top5_accuracy"]
        if settings.label_smoothing:
            divergence = smoothed_divergence(result["probabilities"], labels_of(task, "test"), settings.label_smoothing)
            metrics["test_kl_loss"] = divergence
        if last:
            for name in ("predicted", "member_predicted"):
                metrics[name] = result[name].to(torch.int16).cpu().numpy()
            metrics["test_indices"] = task.test.to(torch.int32).cpu().numpy()
    return metrics


def _named(split: Literal["val", "test"], result: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of `scores`, of the whole vote and of its prefixes, under the names of search.columns."""
    prefixes = {
        "loss": result["prefix_losses"],
        "accuracy": result["prefix_accuracies"],
        "ece": result["prefix_eces"],
        "brier": result["prefix_briers"],
        "disagreement": result["prefix_disagreements"],
        "q_statistic": result["prefix_q_statistics"],
    }
    return {
        **{f"{split}_{name}": values[-1] for name, values in prefixes.items()},
        **{f"prefix_{split}_{name}": values for name, values in prefixes.items()},
        f"member_{split}_accuracy": mean(result["member_accuracies"]),
        f"each_{split}_accuracy": result["member_accuracies"],
    }


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
