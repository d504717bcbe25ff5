"""Augment a batch of images on the device, with a random draw of its own for each image.

Images are float32 [n, c, h, w] in [0, 1] unless a docstring says otherwise; all functions but `crop` and
`center_crop` keep their size. torchvision's v2 transforms draw once a batch, so that every image of a batch gets the
same crop; here each image has its own draw.
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

    The box covers a share of the area uniform in `scale`, with an aspect ratio log-uniform in `ratio`: the law of
    torchvision's RandomResizedCrop, except that a box that sticks out has its sides clipped instead of being redrawn.
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


def crop(images: torch.Tensor, generator: torch.Generator, size: int, padding: int = 0) -> torch.Tensor:
    """Cut a random window of size x size out of each image, zero-padded on every side first.

    Takes images [n, c, h, w] of any type. This is torchvision's RandomCrop, image by image: every place of the window
    is equally likely. Notes B and C pad 32-pixel images by 2 and 4 and cut 32 out, note E cuts 24 out of 32.
    """
    padded = F.pad(images, (padding,) * 4)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # a view [n, c, tops, lefts, size, size]
    top, left = (
        torch.randint(places, (len(images),), generator=generator, device=generator.device)
        for places in windows.shape[2:4]
    )
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def center_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return the middle size x size pixels of images [n, c, h, w]."""
    top, left = ((side - size) // 2 for side in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


def cutout(images: torch.Tensor, generator: torch.Generator, size: int, probability: float = 0.5) -> torch.Tensor:
    """Zero a size x size square of each image with the given probability (note C, data).

    The square is clipped at the border: its first row and column are uniform in [-size // 2, side - size // 2).
    Images [n, c, h, w] are normalised, so that zero is the training set's mean.
    """
    n, _, *sides = images.shape
    device = generator.device
    chosen = torch.rand(n, generator=generator, device=device) < probability
    covered = []
    for side in sides:
        first = torch.randint(-(size // 2), side - size // 2, (n, 1), generator=generator, device=device)
        pixels = torch.arange(side, device=device)
        covered.append((pixels >= first) & (pixels < first + size))
    rows, columns = covered
    return images.masked_fill((chosen[:, None, None] & rows[:, :, None] & columns[:, None, :])[:, None], 0)


def shift_brightness(images: torch.Tensor, generator: torch.Generator, delta: float) -> torch.Tensor:
    """Add to each image a number uniform in +-delta (note E, experiment 2). Nothing is clipped."""
    return images + _uniform((len(images), 1, 1, 1), -delta, delta, generator)


def scale_contrast(images: torch.Tensor, generator: torch.Generator, strength: float) -> torch.Tensor:
    """Scale each image about its channels' means by a factor uniform in 1 +- strength (note E, experiment 2).

    Nothing is clipped.
    """
    factor = _uniform((len(images), 1, 1, 1), 1 - strength, 1 + strength, generator)
    return torch.lerp(images.mean(dim=(2, 3), keepdim=True), images, factor)


def color_jitter(images: torch.Tensor, generator: torch.Generator, strength: float = 0.5) -> torch.Tensor:
    """Scale the brightness, contrast and saturation of each image, in this order, by random factors in 1 +- strength.

    Definitions are those of torchvision's ColorJitter: contrast blends an image with its mean gray, saturation with its
    own gray version; results are clipped to [0, 1]. A one-channel image has no saturation.
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
    """Convert images [n, 3, h, w] to luma [n, 1, h, w]; one-channel images are returned as they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (GRAY_WEIGHTS[0] * red + GRAY_WEIGHTS[1] * green + GRAY_WEIGHTS[2] * blue).unsqueeze(1)
