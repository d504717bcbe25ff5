"""Measure how much memory a network needs to train on one image, in the same way for every family."""

from __future__ import annotations

import copy

import torch
from torch import nn


def one_image_memory(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the bytes of parameters, gradients and what autograd keeps when a network trains on one image.

    `input_shape` is [channels, height, width]. Kept tensors are counted by storage, so that views and
    in-place results count once; parameters and buffers among them are not counted again. A copy of the network runs
    on the meta device in training mode: nothing is computed, the network is unchanged, and the figure is the same on
    every machine. Optimizer state, the temporaries of backward and a fused attention kernel's savings are left
    out. Two and three images are counted and extrapolated, since BatchNorm cannot train on one.
    """
    network = meta_copy(network)
    two, three = (_kept_bytes(network, (n, *input_shape)) for n in (2, 3))
    parameters = sum(_bytes(p) for p in network.parameters())
    gradients = sum(_bytes(p) for p in network.parameters() if p.requires_grad)
    return parameters + gradients + 2 * two - three


def meta_copy(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network without its values: tensors are on the meta device and take no memory."""
    instead: dict[int, object] = {
        id(tensor): nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
        for tensor in network.parameters()
    }
    kept = (value for module in network.modules() for value in vars(module).values())
    for tensor in (*network.buffers(), *(value for value in kept if isinstance(value, torch.Tensor))):
        # A number (a count of steps, say) is computed with on every device, and may be read.
        number = tensor.dim() == 0 and tensor.device.type == "cpu"
        instead[id(tensor)] = tensor.detach().clone() if number else torch.empty_like(tensor, device="meta")
    return copy.deepcopy(network, instead)


def _kept_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the bytes of the distinct storages, other than the network's own, that one forward pass saves."""
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
    """Run a forward pass that computes only shapes; return the meta tensors that stood for the network's."""
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
