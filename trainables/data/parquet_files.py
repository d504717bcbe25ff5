"""Find the Parquet files of a data set in a folder, and read them.

The files are named as the Hugging Face Hub names them, in whatever folder: `train-00000-of-00005.parquet` with or
without a hash behind it, `train/0000.parquet`, `train.parquet`, under `data/`, `plain_text/`, `default/` or nothing. A
word of a file's name, else of a folder's name, says which part the file belongs to. An image column holds struct<bytes,
path>, a label column integers; class names stand in the metadata `huggingface`, if there is any.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainables.data.image_data import DataError, Images, Progress
from trainables.data.pictures import PictureError, decode, what_is
from trainables.data.splits import Indices

DEEPEST = 6  # levels of folders below the one named: the Hub's cache has four (datasets--x/snapshots/HASH/plain_text)
MOST_ENTRIES = 20_000  # most files below a folder: a data set's own folder has some tens
IMAGE_COLUMNS = ("img", "image")
MAC = "__MACOSX"  # folder that macOS adds to an archive: for each file X one ._X, which is no picture
_CHUNK = 500  # number of images that a thread decodes at a time
PART_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_NUMBERED = (
    re.compile(r"(?P<number>\d+)[-_]of[-_](?P<total>\d+)([-_][0-9a-f]{8,})?$", re.IGNORECASE),
    re.compile(r"(?<![0-9a-z])(?P<number>\d+)$", re.IGNORECASE),
)


class Schema(NamedTuple):
    """Columns, classes and picture size that the Parquet files of one data set must have."""

    title: str
    classes: int
    labels: tuple[str, ...]  # names that the label column may have: the first one present counts
    also: tuple[str, ...]  # further names of the label column, if the metadata list `classes` class names for it
    size: tuple[int, int]  # width, height in pixels


class ParquetSet(NamedTuple):
    """The files of one data set, each part's in order."""

    folder: Path  # deepest folder that holds all files
    train: tuple[Path, ...]
    test: tuple[Path, ...]


class Decoded(NamedTuple):
    """Arrays of a data set as `trainables.data.image_data.ImageData` holds them."""

    train_images: Images
    train_labels: Indices
    test_images: Images
    test_labels: Indices
    class_names: tuple[str, ...]
    validation_images: int = 0
    prepared: str = ""


class PartFile(NamedTuple):
    """One Parquet file, described by its name."""

    path: Path
    part: str  # "train", "test" or "validation"
    number: int | None
    total: int | None  # number of files of this part
    name: str  # file name as a format string with a place for the number

    def other(self, number: int) -> str:
        return self.name.format(number)


