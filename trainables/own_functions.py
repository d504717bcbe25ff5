"""Handle a user's own functions in a trial: losses, metrics and augmentations, plain ones or objects that remember.

Each trial has a copy, so that what calls change in one does not reach the next trial of the same worker.
"""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn

from trainables.training import checkpoint
from trainables.training.seeds import seeded
from trainables.training.settings import SettingError

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
F = TypeVar("F")

_TRIED = 2  # images on which an augmentation is tried
_WITHIN = 2 / 3  # least share of an augmentation's floats from 0 to 1, if its images are random


def changes(function: Callable[..., Any] | None) -> bool:
    """Return whether calls may change a loss or augmentation: neither a function nor a module of PyTorch's own."""
    bare = unbound(function)
    plain = bare is None or isinstance(bare, types.FunctionType | types.BuiltinFunctionType | type)
    return not (plain or type(bare).__module__.startswith("torch."))


def fresh(function: F, device: torch.device) -> F:
    """Return the function as it was given, on the device: a worker's earlier trials have changed copies only."""
    return cast(F, _moved(copy.deepcopy(function), device))


def _moved(own: Any, device: torch.device) -> Any:
    """Return a tensor, module or partial function on the device, e.g. the weights of classes in a loss."""
    if isinstance(own, nn.Module | torch.Tensor):
        return own.to(device)
    if isinstance(own, functools.partial):
        given = {name: _moved(value, device) for name, value in own.keywords.items()}
        return functools.partial(_moved(own.func, device), *(_moved(value, device) for value in own.args), **given)
    return own


def states(functions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of those that have one, as a module's or a torchmetrics metric's `state_dict`.

    Raises SettingError for a state that a checkpoint cannot give back.
    """
    inner = {name: unbound(each) for name, each in functions.items()}
    found = {name: each.state_dict() for name, each in inner.items() if hasattr(each, "state_dict")}
    for name, state in found.items():
        require_readable(name_of(functions[name]), state)
    return {name: state for name, state in found.items() if state}


def load_states(functions: Mapping[str, Any], states: Mapping[str, Any], device: torch.device) -> None:
    """Restore what `states` returned, its tensors on the device: a checkpoint is read on the CPU."""
    for name, state in states.items():
        unbound(functions[name]).load_state_dict(_placed(state, device))


def _placed(state: Any, device: torch.device) -> Any:
    if isinstance(state, torch.Tensor):
        # PyTorch takes a generator's state, which is bytes, on the CPU alone.
        return state if state.dtype == torch.uint8 else state.to(device)
    if isinstance(state, dict):
        placed = copy.copy(state)  # a module's holds the versions of its parts beside the entries
        placed.update({name: _placed(value, device) for name, value in state.items()})
        return placed
    if type(state) in (list, tuple):
        return type(state)(_placed(value, device) for value in state)
    return state


def require_readable(told: str, state: Any) -> None:
    """Raise SettingError unless a checkpoint that holds the state can be read again."""
    if wrong := checkpoint.unreadable(state):
        raise SettingError(f"{told}: its state_dict must hold tensors, numbers and text, got {wrong}")


def unbound(function: Any) -> Any:
    return unbound(function.func) if isinstance(function, functools.partial) else function


def code_of(function: Any) -> Any:
    """Return the function or class whose code a function, a partial one or a callable object runs."""
    inner = inspect.unwrap(unbound(function))
    return inner if hasattr(inner, "__qualname__") else type(inner)


def name_of(function: Any) -> str:
    inner = unbound(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def try_augment(own: Augment, channels: int, size: int) -> None:
    """Raise SettingError unless an augmentation, tried on a copy, returns two such images as images."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (_TRIED, channels, size, size), dtype=torch.uint8, generator=draws)
    try:
        with torch.random.fork_rng(devices=[]):
            tried = copy.deepcopy(own)
            made = tried(images.clone(), draws)
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        told = f"{name_of(own)} cannot augment images of {channels} x {size} x {size}"
        raise SettingError(f"{told}: {type(error).__name__}: {reason:.300}") from None
    require_augmented(own, images, made)
    # Noise may leave the range; another scale, on which no network is evaluated, has most values outside.
    if made.dtype == torch.float32 and not ((made >= 0) & (made <= 1)).double().mean() > _WITHIN:
        low, high = made.min().item(), made.max().item()
        raise SettingError(f"{_augments(own, images)}, got floats from {low:.3g} to {high:.3g}")
    states({"augment": tried})


def try_metric(own: Callable[..., Any], classes: int) -> None:
    """Raise SettingError unless a metric, tried on a copy, returns one number for images of every class."""
    draws = torch.Generator().manual_seed(0)
    probabilities = torch.randn(_TRIED * classes, classes, generator=draws).softmax(1)
    labels = torch.arange(classes).repeat(_TRIED)
    told = f"the metric {name_of(own)} must return one number for probabilities {list(probabilities.shape)} and labels"
    tried = fresh(own, torch.device("cpu"))
    try:
        with seeded(0, 0, "measuring"):
            value = tried(probabilities, labels)
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingError(f"{told}, got {type(error).__name__}: {reason:.300}") from None
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        got = list(value.shape) if isinstance(value, torch.Tensor) else f"{value!r:.60}"
        raise SettingError(f"{told}, got {got}") from None
    states({"metric": tried})


def require_augmented(own: Augment, images: torch.Tensor, made: Any) -> None:
    """Raise SettingError unless an augmentation made images of the same shape, of bytes or floats."""
    if not isinstance(made, torch.Tensor):
        raise SettingError(f"{_augments(own, images)}, got {type(made).__name__}")
    if made.dtype not in (torch.uint8, torch.float32) or made.shape != images.shape:
        got = f"{str(made.dtype).removeprefix('torch.')} {list(made.shape)}"
        raise SettingError(f"{_augments(own, images)}, got {got}")


def _augments(own: Augment, images: torch.Tensor) -> str:
    return f"{name_of(own)} must return uint8 images {list(images.shape)} (or float32 from 0 to 1)"
