"""Count the floating-point operations of a network."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import torch
from torch import nn

from trainables.training import dynamo

_COUNTER = "torch.utils.flop_counter"


def forward_flops(network: nn.Module, inputs: torch.Tensor) -> int:
    """Return the floating-point operations of a forward pass in evaluation mode; inputs [n, c, h, w]."""
    network.eval()
    with _counter().FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    return int(counter.get_total_flops())


def _counter() -> Any:
    """Import PyTorch's counter, but not Triton and TorchDynamo with it.

    The two take seconds, and Triton ends the process with 40 lines about leaks. The counter needs Triton for networks
    that call its kernels, and TorchDynamo to be left out of what is compiled.
    """
    absent = "triton" not in sys.modules
    log = logging.getLogger(_COUNTER)
    log.disabled = True  # it would warn that Triton is absent
    if absent:
        sys.modules["triton"] = None  # type: ignore[assignment]  # Python takes that for a module that cannot be found
    try:
        counter = importlib.import_module(_COUNTER)
    finally:
        log.disabled = False
        if absent:
            del sys.modules["triton"]
    if mode := getattr(counter, "_FlopCounterMode", None):
        dynamo.leave_out_of(mode.__torch_dispatch__)
    return counter