# Choosing the files.


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files at most `DEEPEST` folders below a folder, in order of name; links are followed, each folder once.

    Raises DataError for more than `MOST_ENTRIES` files, and for a folder that cannot be read.
    """
    seen, entries = set[str](), 0

    def inside(here: Path, depth: int) -> Iterator[Path]:
        nonlocal entries
        if (real := os.path.realpath(here)) in seen:
            return
        seen.add(real)
        try:
            listed = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"cannot read {here}: {error.strerror}") from None
        entries += len(listed)
        if entries > MOST_ENTRIES:
            raise DataError(f"{folder} holds more than {MOST_ENTRIES:,} files: name the data set's own folder")
        listed = [entry for entry in listed if not (entry.name == MAC or entry.name.startswith("._"))]
        folders = [here / entry.name for entry in listed if entry.is_dir()]
        yield from (here / entry.name for entry in listed if not entry.is_dir())
        if depth < DEEPEST:
            for path in folders:
                yield from inside(path, depth + 1)

    yield from inside(folder, 0)


def find(
    folder: Path,
    files: Iterable[Path],
    schema: Schema,
    report: Progress,
    *,
    only_whole: bool = False,
    only_fitting: bool = False,
) -> ParquetSet | None:
    """Find the one data set that `files`, all under `folder`, hold; return None if none of them belongs to one.

    `only_whole` passes over sets that lack a part, `only_fitting` over sets without the columns of `schema`, as in a
    folder of many data sets. Sets that are not read are named to `report`. Raises DataError for several whole sets,
    and for a set that lacks a part or a file.
    """
    sets: dict[tuple[str, ...], list[PartFile]] = {}
    targets = set[str]()
    for path in files:
        # The Hub's cache holds a file under several names.
        if path.suffix.lower() == ".parquet" and (real := os.path.realpath(path)) not in targets:
            targets.add(real)
            if placed := place(path, folder):
                sets.setdefault(placed[0], []).append(placed[1])
    if only_fitting:
        fitting = {key: _fits(files[0].path, schema) for key, files in sets.items()}
        # A file that cannot be read (None) stays, and is refused by name when it is read.
        best = True if True in fitting.values() else None
        sets = {key: files for key, files in sets.items() if fitting[key] is best}
    whole = [files for files in sets.values() if {"train", "test"} <= {file.part for file in files}]
    if not (whole if only_whole else sets):
        return None
    if len(whole) > 1:
        found = ", ".join(str(whole[i][0].path) for i in range(len(whole)))
        raise DataError(
            f"one set of Parquet files required in {folder}, found {len(whole)}: {found}; name one's folder"
        )
    chosen = whole[0] if whole else max(sets.values(), key=len)
    where = Path(os.path.commonpath([file.path.parent for file in chosen]))
    for others in sets.values():
        if others is not chosen:
            report(f"not read, since its name does not belong to the set that is read from {where}: {others[0].path}")
    if unread := [file.path.name for file in chosen if file.part == "validation"]:
        report(f"not read, since {schema.title} has no such part: {', '.join(unread)}")
    return ParquetSet(where, in_order(chosen, "train", where), in_order(chosen, "test", where))


def place(path: Path, folder: Path) -> tuple[tuple[str, ...], PartFile] | None:
    """Return the set that a file belongs to and the file's description; None if no name says which part it is.

    Names of one set differ only in the part and the number; in a folder that is a part, names may differ freely.
    """
    folders = path.relative_to(folder).parts[:-1]
    stem, number, total, name = path.stem, None, None, path.name
    for pattern in _NUMBERED:
        if match := pattern.search(stem):
            digits = match["number"]
            number, total = int(digits), int(match.groupdict().get("total") or 0) or None
            rest = f"-of-{match['total']}" if total else ""
            stem = stem[: match.start()]
            name = f"{stem.replace('{', '{{').replace('}', '}}')}{{:0{len(digits)}}}{rest}{path.suffix}"
            break
    for place in (stem, *reversed(folders)):
        parts = {PART_WORDS[word] for word in words(place) if word in PART_WORDS}
        if len(parts) > 1:
            return None
        if parts:
            (part,) = parts
            named = [*folders, stem] if place is stem else folders
            key = tuple(" ".join("*" if PART_WORDS.get(word) == part else word for word in words(x)) for x in named)
            return key, PartFile(path, part, number, total, name)
    return None


def words(name: str) -> list[str]:
    """Return the words of a file's or folder's name in lower case: train1, TrainData and "train data" have two each."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return [word for word in re.split(r"[-_.\s]+|(?<=[a-z])(?=\d)", apart) if word]


