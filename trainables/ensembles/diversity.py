"""Measure how far the members of an ensemble differ, pair by pair and for the first 1, 2, ... n members."""

from __future__ import annotations

import math

import torch


def disagreement(predicted: torch.Tensor) -> torch.Tensor:
    """Return the share of images on which two members' labels differ, for every pair.

    predicted: int64 [n, images]. Returns float64 [n, n].
    """
    return torch.stack([(predicted != own).double().mean(1) for own in predicted])


def q_statistic(right: torch.Tensor) -> torch.Tensor:
    """Return Yule's Q for every pair of members: 1 if the two err together, 0 if independently, -1 if apart.

    right: bool [n, images]. Returns float64 [n, n]: (ad - bc) / (ad + bc) from the numbers of images on which
    both are right (a), only the first or only the second is (b, c) and neither is (d). If ad and bc are both 0 (for a
    member without an error, say) the pair has no Q: NaN.

    Source: Kuncheva and Whitaker 2003, "Measures of diversity in classifier ensembles".
    """
    right = right.double()
    both, each = right @ right.T, right.sum(1)
    only_one, only_other = each[:, None] - both, each[None, :] - both
    together = both * (right.shape[1] - both - only_one - only_other)
    apart = only_one * only_other
    return (together - apart) / (together + apart)


def prefix_means(pairs: torch.Tensor) -> list[float | None]:
    """Return the mean of `pairs` [n, n], a symmetric measure, over the pairs among the first 1..n members.

    Pairs without a value (NaN) are left out; the mean is None if there is no pair, as for one member.
    """
    means: list[float | None] = []
    total, count = 0.0, 0
    for member, row in enumerate(pairs.tolist()):
        # Added one after the other, so that the mean of the first k members does not depend on later ones.
        for value in row[:member]:
            if not math.isnan(value):
                total, count = total + value, count + 1
        means.append(total / count if count else None)
    return means
