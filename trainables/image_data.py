"""A decoded data set as the trainables take it, and what is measured on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.splits import Indices

_CHUNK = 500  # images counted at a time

Images = NDArray[np.uint8]
Progress = Callable[[str], None]


class DataError(ValueError):
    """A data set that cannot be loaded; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A decoded data set: images uint8 [n, 3, 32, 32], contiguous; labels int64 [n] from 0."""

    name: str  # "cifar10", "cifar100" or "digits"
    train_images: Images
    train_labels: Indices
    test_images: Images
    test_labels: Indices
    class_names: tuple[str, ...]
    fingerprint: str  # sha256, hex, of the source's content
    source: str  # where it came from, for a person

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @functools.cached_property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`channel_statistics` of the training images, taken once: a worker gets what the driver has done."""
        return channel_statistics(self.train_images)


def channel_statistics(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean [3] and (population) standard deviation [3] of uint8 images [n, 3, h, w], where 255 counts as 1.

    From a histogram a channel: exact, and without a float copy of the images. Raises ValueError for
    another shape or type, or no images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.size == 0:
        raise ValueError(f"uint8 images [n, 3, h, w] required, got {images.dtype} {list(images.shape)}")
    histogram = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            pixels = images[start : start + _CHUNK, channel].ravel()
            histogram[channel] += np.bincount(pixels, minlength=256)
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
