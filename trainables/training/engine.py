"""Ways to execute a training step ("engines"): each trains the same network on the same images by the same rule.

An engine is "plain", the reference, or features joined by "+":

bf16     run the training forward, and so its backward, under autocast to bfloat16; losses, weights, optimizer and all
         evaluation stay float32 (unless the setting `evaluation` says otherwise)
compile  torch.compile the training forward and backward; on a GPU as CUDA graphs. A last batch that is not full
         is not compiled, since its other shape would be compiled anew
fuse     train all members of an ensemble in one step, see trainables.ensembles.fused

On a GPU every engine but plain uses PyTorch's fused optimizer. A feature that a trial cannot use has no effect.
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from trainables.training import dynamo
from trainables.training.resized_conv import ResizedConv2d
from trainables.training.settings import ENGINES as ENGINES
from trainables.training.settings import PLAIN as PLAIN

BF16, COMPILE, FUSE = "bf16", "compile", "fuse"
SHAPES = 64  # shapes that a process compiles before it stops compiling: its trials may differ in width


def features(engine: str) -> frozenset[str]:
    return frozenset(engine.split("+")) - {PLAIN}


def precision(bf16: bool, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context of a forward pass, in bfloat16 or in float32."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def emulates_bf16(device: torch.device) -> bool:
    """Return whether this is a CPU without instructions for bfloat16."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def compiled(network: nn.Module, wanted: frozenset[str], device: torch.device) -> nn.Module:
    """Return what trains `network` on full batches: the network, compiled at its first call if `wanted` says so.

    Compiling takes seconds to minutes.
    """
    if COMPILE not in wanted:
        return network
    dynamo.put_back()
    torch._dynamo.config.recompile_limit = SHAPES
    for module in network.modules():
        if isinstance(module, ResizedConv2d):
            # ResizedConv2d has a backward of its own, made of matrix products: nothing for a compiler.
            module.folded = torch.compiler.disable(module.folded)  # type: ignore[method-assign]
    mode = "reduce-overhead" if device.type == "cuda" else None
    made: nn.Module = torch.compile(network, dynamic=False, mode=mode)  # type: ignore[assignment]
    return made
