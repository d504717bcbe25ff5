"""AlexNet reduced to 32-pixel images, with the switches of note E's experiments."""

from __future__ import annotations

from typing import Literal

from torch import nn

WIDTHS = (24, 96, 192, 192, 96)
POOLED = (1, 2, 5)  # convolutions followed by a max-pool
NORMALIZED = (1, 2)  # convolutions followed by LRN
NODES = 1024


class SmallAlexNet(nn.Sequential):
    """Five 3x3 convolutions, three 2x2 max-pools and three linears of 1024, 1024, classes (note E).

    Takes [n, 3, image_size, image_size] and returns logits [n, classes]. `image_size` is 32, or 24 under
    the note's random crops. Each switch is one experiment:

    - `lrn`: local response normalisation after the ReLU of convolutions 1 and 2 (4). Its constants are
      those of the code that the note links to: 9 channels, alpha 0.001, beta 0.75, k 1.
    - `dropout`: probability of dropping after the first two linears; the note prints 1 - dropout (5).
    - `head`: "pooling" replaces the flattened map and both hidden linears by the mean over positions,
      "pooling+linear" keeps the linears (6).
    - `batch_norm`: before the ReLU of every convolution and hidden linear (7).
    - `initialization`: "he" is normal of variance 2 / fan in with zero biases, else PyTorch's own (1).
    - `pool_stride`: the note says 2x2 and no stride. Its 98304 inputs of the first linear are 96 * 32 * 32,
      which is stride 1, as in the code it links to: 102,409,706 parameters and 16 times the arithmetic of
      stride 2, which is what AlexNet's pools have.

    Raises ValueError for a switch that has no such position.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        lrn: bool = True,
        dropout: float = 0.1,
        initialization: Literal["he", "default"] = "he",
        head: Literal["linear", "pooling", "pooling+linear"] = "linear",
        batch_norm: bool = False,
        image_size: int = 32,
        pool_stride: Literal[1, 2] = 2,
    ) -> None:
        for name, value, allowed in (
            ("initialization", initialization, ("he", "default")),
            ("head", head, ("linear", "pooling", "pooling+linear")),
            ("image_size", image_size, (24, 32)),
            ("pool_stride", pool_stride, (1, 2)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")

        layers: list[nn.Module] = []
        inputs, side = 3, image_size
        for number, outputs in enumerate(WIDTHS, start=1):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            if lrn and number in NORMALIZED:
                layers += [nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)]
            if number in POOLED:
                # At stride 1 SAME padding adds one row below and one column right; after ReLU a zero there
                # never exceeds the maximum.
                layers += [nn.ZeroPad2d((0, 1, 0, 1))] if pool_stride == 1 else []
                layers += [nn.MaxPool2d(2, pool_stride)]
                side //= pool_stride
            inputs = outputs

        if head != "linear":
            layers += [nn.AdaptiveAvgPool2d(1)]
            side = 1
        layers += [nn.Flatten()]
        features = inputs * side**2
        if head != "pooling":
            for _ in range(2):
                layers += [nn.Linear(features, NODES)]
                layers += [nn.BatchNorm1d(NODES)] if batch_norm else []
                layers += [nn.ReLU(inplace=True), nn.Dropout(dropout)]
                features = NODES
        super().__init__(*layers, nn.Linear(features, classes))

        if initialization == "he":
            for module in self:
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                    nn.init.zeros_(module.get_parameter("bias"))
