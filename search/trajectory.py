"""Check that an engine trains like the plain one for some tens of steps: agreement in one step does not show that.

Three trainings start from the same weights: plain, the engine on the same batches, and plain on other batches. Training
amplifies any difference in rounding, so that losses part within a few steps on any engine. The check is that they part
by less than other batches make them part, and to neither side. An engine that trains at another rate, or forgets its
momentum, drifts to one side. The check cannot detect some hundredths of a nat at the end of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 20
FEWEST = 8  # steps; with fewer, trajectories are not compared
SECONDS = 5.0  # limit on the two plain trainings together; fewer steps if they would take longer
TOO_DEAR = f"an epoch has fewer than {FEWEST} batches, or plain takes too long for {FEWEST}"
ERRORS = 2.0  # allowed drift, in standard errors of the mean difference that other batches make


@dataclass(frozen=True)
class Trajectory:
    """Differences from the plain losses, step by step, in nats per image.

    apart  root mean square of the engine's differences
    drift  mean of the engine's differences
    noise  root mean square of the differences of plain on other batches
    """

    steps: int
    apart: float
    drift: float
    noise: float

    @classmethod
    def of(cls, path: Sequence[float], plain: Sequence[float], others: Sequence[float]) -> Trajectory:
        """Compare the losses of three trainings, step by step. Raises ValueError if their lengths differ."""
        own = [a - b for a, b in zip(path, plain, strict=True)]
        noise = [a - b for a, b in zip(others, plain, strict=True)]
        return cls(len(plain), _root_mean_square(own), math.fsum(own) / len(own), _root_mean_square(noise))

    @property
    def most_drift(self) -> float:
        return ERRORS * self.noise / math.sqrt(self.steps)

    @property
    def agrees(self) -> bool:
        return self.apart <= self.noise and abs(self.drift) <= self.most_drift

    def __str__(self) -> str:
        return (
            f"losses of {self.steps} steps within {self.apart:.2g} (other batches': {self.noise:.2g}), "
            f"drift {self.drift:+.2g} (allowed {self.most_drift:.2g})"
        )


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def affordable(seconds_per_step: float, batches: int) -> int:
    """Return how many steps to compare, at most an epoch's `batches`; 0 if fewer than FEWEST are affordable."""
    steps = min(STEPS, batches, int(SECONDS / (2 * seconds_per_step)))
    return steps if steps >= FEWEST else 0
