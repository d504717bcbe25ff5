"""The small LeNet-like network of note B, with its variants."""

from __future__ import annotations

from typing import Literal

from torch import nn

INPUT_SIZE = 32


class LeNet(nn.Sequential):
    """Two 5x5 convolutions and three linears (note B, base, 4-7).

    Takes [n, 3, 32, 32] and returns logits [n, classes]. `batch_norm` adds the three BatchNorms (after
    each pooled convolution and after the first linear's ReLU), `dropout` acts at the same three places.
    The note's doubled network has conv1=12, conv2=32, its best one conv1=conv2=256.
    `initialization` is PyTorch's own, or Kaiming-uniform weights (fan in, ReLU gain) in every layer.
    Raises ValueError for another initialization.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        conv1: int = 6,
        conv2: int = 16,
        batch_norm: bool = False,
        dropout: float = 0.0,
        initialization: Literal["default", "kaiming"] = "default",
    ) -> None:
        if initialization not in ("default", "kaiming"):
            raise ValueError(f"initialization must be 'default' or 'kaiming', got {initialization!r}")

        def regularized(norm: nn.Module) -> list[nn.Module]:
            return [*([norm] if batch_norm else []), nn.Dropout(dropout)]

        # The note applies ReLU before the pool: the maximum and its gradient are the same either way, and
        # after the pool there are four times fewer values.
        super().__init__(
            nn.Conv2d(3, conv1, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm2d(conv1)),
            nn.Conv2d(conv1, conv2, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm2d(conv2)),
            nn.Flatten(),
            nn.Linear(conv2 * 5 * 5, 120),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm1d(120)),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, classes),
        )
        if initialization == "kaiming":
            for module in self:
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
