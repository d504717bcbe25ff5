"""Whether a path trains as the plain one does over some tens of steps, which the agreement of one step does not say.

Three trainings start from the same weights: plain, the path on the same batches, and plain on other batches. Training
amplifies any difference in rounding, so that losses part within a few steps whatever the path: what counts is that
they part by less than the choice of batches makes them part, and to neither side. A path that trains at another rate,
or forgets its momentum, drifts to one side. Some hundredths of a nat at the end of an epoch are below this check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 20
FEWEST = 8  # steps, under which nothing is said
SECONDS = 5.0  # of the two plain trainings together; fewer steps if they take longer
TOO_DEAR = f"an epoch has fewer than {FEWEST} batches, or plain takes too long for {FEWEST}"
ERRORS = 2.0  # standard errors, of the mean difference that other batches make, by which a path may drift


@dataclass(frozen=True)
class Trajectory:
    """Differences from the plain losses, step by step, in nats per image.

    apart  root mean square of the path's
    drift  mean of the path's
    noise  root mean square of those of plain on other batches
    """

    steps: int
    apart: float
    drift: float
    noise: float

    @classmethod
    def of(cls, path: Sequence[float], plain: Sequence[float], others: Sequence[float]) -> Trajectory:
        """Compare losses of as many steps. Raises ValueError if their numbers differ."""
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
    """Return how many steps are compared, of an epoch of so many batches; 0 if too few would be."""
    steps = min(STEPS, batches, int(SECONDS / (2 * seconds_per_step)))
    return steps if steps >= FEWEST else 0
