"""Read a folder of pictures with one folder a class.

    pets/train/cat/1.jpg  pets/test/cat/9.jpg     the data set's own parts; also val/ or validation/
    pets/cat/1.jpg        pets/dog/2.jpg          no parts: a fifth of each class is drawn as the test set

Class names are the folders', in alphabetical order. Pictures may lie at any depth in a class's folder. A folder is a
part if its name has the part as a word (training_set, Test Data, val2) and it holds class folders. Folders of which it
is unclear whether they are parts or classes are refused.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from search.records import writable_text
from trainables.data.forms import Wanted, choose_form, decode_pictures, require_memory, shapes_of
from trainables.data.image_data import DataError, Images, Progress
from trainables.data.parquet_files import MAC, PART_WORDS, Decoded, words
from trainables.data.splits import SPLIT_SEED, Indices, split

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"))
TEST_SHARE = 5  # divisor of a data set's images that gives its test set, if it has none of its own
_DEEPEST_WRAPPER = 3  # folders around the classes' own, as archives make them


class ClassFolders(NamedTuple):
    """The picture files of each part ("train", "validation", "test") and class, sorted."""

    folder: Path
    parts: Mapping[str, Mapping[str, tuple[Path, ...]]]
    ignored: tuple[Path, ...]  # files and folders that are not read

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for classes in self.parts.values() for paths in classes.values() for path in paths)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.parts["train"]))

    def key(self) -> str:
        """Return a digest of which file belongs to which part and class."""
        lines = (
            f"{part}/{name}/{path.relative_to(self.folder)}"
            for part, classes in self.parts.items()
            for name, paths in classes.items()
            for path in paths
        )
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def find_classes(folder: Path, depth: int = 0) -> ClassFolders | None:
    """Return the class folders in `folder`, None if it holds none. Raises DataError if they make no data set."""
    inner = _folders(folder)
    if places := _places(folder, inner):
        return _parts(folder, places, inner)
    classes = [path for path in inner if _holds_pictures(path)]
    if not classes:
        return None
    if len(inner) == 1 and depth < _DEEPEST_WRAPPER and not _pictures_in(inner[0]) and _folders(inner[0]):
        return find_classes(inner[0], depth + 1)
    _require_clear(folder, classes)
    found, ignored = _classes(classes)
    return ClassFolders(folder, {"train": found}, (*ignored, *(path for path in inner if path not in classes)))


def _places(folder: Path, inner: list[Path]) -> dict[str, Path]:
    """Return the folder of each part that holds class folders, none if there is no "train" among them.

    A folder whose whole name is a part's (train) goes before those that have it as a word (train_masks).
    """
    named: dict[str, list[Path]] = {}
    worded: dict[str, list[Path]] = {}
    for path in inner:
        part = _part_of(path.name)
        if part and any(_holds_pictures(below) for below in _folders(path)):
            (named if path.name.lower() in PART_WORDS else worded).setdefault(part, []).append(path)
    found = worded | named
    if "train" not in found:
        return {}
    if twice := next((paths for paths in found.values() if len(paths) > 1), None):
        raise DataError(f"one folder of each part required in {folder}, found {_shown(twice)}")
    others = [path for path in inner if _part_of(path.name) is None and _holds_pictures(path)]
    if "train" not in named and len(found) == 1 and others:
        raise DataError(
            f"{folder}: cannot tell whether {_shown(found['train'])} holds the training pictures or is a class beside "
            f"{_shown(others)}: name it train/ if it is a part, else without the word"
        )
    return {part: paths[0] for part, paths in found.items()}


def _part_of(name: str) -> str | None:
    """Return the part that the words of a folder's name say, None if they say none or several."""
    parts = {PART_WORDS[word] for word in words(name) if word in PART_WORDS}
    return parts.pop() if len(parts) == 1 else None


