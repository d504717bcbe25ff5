"""What an epoch reports of the vote, the same for every way to combine networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from trainables.ensembles import smoothed_divergence
from trainables.loop import Member
from trainables.recipe import Recipe
from trainables.seeds import generator
from trainables.settings import Settings
from trainables.task import Task

Split = Literal["train", "validation", "test"]
Scorer = Callable[[Split], dict[str, Any]]


def images_of(task: Task, split: Split) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images uint8 [n, c, h, w], labels int64 [n], and which of them belong to the split (int64)."""
    data = task.data
    if split == "test":
        return data.test_images, data.test_labels, task.test
    return data.train_images, data.train_labels, task.train if split == "train" else task.validation


def labels_of(task: Task, split: Split) -> torch.Tensor:
    _, labels, indices = images_of(task, split)
    return labels[indices]


def augments(settings: Settings, split: Split) -> bool:
    """Return whether the protocol measures a split on augmented images, which are then others each epoch."""
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
        return member.logits(images, indices)
    if split == "test":
        return member.logits(images, indices, generator(seed, 0, "test", epoch, recipe.device))
    draws = generator(seed, 0, "evaluation", epoch, recipe.device)
    return member.logits(recipe.training_images(), indices, draws)


def measure(score: Scorer, recipe: Recipe[Any], *, last: bool) -> dict[str, Any]:
    """Validation metrics of an epoch, and test metrics where the protocol measures them.

    `score` gives `trainables.ensembles.scores` of a split.
    """
    task, settings = recipe.task, recipe.settings
    metrics: dict[str, Any] = {}
    if len(task.validation):
        result = score("validation")
        metrics |= {
            "val_loss": result["loss"],
            "val_accuracy": result["accuracy"],
            "member_val_accuracy": mean(result["member_accuracies"]),
            "each_val_accuracy": result["member_accuracies"],
            "prefix_val_accuracy": result["prefix_accuracies"],
        }
    if last or settings.test_every_epoch:
        result = score("test")
        metrics |= {
            "test_loss": result["loss"],
            "test_accuracy": result["accuracy"],
            "test_top5_accuracy": result["top5_accuracy"],
            "member_test_accuracy": mean(result["member_accuracies"]),
            "each_test_accuracy": result["member_accuracies"],
            "prefix_test_accuracy": result["prefix_accuracies"],
        }
        if settings.label_smoothing:
            divergence = smoothed_divergence(result["probabilities"], labels_of(task, "test"), settings.label_smoothing)
            metrics["test_kl_loss"] = divergence
        if last:
            for name in ("predicted", "member_predicted"):
                metrics[name] = result[name].to(torch.int16).cpu().numpy()
            metrics["test_indices"] = task.test.to(torch.int32).cpu().numpy()
    return metrics


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
