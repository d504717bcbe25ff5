"""What a reader of the notes would write: PIL transforms, a DataLoader, eager float32, all cores."""

from __future__ import annotations

import time

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainables.models.alexnet import AlexNet


class Images(Dataset):
    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: T.Compose) -> None:
        self.images = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def alexnet_images_per_second(images: np.ndarray, labels: np.ndarray, batch_size: int, workers: int) -> float:
    """Training throughput with note A's real-time augmentation at 224x224, after one batch of warm-up."""
    transform = T.Compose(
        [
            T.Resize(224),
            T.RandomHorizontalFlip(),
            T.ColorJitter(0.5, 0.5, 0.5),
            T.RandomResizedCrop(224),
            T.ToTensor(),
            T.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ]
    )
    loader = DataLoader(Images(images, labels, transform), batch_size, shuffle=True, num_workers=workers)
    network = AlexNet(100)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03)
    loss = nn.CrossEntropyLoss()
    network.train()
    seen, start = 0, 0.0
    for batch, (inputs, targets) in enumerate(loader):
        if batch == 1:
            start = time.perf_counter()
        optimizer.zero_grad()
        loss(network(inputs), targets).backward()
        optimizer.step()
        seen += len(targets) if batch else 0
    return seen / (time.perf_counter() - start)
