"""Decide claims: the declared rules, and the intervals that the rules use.

RULES below are declared before the runs that they judge; every table of verdicts names their version. Their error rates
were simulated: `python -m tests.benchmarks.verdicts`, whose table stands in tests/benchmarks/verdicts.md.

Direction. A claim says that an effect lies in a region: "greater" in (0, inf), "equal" in (-margin, margin), a stated
size between its two ends. The effect is measured on runs paired by seed. Its interval joins two sources of chance: over
seeds (would another training say the same?) and, for accuracies whose labels were kept, over test images paired one
by one (would another test set?). Each half of the interval is sqrt(h_seeds^2 + h_images^2). Then

    reproduced    the interval lies inside the region
    contradicted  the interval lies outside it
    undecided     otherwise

Looks. Seeds may be added until a claim is decided, so every look at the data costs: a claim is looked at when it has
3, 5, 8, 12 and 20 seeds (the first ones, in order of seed; seeds in between wait for the next look), each time at a
level of .0129, which makes 95 % over all five looks together (Pocock's bound for these looks). The intervals shown
are at that level: "repeated confidence intervals" (Jennison and Turnbull, Group Sequential Methods, 1999, chapter 9).
Fewer than three seeds decide nothing. A claim that joins m comparisons (order, within, levels of several arms) takes
each at .0129 / m (Bonferroni).

Spread. Three seeds of two arms hardly show their spread, but all arms of a family together do. A family is one
quantity measured on one note's runs of one trainable on one data set under one protocol and one set of changes. Its
variance is what an arm-plus-seed model leaves unexplained, if Bartlett's test over the arms does not refuse equal
variances (p >= .05); else the comparison rests on its own runs alone, and says so. Since Bartlett's test sees little
at three seeds, the pooled variance never makes an interval narrower than the comparison's own variance would with
the pool's degrees of freedom. Each arm lends the pool only the seeds that its last look saw (its first 3, 5, 8, 12 or
20): those that wait move no interval. Prefixes and epochs of one training share their runs, so they rest on their own
pairs.
Identical training (same trainable, settings, protocol, engine, data) counts for an arm whichever study ran it.

Size. The notes print single runs, so a figure surprises if it lies outside the 95 % prediction interval for one further
run: half-width t * sqrt(v (1 + 1/n) + the variance of rounding of every printed figure that enters), with v the
variance of one run's effect (twice a run's for a difference) and u^2 / 12 for a last place of u. Inside it the size
"fits", else it "differs"; runs with other settings than the note's are "not comparable". Another engine is no other
setting; a smoke run and another data set are. For exact quantities (below) epochs, images, the batch's size and random
weights are none either, since a network is the same whatever it is trained on. For the same reason a claim that states
its size ("57 to 60 %") or has a margin ("within 2 points") is not tested on runs with other settings, whose directions
can be tested: an end at no difference (0; of a ratio 1) is a direction.

Machines. Times, images per second and peak memory are tested on the runs of one machine only.

Chance. Accuracies and losses are compared only if an arm has learnt something: a test accuracy above twice the chance
rate c or, if that is less, above c + (1 - c) / 4. That is .625 with two classes, .5 with three, .2 with ten. A claim on
the level of one accuracy or loss may be one of chance, and is tested.

Exact. Parameters and the memory to train on one image have no chance: one run decides, without an interval.

Many claims. `p` is the least overall level at which the verdict would have been reached. A level at each look becomes
one over all five by a simulated table (`OVERALL`), which has .0129 as .05, and nearly five times a small level, since
far out the looks hardly share their false verdicts. `q` is Benjamini and Hochberg's over the claims tested together
("Controlling the false discovery rate", 1995); claims on exact quantities have none and are no discoveries.

Power. "N seeds would decide" is promised only if the effect clears the bound even at the near end of its 95 %
interval; N is then the first look at which 80 % of repetitions decide an effect of that size, against both bounds if it
lies between two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

RULES = "2026-11-30.3"  # date and number of the rules declared above and in the constants below
LOOKS = (3, 5, 8, 12, 20)  # numbers of seeds at which a claim is looked at
LOOK_ALPHA = 0.0129  # two-sided level of each look
ALPHA = 0.05  # two-sided level of all looks together
HOMOGENEITY = 0.05  # Bartlett's p below which variances are not pooled
NEAR_CHANCE = 2.0  # multiple of the chance rate that an arm must exceed to test anything
LEARNT = 0.25  # share of the way from chance to 1 that is enough, if that is less: with two or three classes
DISCOVERY = 0.05  # q up to which the summary counts a verdict
LEVEL = 0.95  # level of intervals that stand beside no verdict, and of prediction intervals
POWER = 0.8  # probability with which a promised number of seeds decides
PROMISE_GATE = 0.05  # level at which an interval must already decide before a number of seeds is promised
PROMISE_LEVEL = 0.5  # level of the interval whose near end is the effect that the promise assumes

REPRODUCED, CONTRADICTED, UNDECIDED, NOT_TESTED = "reproduced", "contradicted", "undecided", "not tested"
FITS, DIFFERS, NOT_COMPARABLE = "fits", "differs", "not comparable"


@dataclass(frozen=True)
class Interval:
    """An effect, its two-sided interval in the same unit, and the seeds (or images) behind it."""

    effect: float
    low: float
    high: float
    n: int


def look(seeds: int) -> int:
    """Return how many of `seeds` seeds the last look saw; 0 before the first look."""
    return max((n for n in LOOKS if n <= seeds), default=0)


def verdict(region: tuple[float, float], *intervals: Interval) -> str:
    """Return what `intervals`, which must all agree, say about `region`, an open interval that excludes its ends."""
    least, most = region
    if all(least < each.low and each.high < most for each in intervals):
        return REPRODUCED
    if all(each.high <= least or each.low >= most for each in intervals):
        return CONTRADICTED
    return UNDECIDED


# Comparisons: a mean or a ratio, from which an interval at any level follows.


@dataclass(frozen=True)
class Mean:
    """A mean effect with its standard error on `df` degrees of freedom (inf: the normal distribution).

    `centre` is the middle of the interval if that is not the effect itself.
    """

    effect: float
    error: float
    df: float
    n: int
    centre: float | None = None

    def interval(self, alpha: float) -> Interval:
        """Return the two-sided interval at 1 - alpha."""
        half = critical(self.df, alpha) * self.error if self.error else 0.0
        middle = self.effect if self.centre is None else self.centre
        return Interval(self.effect, middle - half, middle + half, self.n)


@dataclass(frozen=True)
class Ratio:
    """mean(above) / mean(below) with the covariance of the two means on `df` degrees of freedom."""

    above: float
    below: float
    covariance: tuple[float, float, float]  # (above, above), (above, below), (below, below)
    df: float
    n: int

    @property
    def effect(self) -> float:
        return self.above / self.below if self.below else math.nan

    def interval(self, alpha: float) -> Interval:
        """Return Fieller's interval at 1 - alpha ("Some problems in interval estimation", 1954).

        The interval is unbounded if the denominator may be zero. It excludes 1 exactly if the t interval of the
        differences excludes 0.
        """
        aa, ab, bb = self.covariance
        t2 = critical(self.df, alpha) ** 2 if any(self.covariance) else 0.0
        denominator = self.below**2 - t2 * bb
        if not math.isfinite(t2) or denominator <= 0:
            return Interval(self.effect, -math.inf, math.inf, self.n)
        middle = self.above * self.below - t2 * ab
        half = math.sqrt(max(0.0, middle**2 - (self.above**2 - t2 * aa) * denominator))
        return Interval(self.effect, (middle - half) / denominator, (middle + half) / denominator, self.n)


@dataclass(frozen=True)
class Joint:
    """One comparison over seeds and, if `images` is given, over test images too."""

    seeds: Mean | Ratio
    images: Mean | Ratio | None = None

    @property
    def effect(self) -> float:
        return self.seeds.effect

    def interval(self, alpha: float) -> Interval:
        """Return the interval at 1 - alpha whose halves are sqrt(h_seeds^2 + h_images^2)."""
        return joined(self.seeds.interval(alpha), self.images.interval(alpha) if self.images else None)


def joined(seeds: Interval, images: Interval | None) -> Interval:
    """Return the interval around the effect over seeds that joins both sources of chance, each side on its own."""
    if images is None:
        return seeds
    effect = seeds.effect
    below = math.hypot(effect - seeds.low, max(0.0, images.effect - images.low))
    above = math.hypot(seeds.high - effect, max(0.0, images.high - images.effect))
    return Interval(effect, effect - below, effect + above, seeds.n)


def critical(df: float, alpha: float) -> float:
    """Return the t distribution's two-sided critical value; inf without a degree of freedom."""
    if not df > 0:
        return math.inf
    return float(special.ndtri(1 - alpha / 2) if math.isinf(df) else special.stdtrit(df, 1 - alpha / 2))


