"""Find, check, decode and cache a data set: CIFAR, scikit-learn's digits, torchvision's, or a folder of pictures.

A data set is decoded once into a cache of plain .npy files, keyed by the sha256 of its source files and checked
whenever it is read. The arrays are plain NumPy, so that Ray's object store shares them without a copy.
"""

from __future__ import annotations

import dataclasses
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from search.records import NO_DATA
from trainables.data import torchvision_sets
from trainables.data.class_folders import ClassFolders, contents, counted, decode_classes, find_classes, tell_repeated
from trainables.data.forms import Wanted, choose_form, reform
from trainables.data.hub_files import HubFiles, decode_hub, find_parts, holds_images
from trainables.data.idx_files import IdxSet, decode_idx, find_idx, is_idx
from trainables.data.image_data import DataError, ImageData, Images, Progress, channel_statistics
from trainables.data.parquet_files import Decoded, ParquetSet, Schema, decode_set, find, walk
from trainables.data.pictures import Shape, what_is
from trainables.data.splits import Indices, split

__all__ = ["DATASETS", "DataError", "ImageData", "Images", "channel_statistics", "load"]

_SIZE = 32  # pixels a side
_DIGITS_TEST_IMAGES = 360
_CACHE_FORMAT = 1  # version of the cache's files
# Version of the decoded data; older entries are decoded again. 1 had white squares for 16-bit gray, 2 classes without
# training images.
_DECODING = 3
_DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer after which a download is given up


class _Source(NamedTuple):
    text: str  # value of ImageData.source
    files: tuple[Path, ...]  # source files, in the order of the fingerprint
    decode: Callable[[Progress], Decoded]
    key: str = ""  # what the fingerprint depends on beside the files' content


class _Cifar(NamedTuple):
    schema: Schema  # columns of the Parquet files
    key: str  # key of the labels in the published batches
    torchvision: str  # torchvision's class, which knows the published files and their MD5

    @property
    def title(self) -> str:
        return self.schema.title


_LABELS = ("label", "labels", "target", "targets")
_CIFAR = {
    "cifar10": _Cifar(Schema("CIFAR-10", 10, _LABELS, (), (_SIZE, _SIZE)), "labels", "CIFAR10"),
    "cifar100": _Cifar(
        # A column called just "label" may hold the 20 coarse classes, or CIFAR-10's.
        Schema("CIFAR-100", 100, ("fine_label", "fine_labels"), _LABELS, (_SIZE, _SIZE)),
        "fine_labels",
        "CIFAR100",
    ),
}
FOLDER = "folder"  # a data set of the user's own, read by what its folder holds
DATASETS = (*_CIFAR, "digits", *torchvision_sets.NAMES, f"{FOLDER}:PATH")


def load(
    name: str,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    size: int | None = None,
    channels: int | None = None,
) -> ImageData:
    """Load a data set by its name.

    "cifar10", "cifar100"  looked for in `data_dir` and its subfolder `name`: first as Parquet files in the layouts of
        the Hugging Face Hub (`trainables.data.parquet_files`: columns img or image, struct<bytes, path>, and label, or
        fine_label for CIFAR-100; pictures as `trainables.data.pictures` decodes them), then as the published archive or
        its extracted folder, whose MD5 must be the one that torchvision knows, then as Parquet files in any other
        subfolder; without `data_dir` the archive is downloaded once into the cache
    "none"  no images, for a trainable that reads its own data
    "digits"  inside scikit-learn, scaled here from 8 x 8 to 32 x 32; needs no folder
    "FashionMNIST", ...  torchvision's, by their class's name, in `data_dir` as torchvision lays them out; without
        `data_dir` downloaded by torchvision into the cache
    "folder:PATH", or "folder" with `data_dir`  a folder of Parquet files of any classes (`trainables.data.hub_files`),
        of IDX files (`trainables.data.idx_files`), or with one folder a class (`trainables.data.class_folders`).
        `data_dir` replaces PATH

    `size` (pixels a side) and `channels` (1 or 3) change every image, see `trainables.data.pictures.Form`.
    `cache_dir` is hyperparameter-verdicts in $XDG_CACHE_HOME or ~/.cache unless given. `progress` receives a line for a
    person at each slow step, if a damaged or outdated cache entry is replaced, and if the cache cannot be written: the
    images are then decoded each time. Errors count rows from 0. Raises DataError.
    """
    report = progress or (lambda line: None)
    if name == NO_DATA:
        return _nothing()
    wanted = Wanted(size, channels)
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 (gray) or 3 (RGB), got {channels!r}")
    if name == "digits":
        return _in_form(_digits(), wanted)
    cache = cache_dir or _users_cache() / "hyperparameter-verdicts"
    name, folder = located(name, data_dir)
    source, told = _source(name, folder, cache, wanted, report)
    fingerprint = _sha256(source.files)
    if source.key:
        fingerprint = hashlib.sha256(f"{fingerprint} {source.key}".encode()).hexdigest()
    entry = cache / f"{name}-{fingerprint}"
    damaged = False
    decoded = None
    if os.path.isdir(entry):  # pathlib's is_dir would raise in a folder that may not be read
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
    data = ImageData(told, **decoded._asdict(), fingerprint=fingerprint, source=source.text)
    return _in_form(data, wanted)


