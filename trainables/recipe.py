"""What a configuration means for one network: inputs, weights, loss, optimizer, rate.

A family is a `Recipe` subclass with its own `Settings`. The training loop knows only this interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from trainables import paths, schedules
from trainables.settings import Settings
from trainables.task import Task

S = TypeVar("S", bound=Settings)


class Recipe(Generic[S]):
    """One family's way from uint8 images to an updated network. Override what the family does otherwise."""

    settings_type: ClassVar[type[Settings]]
    # Multiple of the mean loss that the gradients are taken of; reported losses are in nats whatever it is.
    loss_scale: float = 1.0

    def __init__(self, settings: S, task: Task) -> None:
        self.settings = settings
        self.task = task
        self.device = task.data.device
        self.features = paths.features(settings.path)

    @classmethod
    def require(cls, settings: S) -> None:
        """Raise ValueError, in one line, unless what the settings take from elsewhere (weights) is there."""

    def network(self) -> nn.Module:
        """A freshly initialised network (drawn from PyTorch's default generator), on the CPU."""
        raise NotImplementedError

    def training_images(self) -> torch.Tensor:
        """uint8 [n, c, h, w]: what `task.train` indexes."""
        return self.task.data.train_images

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A batch of uint8 images [n, c, h, w] as the network takes it in training (augmented)."""
        return self.test_inputs(images)

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        """A batch of uint8 images [n, c, h, w] as the network takes it in evaluation."""
        return channels_last(images.float() / 255)

    def begin_epoch(self, network: nn.Module, epoch: int) -> None:
        """What changes in the network with an epoch (from 1), e.g. which layers train; must not depend on the past."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Nats per image [n] from logits [n, classes] and int64 labels [n], under label smoothing.

        The target is 1 - eps on the label and eps / (classes - 1) elsewhere (note C).
        """
        classes = logits.shape[1]
        # PyTorch spreads its share over all classes, the label included.
        smoothing = self.settings.label_smoothing * classes / (classes - 1)
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        settings, parameters = self.settings, network.parameters()
        fused = True if self.features and self.device.type == "cuda" else None
        if settings.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)
        return torch.optim.SGD(
            parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused
        )

    def lr(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        warmup, epochs = self.settings.warmup_epochs, self.settings.epochs
        if epoch <= warmup:
            return self.settings.lr * schedules.warmup(epoch, warmup)
        return self.settings.lr * self.decay(epoch - warmup, max(1, epochs - warmup))

    def decay(self, epoch: int, epochs: int) -> float:
        """The rate of an epoch after warm-up, as a multiple of `lr`; both are counted from its end."""
        return float(getattr(schedules, self.settings.decay)(epoch, epochs))

    def slowdown(self, val_accuracies: Sequence[float]) -> float:
        """A further multiple of the rate, from a network's validation accuracies after its epochs so far."""
        return 1.0

    def update(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the optimizer; returns (losses [n], logits [n, classes]) from before it, detached.

        `weights` [n] multiply the images' losses; their mean over the training set is 1.
        """
        result = self.backward(network, optimizer, inputs, labels, weights)
        optimizer.step()
        return result

    def backward(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of one step, in place of the last one's; arguments and result are those of `update`."""
        # First: a CUDA graph's next run writes where its last one left them.
        optimizer.zero_grad(set_to_none=True)
        logits = self.forward(network, inputs)
        losses = self.losses(logits, labels)
        ((losses if weights is None else losses * weights).mean() * self.loss_scale).backward()
        return losses.detach(), logits.detach()

    def forward(self, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes] of a training step as the path computes them, float32 at least."""
        with paths.precision(paths.BF16 in self.features, self.device):
            logits: torch.Tensor = network(inputs)
        if logits.dtype == torch.bfloat16:
            return logits.float()
        # SAM returns the logits of its first pass after a second one, which would overwrite a CUDA graph's.
        return logits.clone() if paths.COMPILE in self.features else logits


class RecipeMaker(Protocol):
    """What a trainable names: a Recipe class, or what makes one of several."""

    @property
    def settings_type(self) -> type[Settings]: ...

    def __call__(self, settings: Any, task: Task, /) -> Recipe[Any]: ...

    def require(self, settings: Any, /) -> None: ...


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """The memory layout in which convolutions run fastest, on a CPU as on a GPU."""
    return images.contiguous(memory_format=torch.channels_last)
