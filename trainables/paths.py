"""How a training step is executed. Every path trains the same network on the same images by the same rule.

A path is "plain", the reference, or features joined by "+":

bf16     the training forward under autocast to bfloat16, so its backward, too; losses, weights, optimizer and all
         evaluation stay float32 (the setting `evaluation` is another matter)
compile  torch.compile of the training forward and backward; on a GPU as CUDA graphs. A last batch that is not full
         goes through the network as it is, since another shape would be compiled anew
fuse     all members of an ensemble in one step, see trainables.fused

On a GPU every path but plain has PyTorch's fused optimizer. A feature that a trial cannot use has no effect on it.
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from trainables.resized_conv import ResizedConv2d
from trainables.settings import PATHS as PATHS
from trainables.settings import PLAIN

BF16, COMPILE, FUSE = "bf16", "compile", "fuse"
SHAPES = 64  # that a process compiles before it goes on without: its trials may differ in width


def features(path: str) -> frozenset[str]:
    return frozenset(path.split("+")) - {PLAIN}


def precision(bf16: bool, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context of a forward pass, in bfloat16 or in float32."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def compiled(network: nn.Module, wanted: frozenset[str], device: torch.device) -> nn.Module:
    """What trains `network` on full batches; it is compiled at its first call, for seconds to minutes."""
    if COMPILE not in wanted:
        return network
    torch._dynamo.config.recompile_limit = SHAPES
    for module in network.modules():
        if isinstance(module, ResizedConv2d):
            # Its backward is its own, of matrix products: nothing for a compiler.
            module.folded = torch.compiler.disable(module.folded)  # type: ignore[method-assign]
    mode = "reduce-overhead" if device.type == "cuda" else None
    made: nn.Module = torch.compile(network, dynamic=False, mode=mode)  # type: ignore[assignment]
    return made