def _nothing() -> ImageData:
    images, labels = np.empty((0, 1, 1, 1), np.uint8), np.empty(0, np.int64)
    return ImageData(NO_DATA, images, labels, images, labels, (), NO_DATA, "the trainable's own data")


def located(name: str, data_dir: Path | None) -> tuple[str, Path | None]:
    """Return a data set's name without its path, and the folder to read: `data_dir`, or the absolute path in the name.

    Raises DataError for "folder" without a path.
    """
    folder = None if data_dir is None else data_dir.expanduser()
    kind, _, path = name.partition(":")
    if kind != FOLDER:
        return name, folder
    if folder is None and not path:
        raise DataError(f"data set {name!r} needs its folder: name it with --data, or write dataset='{FOLDER}:PATH'")
    return FOLDER, folder or Path(path).expanduser().absolute()


def substitute(name: str, data_dir: Path | None) -> str:
    """Return the name of the data set to read from `data_dir`: "folder" if it has class folders in the place of CIFAR.

    Raises DataError if the class folders make no data set.
    """
    if name not in _CIFAR or data_dir is None or not (folder := data_dir.expanduser()).is_dir():
        return name
    try:
        _find(name, folder, lambda line: None)
    except DataError:
        return FOLDER if find_classes(folder) else name
    return name


def _source(name: str, folder: Path | None, cache: Path, wanted: Wanted, report: Progress) -> tuple[_Source, str]:
    """Return where the data set is read from, and its name in the results."""
    if name in _CIFAR:
        return _download(name, cache, report) if folder is None else _find(name, folder, report), name
    if name == FOLDER:
        assert folder is not None
        return _own(_require_folder(folder), wanted), f"{FOLDER}:{folder.resolve().name}"
    if name in torchvision_sets.IDX:
        return _idx_of_torchvision(name, folder, cache, report), name
    if name in torchvision_sets.NAMES:
        return _of_torchvision(name, folder, cache, wanted, report), name
    raise DataError(f"data set must be one of {', '.join(DATASETS)}, got {name!r}")


def _in_form(data: ImageData, wanted: Wanted) -> ImageData:
    """Return the data set with images of the wanted size and channels, and a fingerprint of its own if that changes it.

    Raises DataError for a size out of range.
    """
    height, width = data.train_images.shape[2:]
    own = Shape(width, height, data.channels == 1)
    form, rule = choose_form({own: len(data.train_labels)}, wanted)
    if not rule:
        return data
    return dataclasses.replace(
        data,
        train_images=reform(data.train_images, form),
        test_images=reform(data.test_images, form),
        fingerprint=hashlib.sha256(f"{data.fingerprint} {form}".encode()).hexdigest(),
        prepared="; ".join(filter(None, (data.prepared, rule))),
    )


def _users_cache() -> Path:
    home = os.path.expanduser("~")
    # A user without a home has no cache: nothing can be written below os.devnull, which is a file.
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


# Finding a data set.


def _require_folder(folder: Path) -> Path:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise DataError(f"data folder required at {folder}, found {found}")
    return folder


