"""Split images into training and validation: stratified, and the same for every trial."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 20_240_101  # the project's own seed, never a trial's: every trial sees the same split
VALIDATION_IMAGES = 5_000  # validation images among the 50,000 training images of either CIFAR

Indices = NDArray[np.int64]


def _random(seed: int) -> np.random.RandomState:
    # Unlike numpy.random.Generator's, RandomState's stream never changes between NumPy versions: nor do the splits.
    return np.random.RandomState(seed)


def validation_size(n_train: int) -> int:
    """Return how many of `n_train` images to hold out for validation: one tenth, so 5,000 of 50,000.

    Raises ValueError for fewer than ten.
    """
    if n_train < 10:
        raise ValueError(f"at least 10 training images required to hold one out, got {n_train}")
    return n_train // 10


def split(
    labels: NDArray[np.integer[Any]], validation_images: int = VALIDATION_IMAGES, seed: int = SPLIT_SEED
) -> tuple[Indices, Indices]:
    """Split positions of `labels` [n] into (train, validation): int64, sorted, disjoint, all n together.

    Stratified: each class gives its share of the validation images, rounded by largest remainder, but keeps one.
    Raises ValueError unless 0 <= validation_images <= n - classes.
    """
    n = len(labels)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 0 <= validation_images <= n - len(counts):
        raise ValueError(
            f"0 to {n - len(counts)} validation images, so that each class keeps one, required of {n} images, got "
            f"{validation_images}"
        )
    quotas, remainders = np.divmod(counts * validation_images, n)
    order = np.argsort(-remainders, kind="stable")
    quotas[order[: validation_images - quotas.sum()]] += 1
    quotas = np.minimum(quotas, counts - 1)
    while missing := validation_images - quotas.sum():
        able = order[quotas[order] < counts[order] - 1]
        quotas[able[:missing]] += 1
    random = _random(seed)
    held_out = np.zeros(n, bool)
    for label, quota in enumerate(quotas):
        held_out[random.permutation(np.flatnonzero(inverse == label))[:quota]] = True
    return np.flatnonzero(~held_out).astype(np.int64), np.flatnonzero(held_out).astype(np.int64)


def stratified_subset(
    labels: NDArray[np.integer[Any]], indices: Indices, images: int, seed: int = SPLIT_SEED
) -> Indices:
    """Return `images` of `indices` (positions in `labels`), int64, sorted, with every class at its share.

    Subsets are nested: a smaller subset of the same indices is contained in every larger one. Largest remainders do
    not give that (the Alabama paradox). So the images stand in one fixed order, and a subset is a prefix of that order:
    one image of each class, then by Sainte-Laguë's rule. Raises ValueError if `images` exceeds
    len(indices) or is below the number of classes among them.
    """
    indices = np.sort(np.asarray(indices, np.int64))
    _, inverse, counts = np.unique(np.asarray(labels)[indices], return_inverse=True, return_counts=True)
    if not len(counts) <= images <= len(indices):
        raise ValueError(
            f"{len(counts)} (one a class) to {len(indices)} (all) images required of a subset, got {images}"
        )
    random = _random(seed)
    place = np.empty(len(indices))  # an image's place in its class, as a fraction
    for label, count in enumerate(counts):
        ranks = random.permutation(count)
        place[inverse == label] = np.where(ranks == 0, 0.0, (ranks + 0.5) / count)
    order = np.lexsort((random.permutation(len(indices)), place))
    return np.sort(indices[order[:images]])
