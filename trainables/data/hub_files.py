"""Read Parquet files of any data set in the Hugging Face Hub's image schema: any classes, sizes and channels.

An image column holds struct<bytes, path> (or the bytes alone); a label column holds integers, which the metadata may
name (ClassLabel), or the names themselves. The files of a part are named as in `trainables.data.parquet_files`; files
that no name places are one part, from which a test set is split off.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from search.records import writable_text
from trainables.data.class_folders import arranged
from trainables.data.forms import Wanted, choose_form, decode_pictures, require_memory, shapes_of
from trainables.data.image_data import DataError, Images, Progress
from trainables.data.parquet_files import (
    IMAGE_COLUMNS,
    Decoded,
    PartFile,
    features_of,
    holds_pictures,
    in_order,
    opened,
    place,
)
from trainables.data.pictures import PictureError, Shape
from trainables.data.splits import Indices

LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")


class HubFiles(NamedTuple):
    """The files of each part, "train" and perhaps "validation" and "test", in order."""

    folder: Path
    parts: Mapping[str, tuple[Path, ...]]
    ignored: tuple[Path, ...] = ()  # Parquet files that are not read

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for paths in self.parts.values() for path in paths)


class _Columns(NamedTuple):
    image: str
    label: str
    names: tuple[str, ...] | None  # the classes' names by the metadata, if they have any
    others: tuple[str, ...]  # columns that could be labels too, by their names


def find_parts(folder: Path, files: Iterable[Path]) -> HubFiles | None:
    """Return the one data set that the Parquet files among `files`, all under `folder`, hold; None without any.

    Raises DataError for several data sets, and for one that lacks a file or its training images.
    """
    sets: dict[tuple[str, ...], list[PartFile]] = {}
    targets, unplaced = set[str](), list[Path]()
    for path in files:
        # The Hub's cache holds a file under several names.
        if path.suffix.lower() == ".parquet" and (real := os.path.realpath(path)) not in targets:
            targets.add(real)
            if placed := place(path, folder):
                sets.setdefault(placed[0], []).append(placed[1])
            else:
                unplaced.append(path)
    if not sets:
        return HubFiles(folder, {"train": tuple(unplaced)}) if unplaced else None
    training = [found for found in sets.values() if any(file.part == "train" for file in found)]
    if len(training) != 1:
        shown = ", ".join(str(found[0].path.relative_to(folder)) for found in (training or list(sets.values()))[:4])
        raise DataError(f"one set of Parquet files with training images required in {folder}, found {shown}")
    (chosen,) = training
    where = Path(os.path.commonpath([file.path.parent for file in chosen]))
    there = {file.part for file in chosen}
    others = [file for found in sets.values() if found is not chosen for file in found]
    # Without a word of it another test set would be drawn from the training images.
    if missed := next(
        (file for file in others if file.part not in there and holds_images(file.path) is not False), None
    ):
        raise DataError(
            f"one set of Parquet files required in {folder}, found {chosen[0].path.relative_to(folder)} without "
            f"{missed.part} images and {missed.path.relative_to(folder)}, whose name belongs to another set: name them "
            f"train.parquet and {missed.part}.parquet in one folder, or move the other away"
        )
    parts: dict[str, tuple[Path, ...]] = {
        part: in_order(chosen, part, where) for part in ("train", "validation", "test") if part in there
    }
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    return HubFiles(where, parts, (*(file.path for file in others), *unplaced))


def holds_images(path: Path) -> bool | None:
    """Return whether a Parquet file has a column of pictures; None if it cannot be read."""
    try:
        with opened(path) as file:
            return bool(_image_columns(file.schema_arrow))
    except DataError:
        return None


def _image_columns(arrow: pa.Schema) -> list[str]:
    images = [name for name in arrow.names if holds_pictures(arrow.field(name).type)]
    return images or [name for name in IMAGE_COLUMNS if name in arrow.names and _is_bytes(arrow.field(name).type)]


def decode_hub(found: HubFiles, wanted: Wanted, report: Progress) -> Decoded:
    """Read and decode all files, each read twice: for the pictures' sizes, then for their pixels.

    Raises DataError, naming file and row.
    """
    if found.ignored:
        more = f" and {len(found.ignored) - 1} more" if len(found.ignored) > 1 else ""
        report(f"not read, since its name does not belong to the set in {found.folder}: {found.ignored[0]}{more}")
    report(f"reading {len(found.files)} Parquet files in {found.folder}")
    columns = {path: _columns_of(path) for path in found.files}
    if others := columns[found.files[0]].others:
        report(f"labels are those of column {columns[found.files[0]].label}, not read: {', '.join(others)}")
    values = {part: [(path, _values(path, columns[path])) for path in paths] for part, paths in found.parts.items()}
    for part, given in values.items():
        if not any(each for _, each in given):
            empty = ", ".join(path.name for path, _ in given[:4])
            raise DataError(f"{part} images required in {found.folder}, found none: {empty} is empty")
    _require_labels(columns, values, report)
    names = _class_names(columns, values)
    _require_repeated(columns, values["train"])
    labels = {part: np.concatenate([_labels(*each, names) for each in given]) for part, given in values.items()}
    shapes: Counter[Shape] = Counter()
    for path in found.files:
        shapes.update(_pictures(path, columns[path].image, shapes_of))
    form, rule = choose_form(shapes, wanted)
    require_memory(sum(shapes.values()), form, found.folder)
    images: dict[str, Images] = {}
    for part, paths in found.parts.items():
        decoded = []
        for path in paths:
            report(f"decoding {path}")
            decoded.append(_pictures(path, columns[path].image, lambda read, named: decode_pictures(read, named, form)))
        images[part] = np.concatenate(decoded)
    return arranged(images, labels, tuple(map(str, names)), rule, found.folder, report)


def _columns_of(path: Path) -> _Columns:
    with opened(path) as file:
        arrow = file.schema_arrow
    features = features_of(arrow, path)
    images = _image_columns(arrow)
    usual = [name for name in IMAGE_COLUMNS if name in images]
    if len(images) != 1 and len(usual) != 1:
        raise DataError(
            f"{path}: one column of pictures required (image, as struct<bytes, path>), found {_told(arrow)}"
        )
    image = usual[0] if len(usual) == 1 else images[0]
    listed = {name: names for name in arrow.names if (names := _listed(features.get(name)))}
    kinds = [name for name in arrow.names if name != image and _is_label(arrow.field(name).type)]
    # A column of nulls alone has no type of its own; its part is refused as one without labels.
    kinds += [name for name in LABEL_COLUMNS if name in arrow.names and pa.types.is_null(arrow.field(name).type)]
    for name in LABEL_COLUMNS:
        if name in kinds:
            break
        # Another column in its place would make other labels, without a word.
        if name in arrow.names and name != image:
            raise DataError(
                f"{path}: column {name} must hold whole numbers or text, got {arrow.field(name).type!s:.40}"
            )
    fit = [name for name in LABEL_COLUMNS if name in kinds] or [name for name in kinds if name in listed]
    if not fit and len(kinds) == 1:
        fit = kinds
    if len(fit) > 1 and fit[0] not in LABEL_COLUMNS:
        raise DataError(
            f"{path}: one column of labels required, found {', '.join(fit)}: name the one to use label, or leave the "
            "others out"
        )
    if not fit:
        raise DataError(
            f"{path}: a column of labels required (one of {', '.join(LABEL_COLUMNS)}), found {_told(arrow)}"
        )
    return _Columns(image, fit[0], listed.get(fit[0]), tuple(fit[1:]))


def _told(arrow: pa.Schema) -> str:
    return ", ".join(f"{name} ({arrow.field(name).type!s:.40})" for name in arrow.names[:8])


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _listed(feature: Any) -> tuple[str, ...] | None:
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _values(path: Path, columns: _Columns) -> list[Any]:
    with opened(path) as file:
        values: list[Any] = file.read(columns=[columns.label]).column(columns.label).to_pylist()
    return values


def _require_labels(
    columns: Mapping[Path, _Columns], values: Mapping[str, list[tuple[Path, list[Any]]]], report: Progress
) -> None:
    """Raise DataError for a part or row without a label: null, or -1 as the Hub writes it if -1 is no class."""
    known = {value for _, each in values["train"] for value in each}
    named = any(each.names for each in columns.values())
    missing = {None, -1} if named or -1 not in known else {None}
    for part, given in values.items():
        if part != "train" and {value for _, each in given for value in each} <= missing:
            files = ", ".join(path.name for path, _ in given[:4])
            raise DataError(f"the {part} part has no labels: take its files out of the folder ({files})")
        for path, each in given:
            if None in each:
                raise DataError(f"{path}: row {each.index(None)}: a label required in {columns[path].label}, got null")
    if -1 not in missing:
        rows = sum(each.count(-1) for _, each in values["train"])
        report(f"label -1 of {rows} training images is read as a class: if it means none, take these rows out")


def _class_names(
    columns: Mapping[Path, _Columns], values: Mapping[str, list[tuple[Path, list[Any]]]]
) -> tuple[Any, ...]:
    """Return the classes' names: by the metadata, else every value among the training labels, in order."""
    named = {each.names for each in columns.values() if each.names is not None}
    if len(named) > 1:
        paths = [path for path in columns if columns[path].names]
        other = next(path for path in paths if columns[path].names != columns[paths[0]].names)
        raise DataError(f"{other}: one list of classes required in all files, but {paths[0]} has another")
    kinds = {type(value) for given in values.values() for _, each in given for value in each}
    if len(kinds) > 1:
        raise DataError(f"labels of one kind required, got {' and '.join(sorted(kind.__name__ for kind in kinds))}")
    names: tuple[Any, ...]
    if named and kinds == {int}:
        (names,) = named
    else:
        names = tuple(sorted({value for _, each in values["train"] for value in each}))
    if wrong := next((name for name in map(str, names) if not writable_text(name)), None):
        raise DataError(f"a class's name must be text without control characters, got {wrong!r:.60}")
    if len(names) < 2:
        raise DataError(f"at least 2 classes required, got {', '.join(map(str, names)) or 'none'}")
    return names


