"""What a reader of the notes would write: PIL transforms, a DataLoader, eager float32, all cores."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

from trainables.convnet import ConvNet
from trainables.small_alexnet import SmallAlexNet
from trainables.wide_resnet import WideResNet

HALF = T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def alexnet() -> nn.Module:
    """Note A's compressed AlexNet for 100 classes, on 224x224."""

    def conv(*arguments: int) -> list[nn.Module]:
        return [nn.Conv2d(*arguments), nn.BatchNorm2d(arguments[1]), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 24, 11, 4, 1),
        nn.MaxPool2d(3, 2),
        *conv(24, 64, 5, 1, 2),
        nn.MaxPool2d(3, 2),
        *conv(64, 96, 3, 1, 1),
        *conv(96, 96, 3, 1, 1),
        *conv(96, 64, 3, 1, 1),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        *(nn.Linear(1600, 1028), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(1028, 1028), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(1028, 100),
    )


def lenet() -> nn.Module:
    """Note B's base."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(400, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 100),
    )


@dataclass(frozen=True)
class Pipeline:
    transform: Callable[[Image.Image], torch.Tensor]
    network: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]


PIPELINES = {
    "alexnet": Pipeline(
        T.Compose(
            [
                T.Resize(224),
                T.RandomHorizontalFlip(),
                T.ColorJitter(0.5, 0.5, 0.5),
                T.RandomResizedCrop(224),
                T.ToTensor(),
                T.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            ]
        ),
        alexnet,
        lambda network: torch.optim.SGD(network.parameters(), lr=0.03),
    ),
    "lenet": Pipeline(
        T.Compose([T.ToTensor(), HALF]),
        lenet,
        lambda network: torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9),
    ),
    "convnet": Pipeline(
        T.Compose([T.ToTensor(), HALF]),
        lambda: ConvNet(2, classes=100),
        lambda network: torch.optim.Adam(network.parameters(), lr=0.001),
    ),
    "small_alexnet": Pipeline(
        T.Compose([T.RandomCrop(24), T.RandomHorizontalFlip(), T.ColorJitter(0.25, 0.8), T.ToTensor(), HALF]),
        lambda: SmallAlexNet(100, lrn=False, image_size=24),
        lambda network: torch.optim.SGD(network.parameters(), lr=0.01),
    ),
    "wide_resnet": Pipeline(
        T.Compose([T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.ToTensor(), HALF]),
        lambda: WideResNet(10, 2),
        lambda network: torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
    ),
    "pretrained": Pipeline(
        T.Compose(
            [
                *(T.Resize(256), T.CenterCrop(224), T.ToTensor()),
                T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        ),
        lambda: resnet18(num_classes=100),
        lambda network: torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9),
    ),
}


class Images(Dataset):
    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[..., torch.Tensor]) -> None:
        self.images = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class Rate(NamedTuple):
    """Images trained on in a second of wall clock, and in a second of one core's time.

    The second hardly depends on what else the machine does.
    """

    per_second: float
    per_core_second: float


def rate(family: str, images: np.ndarray, labels: np.ndarray, batch_size: int, workers: int, device: str) -> Rate:
    """Training throughput on uint8 images [n, 3, 32, 32], after one batch of warm-up."""
    children = _cpu_seconds(resource.RUSAGE_CHILDREN)
    pipeline = PIPELINES[family]
    loader = DataLoader(
        Images(images, labels, pipeline.transform), batch_size, shuffle=True, drop_last=True, num_workers=workers
    )
    network = pipeline.network().to(device)
    optimizer = pipeline.optimizer(network)
    loss = nn.CrossEntropyLoss()
    network.train()
    seen, start, own = 0, 0.0, 0.0
    for batch, (inputs, targets) in enumerate(loader):
        if batch == 1:
            start, own = time.perf_counter(), _cpu_seconds(resource.RUSAGE_SELF)
        optimizer.zero_grad()
        value = loss(network(inputs.to(device)), targets.to(device))
        value.backward()
        optimizer.step()
        seen += len(targets) if batch else 0
    value.item()  # waits for a GPU
    seconds, own = time.perf_counter() - start, _cpu_seconds(resource.RUSAGE_SELF) - own
    # The loader's processes have ended with its loop; they prepared the first batch too.
    children = _cpu_seconds(resource.RUSAGE_CHILDREN) - children
    return Rate(seen / seconds, 1 / (own / seen + children / len(images)))


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