def _find(name: str, data_dir: Path, report: Progress) -> _Source:
    _require_folder(data_dir)
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
        f"{published.base_folder}/, found none of them, but {_contents(own if own.is_dir() else data_dir)}; a data set "
        f"of other classes is read with dataset='folder:PATH' in the study"
    )


def _parquet(found: ParquetSet, schema: Schema) -> _Source:
    decode = functools.partial(decode_set, found, schema)
    return _Source(f"Parquet files in {found.folder}", (*found.train, *found.test), decode)


def _contents(folder: Path) -> str:
    """Return what a folder contains, in words for an error message."""
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
    # Imported here, because torchvision takes seconds to import and Parquet does not need it.
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
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _timeout(), tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as partial:
                download_url(published.url, partial, published.filename, published.tgz_md5)
                os.replace(Path(partial) / published.filename, archive)
        except (OSError, RuntimeError, HTTPException) as error:
            raise DataError(
                f"{_CIFAR[name].title} is not in {cache} and cannot be downloaded from {published.url} "
                f"({_line(error)}): name the folder that holds it with --data, or try --smoke, "
                f"which needs no download"
            ) from None
    return _archive(name, archive)


# Data sets of the user's own, and torchvision's.


def _own(folder: Path, wanted: Wanted) -> _Source:
    """Find the one data set of a folder: class folders, Parquet or IDX files. Raises DataError for none or several."""
    classes = find_classes(folder)
    if classes is not None:
        beside = _beside(folder)
        if not beside:
            return _classes(classes, wanted)
        if len(classes.names) > 1:
            raise DataError(
                f"one data set required in {folder}, found class folders ({', '.join(classes.names[:4])}"
                f"{', ...' * (len(classes.names) > 4)}) and {beside}: name one's folder"
            )
    files = list(walk(folder))
    hub, idx = find_parts(folder, files), find_idx(folder, files)
    if hub is not None and idx is not None:
        raise DataError(f"one data set required in {folder}, found Parquet files and IDX files: name one's folder")
    if hub is not None:
        return _hub(hub, wanted)
    if idx is not None:
        return _idx(idx, None)
    raise DataError(
        f"a data set required in {folder} as one folder of pictures a class (in train/ and test/, or without), as "
        f"Parquet files or as IDX files, found none of them, but {_contents(folder)}"
    )


def _beside(folder: Path) -> str:
    """Return what kind of files beside class folders is a data set too, "" if none is: pictures may illustrate it."""
    files = list(contents(folder))
    if any(path.suffix.lower() == ".parquet" and holds_images(path) for path in files):
        return "Parquet files"
    return "IDX files" if any(map(is_idx, files)) else ""


def _classes(found: ClassFolders, wanted: Wanted) -> _Source:
    decode = functools.partial(decode_classes, found, wanted)
    return _Source(f"class folders in {found.folder}", found.files, decode, f"{found.key()} {wanted}")


def _hub(found: HubFiles, wanted: Wanted) -> _Source:
    parts = {part: [path.name for path in paths] for part, paths in found.parts.items()}
    decode = functools.partial(decode_hub, found, wanted)
    return _Source(f"Parquet files in {found.folder}", found.files, decode, f"{parts} {wanted}")


def _idx(found: IdxSet, names: Any) -> _Source:
    def decode(report: Progress) -> Decoded:
        report(f"reading IDX files in {found.train_images.parent}")
        images, labels = decode_idx(found)
        count = 1 + int(max(each.max() for each in labels.values()))
        told, labels, left_out = counted(torchvision_sets.class_names(names, count), labels, found.train_labels)
        if len(told) < 2:
            raise DataError(f"{found.train_labels}: at least 2 classes required, got {len(told)}")
        form, rule = choose_form({Shape(images["train"].shape[3], images["train"].shape[2], True): 1}, Wanted())
        arrays = {part: reform(each, form) for part, each in images.items()}
        tell_repeated(arrays["train"], arrays["test"], found.train_images.parent, report)
        prepared = "; ".join(filter(None, (rule, left_out)))
        return Decoded(arrays["train"], labels["train"], arrays["test"], labels["test"], told, 0, prepared)

    return _Source(f"IDX files in {found.train_images.parent}", tuple(found), decode)


