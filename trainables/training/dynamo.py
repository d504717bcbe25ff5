"""Keep torch.optim from importing TorchDynamo, which takes a worker seconds and 200 MB, where nothing is compiled.

An optimizer's step imports TorchDynamo to break its graph there; a few other methods, at their first call, to be left
out of graphs. PyTorch versions that do it in another way are left as they are.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

# Where `torch._disable_dynamo` keeps what a method's first call has made, which the further calls use.
_MADE = "__dynamo_disable"

_replaced: dict[type[Optimizer], Callable[..., Any]] = {}  # class -> its step as PyTorch has it


def leave_out() -> None:
    """Let the methods run without TorchDynamo; does nothing if it is imported already, perhaps by a network."""
    if "torch._dynamo" in sys.modules:
        return
    for method in _methods():
        setattr(method, _MADE, method)
    breaking = getattr(torch_optimizer, "_use_grad_for_differentiable", None)
    for kind in vars(torch.optim).values():
        step = vars(kind).get("step") if isinstance(kind, type) and issubclass(kind, Optimizer) else None
        if step is not None and breaking and getattr(step, "__code__", None) is breaking(leave_out).__code__:
            _replaced[kind] = step
            kind.step = _unbroken(step.__wrapped__)


def leave_out_of(function: Any) -> None:
    """Let a function that `torch._disable_dynamo` may have wrapped run without TorchDynamo, unless that is imported."""
    if "torch._dynamo" not in sys.modules and _is_wrapped(function):
        setattr(function.__wrapped__, _MADE, function.__wrapped__)


def put_back() -> None:
    """Undo `leave_out`: whoever compiles needs the methods as PyTorch has them."""
    for method in _methods():
        if getattr(method, _MADE, None) is method:
            delattr(method, _MADE)
    for kind, step in _replaced.items():
        kind.step = step  # type: ignore[method-assign]
    _replaced.clear()


def _unbroken(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step that does what PyTorch's does, except for breaking the graph of a compiler."""

    @functools.wraps(step)
    def unbroken(self: Optimizer, *arguments: Any, **options: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *arguments, **options)

    return unbroken


def _methods() -> Iterator[Any]:
    """Yield the functions behind those methods of an optimizer that `torch._disable_dynamo` has wrapped."""
    for method in vars(Optimizer).values():
        if _is_wrapped(method):
            yield method.__wrapped__


def _is_wrapped(function: Any) -> bool:
    disable: Any = torch._disable_dynamo  # type: ignore[attr-defined]
    return getattr(function, "__code__", None) is disable(_is_wrapped).__code__
