import math
from functools import partial

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from trainables.data.augment import (
    center_crop,
    color_jitter,
    crop,
    crop_and_resize,
    cutout,
    flip,
    scale_contrast,
    shift_brightness,
    to_gray,
)

SIZE = 32
TRANSFORMS = [flip, crop_and_resize, color_jitter]
ANY_RANGE = [
    partial(crop, size=SIZE, padding=4),
    partial(cutout, size=16, probability=1.0),
    partial(shift_brightness, delta=0.2),
    partial(scale_contrast, strength=0.8),
]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, channels: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, channels, SIZE, SIZE, generator=draws(seed))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_equal_images_of_one_batch_come_out_different(transform):
    out = transform(noise(1).repeat(16, 1, 1, 1), draws())
    different = {image.numpy().tobytes() for image in out}
    assert len(different) == (2 if transform is flip else 16)


@pytest.mark.parametrize("transform", ANY_RANGE)
def test_each_image_has_its_own_draw_and_the_input_stays(transform):
    images = noise(1).repeat(16, 1, 1, 1)
    before = images.clone()
    out = transform(images, draws())
    assert len({image.numpy().tobytes() for image in out}) > 12  # two of 81 windows may be the same
    assert out.shape == images.shape
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", TRANSFORMS + ANY_RANGE)
def test_a_generator_of_the_same_seed_gives_the_same_batch(transform):
    images = noise(16)
    assert torch.equal(transform(images, draws(3)), transform(images, draws(3)))
    assert not torch.equal(transform(images, draws(3)), transform(images, draws(4)))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_keep_their_shape_and_range_and_the_input_stays(transform, channels):
    images = (noise(64, channels) > 0.5).float()  # extremes, where a careless transform leaves the range
    before = images.clone()
    out = transform(images, draws())
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before)


def test_flip_mirrors_left_to_right_or_leaves_the_image():
    images = noise(400)
    out = flip(images, draws())
    flipped = torch.from_numpy(images.numpy()[..., ::-1].copy())
    mirrored = (out == flipped).flatten(1).all(1)
    left = (out == images).flatten(1).all(1)
    assert (mirrored ^ left).all()
    assert mirrored.sum().item() == pytest.approx(200, abs=40)  # 4 standard deviations


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, False), (1.0, True)])
def test_flip_with_certainty(probability, mirrored):
    images = noise(8)
    assert torch.equal(flip(images, draws(), probability), images.flip(-1) if mirrored else images)


# Crop and resize.


def ramps(n: int) -> torch.Tensor:
    """Images of which channel 0 holds each pixel's column and channel 1 its row, over 31; channel 2 is noise."""
    images = noise(n)
    ramp = torch.arange(SIZE) / (SIZE - 1)
    images[:, 0] = ramp
    images[:, 1] = ramp[:, None]
    return images


def boxes(out: torch.Tensor) -> np.ndarray:
    """The boxes cut out of ramps: [n, 4] as left, top, width, height in pixels.

    Output pixel i lies at left + (i + 0.5) * width / 32 - 0.5; the two pixels used are never at a border.
    """
    values = out.double().numpy() * (SIZE - 1)
    found = []
    for first, second in ((values[:, 0, 16, 8], values[:, 0, 16, 23]), (values[:, 1, 8, 16], values[:, 1, 23, 16])):
        step = (second - first) / 15
        found.append((first + 0.5 - 8.5 * step, step * SIZE))
    (left, width), (top, height) = found
    return np.stack([left, top, width, height], axis=1)


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """The value between pixel centres; beyond the outermost centres the border goes on."""
    x, y = min(max(x, 0.0), SIZE - 1.0), min(max(y, 0.0), SIZE - 1.0)
    x0, y0 = min(int(x), SIZE - 2), min(int(y), SIZE - 2)
    dx, dy = x - x0, y - y0
    top = image[y0, x0] * (1 - dx) + image[y0, x0 + 1] * dx
    bottom = image[y0 + 1, x0] * (1 - dx) + image[y0 + 1, x0 + 1] * dx
    return top * (1 - dy) + bottom * dy


