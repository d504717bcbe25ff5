"""Train the members of an ensemble in one step: stacked weights and one forward pass (torch.func.vmap).

Each member keeps its own order, images and augmentation. Step for step each member is what it would be alone, up to
rounding; only dropout draws from one stream for all members.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trainables.training import engine
from trainables.training.loop import EpochOutcome, Member, batches, epoch_outcome
from trainables.training.recipe import Recipe
from trainables.training.resized_conv import ResizedConv2d
from trainables.training.seeds import seeded

# What an optimizer derives from its count of steps: one number, the same for all members, which cannot be told by its
# shape from the state of a weight that is one number (of NAdam and ASGD all but the first).
COUNTS = {"step", "mu_product", "eta", "mu"}


def can_fuse(recipe: Recipe[Any]) -> bool:
    """Return whether a trial's members train in one step: its engine says "fuse" and its recipe allows it."""
    return engine.FUSE in recipe.features and recipe.settings.members > 1 and recipe.fusable


class FusedNetwork(nn.Module):
    """Copies of equal networks behind one call: images [members, n, c, h, w] to logits [members, n, classes].

    Parameters are those of the networks, stacked, in the same order.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        first = networks[0]
        skeleton = copy.deepcopy(first).to("meta")
        for module in skeleton.modules():
            if isinstance(module, ResizedConv2d):
                module.folds = False  # vmap does not support the fold's own backward
            if any(tensor.is_floating_point() for tensor in _own(module)):
                module.register_forward_pre_hook(_to_own_precision)
        self._skeleton = (skeleton,)  # in a tuple, so that it is no submodule
        products = {n for n, module in first.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
        self._names = [name for name, _ in first.named_parameters()]
        self._of_product = [name.rpartition(".")[0] in products for name in self._names]
        self._buffer_names = [name for name, _ in first.named_buffers()]
        self._stacked = nn.ParameterList(_stack(each) for each in zip(*(n.parameters() for n in networks), strict=True))
        for place, each in enumerate(zip(*(n.buffers() for n in networks), strict=True)):
            self.register_buffer(f"_buffer{place}", _stack(each))

    def train(self, mode: bool = True) -> FusedNetwork:
        self._skeleton[0].train(mode)
        return super().train(mode)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        parameters: list[torch.Tensor] = list(self._stacked)
        kind = images.device.type
        if torch.is_autocast_enabled(kind):
            # Autocast ignores convolutions and linears under vmap, so their parameters are cast by hand.
            dtype = torch.get_autocast_dtype(kind)
            parameters = [p.to(dtype) if cast else p for p, cast in zip(parameters, self._of_product, strict=True)]
        named = dict(zip(self._names, parameters, strict=True))
        buffers = dict(zip(self._buffer_names, self.buffers(), strict=True))

        def one(named: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = torch.func.functional_call(self._skeleton[0], (named, buffers), (images,))
            return logits

        with torch.autocast(kind, enabled=False):
            logits: torch.Tensor = torch.vmap(one, randomness="different")(named, buffers, images)
        return logits


def _own(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _to_own_precision(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    dtype = next(tensor.dtype for tensor in _own(module) if tensor.is_floating_point())
    return tuple(tensor.to(dtype) for tensor in inputs)


def _stack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


class Fused:
    """Trainer of all members of one trial in one step.

    State is copied in from the members before an epoch and back after it; this object keeps none.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.recipe = members[0].recipe
        self.network = FusedNetwork([member.network for member in members])
        self.compiled = engine.compiled(self.network, self.recipe.features, self.recipe.device)
        self.optimizer = self.recipe.optimizer(self.network)

    def train_epoch(self, epoch: int, steps: int | None = None) -> list[EpochOutcome]:
        """Train every member one epoch like `Member.train_epoch`; their rates must be equal. Raises Diverged."""
        members, recipe = self.members, self.recipe
        rates = [member.begin_epoch(epoch) for member in members]
        self._gather()
        for group in self.optimizer.param_groups:
            group["lr"] = rates[0]
        size = recipe.settings.batch_size
        orders = [batches(member.order(epoch), size)[:steps] for member in members]
        augmentations = [member.augmentation(epoch) for member in members]
        pool, labels = recipe.training_images(), recipe.task.data.train_labels
        loss_sum = torch.zeros(len(members), dtype=torch.float64, device=recipe.device)
        correct = torch.zeros(len(members), dtype=torch.int64, device=recipe.device)
        seen = 0
        with seeded(recipe.settings.seed, 0, "dropout", epoch, recipe.device):
            for each in zip(*orders, strict=True):
                batch = torch.stack([m.images[positions] for m, positions in zip(members, each, strict=True)])
                inputs = [recipe.train_inputs(pool[b], draws) for b, draws in zip(batch, augmentations, strict=True)]
                network = self.compiled if batch.shape[1] == size else self.network
                losses, logits = self._update(network, torch.stack(inputs), labels[batch])
                loss_sum += losses.sum(1)
                correct += (logits.argmax(2) == labels[batch]).sum(1)
                seen += batch.shape[1]
        self._hand_back()
        return [
            epoch_outcome(member, epoch, loss / seen, right / seen, seen, rate)
            for member, loss, right, rate in zip(members, loss_sum.tolist(), correct.tolist(), rates, strict=True)
        ]

    def _update(
        self, network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step of every member, like Recipe.update.

        inputs: [members, n, c, h, w]; labels and losses: [members, n].
        """
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.recipe.forward(network, inputs)
        losses = self.recipe.losses(logits.flatten(0, 1), labels.flatten()).view_as(labels)
        (losses.mean(1).sum() * self.recipe.loss_scale).backward()
        self.optimizer.step()
        return losses.detach(), logits.detach()

    @torch.no_grad()
    def _gather(self) -> None:
        networks = [member.network for member in self.members]
        for whole, *each in zip(self.network.parameters(), *(n.parameters() for n in networks), strict=True):
            whole.copy_(torch.stack(each))
            whole.requires_grad_(each[0].requires_grad)  # begin_epoch may have changed it
        for held, *own in zip(self.network.buffers(), *(n.buffers() for n in networks), strict=True):
            held.copy_(torch.stack(own))
        self.optimizer.state.clear()
        for whole, *each in zip(self.network.parameters(), *(n.parameters() for n in networks), strict=True):
            states = [member.optimizer.state.get(p, {}) for member, p in zip(self.members, each, strict=True)]
            gathered = {
                name: torch.stack([state[name] for state in states])
                if value.shape == each[0].shape and name not in COUNTS
                else value.clone()
                for name, value in states[0].items()
            }
            if gathered:
                self.optimizer.state[whole] = gathered
        self.network.train()

    @torch.no_grad()
    def _hand_back(self) -> None:
        for place, member in enumerate(self.members):
            for own, whole in zip(member.network.parameters(), self.network.parameters(), strict=True):
                own.copy_(whole[place])
                if state := self.optimizer.state.get(whole):
                    member.optimizer.state[own] = {
                        # In the memory layout of the weights.
                        name: torch.empty_like(own).copy_(value[place]) if value.shape == whole.shape else value.clone()
                        for name, value in state.items()
                    }
            for buffer, held in zip(member.network.buffers(), self.network.buffers(), strict=True):
                buffer.copy_(held[place])
