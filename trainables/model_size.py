"""How much memory a network takes: one measure that compares, and note D's that does not."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import nn

MIB = 2**20


def one_image_memory(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Bytes of parameters, their gradients and what autograd keeps to train on one image.

    `input_shape` is [channels, height, width]. Kept tensors are counted by storage, so that views and
    in-place results count once; parameters and buffers among them are not counted again. The network runs
    on the meta device in training mode: no arithmetic, no change to it, and the same figure on every
    machine. Optimizer state, the temporaries of backward and a fused attention kernel's savings are left
    out. Two and three images are counted and extrapolated, since BatchNorm cannot train on one.
    """
    two, three = (_kept_bytes(network, (n, *input_shape)) for n in (2, 3))
    parameters = sum(_bytes(p) for p in network.parameters())
    gradients = sum(_bytes(p) for p in network.parameters() if p.requires_grad)
    return parameters + gradients + 2 * two - three


def torchsummary_size(network: nn.Module, input_shape: tuple[int, ...], batch: int) -> float:
    """MiB that torchsummary 1.5.1 prints as the total size: input, twice every output, parameters.

    `input_shape` is [channels, height, width]. Outputs are those of every module but nn.Sequential and the
    network itself, in float32. Note D's column (section 4) has this at batch 64 for its own networks and at
    batch 1 for VGG19 and ResNet101; its two transformers were measured by another tool and count otherwise.
    Raises ValueError for a network with modules that return no single tensor.
    """
    outputs = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal outputs
        if not isinstance(output, torch.Tensor):
            raise ValueError(f"torchsummary needs modules that return one tensor, {type(module).__name__} does not")
        outputs += output.numel()

    counted = [m for m in network.modules() if m is not network and not isinstance(m, nn.Sequential)]
    with contextlib.ExitStack() as stack:
        for module in counted:
            handle = module.register_forward_hook(count)
            stack.callback(handle.remove)
        _run_on_meta(network, (2, *input_shape))
    parameters = sum(p.numel() for p in network.parameters())
    # The outputs of two images are twice those of one: as the sum wants them.
    return 4 * (batch * (math.prod(input_shape) + outputs) + parameters) / MIB


def _kept_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes of the distinct storages, other than the network's own, that one forward pass saves."""
    kept: dict[int, torch.UntypedStorage] = {}  # holding a storage keeps its address from being reused

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        own = _run_on_meta(network, shape)
    for tensor in own:
        kept.pop(tensor.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in kept.values())


def _run_on_meta(network: nn.Module, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """A forward pass that computes shapes alone; returns the meta tensors that stood for the network's."""
    state = {
        name: torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    modes = {module: module.training for module in network.modules()}
    network.train()
    try:
        torch.func.functional_call(network, state, (torch.empty(shape, device="meta"),))
    finally:
        for module, training in modes.items():
            module.training = training
    return list(state.values())


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
