"""Learning-rate decays of the notes: the rate of an epoch as a multiple of the initial rate."""

from __future__ import annotations

import math

EXPONENTIAL_FACTOR = 0.8
EXPONENTIAL_PERIOD = 4


def constant(epoch: int, epochs: int) -> float:
    return 1.0


def exponential(epoch: int, epochs: int) -> float:
    """Note A's "mixture exponential" decay: a step of 0.8 every four epochs. `epoch` counts from 1."""
    return EXPONENTIAL_FACTOR ** ((epoch - 1) // EXPONENTIAL_PERIOD)


def cosine(epoch: int, epochs: int) -> float:
    """Half a cosine from 1 in the first epoch towards 0 after the last (note A, 4.1 and 4.7)."""
    return (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
