"""Prepare a process for training, and run and compare the first steps of a training."""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch.nn.modules.dropout import _DropoutNd

from trainables.ensembles.bagging import Bagging
from trainables.ensembles.fused import can_fuse
from trainables.ensembles.strategy import Training
from trainables.training import dynamo
from trainables.training.allocator import keep_pages
from trainables.training.loop import Diverged as Diverged  # what these steps raise
from trainables.training.loop import EpochOutcome


def prepare_process(threads: float) -> None:
    """Give PyTorch this many threads, at least one, keep the allocator's pages, and import nothing that compiles."""
    torch.set_num_threads(max(1, int(threads)))
    keep_pages()
    dynamo.leave_out()


def first_steps(training: Training, steps: int) -> list[EpochOutcome]:
    """Train the first batches of an epoch; return the outcomes of all members, or of one if members train in turn."""
    if isinstance(training, Bagging):
        return training.train_epoch(1, steps)
    return [training.members[0].train_epoch(1, steps=steps)]


def losses(training: Training, lr: float, steps: int, *, backwards: bool = False) -> list[float]:
    """Train the first batches of an epoch at the rate `lr`; return the first member's mean loss of each batch.

    `backwards` takes the epoch's images from the end, so that the batches differ. A training that diverges returns
    losses that are not finite.
    """
    recipe, found = training.members[0].recipe, []
    own, settings = recipe.losses, recipe.settings

    def watched(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        result = own(logits, labels)
        found.append(result.detach()[: settings.batch_size].mean())  # the first member's come first if fused
        return result

    recipe.losses = watched  # type: ignore[method-assign]
    recipe.settings = dataclasses.replace(settings, lr=lr)
    try:
        with contextlib.suppress(Diverged):
            if backwards:
                member = training.members[0]
                member.train_epoch(1, steps=steps, order=member.order(1).flip(0))
            else:
                first_steps(training, steps)
    finally:
        recipe.losses, recipe.settings = own, settings  # type: ignore[method-assign]
    return torch.stack(found).tolist()


def fuses(training: Training) -> bool:
    return isinstance(training, Bagging) and can_fuse(training.recipe)


def without_dropout(training: Training) -> Training:
    """Switch off dropout and stochastic depth in a training that has not begun, and return it."""
    for member in training.members:
        for module in member.network.modules():
            if isinstance(module, _DropoutNd) or type(module).__name__ == "StochasticDepth":
                module.p = 0.0
    return training


def gradient(training: Training) -> torch.Tensor:
    """Return the last step's gradient of the first member's weights in a row, float32."""
    fused = training.fused if isinstance(training, Bagging) else None
    network = training.members[0].network if fused is None else fused.network
    found = [p.grad if fused is None else p.grad[0] for p in network.parameters() if p.grad is not None]
    return torch.cat([gradient.flatten() for gradient in found]).float()


def other_gradient(training: Training) -> torch.Tensor:
    """Return the gradient on the epoch's last batch, at the present weights, of a member that trains alone."""
    member = training.members[0]
    recipe = member.recipe
    batch = member.images[member.order(1)[-recipe.settings.batch_size :]]
    inputs = recipe.train_inputs(recipe.training_images()[batch], member.augmentation(2))
    recipe.backward(member.network, member.optimizer, inputs, recipe.task.data.train_labels[batch])
    return gradient(training)
