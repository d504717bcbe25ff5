"""AlexNet reduced to 32-pixel images, with the switches of note E's experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from trainables.base import ImageTrainable
from trainables.data import augment
from trainables.training import schedules
from trainables.training.recipe import Recipe, channels_last, require_form
from trainables.training.settings import SettingError, Settings, number

WIDTHS = (24, 96, 192, 192, 96)
POOLED = (1, 2, 5)  # convolutions followed by a max-pool
NORMALIZED = (1, 2)  # convolutions followed by LRN
NODES = 1024
IMAGE_SIZE = 32
CROP_SIZE = 24
NORMAL_STD = 0.01  # standard deviation of the truncated normal in the note's code
PLATEAU_FLOOR = 1e-5  # lowest rate of the note's plateau rule
TEN_STEPS = 10 * 64 / 45_000  # ten steps, in epochs, at the note's batch size and number of training images


class SmallAlexNet(nn.Sequential):
    """Five 3x3 convolutions, three 2x2 max-pools and three linears of 1024, 1024, classes (note E).

    Takes [n, 3, image_size, image_size] and returns logits [n, classes]. `image_size` is 32, or 24 under
    the note's random crops. Each switch belongs to one experiment:

    - `lrn`: local response normalisation after the ReLU of convolutions 1 and 2 (4). The constants are
      those of the code that the note links to: 9 channels, alpha 0.001, beta 0.75, k 1.
    - `dropout`: probability of dropping after the first two linears; the note prints 1 - dropout (5).
    - `head`: "pooling" replaces the flattened map and both hidden linears by the mean over positions,
      "pooling+linear" keeps the linears (6).
    - `batch_norm`: before the ReLU of every convolution and hidden linear (7).
    - `initialization`: "he" is normal with variance 2 / fan in; "normal" is normal with standard deviation .01, cut
      off at two standard deviations, as in the linked code's later commits; both with zero biases. "default" is
      PyTorch's own (1).
    - `pool_stride`: the note says 2x2 and no stride. The note's 98304 inputs of the first linear are 96 * 32 * 32,
      which means stride 1, as in the linked code: 102,409,706 parameters and 16 times the arithmetic of
      stride 2, the stride of AlexNet's pools.

    Raises ValueError for a value that a switch does not have.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        lrn: bool = True,
        dropout: float = 0.1,
        initialization: Literal["he", "default", "normal"] = "he",
        head: Literal["linear", "pooling", "pooling+linear"] = "linear",
        batch_norm: bool = False,
        image_size: int = 32,
        pool_stride: Literal[1, 2] = 2,
    ) -> None:
        for name, value, allowed in (
            ("initialization", initialization, ("he", "default", "normal")),
            ("head", head, ("linear", "pooling", "pooling+linear")),
            ("image_size", image_size, (24, 32)),
            ("pool_stride", pool_stride, (1, 2)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")

        layers: list[nn.Module] = []
        inputs, side = 3, image_size
        for place, outputs in enumerate(WIDTHS, start=1):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            if lrn and place in NORMALIZED:
                layers += [nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)]
            if place in POOLED:
                # At stride 1 SAME padding adds one row below and one column right; after ReLU a padded zero
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

        for module in self if initialization != "default" else ():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if initialization == "he":
                    nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                else:
                    nn.init.trunc_normal_(module.weight, std=NORMAL_STD, a=-2 * NORMAL_STD, b=2 * NORMAL_STD)
                nn.init.zeros_(module.get_parameter("bias"))


@dataclass(frozen=True, kw_only=True)
class SmallAlexNetSettings(Settings):
    """Hyperparameters of note E; the defaults are those of the note's best run (4.1), as its text has them.

    The note links to its code, github.com/diudiuzhi/TensorAlexnet, which says what the text does not. `AS_CODED` holds
    the settings of that code's commits from experiment 4 on, except their rate of .001; `CODED_STEPS` holds the part of
    them with which a network with the usual pools can be trained.

    decay           "exponential" multiplies the rate by `step_factor` over `step_epochs` epochs, smoothly. The
                    code has .9995 every 10 steps: a tenth in 65 epochs, perhaps also what the text calls .001 to
                    .0001 at epoch 60 (1.3). "step" multiplies at once, every `step_epochs` epochs. "plateau" is the
                    rule of the note's summary: divide the rate by 10, down to 1e-5, whenever validation
                    accuracy has not risen for `plateau_epochs` epochs (the note does not say how many)
    dropout         probability of dropping; the code leaves dropout on when it validates and tests
    initialization  "he" as published. In the code's version, sqrt(2 / n), n is the number of weights of a layer,
                    so that convolutions start 5 to 14 times smaller; from experiment 2 on every layer has "normal"
    momentum        .9 in every commit, also in experiments for which the text names plain gradient descent
    linear_weight_decay  weight decay of the linears' weights alone: .004 in the code of experiments 2 to 6
    batch_norm      the code evaluates with scales and shifts that are never trained; with BatchNorm it has no dropout
                    and no weight decay, and its rate decays by .9997 instead of .9995
    input_scale     the value of a white pixel: 1, or 255 as in the code from experiment 4 on; before, the code
                    standardises each image, while the text subtracts the mean
    pool_stride     2 is the usual; the code has 1, with 16 times the arithmetic
    random_crop     24 x 24 in training, the middle 24 x 24 in evaluation; the code crops at random in evaluation too
    brightness      each image is shifted by a number uniform in +- this
    contrast        each image is scaled by a factor uniform in 1 +- this. Brightness and contrast come after
                    `subtract_mean`, on a scale on which white is 1; `input_scale` is applied last
    """

    epochs: int = number(80, low=1)
    batch_size: int = number(64, low=1)
    lr: float = number(0.01, above=0)
    decay: Literal["constant", "exponential", "cosine", "step", "plateau"] = "exponential"  # type: ignore[assignment]
    step_factor: float = number(0.9995, above=0, high=1)
    step_epochs: float = number(TEN_STEPS, above=0)
    plateau_epochs: int = number(5, low=1)
    dropout: float = number(0.1, low=0, high=0.99)
    initialization: Literal["he", "default", "normal"] = "he"
    lrn: bool = False
    linear_weight_decay: float = number(0.0, low=0)
    head: Literal["linear", "pooling", "pooling+linear"] = "linear"
    batch_norm: bool = False
    input_scale: Literal[1, 255] = 1
    pool_stride: Literal[1, 2] = 2
    subtract_mean: bool = True
    random_crop: bool = True
    flip: bool = True
    brightness: float = number(63 / 255, low=0, high=1)
    contrast: float = number(0.8, low=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay == "plateau" and not self.validation:
            raise SettingError("decay 'plateau' needs a validation set, got validation=False")
        if self.decay == "step" and (self.step_epochs < 1 or self.step_epochs % 1):
            raise SettingError(f"step_epochs must be a whole number from 1 with decay 'step', got {self.step_epochs}")


# Optimizer and weight decay of the linked code.
CODED_STEPS: dict[str, Any] = {"momentum": 0.9, "linear_weight_decay": 0.004}
# Settings of the linked code from experiment 4 on, except that the code never shuffles its images. With pools of
# stride 2 a network with these settings is at chance after 600 steps, at rates .01 and .001 and either pixel scale.
AS_CODED: dict[str, Any] = {**CODED_STEPS, "initialization": "normal", "input_scale": 255, "pool_stride": 1}


class SmallAlexNetRecipe(Recipe[SmallAlexNetSettings]):
    """Note E's preprocessing (experiment 2): mean subtracted, crop, flip, brightness, contrast."""

    settings_type = SmallAlexNetSettings

    @classmethod
    def require_images(cls, settings: SmallAlexNetSettings, channels: int, size: int, classes: int) -> None:
        require_form("note E's AlexNet", (channels, size), channels=(3,), least=IMAGE_SIZE, most=IMAGE_SIZE)

    def network(self) -> nn.Module:
        settings = self.settings
        return SmallAlexNet(
            self.task.data.classes,
            lrn=settings.lrn,
            dropout=settings.dropout,
            initialization=settings.initialization,
            head=settings.head,
            batch_norm=settings.batch_norm,
            image_size=CROP_SIZE if settings.random_crop else IMAGE_SIZE,
            pool_stride=settings.pool_stride,
        )

    def decay(self, epoch: int, epochs: int) -> float:
        settings = self.settings
        if settings.decay == "exponential":
            return schedules.smooth_exponential(epoch, settings.step_factor, settings.step_epochs)
        if settings.decay == "step":
            return schedules.exponential(epoch, epochs, settings.step_factor, int(settings.step_epochs))
        return 1.0 if settings.decay == "plateau" else super().decay(epoch, epochs)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        optimizer = super().optimizer(network)
        if self.settings.linear_weight_decay:
            linears = [module.weight for module in network.modules() if isinstance(module, nn.Linear)]
            (group,) = optimizer.param_groups
            group["params"] = [p for p in group["params"] if not any(p is weight for weight in linears)]
            optimizer.add_param_group({"params": linears, "weight_decay": self.settings.linear_weight_decay})
        return optimizer

    def slowdown(self, val_accuracies: Sequence[float]) -> float:
        settings = self.settings
        if settings.decay != "plateau":
            return 1.0
        floor = min(1.0, PLATEAU_FLOOR / settings.lr)
        return max(floor, schedules.plateau(val_accuracies, settings.plateau_epochs))

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        settings = self.settings
        if settings.random_crop:
            images = augment.crop(images, generator, CROP_SIZE)
        if settings.flip:
            images = augment.flip(images, generator)
        inputs = self._prepared(images)
        if settings.brightness:
            inputs = augment.shift_brightness(inputs, generator, settings.brightness)
        if settings.contrast:
            inputs = augment.scale_contrast(inputs, generator, settings.contrast)
        return self._scaled(inputs)

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        images = augment.center_crop(images, CROP_SIZE) if self.settings.random_crop else images
        return self._scaled(self._prepared(images))

    def _scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if self.settings.input_scale == 1 else inputs * self.settings.input_scale

    def _prepared(self, images: torch.Tensor) -> torch.Tensor:
        floats = images.float() / 255
        return channels_last(floats - self.task.data.mean if self.settings.subtract_mean else floats)


class SmallAlexNetTrial(ImageTrainable):
    recipe = SmallAlexNetRecipe