def _require_clear(folder: Path, classes: list[Path]) -> None:
    """Raise DataError if the folders may be parts rather than classes."""
    if all(_part_of(path.name) for path in classes):
        raise DataError(
            f"classes required in {folder}, found {_shown(classes)}, named as parts are: give train/ one folder of "
            "pictures a class, and test/ too if there is one; classes that have such names need others"
        )
    holders: dict[str, list[Path]] = {}  # a subfolder's name -> folders that have such a one
    pairs: dict[tuple[Path, Path], str] = {}
    for path in classes:
        for below in _classes_in(path):
            for other in holders.setdefault(below.name, []):
                if before := pairs.get((other, path)):
                    raise DataError(
                        f"{folder}: cannot tell whether {_shown([other, path])} are classes or parts, since both hold "
                        f"{before}/ and {below.name}/: name parts train/ and test/; classes must not hold equally "
                        "named folders"
                    )
                pairs[other, path] = below.name
            holders[below.name].append(path)


def _classes_in(folder: Path) -> list[Path]:
    """Return the folders of pictures in a folder that has no pictures beside them."""
    return [] if _pictures_in(folder) else [path for path in _folders(folder) if _holds_pictures(path)]


def _shown(folders: list[Path]) -> str:
    names = [f"{path.name}/" for path in folders[:4]] + [f"{len(folders) - 4} more"] * (len(folders) > 4)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _parts(folder: Path, places: Mapping[str, Path], inner: list[Path]) -> ClassFolders:
    parts: dict[str, dict[str, tuple[Path, ...]]] = {}
    ignored = [path for path in inner if path not in places.values()]
    for part in ("train", "validation", "test"):
        if part in places:
            parts[part], more = _classes(_inside(places[part], parts.get("train", {})))
            ignored += more
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    for part, classes in parts.items():
        if unknown := sorted(classes.keys() - parts["train"].keys()):
            raise DataError(
                f"{folder}: every class of the {part} pictures must be a folder of {places['train'].name}/, "
                f"found {', '.join(unknown[:5])} in {part} alone"
            )
    return ClassFolders(folder, parts, tuple(ignored))


def _inside(part: Path, train: Collection[str]) -> list[Path]:
    """Return a part's class folders, which an archive may have wrapped: seg_test/seg_test/CLASS."""
    for _ in range(_DEEPEST_WRAPPER):
        inner = _folders(part)
        if len(inner) != 1 or inner[0].name in train or not _classes_in(inner[0]):
            break
        part = inner[0]
    return _folders(part)


def _folders(folder: Path) -> list[Path]:
    return sorted(Path(entry) for entry in _listed(folder) if entry.is_dir())


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if _is_content(entry.name)]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None


def _is_content(name: str) -> bool:
    return not name.startswith(".") and name != MAC


def _pictures_in(folder: Path) -> bool:
    return any(_is_picture(entry.name) and not entry.is_dir() for entry in _listed(folder))


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS


def _holds_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in contents(folder))


def contents(folder: Path) -> Iterator[Path]:
    """Yield every file at any depth, hidden ones left out; links to folders are followed, each folder once."""
    seen = set[str]()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(filter(_is_content, folders))
        yield from (Path(here, name) for name in sorted(files) if _is_content(name))


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror}") from None


def _classes(folders: list[Path]) -> tuple[dict[str, tuple[Path, ...]], list[Path]]:
    found, ignored = {}, []
    for folder in folders:
        if not writable_text(folder.name):
            raise DataError(f"a class's name must be text without control characters, got the folder {folder.name!r}")
        files = list(contents(folder))
        pictures = tuple(path for path in files if path.suffix.lower() in ENDINGS)
        ignored += [path for path in files if path.suffix.lower() not in ENDINGS]
        if pictures:
            found[folder.name] = pictures
        else:
            ignored.append(folder)
    return found, ignored