def in_order(files: Sequence[PartFile], part: str, folder: Path) -> tuple[Path, ...]:
    mine = sorted(file for file in files if file.part == part)
    required = f"one set of {part}-00000-of-0000n.parquet, {part}/0000.parquet or {part}.parquet required in {folder}"

    def names(some: Iterable[PartFile]) -> str:
        return ", ".join([str(file.path.relative_to(folder)) for file in some][:5])

    if not mine:
        raise DataError(f"{required}, found none, only {names(files)}")
    totals = sorted({file.total or 0 for file in mine})
    if len(totals) > 1 and totals[0]:
        raise DataError(f"{required}, found shards of sets of {' and '.join(map(str, totals))} files: {names(mine)}")
    numbers = {file.number: file for file in mine}
    if len(totals) > 1 or (len(mine) > 1 and None in numbers and len(numbers) > 1):
        raise DataError(f"{required}, found two kinds of names: {names(mine)}")
    if None in numbers:
        return tuple(file.path for file in mine)
    if len(numbers) < len(mine):
        twice = [file for file in mine if numbers[file.number] is not file or file.number == mine[0].number]
        raise DataError(f"one file of each number required in {folder}, found {names(twice)}")
    present = [file.number for file in mine if file.number is not None]
    required_numbers = range(totals[0]) if totals[0] else range(min(present), max(present) + 1)
    if missing := [number for number in required_numbers if number not in numbers]:
        raise DataError(
            f"{len(required_numbers)} {part} shards required in {folder}, found "
            f"{len(required_numbers) - len(missing)}: {', '.join(mine[0].other(n) for n in missing[:5])} missing"
        )
    if surplus := [file for file in mine if file.number not in required_numbers]:
        raise DataError(f"{len(required_numbers)} {part} shards required in {folder}, found also {names(surplus)}")
    return tuple(file.path for file in sorted(mine, key=lambda file: file.number or 0))


# Reading the files.


class _Columns(NamedTuple):
    image: str
    label: str
    class_names: tuple[str, ...] | None  # None if the metadata do not name them


def decode_set(found: ParquetSet, schema: Schema, report: Progress) -> Decoded:
    """Read and decode all files of a data set. Raises DataError, naming file and row."""
    names: tuple[str, ...] | None = None
    named_by: Path | None = None
    parts: dict[str, tuple[Images, Indices]] = {}
    _require_memory(found, schema)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part, shards in (("train", found.train), ("test", found.test)):
            images, labels = [], []
            for path in shards:
                report(f"decoding {path}")
                columns, table = _read(path, schema)
                if columns.class_names is not None and names is None:
                    names, named_by = columns.class_names, path
                elif columns.class_names not in (None, names):
                    raise DataError(_disagreement(path, columns.class_names or (), named_by, names or ()))
                # Labels first: a wrong label is then reported before thousands of images are decoded.
                labels.append(_labels(table.column(columns.label), path, columns.label, schema.classes))
                images.append(_decode_images(table.column(columns.image), path, columns.image, schema, pool))
            parts[part] = np.concatenate(images), np.concatenate(labels)
            if not len(parts[part][1]):
                raise DataError(f"{part} images required in {found.folder}, found none: its shards are empty")
    return Decoded(*parts["train"], *parts["test"], names or tuple(str(label) for label in range(schema.classes)))


def _disagreement(path: Path, names: Sequence[str], first: Path | None, others: Sequence[str]) -> str:
    place = next(i for i, (one, other) in enumerate(zip(names, others, strict=True)) if one != other)
    return (
        f"{path}: one list of classes required in all files, but class {place} is {names[place]!r} here and "
        f"{others[place]!r} in {first}"
    )


def memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _require_memory(found: ParquetSet, schema: Schema) -> None:
    """Raise DataError if the decoded images, counted from the files' footers, do not fit into memory."""
    rows = 0
    for path in (*found.train, *found.test):
        with opened(path) as file:
            rows += file.metadata.num_rows
    width, height = schema.size
    needed, there = rows * 3 * width * height, memory()
    if needed > there:
        raise DataError(
            f"{found.folder}: {rows:,} images take {needed / 2**30:.1f} GiB decoded, "
            f"more than the {there / 2**30:.1f} GiB of this machine"
        )


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Raises DataError if it is damaged or no Parquet file, on opening or while it is read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        try:
            with path.open("rb") as bytes_:
                found = what_is(bytes_.read(64))
        except OSError:
            found = None
        if found and found != "a Parquet file":
            raise DataError(f"{path}: an intact Parquet file required, found {found}") from None
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: an intact Parquet file required, cannot read it: {line}") from None


def _read(path: Path, schema: Schema) -> tuple[_Columns, pa.Table]:
    with opened(path) as file:
        columns = _columns(file.schema_arrow, path, schema)
        return columns, file.read(columns=[columns.image, columns.label])


