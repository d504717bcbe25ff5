"""A data set on one device, and which of its images a trial trains, validates and tests on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainables.data.datasets import ImageData
from trainables.data.splits import split, stratified_subset, validation_size
from trainables.training.settings import SettingError, Settings


class DeviceData:
    """A whole data set as uint8 tensors on one device: uploaded once, shared by all trials of a process.

    On the CPU the tensors are views of the arrays in shared memory, without a copy.
    """

    def __init__(self, data: ImageData, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = data.name
        self.classes = data.classes
        self.class_names = data.class_names
        self.channels = data.channels
        self.size = data.size
        self.validation_images = data.validation_images
        with warnings.catch_warnings():
            # The arrays are read-only shared memory; no code writes to a data set.
            warnings.filterwarnings("ignore", message=".*not writable.*")
            self.train_images = torch.from_numpy(data.train_images).to(self.device)
            self.train_labels = torch.from_numpy(data.train_labels).to(self.device)
            self.test_images = torch.from_numpy(data.test_images).to(self.device)
            self.test_labels = torch.from_numpy(data.test_labels).to(self.device)
        mean, std = data.statistics
        self.mean = torch.tensor(mean, device=self.device).view(-1, 1, 1)
        # A channel of one value everywhere becomes 0, not NaN.
        self.std = torch.tensor(std, device=self.device).view(-1, 1, 1).clamp_min(1e-6)

    @classmethod
    def like(
        cls, described: Mapping[str, Any], class_names: Sequence[str], device: torch.device | str = "cpu"
    ) -> DeviceData:
        """Return a data set without images, of the kind that `ImageData.described` describes: enough for a network.

        Raises ValueError, in one line, if a value is missing or of another kind.
        """
        try:
            channels, size = int(described["channels"]), int(described["size"])
            statistics = [np.asarray(described[name], np.float32).reshape(channels) for name in ("mean", "std")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"images must be described by channels, size, mean and std, got {described!r}") from error
        none, labels = np.empty((0, channels, size, size), np.uint8), np.empty(0, np.int64)
        data = ImageData("described", none, labels, none, labels, tuple(class_names), "", "")
        vars(data)["statistics"] = tuple(statistics)  # there are no images to compute them from
        return cls(data, device)


@dataclass(frozen=True)
class Task:
    """The images of one trial, as indices (int64, on the device) into its data set.

    `validation` is empty if the protocol holds no images out; else it is the data set's own part, or a tenth of the
    training images.
    """

    data: DeviceData
    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor

    @classmethod
    def of(cls, data: DeviceData, settings: Settings) -> Task:
        """Choose a trial's images. Raises SettingError if the data set has fewer images than the settings ask for."""
        labels = data.train_labels.cpu().numpy()
        train: Any = range(len(labels))
        validation: Any = ()
        if settings.validation and (own := data.validation_images):
            train, validation = train[:-own], train[-own:]
        elif settings.validation:
            try:
                train, validation = split(labels, validation_size(len(labels)))
            except ValueError as error:
                raise SettingError(str(error)) from None
        test: object = range(len(data.test_labels))
        try:
            if settings.train_images is not None:
                train = stratified_subset(labels, torch.as_tensor(train).numpy(), settings.train_images)
        except ValueError as error:
            raise SettingError(f"train_images: {error}") from None
        try:
            if settings.test_images is not None:
                test = stratified_subset(
                    data.test_labels.cpu().numpy(), torch.as_tensor(test).numpy(), settings.test_images
                )
        except ValueError as error:
            raise SettingError(f"test_images: {error}") from None

        def on_device(indices: object) -> torch.Tensor:
            return torch.as_tensor(indices, dtype=torch.int64).to(data.device)

        return cls(data, on_device(train), on_device(validation), on_device(test))
