"""Note B's augmentation (question 7): flip, shifted crop, then one of torchvision's policies on some of the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from trainables.data import augment
from trainables.training.settings import Settings, number

Policy = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings(Settings):
    """Hyperparameters of note B's augmentation, which is off by default.

    `crop_padding` is how many zero pixels are added on each side before an image is cut out. On CIFAR-10 the note calls
    `AutoAugment()`, whose policy in torchvision is ImageNet's unless another is asked for, and cites the AugMix paper
    for it: each of the three policies can be meant.
    """

    flip: bool = False
    crop_padding: int = number(0, low=0, high=16)
    policy: Literal["none", "autoaugment", "autoaugment-imagenet", "augmix"] = "none"
    policy_probability: float = number(0.6, low=0, high=1)


def augmented(images: torch.Tensor, settings: AugmentationSettings, generator: torch.Generator) -> torch.Tensor:
    """Augment uint8 images [n, 3, h, w] in the note's order: flip, crop, policy."""
    if settings.flip:
        images = augment.flip(images, generator)
    if settings.crop_padding:
        images = augment.crop(images, generator, images.shape[-1], settings.crop_padding)
    if settings.policy != "none":
        images = apply_policy(images, _policy(settings.policy), settings.policy_probability, generator)
    return images


def _policy(name: str) -> Policy:
    # Importing torchvision takes half as long as torch: imported only if a policy is asked for.
    from torchvision.transforms import AugMix, AutoAugment, AutoAugmentPolicy

    if name == "augmix":
        return AugMix()
    return AutoAugment(AutoAugmentPolicy.CIFAR10 if name == "autoaugment" else AutoAugmentPolicy.IMAGENET)


def apply_policy(images: torch.Tensor, policy: Policy, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Apply `policy` to each of the uint8 images [n, 3, h, w] with the given probability.

    torchvision's policies draw once a call, from PyTorch's default generator. So they are called image by image,
    on the CPU, at about 0.3 (AutoAugment) or 1 ms (AugMix) an image and core. `generator` seeds the default generator
    for these calls; the default generator's state is restored afterwards.
    """
    chosen = torch.rand(len(images), generator=generator, device=generator.device) < probability
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    changed = images.cpu().clone(memory_format=torch.contiguous_format)
    with torch.random.fork_rng(devices=[]):
        # `torch.manual_seed` would seed a GPU's generator too, from which dropout draws there.
        torch.default_generator.manual_seed(seed)
        for position in chosen.nonzero().flatten().tolist():
            changed[position] = policy(changed[position])
    return changed.to(images.device)
