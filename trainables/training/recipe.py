"""Turn a configuration into what one network needs: inputs, weights, loss, optimizer, rate.

A family is a `Recipe` subclass with its own `Settings`. The training loop knows only this interface.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from trainables.data.task import Task
from trainables.training import engine, schedules
from trainables.training.settings import Settings

S = TypeVar("S", bound=Settings)


def memory_format(name: str) -> torch.memory_format:
    """Return PyTorch's memory format of this name, such as "torch.channels_last"."""
    found: torch.memory_format = getattr(torch, name.removeprefix("torch."))
    return found


# PyTorch pickles a memory format by whatever module happens to hold torch as a global, which a worker may lack. The
# class of a network of one's own holds one, and reaches workers by value.
copyreg.pickle(torch.memory_format, lambda layout: (memory_format, (str(layout),)))


class Recipe(Generic[S]):
    """One family's way from uint8 images to an updated network; subclasses override what differs."""

    settings_type: ClassVar[type[Settings]]
    # Factor of the mean loss before gradients are taken; reported losses are in nats whatever the factor.
    loss_scale: float = 1.0
    memory_format: ClassVar[torch.memory_format] = torch.channels_last  # of weights and inputs

    def __init__(self, settings: S, task: Task) -> None:
        self.settings = settings
        self.task = task
        self.device = task.data.device
        self.features = engine.features(settings.engine)

    @property
    def fusable(self) -> bool:
        """Return whether one step may train all members at once: only if each weight's step depends on it alone.

        SAM's step does not: its norm would be taken over the weights of all members.
        """
        own = ("update", "backward", "optimizer")
        return all(getattr(type(self), name) is getattr(Recipe, name) for name in own)

    @classmethod
    def require(cls, settings: S) -> None:
        """Raise ValueError, in one line, if something that the settings take from elsewhere (weights) is missing."""

    @classmethod
    def require_images(cls, settings: S, channels: int, size: int, classes: int) -> None:
        """Raise ValueError, in one line, if the network cannot take images of these channels and pixels a side."""

    def for_member(self) -> Recipe[S]:
        """Return the recipe of one member: this one, unless it keeps what a member changes in training."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return what one member has changed in its recipe, for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def network(self) -> nn.Module:
        """Return a freshly initialised network (drawn from PyTorch's default generator), on the CPU."""
        raise NotImplementedError

    def training_images(self) -> torch.Tensor:
        """Return the images uint8 [n, c, h, w] that `task.train` indexes."""
        return self.task.data.train_images

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Turn a batch of uint8 images [n, c, h, w] into the network's inputs in training (augmented)."""
        return self.test_inputs(images)

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        """Turn a batch of uint8 images [n, c, h, w] into the network's inputs in evaluation."""
        return channels_last(images.float() / 255)

    def begin_epoch(self, network: nn.Module, epoch: int) -> None:
        """Change the network for an epoch (from 1), e.g. which layers train; must not depend on earlier epochs."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return nats per image [n] from logits [n, classes] and int64 labels [n], under label smoothing.

        The target is 1 - eps on the label and eps / (classes - 1) elsewhere (note C).
        """
        classes = logits.shape[1]
        # PyTorch spreads the smoothed share over all classes, the label included.
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
        """Return the learning rate of an epoch, counted from 1."""
        warmup, epochs = self.settings.warmup_epochs, self.settings.epochs
        if epoch <= warmup:
            return self.settings.lr * schedules.warmup(epoch, warmup)
        return self.settings.lr * self.decay(epoch - warmup, max(1, epochs - warmup))

    def decay(self, epoch: int, epochs: int) -> float:
        """Return the rate of an epoch after warm-up, as a multiple of `lr`; both arguments count from its end."""
        return float(getattr(schedules, self.settings.decay)(epoch, epochs))

    def slowdown(self, val_accuracies: Sequence[float]) -> float:
        """Return a further factor of the rate, from a network's validation accuracies after its epochs so far."""
        return 1.0

    def update(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step of the optimizer; return (losses [n], logits [n, classes]) from before it, detached.

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
        """Replace the last step's gradients by those of one batch; arguments and result are those of `update`."""
        # Clear gradients first: a CUDA graph's next run writes where its last run left its gradients.
        optimizer.zero_grad(set_to_none=True)
        logits = self.forward(network, inputs)
        losses = self.losses(logits, labels)
        ((losses if weights is None else losses * weights).mean() * self.loss_scale).backward()
        return losses.detach(), logits.detach()

    def forward(self, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits [n, classes] of a training step as the engine computes them, float32 at least."""
        with engine.precision(engine.BF16 in self.features, self.device):
            logits: torch.Tensor = network(inputs)
        if logits.dtype == torch.bfloat16:
            return logits.float()
        # SAM returns its first pass's logits after a second pass, which would overwrite a CUDA graph's output.
        return logits.clone() if engine.COMPILE in self.features else logits


class RecipeMaker(Protocol):
    """A Recipe class, or a callable that makes one of several recipes: what a trainable names as `recipe`."""

    @property
    def settings_type(self) -> type[Settings]: ...

    def __call__(self, settings: Any, task: Task, /) -> Recipe[Any]: ...

    def require(self, settings: Any, /) -> None: ...

    def require_images(self, settings: Any, channels: int, size: int, classes: int, /) -> None: ...


def require_form(
    network: str,
    got: tuple[int, int],
    *,
    channels: tuple[int, ...] = (1, 3),
    least: int = 1,
    most: int | None = None,
) -> None:
    """Raise ValueError unless images, `got` as (channels, pixels a side), suit a network of this name."""
    has, size = got
    if has in channels and least <= size and (most is None or size <= most):
        return
    wanted = [" or ".join(map(_named, channels))] * (len(channels) == 1)
    wanted += [f"{'' if least == most else 'at least '}{least} x {least} pixels"] * (least > 1)
    fixes = [f"channels={channels[-1]}"] * (has not in channels)
    fixes += [f"resize={least}"] * (size < least or (most is not None and size > most))
    options = " ".join(f"--set {fix}" for fix in fixes)
    raise ValueError(
        f"{network} needs images of {' and '.join(wanted)}, got {_named(has)} and {size} x {size} pixels: write "
        f"{', '.join(fixes)} in the study, or {options}"
    )


def _named(channels: int) -> str:
    return f"{channels} channels" if channels > 1 else "1 channel"


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return the images in the memory layout in which convolutions run fastest, on a CPU as on a GPU."""
    return images.contiguous(memory_format=torch.channels_last)