def decode_classes(found: ClassFolders, wanted: Wanted, report: Progress) -> Decoded:
    """Decode all pictures. Raises DataError, naming the file."""
    names = found.names
    if len(names) < 2:
        raise DataError(f"at least 2 classes required in {found.folder}, one folder each, found {', '.join(names)}")
    if found.ignored:
        first = found.ignored[0].relative_to(found.folder)
        report(f"not read, since they are no pictures of a class: {len(found.ignored)} files or folders, e.g. {first}")
    files = found.files
    read = [_reader(path) for path in files]

    def named(place: int) -> str:
        return str(files[place])

    report(f"reading {len(files):,} pictures of {len(names)} classes in {found.folder}")
    form, rule = choose_form(Counter(shapes_of(read, named)), wanted)
    require_memory(len(files), form, found.folder)
    images = decode_pictures(read, named, form)
    label = {name: place for place, name in enumerate(names)}
    labels = {
        part: np.array([label[name] for name, paths in classes.items() for _ in paths], np.int64)
        for part, classes in found.parts.items()
    }
    ends = np.cumsum([len(each) for each in labels.values()])[:-1]
    parts = dict(zip(labels, np.split(images, ends), strict=True))
    return arranged(parts, labels, names, rule, found.folder, report)


def _reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None

    return read


def arranged(
    images: Mapping[str, Images],
    labels: Mapping[str, Indices],
    names: tuple[str, ...],
    rule: str,
    where: object,
    report: Progress,
) -> Decoded:
    """Return the parts "train", perhaps "validation" and "test", as a data set; a missing test set is split off.

    Raises DataError for too few images, and for a class without training images.
    """
    names, labels, left_out = counted(names, labels, where)
    train, of_train = images["train"], labels["train"]
    told = [each for each in (rule, left_out) if each]
    validation = 0
    if "validation" in images:
        validation = len(labels["validation"])
        train = np.concatenate([train, images["validation"]])
        of_train = np.concatenate([of_train, labels["validation"]])
    if "test" in images:
        test, of_test = images["test"], labels["test"]
    else:
        count = len(of_train) // TEST_SHARE
        if not count:
            raise DataError(f"{where}: at least {TEST_SHARE} pictures required, got {len(of_train)}")
        try:
            kept, drawn = split(of_train, count)
        except ValueError as error:
            raise DataError(f"{where}: no test set can be drawn: {error}") from None
        if validation:  # the last training images stay the validation part
            validation = int((kept >= len(of_train) - validation).sum())
        train, of_train, test, of_test = train[kept], of_train[kept], train[drawn], of_train[drawn]
        told.append(f"test set: {count} of {count + len(kept)} pictures, drawn class by class with seed {SPLIT_SEED}")
    tell_repeated(train, test, where, report)
    return Decoded(train, of_train, test, of_test, names, validation, "; ".join(told))


def tell_repeated(train: Images, test: Images, where: object, report: Progress) -> None:
    """Report how many test images equal a training image: accuracy measured on these is no test."""
    tested = list(map(_digest, test))
    shared = set(tested).intersection(map(_digest, train))
    if shared:
        count = sum(each in shared for each in tested)
        report(f"{count:,} of {len(test):,} test images in {where} equal a training image, pixel by pixel")


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def counted(
    names: tuple[str, ...], labels: Mapping[str, Indices], where: object
) -> tuple[tuple[str, ...], Mapping[str, Indices], str]:
    """Return the classes that have images, the labels of each part by their places among these, and what is left out.

    Raises DataError for a class that has images, but none for training.
    """
    present = np.bincount(labels["train"], minlength=len(names)) > 0
    if present.all():
        return names, labels, ""
    for part, each in labels.items():
        if len(unseen := each[~present[each]]):
            raise DataError(
                f"{where}: a training image of each class required, found none of {names[unseen[0]]}, which has "
                f"{part} images"
            )
    places = np.cumsum(present) - 1
    absent = [name for name, there in zip(names, present, strict=True) if not there]
    shown = ", ".join(absent[:3]) + ", ..." * (len(absent) > 3)
    known = tuple(name for name, there in zip(names, present, strict=True) if there)
    return known, {part: places[each] for part, each in labels.items()}, f"classes without images left out: {shown}"
