"""CIFAR-10, CIFAR-100 and scikit-learn's digits: found, checked, decoded, cached.

A set is decoded once into a cache of plain .npy files, keyed by the sha256 of its source files and checked
whenever it is read. The arrays are plain NumPy, so that Ray's object store shares them without a copy.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
import pickle
import re
import socket
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainables.splits import Indices, split

_SIZE = 32  # pixels a side
_DIGITS_TEST_IMAGES = 360
_CACHE_FORMAT = 1  # raise it when decoding changes: older entries are then decoded again
_CHUNK = 500  # images a thread decodes at a time
_DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer

Images = NDArray[np.uint8]
Progress = Callable[[str], None]


class DataError(ValueError):
    """A data set that cannot be loaded; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A decoded data set: images uint8 [n, 3, 32, 32], contiguous; labels int64 [n] from 0."""

    name: str  # "cifar10", "cifar100" or "digits"
    train_images: Images
    train_labels: Indices
    test_images: Images
    test_labels: Indices
    class_names: tuple[str, ...]
    fingerprint: str  # sha256, hex, of the source's content
    source: str  # where it came from, for a person

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @functools.cached_property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`channel_statistics` of the training images, taken once: a worker gets what the driver has done."""
        return channel_statistics(self.train_images)


class _Decoded(NamedTuple):
    train_images: Images
    train_labels: Indices
    test_images: Images
    test_labels: Indices
    class_names: tuple[str, ...]


class _Source(NamedTuple):
    text: str  # ImageData.source
    files: tuple[Path, ...]  # in the order of the fingerprint
    decode: Callable[[Progress], _Decoded]


class _Cifar(NamedTuple):
    title: str
    classes: int
    column: str  # in Parquet; the published batches' key is its plural
    torchvision: str  # class that knows the published files and their MD5


_CIFAR = {
    "cifar10": _Cifar("CIFAR-10", 10, "label", "CIFAR10"),
    "cifar100": _Cifar("CIFAR-100", 100, "fine_label", "CIFAR100"),
}
DATASETS = (*_CIFAR, "digits")


