"""A claim as comparisons of its arms: their weights, the region that it claims, and the verdict of their intervals."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from analysis import intervals as rules
from analysis.arms import GAP, more_is_better, split_quantity
from analysis.intervals import CONTRADICTED, REPRODUCED, UNDECIDED, Interval
from search.records import Claim

Weights = Mapping[str, float]  # weights of arms, whose weighted sum is one comparison's effect


def comparisons(claim: Claim, arms: Sequence[str]) -> list[Weights]:
    """Return the comparisons that make a claim, each as its arms' weights; a ratio's are 1 (above) and -1 (below)."""
    if claim.kind == "level":
        return [{arm: 1.0} for arm in arms]
    if claim.kind == "within":
        return [_difference(a, b) for a, b in itertools.combinations(arms, 2)]
    if claim.kind == "order":
        steps = list(itertools.pairwise(arms))
        return [_difference(b, a) if claim.expected == "increasing" else _difference(a, b) for a, b in steps]
    if claim.kind == "contrast":
        return [_sum((arms[0], 1), (arms[1], -1), (arms[2], sign), (arms[3], -sign)) for sign in (-1, 1)]
    return [_difference(arms[0], arms[1])]


def compared(claim: Claim, arms: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of arms that a claim sets against each other."""
    if claim.kind == "level":
        return []
    if claim.kind == "within":
        return list(itertools.combinations(arms, 2))
    if claim.kind == "order":
        return list(itertools.pairwise(arms))
    return [(arms[i], arms[i + 1]) for i in range(0, len(arms), 2)]


def _difference(first: str, second: str) -> Weights:
    return {first: 1.0, second: -1.0}


def _sum(*terms: tuple[str, float]) -> Weights:
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return weights


def region(claim: Claim) -> tuple[float, float]:
    """Return the open region in which the effect lies if the claim holds."""
    none = 1.0 if claim.kind == "ratio" else 0.0  # effect if there is no difference
    margin = claim.margin or 0.0
    if claim.low is not None or claim.high is not None:
        return -math.inf if claim.low is None else claim.low, math.inf if claim.high is None else claim.high
    if claim.kind == "within":
        return -math.inf, margin
    if claim.kind == "no_worse":
        return (-margin, math.inf) if more_is_better(claim.quantity) else (-math.inf, margin)
    if claim.expected == "equal":
        return none - margin, none + margin
    return (-math.inf, none) if claim.expected == "less" else (none, math.inf)


def judge(claim: Claim, region: tuple[float, float], intervals: Sequence[Interval]) -> str:
    """Return the verdict of the comparisons' intervals: all must hold, a single one that fails contradicts."""
    if claim.kind != "level":
        return rules.verdict(region, join(claim, region, intervals))
    verdicts = {rules.verdict(region, each) for each in intervals}
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return UNDECIDED if UNDECIDED in verdicts else REPRODUCED


def join(claim: Claim, region: tuple[float, float], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of the claim's own effect from those of its comparisons.

    The effect is the least step of an order, the largest difference within, the level deepest outside its range, one
    change less another; any other claim has but one comparison.
    """
    if claim.kind == "level":
        return min(intervals, key=lambda i: min(i.effect - region[0], region[1] - i.effect))
    if claim.kind == "contrast":
        return _absolute(*intervals)
    extreme = max if claim.kind == "within" else min
    if claim.kind == "within":
        turned = (Interval(-i.effect, -i.high, -i.low, i.n) if i.effect < 0 else i for i in intervals)
        intervals = [dataclasses.replace(i, low=max(i.low, 0.0)) for i in turned]
    return Interval(
        effect=extreme(i.effect for i in intervals),
        low=extreme(i.low for i in intervals),
        high=extreme(i.high for i in intervals),
        n=min(i.n for i in intervals),
    )


def _absolute(difference: Interval, total: Interval) -> Interval:
    """Return |A| - |B| and its range, given A - B and A + B.

    The difference is min(|A - B|, |A + B|), positive if both have one sign. To show that it is positive, both intervals
    must lie on one side of zero, so that no level is lost (an intersection of tests).
    """

    def most(d: float, high_d: float, t: float, high_t: float) -> float:
        return max(min(high_d, high_t), -max(d, t))

    d, t = difference, total
    effect = max(min(d.effect, t.effect), -max(d.effect, t.effect))
    low, high = -most(d.low, d.high, -t.high, -t.low), most(d.low, d.high, t.low, t.high)
    return Interval(effect, low, high, d.n)


def rounding_places(claim: Claim, weights: Weights) -> list[float]:
    """Return the last places, in the effect's unit, of the printed figures that enter a comparison of the claim's arms.

    Without `claim.printed` two figures are taken to be printed to the place of the effect (one figure for a ratio or
    level).
    """
    figures = dict(zip(claim.arms, claim.figures, strict=True)) if len(claim.printed) == len(claim.arms) else {}
    if figures and claim.kind == "ratio":
        return [abs(claim.effect or 0.0) * place / abs(value) for value, place in figures.values() if value]
    if figures:
        return [abs(weight) * figures[arm][1] for arm, weight in weights.items()]
    if claim.printed:
        return [claim.figures[0][1]]
    if claim.effect is None:
        return []
    place = rounding(claim.effect, claim.quantity, claim.kind)
    return [place] if claim.kind in ("ratio", "level") else [place, place]


def rounding(effect: float, quantity: str, kind: str = "difference") -> float:
    """Return the unit of the last place of an effect that is only known as a number: 6.64 -> 0.01.

    A number has lost its trailing zeros, so that this is a guess: accuracies are taken to be printed to whole percents
    at least (0.1 is 10 points, 0.0 no point), anything else to whole units at least.
    """
    text = f"{effect:.10g}"
    decimals = len(text.partition(".")[2]) if "e" not in text else 10
    name = split_quantity(quantity)[0]
    fraction = kind != "ratio" and (name == GAP or name.endswith("accuracy"))
    return 10.0 ** -max(decimals, 2 if fraction else 0)
