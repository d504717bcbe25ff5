"""Random streams of a trial, each a function of (seed, member, purpose, epoch) alone.

No random state is carried from one epoch to the next: a restored trial needs no generator's state, member
i of an ensemble does not depend on the number of members, and two arms that differ in one hyperparameter
see the same order and the same augmentation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Purpose = Literal[
    "weights", "dropout", "order", "augmentation", "bootstrap", "cache", "evaluation", "test", "measuring"
]
_PURPOSES: dict[Purpose, int] = {
    "weights": 0,
    "dropout": 1,
    "order": 2,
    "augmentation": 3,
    "bootstrap": 4,
    "cache": 5,
    "evaluation": 6,
    "test": 7,
    "measuring": 8,  # what a network or metric of one's own draws while it is evaluated
}


def derive(seed: int, member: int, purpose: Purpose, epoch: int = 0) -> int:
    """Return a 63-bit seed, unrelated to the seed of any other arguments."""
    words = np.random.SeedSequence((seed, member, _PURPOSES[purpose], epoch)).generate_state(1, np.uint64)
    return int(words[0]) & 0x7FFF_FFFF_FFFF_FFFF


def generator(
    seed: int, member: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(derive(seed, member, purpose, epoch))


@contextmanager
def seeded(
    seed: int, member: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu"
) -> Iterator[None]:
    """Seed the default generators of PyTorch, NumPy and Python inside; restore their states afterwards.

    Initialisation and dropout draw from PyTorch's, a network or augmentation of one's own perhaps from the others.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    own = derive(seed, member, purpose, epoch)
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(own)
            random.seed(own)
            np.random.seed([own & 0xFFFF_FFFF, own >> 32])
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)
