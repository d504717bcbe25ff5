"""Every way that a picture is stored in: the pixels that were meant, or a line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from trainables.data.pictures import PictureError, decode, what_is

COLOURS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(COLOURS)
LEVELS = np.asarray(PICTURE.convert("L"))
SMOOTH = np.stack([*np.meshgrid(np.arange(32) * 8, np.arange(32) * 8), np.full((32, 32), 100)], -1).astype(np.uint8)


def stored(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: np.ndarray, kind: int, depth: int, key: tuple[int, ...] = ()) -> bytes:
    """A PNG by its specification, for what Pillow does not write: samples [h, w, channels], packed below 8 bits."""
    height, width = samples.shape[:2]
    if depth < 8:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    transparent = chunk(b"tRNS", b"".join(struct.pack(">H", part) for part in key)) if key else b""
    content = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + transparent + content + chunk(b"IEND", b"")


def gray(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=-1)


def opaque(mode: str) -> Image.Image:
    image = PICTURE.convert(mode.removesuffix("A"))
    image.putalpha(255)
    return image


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


HALF = LEVELS // 128
QUARTERS = LEVELS // 64
FEW = PICTURE.quantize(16)
DEEP = COLOURS.astype(np.uint16) * 257
DEEP_LEVELS = LEVELS.astype(np.uint16) * 257

RIGHT = {
    "colour": (stored(PICTURE), COLOURS),
    "gray": (stored(PICTURE.convert("L")), gray(LEVELS)),
    "gray, 16 bits": (stored(Image.fromarray(DEEP_LEVELS)), gray(LEVELS)),
    "gray, 16 bits, shifted": (stored(Image.fromarray(LEVELS.astype(np.uint16) << 8)), gray(LEVELS)),
    "gray, 16 bits, TIFF": (stored(Image.fromarray(DEEP_LEVELS), "TIFF"), gray(LEVELS)),
    "gray, 4 bits": (png(LEVELS // 16, 0, 4), gray(LEVELS // 16 * 17)),
    "gray, 2 bits": (png(QUARTERS, 0, 2), gray(QUARTERS * 85)),
    "black and white": (png(HALF, 0, 1), gray(HALF * 255)),
    "colour, 16 bits": (png(DEEP, 2, 16), COLOURS),
    "gray and alpha, 16 bits": (png(np.stack([DEEP_LEVELS, DEEP_LEVELS | 0xFFFF], -1), 4, 16), gray(LEVELS)),
    "palette": (stored(PICTURE.convert("P")), np.asarray(PICTURE.convert("P").convert("RGB"))),
    "palette of 16": (stored(FEW, bits=4), np.asarray(FEW.convert("RGB"))),
    "palette, GIF": (stored(FEW, "GIF"), np.asarray(FEW.convert("RGB"))),
    "colour and alpha": (stored(opaque("RGBA")), COLOURS),
    "gray and alpha": (stored(opaque("LA")), gray(LEVELS)),
    "alpha, WebP": (stored(opaque("RGBA"), "WEBP", lossless=True), COLOURS),
    "a transparent key that no pixel has": (png(QUARTERS * 0 + 1, 0, 2, (2,)), gray(QUARTERS * 0 + 85)),
    "CMYK, TIFF": (stored(PICTURE.convert("CMYK"), "TIFF"), COLOURS),
    "CMYK, JPEG": (stored(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=100, subsampling=0), SMOOTH),
    "turned by a quarter": (stored(PICTURE, exif=turned(6)), np.rot90(COLOURS, -1)),
    "mirrored": (stored(PICTURE, exif=turned(2)), COLOURS[:, ::-1]),
    "BMP": (stored(PICTURE, "BMP"), COLOURS),
    "PPM": (stored(PICTURE, "PPM"), COLOURS),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_the_pixels_that_were_meant(kind: str) -> None:
    encoded, meant = RIGHT[kind]
    found = decode(encoded, (32, 32))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found.transpose(1, 2, 0), meant)


def see_through(mode: str, alpha: int = 254) -> Image.Image:
    image = opaque(mode)
    layer = Image.new("L", image.size, 255)
    layer.putpixel((31, 31), alpha)
    image.putalpha(layer)
    return image


KEYED = tuple(int(part) for part in DEEP[3, 4])
REFUSED = {
    "one pixel of colour and alpha": (stored(see_through("RGBA")), "transparent pixels"),
    "one pixel of gray and alpha": (stored(see_through("LA", 0)), "transparent pixels"),
    "one pixel, WebP": (stored(see_through("RGBA", 128), "WEBP", lossless=True), "transparent pixels"),
    "an entry of the palette": (stored(FEW, transparency=int(np.asarray(FEW)[0, 0])), "transparent pixels"),
    "a key in gray": (stored(PICTURE.convert("L"), transparency=int(LEVELS[0, 0])), "transparent pixels"),
    "a key in gray, 16 bits": (png(DEEP_LEVELS, 0, 16, (int(LEVELS[0, 0]) * 257,)), "transparent pixels"),
    "a key in gray, 2 bits": (png(QUARTERS, 0, 2, (int(QUARTERS[5, 5]),)), "transparent pixels"),
    "a key in black and white": (png(HALF, 0, 1, (1,)), "transparent pixels"),
    "a key in colour": (stored(PICTURE, transparency=tuple(map(int, COLOURS[3, 4]))), "transparent pixels"),
    "a key in colour, 16 bits": (png(DEEP, 2, 16, KEYED), "transparent pixels"),
    "frames": (stored(PICTURE, save_all=True, append_images=[PICTURE.rotate(90)]), "got 2 frames"),
    "frames, GIF": (stored(FEW, "GIF", save_all=True, append_images=[FEW.rotate(90), FEW.rotate(180)]), "got 3 frames"),
    "floats": (stored(Image.fromarray(LEVELS.astype(np.float32)), "TIFF"), "a picture of mode F"),
    "32 bits": (stored(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"), "a picture of mode I"),
    "Lab": (stored(Image.merge("LAB", PICTURE.split()), "TIFF"), "a picture of mode LAB"),
    "another size": (stored(PICTURE.crop((0, 0, 31, 32))), "must be 32 x 32 pixels, got 31 x 32"),
    "another size, once it is turned": (stored(PICTURE.crop((0, 0, 31, 32)), exif=turned(6)), "got 31 x 32"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "a page": (b"<!DOCTYPE html>\n<html>", "an HTML page"),
    "nothing": (b"", "an empty file"),
    "a piece": (stored(PICTURE)[:900], "900 bytes that do not decode"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_reason_where_no_pixels_are_right(kind: str) -> None:
    encoded, reason = REFUSED[kind]
    with pytest.raises(PictureError, match=reason) as caught:
        decode(encoded, (32, 32))
    assert "\n" not in str(caught.value)


def test_any_size_if_none_is_asked_for() -> None:
    wide = Image.fromarray(COLOURS[:20])
    assert decode(stored(wide)).shape == (3, 20, 32)
    assert decode(stored(wide, exif=turned(6))).shape == (3, 32, 20)


def test_a_picture_too_large_for_memory_is_refused_before_it_is_decoded() -> None:
    huge = png(np.zeros((1, 1), np.uint8), 0, 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9_000, 9_000, 8, 0, 0, 0, 0))
    with pytest.raises(PictureError, match="got 9000 x 9000"):
        decode(huge[:8] + header + huge[33:])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"/annex/objects/MD5E-s1", "a git-annex pointer"),
        (b"\n<!DOCTYPE HTML PUBLIC", "an HTML page"),
        (b"\xef\xbb\xbf<HTML>", "an HTML page"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"ARROW1\0\0", "an Arrow file"),
        (b'{"error":', "JSON text"),
        (b"\0" * 8, "zero bytes"),
        (b"", "an empty file"),
    ],
)
def test_what_lies_in_the_place_of_data_is_named(head: bytes, name: str) -> None:
    assert (what_is(head) or "").startswith(name)


def test_what_is_not_known_is_not_named() -> None:
    assert what_is(b"airplane,automobile") is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of damaged metadata
def test_any_bytes(examine: Callable[..., None]) -> None:
    """Whatever a picture's bytes have become: pixels, or a reason in one line."""
    pictures = [encoded for encoded, _ in (*RIGHT.values(), *REFUSED.values())]

    def check(encoded: bytes, at: int, bytes_: bytes, cut: bool) -> None:
        at %= len(encoded) + 1
        spoilt = encoded[:at] + bytes_ + (b"" if cut else encoded[at + len(bytes_) :])
        refusal = ""
        try:
            assert decode(spoilt, (32, 32)).shape == (3, 32, 32)
        except PictureError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) <= 1

    # What a picture is stands in its first hundred bytes.
    places = st.one_of(st.integers(0, 100), st.integers(0, 10**4))
    examine(
        check, encoded=st.sampled_from(pictures), at=places, bytes_=st.binary(max_size=4), cut=st.booleans(), share=5
    )
