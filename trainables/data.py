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
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.image_data import DataError, ImageData, Images, Progress, channel_statistics
from trainables.parquet_files import Decoded, ParquetSet, Schema, decode_set, find, walk
from trainables.pictures import what_is
from trainables.splits import Indices, split

__all__ = ["DATASETS", "DataError", "ImageData", "Images", "channel_statistics", "load"]

_SIZE = 32  # pixels a side
_DIGITS_TEST_IMAGES = 360
_CACHE_FORMAT = 1  # raise it when the files change
_DECODING = 2  # raise it when pixels change: older entries are then decoded again (1 had white squares for 16-bit gray)
_DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


class _Source(NamedTuple):
    text: str  # ImageData.source
    files: tuple[Path, ...]  # in the order of the fingerprint
    decode: Callable[[Progress], Decoded]


class _Cifar(NamedTuple):
    schema: Schema  # in Parquet
    key: str  # of the labels in the published batches
    torchvision: str  # class that knows the published files and their MD5

    @property
    def title(self) -> str:
        return self.schema.title


_LABELS = ("label", "labels", "target", "targets")
_CIFAR = {
    "cifar10": _Cifar(Schema("CIFAR-10", 10, _LABELS, (), (_SIZE, _SIZE)), "labels", "CIFAR10"),
    "cifar100": _Cifar(
        # A column that is merely called label may hold the 20 coarse classes, or CIFAR-10's.
        Schema("CIFAR-100", 100, ("fine_label", "fine_labels"), _LABELS, (_SIZE, _SIZE)),
        "fine_labels",
        "CIFAR100",
    ),
}
DATASETS = (*_CIFAR, "digits")


