"""A data set on one device, and which of its images a trial trains, chooses and tests on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from trainables.data import ImageData
from trainables.settings import SettingError, Settings
from trainables.splits import split, stratified_subset, validation_size


class DeviceData:
    """A whole data set as uint8 tensors on one device: uploaded once, shared by all trials of a process.

    On the CPU the tensors are views of the arrays in shared memory, without a copy.
    """

    def __init__(self, data: ImageData, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = data.name
        self.classes = data.classes
        with warnings.catch_warnings():
            # The arrays are read-only shared memory; nothing here writes to a data set.
            warnings.filterwarnings("ignore", message=".*not writable.*")
            self.train_images = torch.from_numpy(data.train_images).to(self.device)
            self.train_labels = torch.from_numpy(data.train_labels).to(self.device)
            self.test_images = torch.from_numpy(data.test_images).to(self.device)
            self.test_labels = torch.from_numpy(data.test_labels).to(self.device)
        mean, std = data.statistics
        self.mean = torch.tensor(mean, device=self.device).view(-1, 1, 1)
        self.std = torch.tensor(std, device=self.device).view(-1, 1, 1)


@dataclass(frozen=True)
class Task:
    """The images of one trial, as indices (int64, on the device) into its data set.

    `validation` is empty where the protocol holds none out.
    """

    data: DeviceData
    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor

    @classmethod
    def of(cls, data: DeviceData, settings: Settings) -> Task:
        """Raises SettingError where the data set has fewer images than the settings ask for."""
        labels = data.train_labels.cpu().numpy()
        train, validation = (
            split(labels, validation_size(len(labels))) if settings.validation else (range(len(labels)), ())
        )
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