def test_a_crop_is_the_box_sampled_bilinearly():
    images = ramps(4)
    out = crop_and_resize(images, draws())
    for image, result, (left, top, width, height) in zip(images, out, boxes(out), strict=True):
        expected = [
            [
                bilinear(image[2].numpy(), left + (j + 0.5) * width / SIZE - 0.5, top + (i + 0.5) * height / SIZE - 0.5)
                for j in range(SIZE)
            ]
            for i in range(SIZE)
        ]
        np.testing.assert_allclose(result[2].numpy(), expected, atol=2e-4)


def test_boxes_lie_in_the_image_within_scale_and_ratio():
    left, top, width, height = boxes(crop_and_resize(ramps(2000), draws())).T
    tolerance = 1e-3
    assert min(left.min(), top.min()) >= -tolerance
    assert max((left + width).max(), (top + height).max()) <= SIZE + tolerance
    assert (width * height).min() >= 0.08 * SIZE**2 - tolerance
    assert (width / height).min() >= 3 / 4 - tolerance
    assert (width / height).max() <= 4 / 3 + tolerance


def test_boxes_follow_their_law():
    # At a scale up to one half no side is ever clipped.
    left, top, width, height = boxes(crop_and_resize(ramps(4000), draws(), scale=(0.1, 0.5))).T
    uniform = {
        "area": (width * height / SIZE**2 - 0.1) / 0.4,
        "aspect": (np.log(width / height) / math.log(4 / 3) + 1) / 2,
        "left": left / (SIZE - width),
        "top": top / (SIZE - height),
    }
    for name, values in uniform.items():
        deciles = np.quantile(values, np.linspace(0, 1, 11))
        assert deciles == pytest.approx(np.linspace(0, 1, 11), abs=0.04), name  # 5 standard deviations
    correlations = np.corrcoef(np.stack(list(uniform.values())))
    assert np.abs(correlations - np.eye(4)).max() < 0.08


def test_a_box_at_the_rim_sees_no_darkness_beyond_it():
    white = torch.ones(500, 1, SIZE, SIZE)
    torch.testing.assert_close(crop_and_resize(white, draws()), white)


