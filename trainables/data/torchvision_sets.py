"""Read torchvision's data sets by their names, where they are or downloaded by torchvision."""

from __future__ import annotations

import importlib
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.data.class_folders import arranged
from trainables.data.forms import Wanted, choose_form, require_memory
from trainables.data.image_data import DataError, Images, Progress
from trainables.data.parquet_files import Decoded
from trainables.data.pictures import PictureError, Shape, fit, is_gray
from trainables.data.splits import Indices

IDX = ("MNIST", "FashionMNIST", "KMNIST")  # read by `trainables.data.idx_files`, in torchvision's folders or any other


class _Published(NamedTuple):
    """A data set's parts, each as torchvision's keyword arguments, and its folder or files below the root."""

    parts: Mapping[str, Mapping[str, Any]]
    files: tuple[str, ...]


def _splits(*files: str, train: str = "train", validation: str = "", test: str = "test") -> _Published:
    named = {"train": train, "validation": validation, "test": test}
    return _Published({part: {"split": name} for part, name in named.items() if name}, files)


_SETS = {
    "Caltech101": _Published({"train": {}}, ("caltech101/101_ObjectCategories",)),
    "Country211": _splits("country211", validation="valid"),
    "DTD": _splits("dtd", validation="val"),
    "EuroSAT": _Published({"train": {}}, ("eurosat/2750",)),
    "FGVCAircraft": _splits("fgvc-aircraft-2013b", validation="val"),
    "Flowers102": _splits("flowers-102", validation="val"),
    "Food101": _splits("food-101"),
    "GTSRB": _splits("gtsrb"),
    "Imagenette": _splits("imagenette2", test="val"),
    "OxfordIIITPet": _splits("oxford-iiit-pet", train="trainval"),
    "RenderedSST2": _splits("rendered-sst2", validation="val"),
    "STL10": _splits("stl10_binary"),
    "SVHN": _splits("train_32x32.mat", "test_32x32.mat"),
    "USPS": _Published({"train": {"train": True}, "test": {"train": False}}, ("usps.bz2", "usps.t.bz2")),
}
NAMES = tuple(sorted((*IDX, *_SETS)))


def published(name: str) -> Any:
    """Return torchvision's class of a data set."""
    # Imported here, because torchvision takes seconds to import and other data sets do not need it.
    return getattr(importlib.import_module("torchvision.datasets"), name)


def class_names(names: Any, labels: int) -> tuple[str, ...]:
    """Return torchvision's class names if there is one for each label, else the labels' numbers."""
    listed = names if isinstance(names, list | tuple) else ()
    # Imagenette has several names for each class, the usual one first.
    told = tuple(dict.fromkeys(str(each[0]) if isinstance(each, tuple) else str(each) for each in listed))
    return told if len(told) == labels else tuple(map(str, range(labels)))


def files_of(name: str, root: Path) -> tuple[Path, ...]:
    """Return the data set's files below `root`, sorted."""
    places = [root / name for name in _SETS[name].files]
    inside = itertools.chain.from_iterable(place.rglob("*") if place.is_dir() else [place] for place in places)
    return tuple(sorted(path for path in inside if path.is_file()))


def opened(name: str, root: Path, *, download: bool) -> dict[str, Any]:
    """Return torchvision's data set of each part.

    Raises what torchvision raises if files are missing or damaged, or cannot be downloaded.
    """
    kind = published(name)
    return {part: kind(root=str(root), download=download, **arguments) for part, arguments in _SETS[name].parts.items()}


def decode_published(sets: Mapping[str, Any], name: str, where: Path, wanted: Wanted, report: Progress) -> Decoded:
    """Decode every picture of the parts that `opened` returned. Raises DataError, naming part and position."""
    report(f"decoding {sum(map(len, sets.values())):,} pictures of {name} in {where}")
    shapes = Counter(
        _shape(_item(given, part, place, f"{name} in {where}")[0])
        for part, given in sets.items()
        for place in range(len(given))
    )
    form, rule = choose_form(shapes, wanted)
    require_memory(sum(shapes.values()), form, where)
    images: dict[str, Images] = {}
    labels: dict[str, Indices] = {}
    for part, given in sets.items():
        images[part] = np.empty((len(given), form.channels, form.size, form.size), np.uint8)
        labels[part] = np.empty(len(given), np.int64)
        for place in range(len(given)):
            image, label = _item(given, part, place, f"{name} in {where}")
            try:
                images[part][place], labels[part][place] = fit(image, form), int(label)
            except PictureError as error:
                raise DataError(f"{name} in {where}, {part} picture {place}: {error}") from None
    count = 1 + max(int(each.max()) for each in labels.values() if len(each))
    names = class_names(getattr(sets["train"], "classes", getattr(sets["train"], "categories", None)), count)
    return arranged(images, labels, names, rule, where, report)


def _item(given: Any, part: str, place: int, told: str) -> tuple[Image.Image, Any]:
    """Return a picture and its label. Raises DataError, naming the picture's file if it has one of its own."""
    try:
        image, label = given[place]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as Pillow fails
        file = _file(given, place)
        named = f" ({file})" if file else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{told}, {part} picture {place}{named}: an intact picture required: {reason}") from None
    return image, label


def _file(given: Any, place: int) -> str:
    """Return a picture's file, as torchvision's data sets list them, "" if none does."""
    for name in ("samples", "_samples", "imgs", "_images", "_image_files"):
        listed = getattr(given, name, None)
        if isinstance(listed, list) and len(listed) == len(given):
            entry = listed[place][0] if isinstance(listed[place], tuple) else listed[place]
            if isinstance(entry, str | Path):
                return str(entry)
    return ""


def _shape(image: Image.Image) -> Shape:
    return Shape(image.width, image.height, is_gray(image))
