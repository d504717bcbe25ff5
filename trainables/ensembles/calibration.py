"""Measure how far a predictor's probabilities can be trusted: likelihood, calibration error and Brier score."""

from __future__ import annotations

from typing import NamedTuple

import torch

BINS = 15  # number of bins of equal width, over a prediction's probability from 0 to 1
TINY = 1e-30  # smallest probability in a logarithm, which stays finite if a probability underflowed


class Calibration(NamedTuple):
    """Figures of one predictor on one set of images, float64 scalars; the lower the better.

    `loss`: mean negative log-likelihood of the labels, nats. `ece`: expected calibration error, the mean over
    images of the distance, within each bin, between accuracy and mean probability of the predicted label.
    `brier`: mean squared distance between the probabilities and the one-hot label, summed over classes (0 to 2).
    """

    loss: torch.Tensor
    ece: torch.Tensor
    brier: torch.Tensor


def calibration(probabilities: torch.Tensor, labels: torch.Tensor) -> Calibration:
    """Compare probabilities [images, classes] with int64 labels [images].

    The predicted label is that of the largest probability. The bins are torch-uncertainty's: 15 of equal width,
    each without its upper edge, so that a probability of exactly 1 counts apart from those just below it. A
    label's probability counts as at least 1e-30 in the loss, which is infinite in torch-uncertainty.

    Source: Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks"; Brier 1950.
    """
    of_label = probabilities.gather(1, labels[:, None]).squeeze(1)
    confidence, predicted = probabilities.max(1)
    edges = torch.linspace(0, 1, BINS + 1, device=probabilities.device, dtype=probabilities.dtype)
    bins = torch.bucketize(confidence, edges, right=True) - 1
    excess = (predicted == labels).double() - confidence.double()
    # A matrix product, since the order in which a GPU adds to bins is not fixed.
    in_bins = excess @ torch.nn.functional.one_hot(bins, BINS + 1).double()
    squares = probabilities.square().sum(1).double() - 2 * of_label.double() + 1
    return Calibration(
        # Rounded probabilities may exceed 1, so each figure is clamped to its bounds.
        loss=-of_label.clamp(TINY, 1).double().log().mean(),
        ece=(in_bins.abs().sum() / len(labels)).clamp_max(1),
        brier=squares.mean().clamp(0, 2),
    )
