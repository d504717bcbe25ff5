"""Optimizers and learning-rate schedules by PyTorch's names, each with its own hyperparameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.optim import lr_scheduler

from trainables.training import schedules
from trainables.training.settings import SettingError, Settings, number

Optimizer = Literal[
    "SGD",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "Adamax",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "ASGD",
    "Rprop",
    "Adafactor",
]
Scheduler = Literal[
    "none",
    "StepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "PolynomialLR",
    "LinearLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
]
PLATEAU = "ReduceLROnPlateau"
NOT_ELEMENTWISE = ("Adafactor",)  # optimizers whose step of one weight depends on the others of its tensor
_OPTIMIZERS_OWN = (
    *("momentum", "dampening", "nesterov", "weight_decay", "eps", "amsgrad", "alpha", "centered", "rho", "lr_decay"),
    *("initial_accumulator_value", "momentum_decay", "lambd", "t0"),
)


@dataclass(frozen=True, kw_only=True)
class TorchSettings(Settings):
    """Hyperparameters of the optimizer and of the learning rate, with PyTorch's names and defaults.

    `optimizer` is a class of torch.optim, `lr_scheduler` one of torch.optim.lr_scheduler, which steps once an epoch.
    A hyperparameter that is None has PyTorch's default; the one chosen takes those that it has, so that
    a search may choose between several. `beta1` and `beta2` are `betas`. Without a default of PyTorch's: a schedule
    lasts all epochs after the warm-up (`T_max`, `total_iters`), `step_size` and `T_0` are a third of them, `gamma` of
    ExponentialLR is .95. `plateau_patience` is the patience of ReduceLROnPlateau, which watches validation accuracy.
    """

    lr: float = number(0.001, above=0)
    optimizer: Optimizer = "AdamW"  # type: ignore[assignment]
    momentum: float | None = number(None, low=0, high=1)  # type: ignore[assignment]
    weight_decay: float | None = number(None, low=0)  # type: ignore[assignment]
    dampening: float | None = number(None, low=0)
    nesterov: bool | None = None
    beta1: float | None = number(None, low=0, high=0.9999)
    beta2: float | None = number(None, low=0, high=0.999999)
    eps: float | None = number(None, above=0)
    amsgrad: bool | None = None
    alpha: float | None = number(None, low=0, high=1)
    centered: bool | None = None
    rho: float | None = number(None, low=0, high=1)
    lr_decay: float | None = number(None, low=0)
    initial_accumulator_value: float | None = number(None, low=0)
    momentum_decay: float | None = number(None, low=0)
    lambd: float | None = number(None, low=0)
    t0: float | None = number(None, low=0)
    lr_scheduler: Scheduler = "none"
    step_size: int | None = number(None, low=1)
    gamma: float | None = number(None, above=0, high=1)
    T_max: int | None = number(None, low=1)
    eta_min: float | None = number(None, low=0)
    T_0: int | None = number(None, low=1)
    T_mult: int | None = number(None, low=1)
    power: float | None = number(None, low=0)
    total_iters: int | None = number(None, low=1)
    start_factor: float | None = number(None, above=0, high=1)
    end_factor: float | None = number(None, low=0, high=1)
    pct_start: float | None = number(None, low=0, high=1)
    factor: float | None = number(None, above=0, high=0.999)
    plateau_patience: int | None = number(None, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr_scheduler != "none" and self.decay != "constant":
            raise SettingError(f"decay must be 'constant' if lr_scheduler is {self.lr_scheduler!r}, got {self.decay!r}")
        if self.lr_scheduler == PLATEAU and not self.validation:
            raise SettingError(f"lr_scheduler {PLATEAU!r} needs a validation set, got validation=False")
        if self.nesterov and self.optimizer == "SGD" and not (self.momentum and not self.dampening):
            raise SettingError(
                f"nesterov needs momentum above 0 and no dampening, got momentum={self.momentum!r}, "
                f"dampening={self.dampening!r}"
            )
        rest = self.epochs - self.warmup_epochs
        if self.lr_scheduler == "OneCycleLR" and rest > 0 and (self.pct_start or 0) * max(2, rest) == 1:
            # PyTorch's scheduler divides by the length of the rise, pct_start * epochs - 1.
            raise SettingError(
                f"pct_start of OneCycleLR must not make the rate rise for exactly one epoch, got "
                f"pct_start={self.pct_start!r} of {max(2, rest)} epochs: write 0 to start at the highest rate, or more"
            )


def make_optimizer(
    settings: TorchSettings, parameters: Iterable[torch.nn.Parameter], *, fused: bool
) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name; `fused` asks for PyTorch's fused implementation, if there is one."""
    kind: Any = getattr(torch.optim, settings.optimizer)
    known = inspect.signature(kind).parameters
    given = {name: getattr(settings, name) for name in _OPTIMIZERS_OWN if name in known}
    if settings.optimizer == "Adafactor":
        given.pop("eps")  # a pair there
    if "betas" in known:
        first, second = known["betas"].default
        beta1, beta2 = settings.beta1, settings.beta2
        given["betas"] = (first if beta1 is None else beta1, second if beta2 is None else beta2)
    if fused and "fused" in known:
        given["fused"] = True
    optimizer: torch.optim.Optimizer = kind(
        parameters, lr=settings.lr, **{name: value for name, value in given.items() if value is not None}
    )
    return optimizer


