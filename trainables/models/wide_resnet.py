"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) as note C builds them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

STEM = 16


class WideResNet(nn.Module):
    """WRN-depth-width: three groups of (depth - 4) / 6 pre-activation blocks (note C, model).

    Takes [n, 3, h, w] (the note: 32x32) and returns logits [n, classes]. The groups have 16, 32 and 64
    times `width` channels at full, half and quarter resolution. `dropout` acts between a block's two
    convolutions. Convolutions are Kaiming-normal (fan in), the head starts at zero. WRN-34-10 with 100
    classes has 46,218,164 parameters.
    Raises ValueError unless depth is 6n + 4 with n at least 1.
    """

    def __init__(self, depth: int = 34, width: int = 10, *, classes: int = 100, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        blocks = (depth - 4) // 6
        channels = STEM
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for group in range(3):
            outputs = STEM * width * 2**group
            for block in range(blocks):
                first = block == 0
                stride = 2 if first and group > 0 else 1
                layers.append(_Block(channels, outputs, stride, dropout, project=first))
                channels = outputs
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(channels, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """BN-ReLU-conv twice, added to the input, or to its 1x1 projection after the first BN-ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float, *, project: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(active)
        residual = self.dropout(F.relu(self.norm2(self.conv1(active)), inplace=True))
        result: torch.Tensor = shortcut + self.conv2(residual)
        return result