def least_alpha(decided: Any, low: float = 1e-12) -> float:
    """Return the least level alpha in [low, 1] at which `decided(alpha)` holds, as it then must above; 1 if none."""
    if not decided(1 - 1e-9):
        return 1.0
    if decided(low):
        return low
    inside, outside = 0.0, math.log(low)  # log alpha: decided, not decided
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if decided(math.exp(middle)) else (inside, middle)
    return math.exp(inside)


# Level at each look -> share of 94.8 million sets of 20 normal values of which a t test at one look or more refuses the
# truth (2026-11-30; standard errors below 1.5 % of a share). The declared .05 stands for the .0502 found at .0129, and
# at 1e-12 Bonferroni's five times the level.
OVERALL = {
    1e-12: 5e-12,
    1e-5: 4.85e-5,
    1e-4: 4.76e-4,
    5e-4: 2.31e-3,
    0.001: 0.00453,
    0.002: 0.00879,
    0.005: 0.0210,
    0.01: 0.0399,
    LOOK_ALPHA: ALPHA,
    0.02: 0.0747,
    0.05: 0.167,
    0.1: 0.298,
    0.2: 0.510,
    0.3: 0.677,
    0.5: 0.899,
    0.7: 0.988,
    0.9: 0.99995,
    1.0: 1.0,
}
_LOG_LEVELS, _LOG_OVERALL = np.log(list(OVERALL)), np.log(list(OVERALL.values()))