def test_the_whole_image_as_the_box_changes_nothing():
    images = noise(8)
    out = crop_and_resize(images, draws(), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    torch.testing.assert_close(out, images, atol=1e-5, rtol=0)


# Colour.


def factors(seed: int, n: int, strength: float) -> torch.Tensor:
    """The factors that color_jitter draws: brightness, contrast and saturation, [3, n], uniform in 1 +- strength."""
    return 1 - strength + 2 * strength * torch.rand(3, n, generator=draws(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_brightness_then_contrast_then_saturation(channels):
    images = noise(32, channels)
    out = color_jitter(images, draws(7), strength=0.8)
    for image, result, (brightness, contrast, saturation) in zip(
        images, out, factors(7, 32, 0.8).T.tolist(), strict=True
    ):
        expected = reference.adjust_contrast(reference.adjust_brightness(image, brightness), contrast)
        if channels == 3:
            expected = reference.adjust_saturation(expected, saturation)
        # Our luma weights have three decimals as BT.601 has, torchvision's red has four.
        torch.testing.assert_close(result, expected, atol=5e-4, rtol=0)


def test_jitter_without_strength_changes_nothing():
    images = noise(8)
    assert torch.equal(color_jitter(images, draws(), strength=0.0), images)


def test_jitter_of_black_stays_black():
    assert not color_jitter(torch.zeros(4, 3, SIZE, SIZE), draws()).any()


def test_gray_is_the_luma_of_rgb():
    images = noise(4)
    gray = to_gray(images)
    assert gray.shape == (4, 1, SIZE, SIZE)
    torch.testing.assert_close(gray, reference.rgb_to_grayscale(images), atol=2e-4, rtol=0)
    primaries = torch.eye(3)[:, :, None, None]
    assert to_gray(primaries).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
    white = torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(to_gray(white), white[:, :1])


def test_gray_of_one_channel_is_itself():
    images = noise(2, channels=1)
    assert torch.equal(to_gray(images), images)


# Crop and cutout.


def places(out: torch.Tensor, size: int) -> set[tuple[int, int]]:
    """Top left corners of the windows cut out of `numbered` images: pixel (i, j) holds 100 i + j + 1, padding 0."""
    found = set()
    for image in out[:, 0].long():
        inside = image.nonzero()[0]
        value = int(image[tuple(inside)]) - 1
        top, left = value // 100 - int(inside[0]), value % 100 - int(inside[1])
        rows, columns = torch.arange(top, top + size)[:, None], torch.arange(left, left + size)
        within = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
        assert torch.equal(image, torch.where(within, 100 * rows + columns + 1, 0))
        found.add((top, left))
    return found


def numbered(n: int) -> torch.Tensor:
    pixels = 100.0 * torch.arange(SIZE)[:, None] + torch.arange(SIZE) + 1
    return pixels.repeat(n, 3, 1, 1)


@pytest.mark.parametrize(("size", "padding"), [(24, 0), (32, 4), (32, 2)])
def test_a_crop_is_a_window_of_the_padded_image_at_any_place(size, padding):
    out = crop(numbered(2000), draws(), size, padding)
    assert out.shape == (2000, 3, size, size)
    starts = range(-padding, SIZE + padding - size + 1)
    assert places(out, size) == {(top, left) for top in starts for left in starts}


def test_every_channel_is_cropped_alike_and_bytes_stay_bytes():
    images = (255 * noise(50)).to(torch.uint8)
    images[:, 1:] = images[:, :1]
    out = crop(images, draws(), 24)
    assert out.dtype == torch.uint8
    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(out, crop(images, draws(), 24))


def test_the_center_crop_is_torchvisions():
    images = noise(2)
    assert torch.equal(center_crop(images, 24), reference.center_crop(images, [24, 24]))


def test_cutout_is_the_notes():
    """Its square starts at -8 to 23 in either direction, and is as likely anywhere as not there at all."""
    out = cutout(torch.ones(20_000, 3, SIZE, SIZE), draws(), 16, 0.5)
    assert torch.equal(out[:, 0], out[:, 2])
    holes = out[:, 0] == 0
    hit = holes.flatten(1).any(1)
    assert hit.float().mean().item() == pytest.approx(0.5, abs=0.015)  # 4 standard deviations
    found = set()
    for axis in (1, 2):
        along = holes[hit].any(3 - axis)  # [n, side]
        lengths = along.sum(1)
        first, last = along.int().argmax(1), SIZE - 1 - along.flip(1).int().argmax(1)
        assert torch.equal(last - first + 1, lengths)
        starts = torch.where(first > 0, first, last - 15)
        assert torch.equal(lengths, torch.minimum(last + 1, starts + 16) - starts.clamp(min=0))
        counts = torch.bincount(starts + 8, minlength=SIZE)
        assert len(counts) == SIZE
        assert counts.float().mul(SIZE / len(first)).sub(1).abs().max() < 0.3  # 5 standard deviations
        found.add(tuple(counts.tolist()))
        # A rectangle: rows times columns.
    assert torch.equal(holes[hit].sum((1, 2)), holes[hit].any(2).sum(1) * holes[hit].any(1).sum(1))
    assert len(found) == 2


@pytest.mark.parametrize(("probability", "size", "share"), [(0.0, 16, 0.0), (1.0, 64, 1.0)])
def test_cutout_with_certainty(probability, size, share):
    out = cutout(torch.ones(64, 3, SIZE, SIZE), draws(), size, probability)
    assert (out == 0).float().mean().item() == share


# Brightness and contrast of note E.


def test_brightness_adds_one_number_to_an_image():
    images = noise(2000) - 0.5
    added = shift_brightness(images, draws(), 0.25) - images
    assert (added.flatten(1).amax(1) - added.flatten(1).amin(1)).max() < 1e-6
    deciles = np.quantile(added[:, 0, 0, 0].numpy(), np.linspace(0, 1, 11))
    assert deciles == pytest.approx(np.linspace(-0.25, 0.25, 11), abs=0.03)


def test_contrast_scales_about_each_channels_mean():
    images = noise(2000) - 0.5
    out = scale_contrast(images, draws(), 0.8)
    before, after = (x - x.mean((2, 3), keepdim=True) for x in (images, out))
    factors = (after * before).sum((1, 2, 3)) / (before**2).sum((1, 2, 3))
    torch.testing.assert_close(after, factors[:, None, None, None] * before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.mean((2, 3)), images.mean((2, 3)), atol=1e-5, rtol=1e-4)
    assert np.quantile(factors.numpy(), np.linspace(0, 1, 11)) == pytest.approx(np.linspace(0.2, 1.8, 11), abs=0.1)
