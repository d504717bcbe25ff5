"""Compute what a vote would reach if its members erred independently, and how far real members are from that.

The note's arithmetic (A, section 3): of 3, 5, 7 independent voters that are right with probability .7 on two classes,
the majority is right with .784, .837, .874. For K classes the model is: every voter is right with the same
probability, independently of the others, and a wrong vote falls on each of the K - 1 other labels alike; the label
with most votes wins; if t labels have equally many votes, the right one wins in 1/t of cases (the smallest label wins a
tie, and no label is smaller more often). Real members find the same images hard and confuse the same classes: the model
is an upper end, farther away the more classes there are.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from analysis.load import Results
from search.records import LABEL, MEMBER_PREDICTED


def vote_accuracy(members: int, accuracy: float, classes: int) -> float:
    """Return the probability that the vote of independent members is right, by the model in this module's docstring.

    members >= 1, accuracy in [0, 1], classes >= 2.
    """
    right = np.arange(members + 1)
    # In logarithms, since a factorial of 171 is no float.
    ways = special.gammaln(members + 1) - special.gammaln(right + 1) - special.gammaln(members - right + 1)
    given = np.exp(ways + special.xlogy(right, accuracy) + special.xlog1py(members - right, -accuracy))
    return min(1.0, sum(float(given[n]) * _wins(n, members - n, classes - 1) for n in range(1, members + 1)))


def _wins(right: int, wrong: int, labels: int) -> float:
    """Return the chance that a label with `right` votes wins if `wrong` votes fall alike on `labels` other labels."""
    if not wrong:
        return 1.0
    # Wrong votes that fall alike are counts of Poisson's, one a label, given their sum: every factor is a probability.
    counts = np.arange(max(right, wrong) + 1)
    log = special.xlogy(counts, wrong / labels) - wrong / labels - special.gammaln(counts + 1)
    fewer = np.exp(log[: min(right, wrong + 1)])
    log_of_sum = special.xlogy(wrong, wrong) - wrong - special.gammaln(wrong + 1)
    chance = 0.0
    for ties in range(min(labels, wrong // right) + 1):
        rest = wrong - ties * right
        below = _power(fewer, labels - ties, rest)
        if rest < len(below):
            log_ways = special.gammaln(labels + 1) - special.gammaln(ties + 1) - special.gammaln(labels - ties + 1)
            chance += math.exp(log_ways + ties * log[right] - log_of_sum) * below[rest] / (ties + 1)
    return float(chance)


def _power(polynomial: np.ndarray, exponent: int, degree: int) -> np.ndarray:
    """Return a polynomial's power, up to x^degree."""
    result, square = np.ones(1), polynomial[: degree + 1]
    while exponent:
        if exponent & 1:
            result = np.convolve(result, square)[: degree + 1]
        square = np.convolve(square, square)[: degree + 1]
        exponent >>= 1
    return result


def correlations(right: np.ndarray) -> list[float]:
    """Return the members' mean correlation for the first 1, 2, ... n members.

    right: bool [n, images]. The correlation is Pearson's, of two members being right on an image: 0 for independent
    members, 1 for members that are right on the same images. Pairs without a correlation (a member that is always or
    never right) are left out; NaN without a pair.
    """
    means, found = [], []
    for size in range(len(right)):
        for other in range(size):
            if right[size].std() and right[other].std():
                found.append(np.corrcoef(right[size], right[other])[0, 1])
        means.append(float(np.mean(found)) if found else math.nan)
    return means


def of_trial(result: Results, trial_id: int) -> tuple[list[float], int]:
    """Return the members' correlations on the test images, and the number of classes among these.

    The list is empty if the members' labels were not kept; 0 classes if no labels were kept. Raises ResultsError.
    """
    kept = result.predictions(trial_id)
    if kept.empty:
        return [], 0
    labels = kept[LABEL].to_numpy()
    classes = int(labels.max()) + 1
    if MEMBER_PREDICTED not in kept or kept[MEMBER_PREDICTED].isna().any():
        return [], classes
    predicted = np.stack(kept[MEMBER_PREDICTED].to_list()).T
    return correlations(predicted == labels), classes