def overall(alpha: float) -> float:
    """Return the overall p-value of a level `alpha` > 0 at each look: `OVERALL`, interpolated in logarithms."""
    return min(1.0, len(LOOKS) * alpha, math.exp(np.interp(math.log(alpha), _LOG_LEVELS, _LOG_OVERALL)))


def clear_of_chance(chance: float) -> float:
    """Return the test accuracy that an arm must exceed to test anything, given the chance rate."""
    return min(NEAR_CHANCE * chance, chance + LEARNT * (1 - chance))


# Spread.


@dataclass(frozen=True)
class Pool:
    """Spread of a family of arms.

    variance, df              variance of one run about its arm's mean, without the seed's part
    whole_variance, whole_df  the same with the seed's part
    p                         Bartlett's test of equal variances over the arms
    """

    variance: float
    df: float
    whole_variance: float
    whole_df: float
    p: float

    @property
    def equal(self) -> bool:
        """Return whether the arms' variances may be pooled."""
        return self.p >= HOMOGENEITY


def pool(table: Any) -> Pool | None:
    """Return the pooled variance of `table` (arms, seeds), which has NaN if an arm was not run with a seed.

    The variance is that of the residual of an additive model of arm and seed, by least squares. None without a degree
    of freedom or any residual.
    """
    table = np.asarray(table, dtype=float)
    table = table[(~np.isnan(table)).sum(axis=1) > 1]
    arm, seed = np.nonzero(~np.isnan(table))
    if len(table) < 2:
        return None
    y = table[arm, seed]
    arms, seeds = np.eye(len(table))[arm], np.eye(table.shape[1])[seed]
    design = np.hstack([arms, seeds])
    hat = design @ np.linalg.pinv(design)
    residual = y - hat @ y
    free = 1 - np.diag(hat)
    df = float(free.sum())
    if df < 0.5 or not _spread(residual):
        return None
    variance = float(np.square(residual).sum() / df)
    # Variance within arms, the seeds' part included: shared seeds leave fewer degrees of freedom (Satterthwaite).
    centred = np.eye(len(y)) - arms @ np.linalg.pinv(arms)
    count = len(y) - len(table)
    whole = float(y @ centred @ y / count)
    covariance = centred @ (variance * np.eye(len(y)) + max(0.0, whole - variance) * seeds @ seeds.T)
    whole_df = float(np.trace(covariance) ** 2 / (covariance * covariance.T).sum())
    freedom = arms.T @ free
    each = np.divide(arms.T @ np.square(residual), freedom, out=np.zeros(len(table)), where=freedom > 1e-9)
    p = bartlett(each[freedom > 1e-9], freedom[freedom > 1e-9])
    return Pool(variance, df, whole, whole_df, p)