def _require_repeated(columns: Mapping[Path, _Columns], train: list[tuple[Path, list[Any]]]) -> None:
    """Raise DataError if every training picture has a value of its own, as numbers and file names of pictures are."""
    path, _ = train[0]
    values = [value for _, each in train for value in each]
    if columns[path].names is None and len(values) > 1 and len(set(values)) == len(values):
        raise DataError(
            f"{path}: a column of labels required (one of {', '.join(LABEL_COLUMNS)}), found {columns[path].label}, in "
            f"which no value of {len(values)} repeats"
        )


def _labels(path: Path, values: list[Any], names: tuple[Any, ...]) -> Indices:
    by_number = bool(values) and isinstance(values[0], int) and isinstance(names[0], str)
    known = {place: place for place in range(len(names))} if by_number else {name: i for i, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in known:
            allowed = f"0 to {len(names) - 1}" if by_number else f"one of the {len(names)} training labels"
            raise DataError(f"{path}: row {row}: a label must be {allowed}, got {value!r:.60}")
    return np.array([known[value] for value in values], np.int64)


def _pictures(path: Path, column: str, work: Callable[..., Any]) -> Any:
    """Return work(readers of the encoded pictures of a file, name of a row)."""
    with opened(path) as file:
        cells = file.read(columns=[column]).column(column)

    def reader(row: int) -> Callable[[], bytes]:
        def read() -> bytes:
            cell = cells[row].as_py()
            encoded = cell.get("bytes") if isinstance(cell, dict) else cell
            if encoded is None:
                raise PictureError(f"image bytes required in {column}, got null")
            return bytes(encoded)

        return read

    return work([reader(row) for row in range(len(cells))], lambda row: f"{path}: row {row}")
