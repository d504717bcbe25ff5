"""The rule for verdicts, and the intervals it stands on.

A claim says that an effect lies in a region: "greater" in (0, inf), "equal" in (-margin, margin). We
measure the effect on runs paired by seed, and where the predictions of both arms are kept also on test
images paired one by one. Each gives a 95 % interval: over seeds (would another training say the same?) and
over images (would another test set?). Then

    reproduced    every interval lies inside the region
    contradicted  every interval lies outside it
    undecided     otherwise

One seed has no interval over seeds, and neither have seeds that all differ by the same amount to the last
digit (a small test set does that by chance): both are undecided. A claim that joins several comparisons
(order, within) takes each at 1 - 0.05/m for its m comparisons (Bonferroni), so that all hold at once with
95 %. A verdict is on the region only: whether the note's own figure lies in our interval is told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000

REPRODUCED, CONTRADICTED, UNDECIDED = "reproduced", "contradicted", "undecided"


@dataclass(frozen=True)
class Interval:
    """An effect, its two-sided interval in the same unit, and the seeds (or images) behind it."""

    effect: float
    low: float
    high: float
    n: int


def verdict(region: tuple[float, float], *intervals: Interval) -> str:
    """See the module's rule. `region` is open: its ends are outside."""
    least, most = region
    if all(least < each.low and each.high < most for each in intervals):
        return REPRODUCED
    if all(each.high <= least or each.low >= most for each in intervals):
        return CONTRADICTED
    return UNDECIDED


def mean_interval(values: Any, level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of `values` (n,); unbounded for one value or no spread.

    Paired differences go in as values.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    error = values.std(ddof=1) / math.sqrt(n) if n > 1 else 0.0
    half = stats.t.ppf((1 + level) / 2, n - 1) * error if _spread(values) else math.inf
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half), n)


def ratio_interval(above: Any, below: Any, level: float = LEVEL) -> Interval:
    """Fieller's interval of mean(above) / mean(below), both (n,) and paired.

    Unbounded for one pair, no spread, or a denominator that may be zero. It excludes 1 exactly where the t
    interval of the differences excludes 0. Fieller, "Some problems in interval estimation", 1954.
    """
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    n = len(above)
    a, b = above.mean(), below.mean()
    ratio = float(a / b) if b else math.nan
    if not (_spread(above) or _spread(below)):
        return Interval(ratio, -math.inf, math.inf, n)
    t2 = stats.t.ppf((1 + level) / 2, n - 1) ** 2
    (aa, ab), (_, bb) = np.cov(above, below) / n
    denominator = b * b - t2 * bb
    if denominator <= 0:
        return Interval(ratio, -math.inf, math.inf, n)
    middle = a * b - t2 * ab
    half = math.sqrt(max(0.0, middle**2 - (a * a - t2 * aa) * denominator))
    return Interval(ratio, float((middle - half) / denominator), float((middle + half) / denominator), n)


def _spread(values: np.ndarray) -> bool:
    # Means of equal fractions differ in their last bits.
    return len(values) > 1 and float(np.ptp(values)) > 1e-12 * (1 + float(np.abs(values).max()))


def image_interval(first: Any, second: Any, level: float = LEVEL) -> Interval:
    """Interval of the difference in accuracy over test images.

    `first` and `second` (seeds, images) say which predictions were right; the columns are the same images.
    The paired Wald interval with Agresti and Min's two added pairs ("Simple improved confidence intervals
    for comparing matched proportions", 2005), which for one seed is McNemar's setting; over several seeds
    each image counts with its mean over the seeds.
    """
    d = np.asarray(first, dtype=float).mean(axis=0) - np.asarray(second, dtype=float).mean(axis=0)
    n = len(d)
    centre = d.sum() / (n + 2)
    error = math.sqrt(((np.square(d).sum() + 1) / (n + 2) - centre**2) / (n + 2))
    half = stats.norm.ppf((1 + level) / 2) * error
    return Interval(float(d.mean()), float(centre - half), float(centre + half), n)


def proportion_interval(right: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's interval of an accuracy measured once on n images."""
    low, high = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    return Interval(right / n, float(low), float(high), n)


def seeds_to_decide(differences: Any, bound: float, level: float = LEVEL) -> int | None:
    """Seeds after which the interval of the mean excludes `bound` with 80 % probability, if mean and spread
    stay as observed; more than there are. None: above 1,000, or no spread to plan with.
    """
    differences = np.asarray(differences, dtype=float)
    if not _spread(differences):
        return None
    standardised = abs(differences.mean() - bound) / differences.std(ddof=1)
    n = np.arange(len(differences) + 1, MOST_SEEDS + 1)
    critical = stats.t.ppf((1 + level) / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, standardised * np.sqrt(n))
    enough = n[power >= POWER]
    return int(enough[0]) if len(enough) else None