def bartlett(variances: np.ndarray, df: np.ndarray) -> float:
    """Return the p-value of equal variances, given each group's variance and its degrees of freedom.

    Bartlett, "Properties of sufficiency and statistical tests", 1937.
    """
    if len(variances) < 2:
        return 1.0
    if not variances.min() > 0:
        return 0.0
    total = df.sum()
    statistic = total * math.log((df * variances).sum() / total) - (df * np.log(variances)).sum()
    correction = 1 + ((1 / df).sum() - 1 / total) / (3 * (len(df) - 1))
    return float(special.chdtrc(len(df) - 1, max(0.0, statistic) / correction))  # equal variances round below 0


def mean_effect(values: Any) -> Mean:
    """Return the mean of `values` (n,), one a seed, with its own spread; one value or equal values show no spread."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if not _spread(values):
        return Mean(float(values.mean()), math.inf, 0, n)
    return Mean(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n), n - 1, n)


def pooled_effect(values: Any, variance: float, df: float) -> Mean:
    """Return the mean of `values` (n,), one a seed, with the pool's `variance` for each, on `df` degrees of freedom.

    If the values' own variance is larger, it replaces the pool's, with the pool's degrees of freedom.
    """
    own = mean_effect(values)
    error = math.sqrt(variance / own.n)
    return Mean(own.effect, max(error, own.error) if math.isfinite(own.error) else error, df, own.n)


def ratio_effect(above: Any, below: Any) -> Ratio:
    """Return mean(above) / mean(below), both (n,) and paired."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    n = len(above)
    if not (_spread(above) or _spread(below)):
        return Ratio(float(above.mean()), float(below.mean()), (math.inf,) * 3, 0, n)
    (aa, ab), (_, bb) = np.cov(above, below) / n
    return Ratio(float(above.mean()), float(below.mean()), (float(aa), float(ab), float(bb)), n - 1, n)


def mean_interval(values: Any, level: float = LEVEL) -> Interval:
    """Return Student's t interval of the mean of `values` (n,); unbounded for one value or no spread.

    For paired data the values are differences.
    """
    return mean_effect(values).interval(1 - level)


def ratio_interval(above: Any, below: Any, level: float = LEVEL) -> Interval:
    """Return Fieller's interval of mean(above) / mean(below), both (n,) and paired.

    The interval is unbounded for one pair or no spread.
    """
    return ratio_effect(above, below).interval(1 - level)


def _spread(values: np.ndarray) -> bool:
    # Means of equal fractions differ in their last bits.
    return len(values) > 1 and float(np.ptp(values)) > 1e-12 * (1 + float(np.abs(values).max()))


# Test images.


def image_effect(scores: Sequence[Any], weights: Sequence[float]) -> Mean:
    """Return the weighted sum of accuracies over test images, with its spread over images.

    `scores`: for each weight (seeds, images), which predictions were right; the columns are the same images. For the
    difference of two accuracies that is the paired Wald interval with Agresti and Min's two added pairs ("Simple
    improved confidence intervals for comparing matched proportions", 2005), which for one seed is McNemar's setting;
    over several seeds each image counts with its mean over the seeds.
    """
    d = np.sum([w * np.asarray(x, dtype=float).mean(axis=0) for w, x in zip(weights, scores, strict=True)], axis=0)
    n = len(d)
    # Two added images: one right and one wrong for an accuracy, half of each disagreement for a difference.
    centre = (d.sum() + sum(weights)) / (n + 2)
    added = sum(w * w for w in weights) / (1 if sum(weights) else 2)
    error = math.sqrt(((np.square(d).sum() + added) / (n + 2) - centre**2) / (n + 2))
    return Mean(float(d.mean()), error, math.inf, n, float(centre))


def image_interval(first: Any, second: Any, level: float = LEVEL) -> Interval:
    """Return the interval of the difference in accuracy over test images; arguments as `image_effect`'s scores."""
    return image_effect([first, second], [1, -1]).interval(1 - level)


def image_ratio(above: Any, below: Any) -> Ratio:
    """Return the ratio of two accuracies over test images; both (seeds, images)."""
    above, below = (np.asarray(x, dtype=float).mean(axis=0) for x in (above, below))
    ratio = ratio_effect(above, below)
    return Ratio(ratio.above, ratio.below, ratio.covariance, math.inf if ratio.df else 0, ratio.n)


