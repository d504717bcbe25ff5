"""Train one network for an epoch, and compute its outputs on any images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from trainables.training import engine
from trainables.training.recipe import Recipe
from trainables.training.seeds import generator, seeded

EVALUATION_BATCH = 125


class Diverged(ArithmeticError):
    """A training loss or an output that is not finite; the message names the member."""


@dataclass(frozen=True)
class EpochOutcome:
    """Running figures of one epoch, measured in training mode, on augmented images, while weights change."""

    loss: float
    accuracy: float
    images: int
    lr: float


class Member:
    """One network with its optimizer; all of its randomness comes from (seed, index) alone."""

    def __init__(self, recipe: Recipe[Any], index: int) -> None:
        self.recipe = recipe = recipe.for_member()
        self.index = index
        self.seed = recipe.settings.seed
        with seeded(self.seed, index, "weights"):
            network = recipe.network()
        self.network = network.to(recipe.device, memory_format=recipe.memory_format)  # type: ignore[call-overload]
        self.compiled = engine.compiled(self.network, recipe.features, recipe.device)
        self.optimizer = recipe.optimizer(self.network)
        self.images = self._sample()
        self.val_accuracies: list[float] = []  # validation accuracy after each epoch that was measured

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def _sample(self) -> torch.Tensor:
        """Return the training images of this member: all of them, or as many drawn with replacement."""
        train = self.recipe.task.train
        if not self.recipe.settings.bootstrap:
            return train
        draw = torch.randint(len(train), (len(train),), generator=generator(self.seed, self.index, "bootstrap"))
        return train[draw.to(train.device)]

    def order(self, epoch: int) -> torch.Tensor:
        """Return the order of the images in an epoch: [n] positions into this member's images."""
        if not self.recipe.settings.shuffle:
            return torch.arange(len(self.images), device=self.images.device)
        draw = torch.randperm(len(self.images), generator=generator(self.seed, self.index, "order", epoch))
        return draw.to(self.images.device)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch (from 1), which may depend on earlier validation accuracies."""
        return self.recipe.lr(epoch) * self.recipe.slowdown(self.val_accuracies)

    def begin_epoch(self, epoch: int) -> float:
        """Make network and optimizer ready for an epoch; return its learning rate."""
        self.recipe.begin_epoch(self.network, epoch)
        lr = self.rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.network.train()
        return lr

    def augmentation(self, epoch: int) -> torch.Generator:
        return generator(self.seed, self.index, "augmentation", epoch, self.recipe.device)

    def train_epoch(
        self,
        epoch: int,
        weights: torch.Tensor | None = None,
        steps: int | None = None,
        order: torch.Tensor | None = None,
    ) -> EpochOutcome:
        """Train one epoch (from 1), or its first `steps` batches; a last batch of one image is left out.

        `weights` [n], with mean 1, belong to the positions of the member's images. `order` [n], positions into the
        member's images, replaces `self.order(epoch)`. Raises Diverged if a loss was not finite.
        """
        order = self.order(epoch) if order is None else order
        recipe, settings = self.recipe, self.recipe.settings
        lr = self.begin_epoch(epoch)
        pool, labels = recipe.training_images(), recipe.task.data.train_labels
        augmentation = self.augmentation(epoch)
        loss_sum = torch.zeros((), dtype=torch.float64, device=recipe.device)
        correct = torch.zeros((), dtype=torch.int64, device=recipe.device)
        seen = 0
        with seeded(self.seed, self.index, "dropout", epoch, recipe.device):
            for positions in batches(order, settings.batch_size)[:steps]:
                batch = self.images[positions]
                inputs = recipe.train_inputs(pool[batch], augmentation)
                losses, logits = recipe.update(
                    self.compiled if len(batch) == settings.batch_size else self.network,
                    self.optimizer,
                    inputs,
                    labels[batch],
                    None if weights is None else weights[positions],
                )
                # Sums stay on the device: reading a sum would make every step wait for the device.
                loss_sum += losses.sum()
                correct += (logits.argmax(1) == labels[batch]).sum()
                seen += len(batch)
        return epoch_outcome(self, epoch, loss_sum.item() / seen, correct.item() / seen, seen, lr)

    @torch.no_grad()
    def probabilities(self, images: torch.Tensor, indices: torch.Tensor, epoch: int = 0) -> torch.Tensor:
        """Return softmax outputs [len(indices), classes] on images[indices], in evaluation mode. Raises Diverged."""
        return self.logits(images, indices, None, epoch).softmax(1)

    @torch.no_grad()
    def logits(
        self,
        images: torch.Tensor,
        indices: torch.Tensor,
        augmentation: torch.Generator | None = None,
        epoch: int = 0,
    ) -> torch.Tensor:
        """Return outputs [len(indices), classes] on images[indices], in evaluation mode, as float32.

        With `augmentation` the images are prepared as for training. A network that draws in evaluation too, as some of
        one's own do, draws the same whenever it is measured in an epoch. Raises Diverged if an output is not finite.
        """

        def inputs(batch: torch.Tensor) -> torch.Tensor:
            if augmentation is None:
                return self.recipe.test_inputs(batch)
            return self.recipe.train_inputs(batch, augmentation)

        self.network.eval()
        device, bf16 = self.recipe.device, self.recipe.settings.evaluation == engine.BF16
        with seeded(self.seed, self.index, "measuring", epoch, device), engine.precision(bf16, device):
            outputs = [self.network(inputs(images[batch])) for batch in indices.split(EVALUATION_BATCH)]
        logits = torch.cat(outputs).float()
        # An epoch's last update can overflow the weights after every training loss was finite.
        if not logits.isfinite().all():
            raise Diverged(f"outputs of member {self.index + 1} are not finite")
        return logits

    def state_dict(self) -> dict[str, Any]:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "val_accuracies": list(self.val_accuracies),
        }
        return state | ({"recipe": own} if (own := self.recipe.state_dict()) else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        # The saved groups say how the optimizer was executed; the present engine decides that anew.
        present = self.optimizer.param_groups[0]
        own = {name: present[name] for name in ("fused", "foreach") if name in present}
        groups = [group | own for group in state["optimizer"]["param_groups"]]
        self.optimizer.load_state_dict(state["optimizer"] | {"param_groups": groups})
        self.val_accuracies = list(state["val_accuracies"])
        self.recipe.load_state_dict(state.get("recipe", {}))


def epoch_outcome(member: Member, epoch: int, loss: float, accuracy: float, images: int, lr: float) -> EpochOutcome:
    """Return the outcome of an epoch. Raises Diverged if the loss is not finite."""
    if not math.isfinite(loss):
        raise Diverged(f"training loss is {loss} in epoch {epoch} of member {member.index + 1}")
    return EpochOutcome(loss, accuracy, images, lr)


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return the positions of each batch; a last batch of a single image is left out."""
    split = list(order.split(size))
    # Batch normalisation needs the variance of two images at least.
    return split[:-1] if len(split) > 1 and len(split[-1]) == 1 < size else split