def multiple(settings: TorchSettings, epoch: int, epochs: int) -> float:
    """Return the rate of an epoch (from 1) as a multiple of `lr`, by the settings' schedule over `epochs` epochs."""
    name = settings.lr_scheduler
    if name in ("none", PLATEAU):
        return 1.0
    third = max(1, epochs // 3)
    wanted: dict[str, dict[str, Any]] = {
        "StepLR": {"step_size": settings.step_size or third, "gamma": settings.gamma},
        "ExponentialLR": {"gamma": 0.95 if settings.gamma is None else settings.gamma},
        "CosineAnnealingLR": {"T_max": settings.T_max or epochs, "eta_min": settings.eta_min},
        "CosineAnnealingWarmRestarts": {
            "T_0": settings.T_0 or third,
            "T_mult": settings.T_mult,
            "eta_min": settings.eta_min,
        },
        "PolynomialLR": {"total_iters": settings.total_iters or epochs, "power": settings.power},
        "LinearLR": {
            "start_factor": settings.start_factor,
            "end_factor": settings.end_factor,
            "total_iters": settings.total_iters or epochs,
        },
        "OneCycleLR": {
            "max_lr": settings.lr,
            "total_steps": max(2, epochs),
            "pct_start": settings.pct_start,
            "cycle_momentum": False,
        },
    }
    given = tuple((key, value) for key, value in wanted[name].items() if value is not None)
    return _rates(name, settings.lr, given, epochs)[epoch - 1] / settings.lr


@functools.lru_cache(maxsize=256)
def _rates(name: str, lr: float, given: tuple[tuple[str, Any], ...], epochs: int) -> list[float]:
    """Return the rate of each epoch as PyTorch's own scheduler sets it."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    kind: Callable[..., Any] = getattr(lr_scheduler, name)
    scheduler = kind(optimizer, **dict(given))
    rates = []
    for _ in range(epochs):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()  # PyTorch warns of a scheduler that steps before the optimizer
        if len(rates) < epochs:
            scheduler.step()
    return rates


def plateau_multiple(settings: TorchSettings, val_accuracies: Sequence[float]) -> float:
    """Return the factor by which ReduceLROnPlateau has lowered the rate, from a network's validation accuracies."""
    if settings.lr_scheduler != PLATEAU:
        return 1.0
    patience = 10 if settings.plateau_patience is None else settings.plateau_patience
    return schedules.plateau(val_accuracies, patience + 1, 0.1 if settings.factor is None else settings.factor)
