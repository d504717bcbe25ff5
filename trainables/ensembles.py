"""How members vote, and what the first 1, 2, ... n of them reach."""

from __future__ import annotations

import torch


def hard_votes(predictions: torch.Tensor, classes: int) -> torch.Tensor:
    """Labels by most votes of the first 1..n members; ties go to the smallest label (note A, 4.7).

    predictions: int64 [n, images], one label per member and image. Returns int64 [n, images].
    """
    return most_votes(torch.nn.functional.one_hot(predictions, classes).cumsum(0))


def most_votes(counts: torch.Tensor) -> torch.Tensor:
    """The label with most votes, ties to the smallest: int64 counts [..., classes] to labels [...]."""
    classes = counts.shape[-1]
    # argmax does not promise which of two equal maxima it returns, so no two keys are equal.
    keys = counts * classes + torch.arange(classes - 1, -1, -1, device=counts.device)
    return keys.argmax(-1)


def soft_votes(probabilities: torch.Tensor) -> torch.Tensor:
    """Labels by largest mean probability of the first 1..n members.

    probabilities: [n, images, classes]. Returns int64 [n, images].
    """
    return probabilities.cumsum(0).argmax(-1)


def accuracy(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of right labels along the last dimension: [..., images] against [images]."""
    return (predictions == labels).double().mean(-1)


def scores(probabilities: torch.Tensor, labels: torch.Tensor, vote: str) -> dict[str, object]:
    """What n members reach on one set of images, alone and together.

    probabilities: [n, images, classes]; labels: int64 [images]; vote: "hard" or "soft".
    Returns, as plain Python values: accuracy, top5_accuracy and loss (nats per image) of the whole vote
    (the last two of the mean probabilities), member_accuracies and prefix_accuracies (the first 1..n
    members), both lists of n; and, as int64 tensors, predicted [images] and member_predicted [n, images].
    """
    alone = probabilities.argmax(-1)
    together = hard_votes(alone, probabilities.shape[-1]) if vote == "hard" else soft_votes(probabilities)
    mean = probabilities.mean(0)
    return {
        "accuracy": accuracy(together[-1], labels).item(),
        "top5_accuracy": top_k_accuracy(mean, labels, 5),
        "loss": torch.nn.functional.nll_loss(mean.clamp_min(1e-30).log(), labels).item(),
        "member_accuracies": accuracy(alone, labels).tolist(),
        "prefix_accuracies": accuracy(together, labels).tolist(),
        "predicted": together[-1],
        "member_predicted": alone,
    }


def top_k_accuracy(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Share of images whose label is among the k largest of scores [images, classes]."""
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    return (best == labels[:, None]).any(-1).double().mean().item()
