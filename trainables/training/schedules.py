"""Learning-rate schedules of the notes: the rate of an epoch as a multiple of the initial rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

EXPONENTIAL_FACTOR = 0.8
EXPONENTIAL_PERIOD = 4
STEPS_PERCENT = (20, 50, 70, 85)
STEPS_FACTOR = 0.2


def warmup(epoch: int, warmup_epochs: int) -> float:
    """Return a multiple that rises in equal steps; the first epoch after `warmup_epochs` has the whole rate."""
    return epoch / (warmup_epochs + 1)


def constant(epoch: int, epochs: int) -> float:
    return 1.0


def exponential(epoch: int, epochs: int, factor: float = EXPONENTIAL_FACTOR, period: int = EXPONENTIAL_PERIOD) -> float:
    """Return note A's "mixture exponential" decay: a step of 0.8 every four epochs. `epoch` counts from 1."""
    return factor ** ((epoch - 1) // period)


def cosine(epoch: int, epochs: int) -> float:
    """Return half a cosine, from 1 in the first epoch towards 0 after the last (note A, 4.1 and 4.7)."""
    return (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def steps(epoch: int, epochs: int) -> float:
    """Return note C's decay: times 0.2 after 20, 50, 70 and 85 % of the epochs, as in its code (its prose adds 75 %).

    The note sets the rate at the end of an epoch, from the number of the epoch that ended: in the note each step comes
    an epoch later.
    """
    return STEPS_FACTOR ** sum(100 * (epoch - 1) >= percent * epochs for percent in STEPS_PERCENT)


def smooth_exponential(epoch: int, factor: float, period: float) -> float:
    """Return note E's decay: times `factor` over every `period` epochs, without steps."""
    return factor ** ((epoch - 1) / period)


def plateau(accuracies: Sequence[float], patience: int, factor: float = 0.1) -> float:
    """Return the decay of note E's summary: times `factor` whenever validation accuracy stalls.

    `accuracies` are those after each finished epoch. Accuracy has stalled when `patience` epochs in a row, counted
    anew after each step, did not exceed the best before them: torch's ReduceLROnPlateau with patience - 1.
    """
    best, waited, multiple = -math.inf, 0, 1.0
    for accuracy in accuracies:
        waited = 0 if accuracy > best else waited + 1
        best = max(best, accuracy)
        if waited == patience:
            multiple *= factor
            waited = 0
    return multiple
