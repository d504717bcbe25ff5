"""Augmentation in batch on the device, drawn per image.

Images are float32 [n, c, h, w] in [0, 1] and stay of that size. torchvision's v2 transforms draw once per
batch, so that every image of a batch gets the same crop; here each image has its own draw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def flip(images: torch.Tensor, generator: torch.Generator, probability: float = 0.5) -> torch.Tensor:
    """Mirror each image left to right with the given probability."""
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < probability
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def crop_and_resize(
    images: torch.Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """Cut a random box out of each image and stretch it (bilinear) to the image's own size.

    The box covers a share of the area uniform in `scale`, with an aspect ratio log-uniform in `ratio`:
    the law of torchvision's RandomResizedCrop, whose rejection of boxes that stick out is replaced by
    clipping their sides.
    """
    n = len(images)
    area = _uniform((n,), *scale, generator)
    log_ratio = torch.log(torch.tensor(ratio)).tolist()
    aspect = _uniform((n,), log_ratio[0], log_ratio[1], generator).exp()
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    # grid_sample's coordinates run from -1 to 1; a box of width w may be centred in +-(1 - w).
    left, top = _uniform((2, n), -1.0, 1.0, generator)
    theta = torch.zeros(n, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 0, 2] = width, left * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, top * (1 - height)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def color_jitter(images: torch.Tensor, generator: torch.Generator, strength: float = 0.5) -> torch.Tensor:
    """Brightness, contrast and saturation, in this order, each scaled by a factor in 1 +- strength.

    Definitions are torchvision's ColorJitter: contrast blends with the mean gray of the image, saturation
    with its own gray version; results are clipped to [0, 1]. A one-channel image has no saturation.
    """
    brightness, contrast, saturation = _uniform(
        (3, len(images), 1, 1, 1), max(0.0, 1 - strength), 1 + strength, generator
    )
    images = (images * brightness).clamp_(0, 1)
    mean = to_gray(images).mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(mean, images, contrast).clamp_(0, 1)
    if images.shape[1] == 1:
        return images
    return torch.lerp(to_gray(images), images, saturation).clamp_(0, 1)


def to_gray(images: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] to luma [n, 1, h, w]; one channel passes through."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (GRAY_WEIGHTS[0] * red + GRAY_WEIGHTS[1] * green + GRAY_WEIGHTS[2] * blue).unsqueeze(1)
