"""Choose the one size and number of channels that all pictures of a data set get, and decode them into an array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from trainables.data.image_data import DataError, Images
from trainables.data.pictures import Form, PictureError, Shape, decode_to, fit_levels, shape_of

SMALLEST, LARGEST = 8, 512  # pixels a side of a data set's images
USUAL = 64  # pixels a side if the pictures have no side in common and nothing was asked for
_CHUNK = 500  # number of images that a thread decodes at a time


class Wanted(NamedTuple):
    """Pixels a side and channels that a study asks for; None leaves both to the pictures."""

    size: int | None = None
    channels: int | None = None

    def __str__(self) -> str:
        return f"size {self.size}, channels {self.channels}"


def choose_form(shapes: Mapping[Shape, int], wanted: Wanted) -> tuple[Form, str]:
    """Return the form of all pictures, counted by `shapes`, and the rule in words, "" if all stay as they are.

    Unless asked otherwise, images are gray if every picture is gray, and have the pictures' shorter side if all have
    the same one of SMALLEST to LARGEST pixels, else USUAL. Raises DataError for a size out of that range.
    """
    sides = {min(shape.width, shape.height) for shape in shapes}
    common = next(iter(sides)) if len(sides) == 1 and SMALLEST <= min(sides) <= LARGEST else None
    gray = all(shape.gray for shape in shapes)
    form = Form(wanted.channels or (1 if gray else 3), wanted.size or common or USUAL)
    if not SMALLEST <= form.size <= LARGEST:
        raise DataError(f"images must have {SMALLEST} to {LARGEST} pixels a side, got {form.size}")
    told = []
    if any((shape.width, shape.height) != (form.size, form.size) for shape in shapes):
        what = _range(shapes) if len(shapes) > 1 else "{0.width} x {0.height} pixels".format(next(iter(shapes)))
        resized = f"{',' if sides == {form.size} else ' resized to'} {form.size} x {form.size}"
        told.append(f"pictures of {what}: the middle square{resized}")
    if form.channels == 1 and not gray:
        told.append("colours as gray (luma)")
    if form.channels == 3 and any(shape.gray for shape in shapes):
        told.append("gray as three equal channels")
    return form, "; ".join(told)


def _range(shapes: Iterable[Shape]) -> str:
    ordered = sorted({(shape.width * shape.height, shape.width, shape.height) for shape in shapes})
    (_, *small), (_, *large) = ordered[0], ordered[-1]
    if len(ordered) == 1:
        return "{} x {} pixels".format(*small)
    return "{} sizes from {} x {} to {} x {} pixels".format(len(ordered), *small, *large)


def require_memory(images: int, form: Form, where: object) -> None:
    """Raise DataError if so many decoded images do not fit into this machine's memory."""
    needed, there = images * form.channels * form.size**2, memory()
    if needed > there:
        raise DataError(
            f"{where}: {images:,} images of {form.size} x {form.size} take {needed / 2**30:.1f} GiB decoded, "
            f"more than the {there / 2**30:.1f} GiB of this machine"
        )


def memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def decode_pictures(read: Sequence[Callable[[], bytes]], named: Callable[[int], str], form: Form) -> Images:
    """Decode pictures, which `read[i]()` returns encoded, to uint8 [n, channels, size, size], on all cores.

    Raises DataError, naming the first bad picture by `named(i)`.
    """
    images = np.empty((len(read), form.channels, form.size, form.size), np.uint8)

    def decode_chunk(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(read))):
            try:
                images[place] = decode_to(read[place](), form)
            except PictureError as error:
                raise DataError(f"{named(place)}: {error}") from None

    _in_order(decode_chunk, len(read))
    return images


def shapes_of(read: Sequence[Callable[[], bytes]], named: Callable[[int], str]) -> list[Shape]:
    """Return the shape of each picture, on all cores. Raises DataError, naming the first bad one."""
    shapes: list[Shape] = [Shape(0, 0, False)] * len(read)

    def look(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(read))):
            try:
                shapes[place] = shape_of(read[place]())
            except PictureError as error:
                raise DataError(f"{named(place)}: {error}") from None

    _in_order(look, len(read))
    return shapes


def _in_order(work: Callable[[int], None], n: int) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # map yields in order, so that the first bad picture is the one reported.
        for _ in pool.map(work, range(0, n, _CHUNK)):
            pass


def reform(images: Images, form: Form) -> Images:
    """Return images uint8 [n, c, h, w] in another form, as `decode_to` makes it of pictures."""
    if images.shape[1:] == (form.channels, form.size, form.size):
        return images
    made = np.empty((len(images), form.channels, form.size, form.size), np.uint8)
    for place, image in enumerate(images):
        made[place] = fit_levels(image[0] if len(image) == 1 else image.transpose(1, 2, 0), form)
    return made
