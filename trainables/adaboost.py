"""AdaBoost's arithmetic for K classes: SAMME, and note A's variant of it.

Both start from the odds of a member with error e against chance, (K-1) (1-e)/e:

    variant   error counted             alpha           weight of a training image, then normalised to sum 1
    samme     with the weights          ln(odds)        times exp(alpha) where the member is wrong
    note      every image alike         log2(odds) / K  times exp(alpha) where wrong, exp(-alpha) where right

samme: Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost". note: note A, sections 3 and 4, whose 24
printed alphas are this formula to the last digit ("alpha divider: classes" is the division by K).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

Variant = Literal["note", "samme"]

CHANCE_TOLERANCE = 1e-9  # in accuracy: sums of weights are not exact


def alpha(variant: Variant, error: float, classes: int) -> float:
    """A member's weight in the vote: 0 at chance (error 1 - 1/K) and beyond, infinite without an error."""
    if error == 0:
        return math.inf
    if 1 - error <= 1 / classes + CHANCE_TOLERANCE:
        return 0.0
    odds = (classes - 1) * (1 - error) / error
    return math.log2(odds) / classes if variant == "note" else math.log(odds)


def reweighted(variant: Variant, weights: torch.Tensor, wrong: torch.Tensor, alpha: float) -> torch.Tensor:
    """The weights of the next round: float64 [n] with sum 1, from those of this one and who was wrong (bool [n])."""
    factor_right = math.exp(-alpha) if variant == "note" else 1.0
    weights = weights * torch.where(wrong, math.exp(alpha), factor_right)
    return weights / weights.sum()


def shares(alphas: Sequence[float]) -> list[float]:
    """Each member's share of the vote: the alphas over their sum.

    A member without an error (infinite alpha) decides alone; where no alpha is above 0 all vote alike.
    """
    if math.inf in alphas:
        alphas = [1.0 if alpha == math.inf else 0.0 for alpha in alphas]
    elif not any(alphas):
        alphas = [1.0] * len(alphas)
    total = sum(alphas)
    return [alpha / total for alpha in alphas]