def load(
    name: str,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Load "cifar10", "cifar100" or "digits".

    In `data_dir`, or its subfolder `name`, either CIFAR is looked for as Parquet shards in the schema of the
    Hugging Face copies (train-00000-of-0000n.parquet, test-...; columns img struct<bytes, path> and
    label, or fine_label for CIFAR-100; images PNG, WebP or JPEG), then as the published archive or its
    extracted folder, whose MD5 must be the one torchvision knows. Without `data_dir` the archive is
    downloaded once into `cache_dir` (default: image-search in $XDG_CACHE_HOME or ~/.cache). The digits ship
    inside scikit-learn, scaled here from 8 x 8 to 32 x 32, and need neither folder.

    `progress` receives a line for a person at each slow step, and when a damaged or outdated cache entry is
    replaced. Rows that an error names count from 0. Raises DataError.
    """
    report = progress or (lambda line: None)
    if name == "digits":
        return _digits()
    if name not in _CIFAR:
        raise DataError(f"data set must be one of {', '.join(DATASETS)}, got {name!r}")
    cache = cache_dir or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "image-search"
    source = _download(name, cache, report) if data_dir is None else _find(name, data_dir.expanduser())
    fingerprint = _sha256(source.files)
    entry = cache / f"{name}-{fingerprint}"
    damaged = False
    decoded = None
    if entry.is_dir():
        try:
            decoded = _read_entry(entry)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            damaged = True
            report(f"cache entry {entry} is not usable ({_line(error)}): decoding again")
    if decoded is None:
        decoded = source.decode(report)
        try:
            _write_entry(entry, decoded, replace=damaged)
        except OSError as error:
            raise DataError(f"cannot write the cache of decoded images in {cache}: {_line(error)}") from None
    return ImageData(name, *decoded, fingerprint=fingerprint, source=source.text)


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"cannot read {path}: {_line(error)}") from None
    return digest.hexdigest()


# Where a set is found.


def _find(name: str, data_dir: Path) -> _Source:
    if not data_dir.is_dir():
        found = "a file" if data_dir.exists() else "nothing there"
        raise DataError(f"data folder required at {data_dir}, found {found}")
    for folder in (data_dir / name, data_dir):
        if any(_SHARD.fullmatch(path.name) for path in folder.glob("*.parquet")):
            train, test = _shards(folder, "train"), _shards(folder, "test")
            decode = functools.partial(_decode_parquet, name, train, test)
            return _Source(f"Parquet files in {folder}", (*train, *test), decode)
    published = _published(name)
    for folder in (data_dir, data_dir / name):
        if (folder / published.base_folder).is_dir():
            return _extracted(name, folder / published.base_folder)
        if (folder / published.filename).is_file():
            return _archive(name, folder / published.filename)
    raise DataError(
        f"{_CIFAR[name].title} required in {data_dir} or {data_dir / name} as train-00000-of-0000n.parquet "
        f"and test-00000-of-0000n.parquet, {published.filename} or {published.base_folder}/, "
        f"found none of them"
    )


_SHARD = re.compile(r"(train|test)-(\d{5})-of-(\d{5})\.parquet")


def _shards(folder: Path, part: str) -> tuple[Path, ...]:
    matches = [match for path in folder.glob("*.parquet") if (match := _SHARD.fullmatch(path.name))]
    found = {match[0] for match in matches if match[1] == part}
    totals = sorted({match[3] for match in matches if match[1] == part})
    if len(totals) != 1:
        mixed = f"shards of sets of {' and '.join(str(int(total)) for total in totals)} files"
        got = mixed if totals else "none"
        raise DataError(f"one set of {part}-00000-of-0000n.parquet required in {folder}, found {got}")
    required = [f"{part}-{i:05}-of-{totals[0]}.parquet" for i in range(int(totals[0]))]
    if missing := [name for name in required if name not in found]:
        raise DataError(
            f"{len(required)} {part} shards required in {folder}, found {len(required) - len(missing)}: "
            f"{', '.join(missing[:5])} missing"
        )
    if surplus := sorted(found.difference(required)):
        raise DataError(f"{len(required)} {part} shards required in {folder}, found also {surplus[0]}")
    return tuple(folder / name for name in required)


def _published(name: str) -> Any:
    # Here, because torchvision takes seconds to import and Parquet does without it.
    from torchvision import datasets

    return getattr(datasets, _CIFAR[name].torchvision)


def _extracted(name: str, folder: Path) -> _Source:
    published = _published(name)
    batches = (*published.train_list, *published.test_list)
    files = tuple(folder / file for file in (*(file for file, _ in batches), published.meta["filename"]))
    if missing := [path.name for path in files if not path.is_file()]:
        raise DataError(f"{len(files)} files required in {folder}, missing {', '.join(missing)}")

    def decode(report: Progress) -> _Decoded:
        report(f"reading {folder}")
        return _decode_published(name, {path.name: path.read_bytes() for path in files}, folder)

    return _Source(f"files in {folder}", files, decode)


def _archive(name: str, path: Path) -> _Source:
    published = _published(name)

    def decode(report: Progress) -> _Decoded:
        report(f"reading {path}")
        content = path.read_bytes()
        _require_md5(content, published.tgz_md5, path)
        return _decode_published(name, _members(content, published.base_folder, path), path)

    return _Source(str(path), (path,), decode)


def _download(name: str, cache: Path, report: Progress) -> _Source:
    published = _published(name)
    from torchvision.datasets.utils import check_integrity, download_url

    archive = cache / published.filename
    if not check_integrity(archive, published.tgz_md5):
        report(f"downloading {published.url} to {cache}")
        timeout = socket.getdefaulttimeout()
        # torchvision sets none, so that a network that drops packets would hang it for good.
        socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as partial:
                download_url(published.url, partial, published.filename, published.tgz_md5)
                os.replace(Path(partial) / published.filename, archive)
        except (OSError, RuntimeError, HTTPException) as error:
            raise DataError(
                f"{_CIFAR[name].title} is not in {cache} and cannot be downloaded from {published.url} "
                f"({_line(error)}): name the folder that holds it with --data, or try --smoke, "
                f"which needs no download"
            ) from None
        finally:
            socket.setdefaulttimeout(timeout)
    return _archive(name, archive)


# Parquet.


def _decode_parquet(name: str, train: Iterable[Path], test: Iterable[Path], report: Progress) -> _Decoded:
    cifar = _CIFAR[name]
    class_names = None
    parts: dict[str, tuple[Images, Indices]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part, shards in (("train", train), ("test", test)):
            images, labels = [], []
            for path in shards:
                report(f"decoding {path}")
                table = _read_shard(path, cifar)
                class_names = class_names or _class_names(table.schema, path, cifar)
                # Labels first: a wrong one is then told before thousands of images are decoded.
                labels.append(_labels(table.column(cifar.column), path, cifar))
                images.append(_decode_images(table.column("img"), path, pool))
            parts[part] = np.concatenate(images), np.concatenate(labels)
            if not len(parts[part][1]):
                raise DataError(f"{part} images required in {path.parent}, found none: its shards are empty")
    assert class_names is not None  # there is at least one shard of each part
    return _Decoded(*parts["train"], *parts["test"], class_names)


def _read_shard(path: Path, cifar: _Cifar) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            for column in ("img", cifar.column):
                if column not in schema.names:
                    raise DataError(
                        f"{path}: column {column} required for {cifar.title}, found {', '.join(schema.names)}"
                    )
            image = schema.field("img").type
            if not (
                pa.types.is_struct(image)
                and image.get_field_index("bytes") >= 0
                and (
                    pa.types.is_binary(image.field("bytes").type) or pa.types.is_large_binary(image.field("bytes").type)
                )
            ):
                raise DataError(f"{path}: column img must be struct<bytes: binary, path: string>, got {image}")
            label = schema.field(cifar.column).type
            if not pa.types.is_integer(label):
                raise DataError(f"{path}: column {cifar.column} must hold integers, got {label}")
            return file.read(columns=["img", cifar.column])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: an intact Parquet file required, cannot read it: {_line(error)}") from None


def _class_names(schema: pa.Schema, path: Path, cifar: _Cifar) -> tuple[str, ...]:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return tuple(str(label) for label in range(cifar.classes))
    try:
        names = json.loads(text)["info"]["features"][cifar.column].get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: metadata `huggingface` must describe column {cifar.column}, got "
            f"{type(error).__name__}: {_line(error)}"
        ) from None
    if names is None:
        return tuple(str(label) for label in range(cifar.classes))
    if not (isinstance(names, list) and len(names) == cifar.classes):
        got = f"{len(names)} of them" if isinstance(names, list) else type(names).__name__
        raise DataError(f"{path}: a list of {cifar.classes} class names required in the metadata, got {got}")
    return tuple(str(name) for name in names)


def _labels(column: pa.ChunkedArray, path: Path, cifar: _Cifar) -> Indices:
    valid = pc.fill_null(pc.and_(pc.greater_equal(column, 0), pc.less(column, cifar.classes)), False)
    if wrong := np.flatnonzero(~valid.to_numpy()).tolist():
        row = wrong[0]
        raise DataError(
            f"{path}: row {row}: {cifar.column} must be 0 to {cifar.classes - 1}, got {column[row].as_py()}"
        )
    return column.to_numpy().astype(np.int64)


def _decode_images(column: pa.ChunkedArray, path: Path, pool: ThreadPoolExecutor) -> Images:
    encoded = pc.struct_field(column, "bytes").to_pylist()
    images = np.empty((len(encoded), 3, _SIZE, _SIZE), np.uint8)

    def decode(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(encoded))):
            images[row] = _decode_image(encoded[row], path, row)

    # map yields in order, so that the first bad row is the one told.
    for _ in pool.map(decode, range(0, len(encoded), _CHUNK)):
        pass
    return images


# What Pillow's decoders raise for damaged bytes.
_UNDECODABLE = (OSError, SyntaxError, ValueError, IndexError, struct.error, Image.DecompressionBombError)


def _decode_image(encoded: bytes | None, path: Path, row: int) -> Images:
    """One image as uint8 [3, 32, 32]."""
    if encoded is None:
        raise DataError(f"{path}: row {row}: image bytes required in img.bytes, got null")
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "WEBP", "JPEG")) as image:
            width, height = image.size
            if width == height == _SIZE:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except _UNDECODABLE:
        raise DataError(
            f"{path}: row {row}: a PNG, WebP or JPEG image required, got {len(encoded)} bytes that do not decode"
        ) from None
    raise DataError(f"{path}: row {row}: image must be {_SIZE} x {_SIZE} pixels, got {width} x {height}")


# The archives as published: https://www.cs.toronto.edu/~kriz/cifar.html


def _require_md5(content: bytes, required: str, where: Path | str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != required:
        raise DataError(f"{where}: MD5 {required} required, got {found}: the file is damaged or another one")


def _members(archive: bytes, folder: str, where: Path) -> dict[str, bytes]:
    """The archive's files by their name within `folder`, in memory: nothing is extracted to the disk."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if parts[:1] != (folder,) or ".." in parts or not (member.isfile() or member.isdir()):
                raise DataError(f"{where}: plain files in {folder}/ required, got {member.name!r}")
            if content := tar.extractfile(member):
                files["/".join(parts[1:])] = content.read()
    return files


class _ArraysOnly(pickle.Unpickler):
    """Unpickles containers, numbers, strings and NumPy arrays: all that the batches hold."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in ("numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct"):
            return super().find_class(module, name)
        raise DataError(f"a batch of NumPy arrays required, got one that asks for {module}.{name}")


def _decode_published(name: str, files: dict[str, bytes], where: Path) -> _Decoded:
    """From the files' content by name; the MD5 of each is checked before it is unpickled."""
    published, key = _published(name), _CIFAR[name].column + "s"

    def unpickle(file: str, md5: str) -> dict[str, Any]:
        if file not in files:
            raise DataError(f"{where}: file {file} required, found {', '.join(sorted(files))}")
        _require_md5(files[file], md5, f"{where}: {file}")
        return _ArraysOnly(io.BytesIO(files[file]), encoding="latin1").load()

    def part(batches: Iterable[tuple[str, str]]) -> tuple[Images, Indices]:
        entries = [unpickle(file, md5) for file, md5 in batches]
        images = np.concatenate([entry["data"] for entry in entries]).reshape(-1, 3, _SIZE, _SIZE)
        return images, np.concatenate([entry[key] for entry in entries]).astype(np.int64)

    meta = unpickle(published.meta["filename"], published.meta["md5"])
    names = tuple(meta[published.meta["key"]])
    return _Decoded(*part(published.train_list), *part(published.test_list), names)


# scikit-learn's digits.


def _digits() -> ImageData:
    from sklearn.datasets import load_digits

    digits = load_digits()  # images float [1797, 8, 8], 0 to 16
    labels = digits.target.astype(np.int64)
    scaled = [
        np.asarray(Image.fromarray(image).resize((_SIZE, _SIZE), Image.Resampling.BILINEAR))
        for image in digits.images.astype(np.float32)
    ]
    gray = np.rint(np.stack(scaled) * (255 / 16)).astype(np.uint8)
    images = np.repeat(gray[:, None], 3, axis=1)
    train, test = split(labels, _DIGITS_TEST_IMAGES)
    return ImageData(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(name) for name in digits.target_names),
        fingerprint=hashlib.sha256(digits.images.tobytes() + labels.tobytes()).hexdigest(),
        source="the digits inside scikit-learn, 8 x 8 scaled to 32 x 32",
    )


