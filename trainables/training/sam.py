"""Sharpness-aware minimisation (Foret et al., ICLR 2021) around any optimizer.

Written here because published implementations have faults that matter in a search: davda54/sam leaves the base
optimizer's momentum out of its state_dict (its issue 73); pytorch-optimizer runs only the second of the
two passes itself, leaves the weights displaced if that pass raises, and brings 130 optimizers along.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")
_TINY = 1e-12  # keeps a zero gradient from dividing by zero


class SAM:
    """Optimizer that steps `base` with the gradient taken at distance `rho` up the slope (note C, optimisation).

    A step runs the closure at the weights w, moves to w + e with e = rho g / |g| (all weights together,
    Euclidean norm), runs the closure again there, moves back to w and lets `base` step with the second
    gradient. `adaptive` (Kwon et al., ICML 2021) takes e = rho w^2 g / ||w| g| instead, elementwise, so that
    the scale of the weights does not matter. At rho = 0 a step is one step of `base`: one pass, bit for bit.

    `frozen` is a network whose BatchNorms keep their running statistics in the second pass. The note's
    switch for this tests the wrong object, so its run is the one with frozen=None.
    Learning-rate schedulers belong to `base`. Raises ValueError for a rho that is negative or not finite.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        rho: float = 0.05,
        adaptive: bool = False,
        frozen: nn.Module | None = None,
    ) -> None:
        if not (math.isfinite(rho) and rho >= 0):
            raise ValueError(f"rho must be a finite number of at least 0, got {rho}")
        self.base = base
        self.rho = rho
        self.adaptive = adaptive
        self.frozen = frozen

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.base.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.base.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], T]) -> T:
        """Make one step; return what the closure returned at w, in the first pass.

        `closure` does what torch.optim's closures do: clear the gradients, compute the loss, call backward.
        If the closure raises in the second pass, the weights are back at w and `base` has not stepped.
        """
        closure = torch.enable_grad()(closure)
        result = closure()
        if self.rho > 0:
            weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
            kept = [weight.clone() for weight in weights]
            self._climb(weights, [weight.grad for weight in weights])
            try:
                with contextlib.nullcontext() if self.frozen is None else freeze_batch_norm(self.frozen):
                    closure()
            finally:
                for weight, original in zip(weights, kept, strict=True):
                    weight.copy_(original)
        self.base.step()
        return result

    def _climb(self, weights: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
        directions = gradients
        if self.adaptive:
            gradients = [w.abs() * g for w, g in zip(weights, gradients, strict=True)]
            directions = [w.abs() * g for w, g in zip(weights, gradients, strict=True)]
        scale = self.rho / (nn.utils.get_total_norm(gradients) + _TINY)
        for weight, direction in zip(weights, directions, strict=True):
            weight.addcmul_(direction, scale)

    def state_dict(self) -> dict[str, Any]:
        return {"base": self.base.state_dict(), "rho": self.rho, "adaptive": self.adaptive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base.load_state_dict(state["base"])
        self.rho = state["rho"]
        self.adaptive = state["adaptive"]


@contextlib.contextmanager
def freeze_batch_norm(network: nn.Module) -> Iterator[None]:
    """Keep BatchNorms in training mode from updating their buffers; they still normalise by the batch.

    A momentum of zero, the usual trick, would still count batches, and would spread a NaN.
    """
    tracking = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
