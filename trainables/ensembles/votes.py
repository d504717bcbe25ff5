"""Let the members of an ensemble vote, and score the votes of the first 1, 2, ... n members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from trainables.ensembles.calibration import TINY, Calibration, calibration
from trainables.ensembles.diversity import disagreement, prefix_means, q_statistic


def hard_votes(predictions: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the labels with most votes of the first 1..n members; ties go to the smallest label (note A, 4.7).

    predictions: int64 [n, images], one label per member and image. Returns int64 [n, images].
    """
    return most_votes(torch.nn.functional.one_hot(predictions, classes).cumsum(0))


def most_votes(counts: torch.Tensor) -> torch.Tensor:
    """Return the label with most votes, ties to the smallest: int64 counts [..., classes] to labels [...]."""
    classes = counts.shape[-1]
    # argmax does not promise which of two equal maxima it returns; these keys are never equal.
    keys = counts * classes + torch.arange(classes - 1, -1, -1, device=counts.device)
    return keys.argmax(-1)


def soft_votes(probabilities: torch.Tensor) -> torch.Tensor:
    """Return the labels of largest mean probability over the first 1..n members.

    probabilities: [n, images, classes]. Returns int64 [n, images].
    """
    return probabilities.cumsum(0).argmax(-1)


def accuracy(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the share of right labels along the last dimension: [..., images] against [images]."""
    return (predictions == labels).double().mean(-1)


def votes(probabilities: torch.Tensor, vote: str) -> torch.Tensor:
    """Return labels by a "hard" or "soft" vote of the first 1..n members: [n, images, classes] to int64 [n, images]."""
    if vote == "hard":
        return hard_votes(probabilities.argmax(-1), probabilities.shape[-1])
    return soft_votes(probabilities)


def weighted_votes(logits: torch.Tensor, vote: str, shares: Sequence[Sequence[float]]) -> torch.Tensor:
    """Return labels by a weighted vote of the first 1..n members, see `weighted_scores`."""
    if vote == "hard":
        # In float64, so that sums of equal shares stay equal.
        voted = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    else:
        voted = logits.softmax(-1) if vote == "probabilities" else logits
    return torch.stack([_first_of_largest(_weighted_sum(voted, members)) for members in shares])


def scores(probabilities: torch.Tensor, labels: torch.Tensor, vote: str) -> dict[str, object]:
    """Score n members on one set of images, alone and together.

    probabilities: [n, images, classes]; labels: int64 [images]; vote: "hard" or "soft".
    Returns, as plain Python values: accuracy, top5_accuracy and loss (nats per image) of the whole vote;
    member_accuracies, a list of n; for the first 1..n members, lists of n, prefix_accuracies, the losses, eces
    and briers of `trainables.ensembles.calibration` (prefix_losses, ...) and, as means over pairs of members or None
    without a pair, prefix_disagreements and prefix_q_statistics of `trainables.ensembles.diversity`. As tensors: mean
    probabilities [images, classes] and the int64 labels predicted [images] and member_predicted [n, images].
    Whatever the vote, figures that need probabilities use their mean over members.
    """
    return _summary(probabilities.argmax(-1), votes(probabilities, vote), _means(probabilities), labels)


def weighted_scores(
    logits: torch.Tensor, labels: torch.Tensor, vote: str, shares: Sequence[Sequence[float]]
) -> dict[str, object]:
    """Score a weighted vote, like `scores`; `shares[k]` are the weights of the first k + 1 members, with sum 1.

    logits: [n, images, classes]; vote: "logits", "probabilities" or "hard" says what the weighted mean is taken of
    ("hard": labels, one-hot; figures that need probabilities then use the weighted mean of the probabilities).
    Ties go to the smallest label.
    """
    voted = logits if vote == "logits" else logits.softmax(-1)
    sums = (_weighted_sum(voted, members) for members in shares)
    means = (total.softmax(-1) for total in sums) if vote == "logits" else sums
    return _summary(logits.argmax(-1), weighted_votes(logits, vote, shares), means, labels)


def _means(values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the mean [...] of the first 1..n of `values` [n, ...], one after the other."""
    total = torch.zeros_like(values[0])
    for count, value in enumerate(values, 1):
        total += value
        yield total / count


def _weighted_sum(values: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    # Added one after the other, so that the sum of the first k members does not depend on later ones.
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=False):
        total += value * weight
    return total


def _first_of_largest(values: torch.Tensor) -> torch.Tensor:
    return most_votes((values == values.amax(-1, keepdim=True)).long())


def _summary(
    alone: torch.Tensor, together: torch.Tensor, means: Iterable[torch.Tensor], labels: torch.Tensor
) -> dict[str, object]:
    calibrations = []
    for mean in means:  # one at a time: all means together would take as much memory as the members' probabilities
        calibrations.append(torch.stack(calibration(mean, labels)))
    figures = dict(zip(Calibration._fields, torch.stack(calibrations).T.tolist(), strict=True))
    return {
        "accuracy": accuracy(together[-1], labels).item(),
        "top5_accuracy": top_k_accuracy(mean, labels, 5),
        "loss": figures["loss"][-1],
        "probabilities": mean,
        "member_accuracies": accuracy(alone, labels).tolist(),
        "prefix_accuracies": accuracy(together, labels).tolist(),
        "prefix_losses": figures["loss"],
        "prefix_eces": figures["ece"],
        "prefix_briers": figures["brier"],
        "prefix_disagreements": prefix_means(disagreement(alone)),
        "prefix_q_statistics": prefix_means(q_statistic(alone == labels)),
        "predicted": together[-1],
        "member_predicted": alone,
    }


def top_k_accuracy(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Return the share of images whose label is among the k largest of scores [images, classes]."""
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    return (best == labels[:, None]).any(-1).double().mean().item()


def smoothed_divergence(probabilities: torch.Tensor, labels: torch.Tensor, smoothing: float) -> float:
    """Return the mean Kullback-Leibler divergence of the smoothed target from probabilities [images, classes], in nats.

    The target is 1 - smoothing on the label and smoothing / (classes - 1) elsewhere. Note C calls this its loss:
    the cross-entropy to that target less the target's entropy, .7846 nats at .1 and 100 classes.
    """
    elsewhere = smoothing / (probabilities.shape[1] - 1)
    target = torch.full_like(probabilities, elsewhere).scatter_(1, labels[:, None], 1 - smoothing)
    log = probabilities.clamp_min(TINY).log()
    return torch.nn.functional.kl_div(log, target, reduction="batchmean").item()
