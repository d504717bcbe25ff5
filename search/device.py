"""Prepare this process to measure a trial's work on the device, and with the threads, that the trial will get."""

from __future__ import annotations

import torch

from search.resources import Resources
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData
from trainables.training.steps import prepare_process


def device_data(data: ImageData, resources: Resources) -> DeviceData:
    """Put a data set on a trial's device, and give this process as many threads as a trial gets."""
    prepare_process(resources.cpus_per_trial)
    return DeviceData(data, "cuda" if torch.cuda.is_available() and resources.gpus_per_trial else "cpu")
