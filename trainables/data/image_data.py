"""A decoded data set in the form that trainables take, and its channel statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.splits import Indices

_CHUNK = 500  # number of images counted at a time

Images = NDArray[np.uint8]
Progress = Callable[[str], None]


class DataError(ValueError):
    """A data set that cannot be loaded; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A decoded data set: images uint8 [n, c, h, w], contiguous, with c 1 or 3; labels int64 [n] from 0.

    The last `validation_images` training images are the data set's own validation part, if it has one.
    """

    name: str  # "cifar10", "cifar100", "digits", a torchvision data set's, or "folder:" and the folder's name
    train_images: Images
    train_labels: Indices
    test_images: Images
    test_labels: Indices
    class_names: tuple[str, ...]
    fingerprint: str  # sha256, hex, of the source's content
    source: str  # the place that the data set came from, for a person
    validation_images: int = 0
    prepared: str = ""  # how pictures were resized and the test set was split off, for a person; "" if neither

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Return 1 for gray images, 3 for RGB."""
        return int(self.train_images.shape[1])

    @property
    def size(self) -> int:
        """Return the pixels of an image's side."""
        return int(self.train_images.shape[2])

    def described(self) -> dict[str, Any]:
        """Return, as JSON values, what a network's inputs are made with: study.json keeps it, see `DeviceData.like`."""
        mean, std = (each.astype(float).tolist() for each in self.statistics)
        return {
            "channels": self.channels,
            "size": self.size,
            "mean": mean,
            "std": std,
            "train": len(self.train_labels) - self.validation_images,
            "validation": self.validation_images,
            "test": len(self.test_labels),
            "prepared": self.prepared,
        }

    @functools.cached_property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return `channel_statistics` of the training images, computed once: workers receive the driver's result.

        The validation images, which are the last or are held out of these, count too: one normalisation serves searches
        and replays. Test images do not.
        """
        return channel_statistics(self.train_images)


def channel_statistics(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean [c] and (population) standard deviation [c] of uint8 images [n, c, h, w], where 255 counts as 1.

    Computed from a histogram of each channel: exact, and without a float copy of the images. Raises ValueError for
    another shape or type, or for no images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or images.size == 0:
        raise ValueError(f"uint8 images [n, 1 or 3, h, w] required, got {images.dtype} {list(images.shape)}")
    channels = images.shape[1]
    histogram = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(channels):
            pixels = images[start : start + _CHUNK, channel].ravel()
            histogram[channel] += np.bincount(pixels, minlength=256)
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
