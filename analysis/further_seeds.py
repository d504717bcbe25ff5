"""Predict what further seeds will do for a claim that is still open."""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.intervals import critical


@dataclass(frozen=True)
class Outlook:
    """Prospects of an open claim: what further seeds can be expected to do for it.

    effect         mean of the hardest comparison over `n` seeds
    deviation      standard deviation of one seed's effect, known on `df` degrees of freedom
    images         half of the comparison's interval over test images
    region, alpha  the region in which the effect must lie, and the level of the look
    """

    effect: float
    deviation: float
    df: float
    n: int
    images: float
    region: tuple[float, float]
    alpha: float

    def chance(self, seeds: int) -> float:
        """Return the probability that a look at `seeds` seeds decides, given only what has been seen so far.

        The mean at that look is normal around today's, with the variance of the seeds still to come, over the effects
        that today's seeds leave possible.
        """
        if seeds <= self.n or not math.isfinite(self.deviation):
            return 0.0
        error = self.deviation / math.sqrt(seeds)
        half = math.hypot(critical(max(self.df, seeds - 1), self.alpha) * error, self.images)
        moves = self.deviation * math.sqrt(1 / self.n - 1 / seeds)
        least, most = self.region
        inside = _between(least + half, most - half, self.effect, moves)
        outside = _between(-math.inf, least - half, self.effect, moves) + _between(
            most + half, math.inf, self.effect, moves
        )
        return inside + outside


def _between(low: float, high: float, mean: float, deviation: float) -> float:
    """Return the probability that a normal variable lies between two values."""
    if not low < high:
        return 0.0
    if not deviation > 0:
        return float(low < mean < high)
    return 0.5 * (
        math.erf((high - mean) / deviation / math.sqrt(2)) - math.erf((low - mean) / deviation / math.sqrt(2))
    )
