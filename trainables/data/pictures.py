"""Decode one encoded picture into its pixels, or raise an error that says why there are none.

    gray of 1, 2, 4 bits    scaled to 0..255, as PNG defines it
    16 bits a channel       the high byte
    palette                 the colours that its entries stand for
    alpha, transparent key  dropped if every pixel is opaque; else refused: no background is known to blend with
    CMYK                    (255 - C)(255 - K) / 255 a channel, without a colour profile
    orientation (EXIF)      applied: the picture stands as the camera saw it

Refused: several frames, floating-point or 32-bit pixels, Lab. Colour profiles are not applied.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.data.image_data import Images

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "GIF", "PPM", "TIFF")
MOST_PIXELS = 2**26  # most pixels of one picture: 8,192 x 8,192, 192 MiB in memory; Pillow warns from 2**26.4 on

# Errors that Pillow's decoders raise for damaged bytes.
_UNDECODABLE = (
    *(OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError),
    *(EOFError, struct.error, zlib.error, Image.DecompressionBombError),
)
_PLAIN_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_GRAY_MODES = ("1", "L", "LA", "La", "I")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values for pictures that stand on their side
_MARKS = (  # first bytes of files often found in the place of data, and what such a file is
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: `git lfs pull` in its folder fetches the file"),
    (b"# xet version", "a Xet pointer: download the file itself"),
    (b"/annex/objects/", "a git-annex pointer: `git annex get` fetches the file"),
    (b"../.git/annex/objects/", "a git-annex pointer: `git annex get` fetches the file"),
    (b"<!doctype html", "an HTML page: the download brought a page instead of the file"),
    (b"<html", "an HTML page: the download brought a page instead of the file"),
    (b"<?xml", "an XML document: the download brought an answer instead of the file"),
    (b"{", "JSON text"),
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a ZIP archive: extract it"),
    (b"\x1f\x8b", "a gzip archive: extract it"),
    (b"ARROW1", "an Arrow file: write it as Parquet"),
    (b"\x89PNG", "a PNG picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\xff\xd8\xff", "a JPEG picture"),
)


class PictureError(ValueError):
    """Bytes that do not decode to pixels to train on; the message says what was required and what was found."""


def what_is(head: bytes) -> str | None:
    """Return what kind of file begins with these bytes, if it is a known kind that is no data set; else None."""
    if not head:
        return "an empty file"
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64]
    for mark, name in _MARKS:
        if begin.lower().startswith(mark.lower()) if mark.isascii() else head.startswith(mark):
            return name
    return "zero bytes throughout" if not head.strip(b"\0") else None


class Shape(NamedTuple):
    """What a picture's file says of it: sides in pixels as the picture stands, and whether its pixels are gray."""

    width: int
    height: int
    gray: bool


class Form(NamedTuple):
    """What every picture of a data set is made into: 1 (gray) or 3 (RGB) channels, a square of `size` pixels a side.

    A picture of another size has its middle square cut out and resized (bilinear; Pillow averages where it shrinks).
    Gray becomes RGB as three equal channels, RGB becomes gray as luma (ITU-R 601).
    """

    channels: int
    size: int


def decode(encoded: bytes, size: tuple[int, int] | None = None) -> Images:
    """Decode one picture to uint8 [3, height, width]; a gray picture gets three equal channels.

    Raises PictureError, also if `size` (width, height) is given and the picture has another size.
    """
    with _opened(encoded) as opened:
        if size is not None and sorted(opened.size) != sorted(size):
            raise _missized(size, opened)
        stored = _require_one(opened)
        image = ImageOps.exif_transpose(opened)
        if size is not None and image.size != size:
            raise _missized(size, image)
        return _rgb(_levels(image, stored)).transpose(2, 0, 1)


def decode_to(encoded: bytes, form: Form) -> Images:
    """Decode one picture of any size to uint8 [channels, size, size]. Raises PictureError."""
    with _opened(encoded) as opened:
        stored = _require_one(opened)
        return fit_levels(_levels(ImageOps.exif_transpose(opened), stored), form)


def fit(image: Image.Image, form: Form) -> Images:
    """Return an opened picture's pixels as uint8 [channels, size, size]. Raises PictureError."""
    return fit_levels(_levels(ImageOps.exif_transpose(image), _stored(image)), form)