def proportion_interval(right: int, n: int, level: float = LEVEL) -> Interval:
    """Return Wilson's interval of an accuracy measured once on n images.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = float(special.ndtri((1 + level) / 2))
    centre, half = right + z * z / 2, z * math.sqrt(right * (n - right) / n + z * z / 4)
    return Interval(right / n, max(0.0, (centre - half) / (n + z * z)), min(1.0, (centre + half) / (n + z * z)), n)


# Size, power and many claims.


def prediction_half(run_variance: float, df: float, n: int, rounding: float, comparisons: int = 1) -> float:
    """Return half the 95 % prediction interval for one further run's effect about the mean of n runs.

    `run_variance`: variance of one run's effect, on `df` degrees of freedom; `rounding`: variance of rounding of the
    printed figures. Of several `comparisons` each is taken at a level that makes 95 % of all together.
    """
    return critical(df, (1 - LEVEL) / comparisons) * math.sqrt(run_variance * (1 + 1 / n) + rounding)


def rounding_variance(place: float) -> float:
    """Return the variance of rounding to a last place of `place`, uniform over it."""
    return place**2 / 12


def power(
    distance: float,
    deviation: float,
    n: int,
    df: float,
    images: float = 0.0,
    alpha: float = LOOK_ALPHA,
    other: float = math.inf,
) -> float:
    """Return the probability that n seeds decide on which side of a bound an effect lies, at `distance` from it.

    `deviation`: standard deviation of one seed's effect, known on `df` degrees of freedom; `images`: half of the
    interval over images; `other`: distance from the second bound of a region in which the effect lies, since the
    interval must then keep clear of both.
    """
    error = deviation / math.sqrt(n)
    if not df > 0 or not error > 0:
        return 0.0
    needed = math.hypot(critical(df, alpha), images / error)
    if math.isfinite(other):
        # Over the standard errors that the seeds may show.
        shares = (np.arange(2000) + 0.5) / 2000
        halves = needed * (np.sqrt(special.chdtri(df, shares) / df) if math.isfinite(df) else np.ones(1))
        between = special.ndtr(other / error - halves) - special.ndtr(halves - distance / error)
        return float(np.maximum(0.0, between).mean())
    if math.isinf(df):
        return float(special.ndtr(distance / error - needed))
    from scipy import stats  # a second's import that most commands do without

    return float(stats.nct.sf(needed, df, distance / error))


def seeds_to_decide(
    distance: float,
    deviation: float,
    seeds: int,
    df: float | None = None,
    images: float = 0.0,
    alpha: float = LOOK_ALPHA,
    other: float = math.inf,
) -> int | None:
    """Return the first look after `seeds` seeds that decides an effect at `distance` from a bound in 80 % of cases.

    `df`: degrees of freedom of the deviation; None: those of the comparison's own seeds; `other`: as for `power`. None
    if no look decides.
    """
    for n in LOOKS:
        freedom = n - 1 if df is None else max(df, n - 1)
        if n > seeds and power(distance, deviation, n, freedom, images, alpha, other) >= POWER:
            return n
    return None


def detectable(deviation: float, df: float | None = None, images: float = 0.0, alpha: float = LOOK_ALPHA) -> float:
    """Return the least distance of an effect from its bound that the last look decides with 80 % probability."""
    n = LOOKS[-1]
    freedom = n - 1 if df is None else max(df, n - 1)
    if not 0 < deviation < math.inf:
        return math.nan
    unit = math.hypot(deviation / math.sqrt(n), images)
    low, high = 0.0, 20.0 * unit
    for _ in range(30):
        middle = (low + high) / 2
        decided = power(middle, deviation, n, freedom, images, alpha) >= POWER
        low, high = (low, middle) if decided else (middle, high)
    return high


def false_discovery(p: Any) -> np.ndarray:
    """Return Benjamini and Hochberg's q for each of `p` (n,); NaN stays NaN and counts for nothing."""
    p = np.asarray(p, dtype=float)
    q = np.full(len(p), math.nan)
    known = ~np.isnan(p)
    if known.any():
        from scipy import stats  # a second's import that most commands do without

        q[known] = stats.false_discovery_control(p[known])
    return q