def _fits(path: Path, schema: Schema) -> bool | None:
    """Return whether a file has the columns of `schema`; None if the file cannot be read."""
    try:
        with opened(path) as file:
            arrow = file.schema_arrow
    except DataError:
        return None
    try:
        _columns(arrow, path, schema)
    except DataError:
        return False
    return True


def _columns(arrow: pa.Schema, path: Path, schema: Schema) -> _Columns:
    features = features_of(arrow, path)
    pictures = [name for name in arrow.names if holds_pictures(arrow.field(name).type)]
    usual = [name for name in IMAGE_COLUMNS if name in arrow.names]
    images = [name for name in usual if name in pictures] or usual or pictures
    if len(images) != 1:
        raise DataError(
            f"{path}: one column {' or '.join(IMAGE_COLUMNS)} required for {schema.title}, "
            f"found {', '.join(arrow.names)}"
        )
    (image,) = images
    if image not in pictures:
        raise DataError(
            f"{path}: column {image} must be struct<bytes: binary, path: string>, got {arrow.field(image).type}"
        )
    named = (name for name in schema.also if _counted(_listed(features, name)) == schema.classes)
    label = next((name for name in (*schema.labels, *named) if name in arrow.names), None)
    if label is None:
        raise DataError(
            f"{path}: column {' or '.join(schema.labels[:2])} required for {schema.title}, "
            f"found {', '.join(arrow.names)}"
        )
    if not pa.types.is_integer(arrow.field(label).type):
        raise DataError(f"{path}: column {label} must hold integers, got {arrow.field(label).type}")
    return _Columns(image, label, _class_names(features, label, path, schema))


def holds_pictures(kind: pa.DataType) -> bool:
    if not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        return False
    inner = kind.field("bytes").type
    return bool(pa.types.is_binary(inner) or pa.types.is_large_binary(inner))


def features_of(arrow: pa.Schema, path: Path) -> dict[str, Any]:
    """Return the metadata of each column; an empty dict if there are none."""
    text = (arrow.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        told = json.loads(text)
        for key in ("info", "features"):
            told = told.get(key) or {}
        return dict(told)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: metadata `huggingface` must be a JSON object that describes the columns, got "
            f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        ) from None


def _listed(features: dict[str, Any], label: str) -> Any:
    feature = features.get(label)
    return feature.get("names") if isinstance(feature, dict) else None


def _counted(names: Any) -> int | None:
    return len(names) if isinstance(names, list) else None


def _class_names(features: dict[str, Any], label: str, path: Path, schema: Schema) -> tuple[str, ...] | None:
    names = _listed(features, label)
    if names is None:
        return None
    if not (isinstance(names, list) and len(names) == schema.classes):
        got = f"{len(names)} of them" if isinstance(names, list) else type(names).__name__
        raise DataError(f"{path}: a list of {schema.classes} class names required in the metadata, got {got}")
    return tuple(str(name) for name in names)


def _labels(column: pa.ChunkedArray, path: Path, name: str, classes: int) -> Indices:
    valid = pc.fill_null(pc.and_(pc.greater_equal(column, 0), pc.less(column, classes)), False)
    if wrong := np.flatnonzero(~valid.to_numpy()).tolist():
        row = wrong[0]
        raise DataError(f"{path}: row {row}: {name} must be 0 to {classes - 1}, got {column[row].as_py()}")
    return column.to_numpy().astype(np.int64)


def _decode_images(column: pa.ChunkedArray, path: Path, name: str, schema: Schema, pool: ThreadPoolExecutor) -> Images:
    encoded = pc.struct_field(column, "bytes").to_pylist()
    width, height = schema.size
    images = np.empty((len(encoded), 3, height, width), np.uint8)

    def decode_chunk(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(encoded))):
            try:
                if encoded[row] is None:
                    raise PictureError(f"image bytes required in {name}.bytes, got null")
                images[row] = decode(encoded[row], schema.size)
            except PictureError as error:
                raise DataError(f"{path}: row {row}: {error}") from None

    # map yields in order, so that the first bad row is the one reported.
    for _ in pool.map(decode_chunk, range(0, len(encoded), _CHUNK)):
        pass
    return images