def load(
    name: str,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Load "cifar10", "cifar100" or "digits".

    In `data_dir`, or its subfolder `name`, either CIFAR is looked for as Parquet files in the layouts of the Hugging
    Face Hub (`trainables.parquet_files`: columns img or image, struct<bytes, path>, and label, or fine_label for
    CIFAR-100; pictures as `trainables.pictures` decodes them), then as the published archive or its extracted
    folder, whose MD5 must be the one torchvision knows, then as Parquet files in any other subfolder. Without
    `data_dir` the archive is downloaded once into `cache_dir` (default: image-search in $XDG_CACHE_HOME or
    ~/.cache). The digits ship inside scikit-learn, scaled here from 8 x 8 to 32 x 32, and need neither folder.

    `progress` receives a line for a person at each slow step, when a damaged or outdated cache entry is replaced, and
    if the cache cannot be written: the images are then decoded each time. Rows that an error names count from 0.
    Raises DataError.
    """
    report = progress or (lambda line: None)
    if name == "digits":
        return _digits()
    if name not in _CIFAR:
        raise DataError(f"data set must be one of {', '.join(DATASETS)}, got {name!r}")
    cache = cache_dir or _users_cache() / "image-search"
    source = _download(name, cache, report) if data_dir is None else _find(name, data_dir.expanduser(), report)
    fingerprint = _sha256(source.files)
    entry = cache / f"{name}-{fingerprint}"
    damaged = False
    decoded = None
    if os.path.isdir(entry):  # in a folder that may not be read, pathlib raises
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
            report(f"the decoded images are not kept for the next time: {cache} cannot be written ({_line(error)})")
    return ImageData(name, *decoded, fingerprint=fingerprint, source=source.text)


def _users_cache() -> Path:
    home = os.path.expanduser("~")
    # A user without a home has none, as nothing can be written in this file.
    return Path(os.environ.get("XDG_CACHE_HOME") or (os.devnull if home == "~" else f"{home}/.cache"))


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


def _find(name: str, data_dir: Path, report: Progress) -> _Source:
    if not data_dir.is_dir():
        found = "a file" if data_dir.exists() else "nothing there"
        raise DataError(f"data folder required at {data_dir}, found {found}")
    schema, own = _CIFAR[name].schema, data_dir / name
    if own.is_dir() and (parquet := find(own, walk(own), schema, report)):
        return _parquet(parquet, schema)
    beside = (path for path in sorted(data_dir.iterdir()) if not path.is_dir())
    if parquet := find(data_dir, beside, schema, report, only_whole=True):
        return _parquet(parquet, schema)
    published = _published(name)
    for folder in (data_dir, own):
        if (folder / published.base_folder).is_dir():
            return _extracted(name, folder / published.base_folder)
        if (folder / published.filename).is_file():
            return _archive(name, folder / published.filename)
    if parquet := find(data_dir, walk(data_dir), schema, report, only_fitting=True):
        return _parquet(parquet, schema)
    raise DataError(
        f"{_CIFAR[name].title} required in {data_dir} or {own} as train-00000-of-0000n.parquet and "
        f"test-00000-of-0000n.parquet (or another layout of the Hugging Face Hub), {published.filename} or "
        f"{published.base_folder}/, found none of them, but {_contents(own if own.is_dir() else data_dir)}"
    )


def _parquet(found: ParquetSet, schema: Schema) -> _Source:
    decode = functools.partial(decode_set, found, schema)
    return _Source(f"Parquet files in {found.folder}", (*found.train, *found.test), decode)


def _contents(folder: Path) -> str:
    """What a person finds who looks into a folder."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    if not names:
        return f"nothing at all in {folder}"
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    if any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        shown += " (saved by save_to_disk: write train.parquet and test.parquet with Dataset.to_parquet instead)"
    elif strange := [path for path in walk(folder) if path.suffix.lower() == ".parquet"][:1]:
        shown += (
            f" (of {strange[0].relative_to(folder)} neither name nor folder says train or test, or its columns differ)"
        )
    return f"{shown} in {folder}"


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

    def decode(report: Progress) -> Decoded:
        report(f"reading {folder}")
        return _decode_published(name, {path.name: path.read_bytes() for path in files}, folder)

    return _Source(f"files in {folder}", files, decode)


def _archive(name: str, path: Path) -> _Source:
    published = _published(name)

    def decode(report: Progress) -> Decoded:
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


# The archives as published: https://www.cs.toronto.edu/~kriz/cifar.html


def _require_md5(content: bytes, required: str, where: Path | str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != required:
        why = what_is(content[:64])
        why = f"it is {why}" if why and not why.startswith("a gzip") else "the file is damaged or another one"
        raise DataError(f"{where}: MD5 {required} required, got {found}: {why}")


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


def _decode_published(name: str, files: dict[str, bytes], where: Path) -> Decoded:
    """From the files' content by name; the MD5 of each is checked before it is unpickled."""
    published, key = _published(name), _CIFAR[name].key

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
    return Decoded(*part(published.train_list), *part(published.test_list), names)


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


def _read_entry(entry: Path) -> Decoded:
    """Raises OSError, ValueError, KeyError, TypeError or EOFError if the entry is not as it was written."""
    meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
    if meta["format"] != _CACHE_FORMAT:
        raise ValueError(f"meta.json: format {_CACHE_FORMAT} required, got {meta['format']!r}")
    if meta.get("decoding") != _DECODING:
        raise ValueError(f"meta.json: decoding {_DECODING} required, got {meta.get('decoding')!r}")
    arrays = []
    for name in _ARRAYS:
        path = entry / f"{name}.npy"
        if _sha256([path]) != meta["sha256"][name]:
            raise ValueError(f"{path.name}: its sha256 is not the one written in meta.json")
        arrays.append(np.load(path, allow_pickle=False))
    train_images, train_labels, test_images, test_labels = arrays
    return Decoded(train_images, train_labels, test_images, test_labels, tuple(meta["class_names"]))


def _write_entry(entry: Path, decoded: Decoded, replace: bool) -> None:
    """Write the entry whole or not at all, also where other processes write the same one."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".partial-") as partial:
        new = Path(partial) / "new"
        new.mkdir()
        for name in _ARRAYS:
            np.save(new / f"{name}.npy", getattr(decoded, name), allow_pickle=False)
        meta = {
            "format": _CACHE_FORMAT,
            "decoding": _DECODING,
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