def _idx_of_torchvision(name: str, folder: Path | None, cache: Path, report: Progress) -> _Source:
    kind = torchvision_sets.published(name)
    root = cache / "torchvision" if folder is None else _require_folder(folder)
    own = root / name
    found = find_idx(own, walk(own)) if own.is_dir() else None
    if found is None and folder is not None:
        found = find_idx(root, walk(root))
    if found is None and folder is not None:
        raise DataError(
            f"{name} required in {folder} as IDX files (train-images-idx3-ubyte, ...), found {_contents(root)}"
        )
    if found is None:
        with _downloading(name, root, report):
            kind(root=str(root), download=True)
        found = find_idx(own, walk(own))
        assert found is not None
    return _idx(found, getattr(kind, "classes", None))


def _of_torchvision(name: str, folder: Path | None, cache: Path, wanted: Wanted, report: Progress) -> _Source:
    root = cache / "torchvision" if folder is None else _require_folder(folder)
    try:
        sets = torchvision_sets.opened(name, root, download=False)
    except (RuntimeError, OSError, ValueError) as error:
        if folder is not None:
            raise DataError(
                f"{name} required in {folder} as torchvision lays it out, found {_contents(root)} ({_line(error)})"
            ) from None
        with _downloading(name, root, report):
            sets = torchvision_sets.opened(name, root, download=True)
    decode = functools.partial(torchvision_sets.decode_published, sets, name, root, wanted)
    files = torchvision_sets.files_of(name, root)
    names = [str(path.relative_to(root)) for path in files]
    return _Source(f"torchvision's {name} in {root}", files, decode, f"{name} {wanted} {names}")


@contextmanager
def _downloading(name: str, root: Path, report: Progress) -> Iterator[None]:
    report(f"downloading {name} to {root}")
    with _timeout():
        try:
            root.mkdir(parents=True, exist_ok=True)
            yield
        except (OSError, RuntimeError, HTTPException) as error:
            raise DataError(
                f"{name} is not in {root} and torchvision cannot download it ({_line(error)}): name the folder that "
                f"holds it with --data, or try --smoke, which needs no download"
            ) from None


@contextmanager
def _timeout() -> Iterator[None]:
    """Give downloads a timeout: torchvision sets none, and on a network that drops packets it would hang for good."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# The archives as published: https://www.cs.toronto.edu/~kriz/cifar.html


def _require_md5(content: bytes, required: str, where: Path | str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != required:
        why = what_is(content[:64])
        why = f"it is {why}" if why and not why.startswith("a gzip") else "the file is damaged or another one"
        raise DataError(f"{where}: MD5 {required} required, got {found}: {why}")


def _members(archive: bytes, folder: str, where: Path) -> dict[str, bytes]:
    """Return the archive's files by their name within `folder`, in memory: nothing is extracted to the disk."""
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
    """Unpickler of containers, numbers, strings and NumPy arrays, the only types that the published batches hold."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in ("numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct"):
            return super().find_class(module, name)
        raise DataError(f"a batch of NumPy arrays required, got one that asks for {module}.{name}")


def _decode_published(name: str, files: dict[str, bytes], where: Path) -> Decoded:
    """Decode the published files, given by name; the MD5 of each is checked before it is unpickled."""
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


# The cache: a folder for each data set, with .npy files and meta.json.

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def _read_entry(entry: Path) -> Decoded:
    """Read a cache entry. Raises OSError, ValueError, KeyError, TypeError or EOFError if it was changed."""
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
    names, validation = tuple(meta["class_names"]), int(meta.get("validation_images", 0))
    return Decoded(
        train_images, train_labels, test_images, test_labels, names, validation, str(meta.get("prepared", ""))
    )


def _write_entry(entry: Path, decoded: Decoded, replace: bool) -> None:
    """Write a cache entry whole or not at all, even if other processes write the same entry."""
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
            "validation_images": decoded.validation_images,
            "prepared": decoded.prepared,
            "sha256": {name: _sha256([new / f"{name}.npy"]) for name in _ARRAYS},
        }
        (new / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        if replace:
            with suppress(FileNotFoundError):  # another process moved it first
                os.replace(entry, Path(partial) / "damaged")
        try:
            os.replace(new, entry)
        except OSError as error:
            # Another process was faster: its entry has the same key, hence the same content.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
