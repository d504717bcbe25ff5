"""One encoded picture -> its pixels, whatever a file may hold of it: right pixels, or a reason why there are none.

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

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.image_data import Images

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "GIF", "PPM", "TIFF")
MOST_PIXELS = 2**26  # 8,192 x 8,192: what one picture may take in memory (192 MiB), as Pillow warns of 2**26.4

# What Pillow's decoders raise for damaged bytes.
_UNDECODABLE = (
    *(OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError),
    *(EOFError, struct.error, zlib.error, Image.DecompressionBombError),
)
_PLAIN_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_MARKS = (  # the first bytes of what lies in the place of data, and its name
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
    """Bytes without pixels to train on; the message says what was required and what was found."""


def what_is(head: bytes) -> str | None:
    """Name what a file's first bytes show it to be if it is no data; None for what is not known."""
    if not head:
        return "an empty file"
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64]
    for mark, name in _MARKS:
        if begin.lower().startswith(mark.lower()) if mark.isascii() else head.startswith(mark):
            return name
    return "zero bytes throughout" if not head.strip(b"\0") else None


def decode(encoded: bytes, size: tuple[int, int] | None = None) -> Images:
    """Decode one picture to uint8 [3, height, width]; a gray one has three equal channels.

    Raises PictureError, also if `size` (width, height) is given and the picture's is another.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            if size is not None and sorted(opened.size) != sorted(size):
                raise _missized(size, opened)
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format != "MPO":  # whose further frames are previews of the first
                raise PictureError(f"one picture required, got {frames} frames")
            if opened.width * opened.height > MOST_PIXELS:
                raise PictureError(f"at most {MOST_PIXELS:,} pixels required, got {opened.width} x {opened.height}")
            stored = _stored(opened)  # while the file is not decoded yet: Pillow forgets it then
            image = ImageOps.exif_transpose(opened)
            if size is not None and image.size != size:
                raise _missized(size, image)
            return _rgb(image, stored).transpose(2, 0, 1)
    except PictureError:
        raise
    except _UNDECODABLE:
        found = what_is(encoded[:64])
        got = found if found and not found.endswith("picture") else f"{len(encoded)} bytes that do not decode"
        raise PictureError(f"a PNG, WebP or JPEG image required, got {got}") from None


def _missized(size: tuple[int, int], image: Image.Image) -> PictureError:
    return PictureError(f"image must be {size[0]} x {size[1]} pixels, got {image.width} x {image.height}")


def _stored(opened: Image.Image) -> str:
    """Return how the file stores a pixel, in Pillow's words: "L;2" is gray of 2 bits, "RGB;16B" colour of 16."""
    tiles = getattr(opened, "tile", None)
    form = tiles[0].args if tiles else None
    return str(form[0] if isinstance(form, tuple) and form else form)


def _rgb(image: Image.Image, stored: str) -> Images:
    """uint8 [height, width, 3]."""
    mode, key = image.mode, image.info.get("transparency")
    if mode.startswith("I;16") or stored == "I;16B":
        deep = np.asarray(image)
        _require_opaque(deep != key if isinstance(key, int) else True)
        return _gray((deep >> 8).astype(np.uint8))
    if mode in ("1", "L") and isinstance(key, int):
        # The key is in the file's own depth, the pixels are scaled: Pillow would compare them as they are.
        gray = np.asarray(image.convert("L"))
        _require_opaque(gray != (255 * bool(key) if mode == "1" else key * {"L;2": 85, "L;4": 17}.get(stored, 1)))
        return _gray(gray)
    if mode == "RGB" and isinstance(key, tuple):
        shift = 8 if stored == "RGB;16B" else 0
        colours: Images = np.asarray(image)
        _require_opaque((colours != [part >> shift for part in key]).any(axis=-1))
        return colours
    if image.has_transparency_data:
        blended: Images = np.asarray(image.convert("RGBA"))
        _require_opaque(blended[..., 3] == 255)
        return blended[..., :3]
    if mode in _PLAIN_MODES:
        return np.asarray(image.convert("RGB"))
    raise PictureError(f"8 or 16 bits a channel required (gray, palette, RGB or CMYK), got a picture of mode {mode}")


def _gray(levels: Images) -> Images:
    return np.repeat(levels[..., None], 3, axis=2)


def _require_opaque(opaque: NDArray[np.bool_] | bool) -> None:
    if not np.all(opaque):
        raise PictureError(
            "an opaque picture required, got one with transparent pixels: flatten it onto a background first"
        )
