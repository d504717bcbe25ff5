"""Read gray images in MNIST's IDX format (http://yann.lecun.com/exdb/mnist/), plain or gzipped.

train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.data.image_data import DataError, Images
from trainables.data.pictures import what_is
from trainables.data.splits import Indices

_NAME = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?", re.I)
_UBYTE = 8  # IDX's code of unsigned bytes


class IdxSet(NamedTuple):
    """The four files of one data set, in the order of its fingerprint."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


def is_idx(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None


def find_idx(folder: Path, files: Iterable[Path]) -> IdxSet | None:
    """Return the one data set that `files`, all under `folder`, hold; None without any. Raises DataError.

    A file that is there both plain and gzipped is read plain.
    """
    sets: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        if match := _NAME.fullmatch(path.name):
            part = "train" if match["part"].lower() == "train" else "test"
            members = sets.setdefault((path.parent, match["set"]), {})
            slot = f"{part}_{match['kind'].lower()}"
            if slot not in members or members[slot].suffix == ".gz":
                members[slot] = path
    if not sets:
        return None
    if len(sets) > 1:
        found = ", ".join(str(next(iter(members.values()))) for members in list(sets.values())[:4])
        raise DataError(f"one set of IDX files required in {folder}, found {len(sets)}: {found}; name one's folder")
    (members,) = sets.values()
    if missing := [slot.replace("_", " ") for slot in IdxSet._fields if slot not in members]:
        raise DataError(
            f"{next(iter(members.values())).parent}: IDX files of train and test images and labels required, missing "
            f"those of {', '.join(missing)}"
        )
    return IdxSet(**members)


def decode_idx(found: IdxSet) -> tuple[Mapping[str, Images], Mapping[str, Indices]]:
    """Return the images uint8 [n, 1, h, w] and labels int64 [n] of "train" and "test". Raises DataError."""
    images, labels = {}, {}
    for part, pictures, names in (
        ("train", found.train_images, found.train_labels),
        ("test", found.test_images, found.test_labels),
    ):
        levels, numbers = _read(pictures, 3), _read(names, 1)
        if len(levels) != len(numbers):
            raise DataError(f"{names}: a label for each of the {len(levels)} images required, got {len(numbers)}")
        if not len(levels):
            raise DataError(f"{pictures}: images required, got none")
        images[part], labels[part] = levels[:, None], numbers.astype(np.int64)
    return images, labels


def _read(path: Path, dimensions: int) -> Images:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    magic = bytes((0, 0, _UBYTE, dimensions))
    head = 4 + 4 * dimensions
    if content[:4] != magic or len(content) < head:
        found = what_is(content[:64]) or f"{len(content)} bytes that begin with {content[:4].hex(' ') or 'nothing'}"
        raise DataError(f"{path}: an IDX file of bytes in {dimensions} dimensions required, found {found}")
    shape = np.frombuffer(content, ">u4", dimensions, 4).astype(np.int64).tolist()
    if int(np.prod(shape)) != len(content) - head:
        raise DataError(
            f"{path}: {' x '.join(map(str, shape))} bytes required after the header, got {len(content) - head:,}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
