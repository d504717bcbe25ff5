"""Imports of a space file from its own folder, in this process and in workers that lack those files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

HIDDEN = ("search", "trainables", "spaces", "analysis")  # this project's packages; a space may have `tests` of its own
ROOMS = (*HIDDEN, "tests")  # workers import these by name

ROOT = Path(__file__).resolve().parent.parent
_kept: list[str] = []  # folders of the space that was loaded last, and of the spaces that it loads itself
_open: list[str] = []  # folders of spaces whose files are being executed


class FreshLoader(SourceFileLoader):
    """Runs a file as it reads now, and leaves no `__pycache__` beside it.

    Python takes a file's bytecode for its own as long as size and second of the last change agree: a space changed
    from .4 to .6 within the second would run as it was, under the record of what it says now.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file."""
        return self.source_to_code(self.get_data(self.path), self.path)


def search_path() -> list[str]:
    """Return where this process finds modules that are not installed, for the PYTHONPATH of another in any folder."""
    return [str(ROOT), *(os.path.abspath(place) for place in (*sys.path, *_kept) if "site-packages" not in place)]


@contextmanager
def importable(folder: Path, loader: type[FreshLoader] = FreshLoader) -> Iterator[None]:
    """Let the files in `folder` be imported, by `loader`, as if Python ran one of them.

    Modules imported from the folder leave `sys.modules` afterwards. Their contents are then pickled by value, like
    those of any module that cannot be found by name, and reach workers without the files; and a second space finds
    its own file of the same name. For imports inside functions, the folder stays at the end of `sys.path` until
    another space is loaded.
    """
    place = str(folder)
    before = set(sys.modules)
    while _kept and not _open:
        _take(_kept.pop())
    sys.path.insert(0, place)
    sys.path_importer_cache[place] = FileFinder(
        place,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (loader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    _open.append(place)
    try:
        yield
        for room in HIDDEN if folder != ROOT else ():
            if room in sys.modules.keys() - before and _lies_in(sys.modules[room], folder):
                raise hides(room, folder)
    except ImportError as error:
        room = (error.name or "").partition(".")[0]
        # Of a package that this process has imported before, the space gets ours.
        if room in HIDDEN and folder != ROOT and ((folder / room).is_dir() or (folder / f"{room}.py").exists()):
            raise hides(room, folder) from None
        raise
    finally:
        _open.remove(place)
        _take(place)
        if place not in sys.path:
            sys.path.append(place)
            _kept.append(place)
        tops = {name: name.partition(".")[0] for name in set(sys.modules) - before}
        ours = set(ROOMS) if folder == ROOT else set()
        beside = {top for top in set(tops.values()) - ours if _lies_in(sys.modules.get(top), folder)}
        for name, top in tops.items():
            if top in beside:
                del sys.modules[name]


def hides(room: str, folder: Path) -> ImportError:
    """Return the error of a space that imports its own package under the name of one of ours."""
    return ImportError(
        f"{room!r} beside the space has the name of a package of this project, which workers import: rename it, "
        f"got {folder / room}"
    )


def _take(place: str) -> None:
    """Remove a folder from `sys.path` if it is still there: a space file may set `sys.path` as it likes."""
    if place in sys.path:
        sys.path.remove(place)


def kept() -> tuple[str, ...]:
    """Return the folders whose files the loaded space may still import inside functions."""
    return tuple(_kept)


def _lies_in(module: ModuleType | None, folder: Path) -> bool:
    """Return whether a module is a file in `folder` or a package in it."""
    if file := getattr(module, "__file__", None):
        path = Path(file)
        return (path.parent.parent if path.name == "__init__.py" else path.parent).resolve() == folder
    return any(
        Path(place).parent.resolve() == folder for place in getattr(module, "__path__", ())
    )  # a package without __init__.py
