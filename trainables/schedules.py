"""Learning-rate decays of the notes: the rate of an epoch as a multiple of the initial rate."""

from __future__ import annotations

import math

EXPONENTIAL_FACTOR = 0.8
EXPONENTIAL_PERIOD = 4


def warmup(epoch: int, warmup_epochs: int) -> float:
    """Up in equal steps: the first epoch after the last of `warmup_epochs` is the first at the whole rate."""
    return epoch / (warmup_epochs + 1)


def constant(epoch: int, epochs: int) -> float:
    return 1.0


def exponential(epoch: int, epochs: int, factor: float = EXPONENTIAL_FACTOR, period: int = EXPONENTIAL_PERIOD) -> float:
    """Note A's "mixture exponential" decay: a step of 0.8 every four epochs. `epoch` counts from 1."""
    return factor ** ((epoch - 1) // period)


def cosine(epoch: int, epochs: int) -> float:
    """Half a cosine from 1 in the first epoch towards 0 after the last (note A, 4.1 and 4.7)."""
    return (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
