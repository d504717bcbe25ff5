"""A GPU runs ahead of Python only as long as nobody asks it for a number: an epoch may, at its end, a step may not."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.convnet import ConvNetTrainable
from trainables.data.datasets import load
from trainables.data.task import DeviceData
from trainables.lenet import LeNetTrainable
from trainables.small_alexnet import SmallAlexNetTrial
from trainables.wide_resnet import WideResNetTrial

# What reads a tensor's values to decide on a number or on a shape.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique2", "repeat_interleave"}

FAMILIES = {
    "alexnet": (BaggedAlexNet, {"augmentation": "real-time", "ratio": 0.9}),
    "alexnet, gray and cached": (BaggedAlexNet, {"augmentation": "cached", "gray": True, "ratio": 0.9}),
    "alexnet, bf16": (BaggedAlexNet, {"augmentation": "real-time", "ratio": 0.9, "engine": "bf16"}),
    "lenet": (LeNetTrainable, {"flip": True, "crop_padding": 2, "dropout": 0.1, "batch_norm": True}),
    # Adam's count of steps, which it reads, is kept on the CPU.
    "convnet": (ConvNetTrainable, {"optimizer": "sgd", "width": 4}),
    "small_alexnet": (SmallAlexNetTrial, {"lrn": True}),
    "wide_resnet": (WideResNetTrial, {"depth": 10, "width": 1}),
}


class Waits(TorchDispatchMode):
    """Lists what would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name == "index" and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name in WAITING or masked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_step_waits_for_the_device(family):
    trainable, config = FAMILIES[family]
    settings = {"train_images": 100, "batch_size": 10, "validation": False, **config}
    member = build(trainable, settings, DeviceData(load("digits"))).members[0]
    member.train_epoch(1, steps=1)  # what is made once
    waits = []
    for steps in (2, 4):
        with Waits() as mode:
            member.train_epoch(1, steps=steps)
        waits.append(mode.found)
    # Loss and accuracy are read when the epoch is over.
    assert waits == [["_local_scalar_dense"] * 2] * 2


def test_no_step_of_fused_members_waits_either():
    config = {"train_images": 100, "batch_size": 10, "validation": False, "batch_norm": True, "members": 2}
    training = build(LeNetTrainable, config | {"engine": "fuse+bf16"}, DeviceData(load("digits")))
    training.train_epoch(1, steps=1)  # what is made once
    with Waits() as mode:
        training.train_epoch(1, steps=3)
    assert training.fused is not None
    assert mode.found == []  # how the epoch went is read as a list