# The cache: a folder a set, of .npy files and meta.json.

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def _read_entry(entry: Path) -> _Decoded:
    """Raises OSError, ValueError, KeyError, TypeError or EOFError if the entry is not as it was written."""
    meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
    if meta["format"] != _CACHE_FORMAT:
        raise ValueError(f"meta.json: format {_CACHE_FORMAT} required, got {meta['format']!r}")
    arrays = []
    for name in _ARRAYS:
        path = entry / f"{name}.npy"
        if _sha256([path]) != meta["sha256"][name]:
            raise ValueError(f"{path.name}: its sha256 is not the one written in meta.json")
        arrays.append(np.load(path, allow_pickle=False))
    train_images, train_labels, test_images, test_labels = arrays
    return _Decoded(train_images, train_labels, test_images, test_labels, tuple(meta["class_names"]))


def _write_entry(entry: Path, decoded: _Decoded, replace: bool) -> None:
    """Write the entry whole or not at all, also where other processes write the same one."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".partial-") as partial:
        new = Path(partial) / "new"
        new.mkdir()
        for name in _ARRAYS:
            np.save(new / f"{name}.npy", getattr(decoded, name), allow_pickle=False)
        meta = {
            "format": _CACHE_FORMAT,
            "class_names": decoded.class_names,
            "sha256": {name: _sha256([new / f"{name}.npy"]) for name in _ARRAYS},
        }
        (new / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        if replace:
            with suppress(FileNotFoundError):  # another process moved it first
                os.replace(entry, Path(partial) / "damaged")
        try:
            os.replace(new, entry)
        except OSError as error:
            # Another process was faster: its entry has the same key, so the same content.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def channel_statistics(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean [3] and (population) standard deviation [3] of uint8 images [n, 3, h, w], where 255 counts as 1.

    From a histogram a channel: exact, and without a float copy of the images. Raises ValueError for
    another shape or type, or no images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.size == 0:
        raise ValueError(f"uint8 images [n, 3, h, w] required, got {images.dtype} {list(images.shape)}")
    histogram = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            pixels = images[start : start + _CHUNK, channel].ravel()
            histogram[channel] += np.bincount(pixels, minlength=256)
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