def shape_of(encoded: bytes) -> Shape:
    """Return a picture's shape without decoding its pixels. Raises PictureError."""
    with _opened(encoded) as opened:
        _require_one(opened)
        width, height = opened.size
        if opened.getexif().get(_ORIENTATION, 1) in _TURNED:
            width, height = height, width
        return Shape(width, height, is_gray(opened))


def is_gray(image: Image.Image) -> bool:
    return image.mode in _GRAY_MODES or image.mode.startswith("I;16")


def fit_levels(levels: Images, form: Form) -> Images:
    """Return pixels uint8 [h, w] (gray) or [h, w, 3] in a form: uint8 [channels, size, size]."""
    height, width = levels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = levels[top : top + side, left : left + side]
    if side != form.size:
        resized = Image.fromarray(np.ascontiguousarray(square))
        square = np.asarray(resized.resize((form.size, form.size), Image.Resampling.BILINEAR))
    if form.channels == 3:
        return _rgb(square).transpose(2, 0, 1)
    return (square if square.ndim == 2 else np.asarray(Image.fromarray(square).convert("L")))[None]


@contextmanager
def _opened(encoded: bytes) -> Iterator[Image.Image]:
    """Open a picture. Raises PictureError if it is damaged or no picture, on opening or while it is decoded."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            yield opened
    except PictureError:
        raise
    except _UNDECODABLE:
        found = what_is(encoded[:64])
        got = found if found and not found.endswith("picture") else f"{len(encoded)} bytes that do not decode"
        raise PictureError(f"a PNG, WebP or JPEG image required, got {got}") from None


def _require_one(opened: Image.Image) -> str:
    """Return how the file stores a pixel, to be asked before decoding. Raises PictureError for several frames."""
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # MPO's further frames are previews of the first
        raise PictureError(f"one picture required, got {frames} frames")
    if opened.width * opened.height > MOST_PIXELS:
        raise PictureError(f"at most {MOST_PIXELS:,} pixels required, got {opened.width} x {opened.height}")
    return _stored(opened)


def _missized(size: tuple[int, int], image: Image.Image) -> PictureError:
    return PictureError(f"image must be {size[0]} x {size[1]} pixels, got {image.width} x {image.height}")


def _stored(opened: Image.Image) -> str:
    """Return how the file stores a pixel, in Pillow's words: "L;2" is gray of 2 bits, "RGB;16B" colour of 16."""
    tiles = getattr(opened, "tile", None)
    form = tiles[0].args if tiles else None
    return str(form[0] if isinstance(form, tuple) and form else form)


def _levels(image: Image.Image, stored: str) -> Images:
    """Return the picture's pixels as uint8 [height, width], or [height, width, 3] in colour. Raises PictureError."""
    mode, key = image.mode, image.info.get("transparency")
    if mode.startswith("I;16") or stored == "I;16B":
        deep = np.asarray(image)
        _require_opaque(deep != key if isinstance(key, int) else True)
        return (deep >> 8).astype(np.uint8)
    if mode in ("1", "L") and isinstance(key, int):
        # The key has the file's own depth but the pixels are scaled: Pillow would compare the two unscaled.
        gray = np.asarray(image.convert("L"))
        _require_opaque(gray != (255 * bool(key) if mode == "1" else key * {"L;2": 85, "L;4": 17}.get(stored, 1)))
        return gray
    if mode == "RGB" and isinstance(key, tuple):
        shift = 8 if stored == "RGB;16B" else 0
        colours: Images = np.asarray(image)
        _require_opaque((colours != [part >> shift for part in key]).any(axis=-1))
        return colours
    if image.has_transparency_data:
        blended: Images = np.asarray(image.convert("RGBA"))
        _require_opaque(blended[..., 3] == 255)
        return blended[..., 0] if is_gray(image) else blended[..., :3]
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if mode in _PLAIN_MODES:
        return np.asarray(image.convert("RGB"))
    raise PictureError(f"8 or 16 bits a channel required (gray, palette, RGB or CMYK), got a picture of mode {mode}")


def _rgb(levels: Images) -> Images:
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels


def _require_opaque(opaque: NDArray[np.bool_] | bool) -> None:
    if not np.all(opaque):
        raise PictureError(
            "an opaque picture required, got one with transparent pixels: flatten it onto a background first"
        )
