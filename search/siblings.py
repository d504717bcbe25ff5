"""Files that a space file imports from its own folder, in this process and in workers that lack them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOMS = ("search", "trainables", "spaces", "analysis", "tests")  # workers import these by name

_kept: list[str] = []  # folders of the space that was loaded last, and of those that it loads itself
_open: list[str] = []  # folders of spaces that are being run


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let the files in `folder` be imported as if Python ran one of them.

    What was imported from there is forgotten afterwards: pickled by value, as all is whose module cannot be found
    by its name, it reaches workers without the files, and a second space finds its own file of the same name. The
    folder stays at the end of the path until another space is loaded, for imports inside of functions.
    """
    place = str(folder)
    before = set(sys.modules)
    while _kept and not _open:
        sys.path.remove(_kept.pop())
    sys.path.insert(0, place)
    _open.append(place)
    try:
        yield
    finally:
        _open.remove(place)
        sys.path.remove(place)
        if place not in sys.path:
            sys.path.append(place)
            _kept.append(place)
        tops = {name: name.partition(".")[0] for name in set(sys.modules) - before}
        beside = {top for top in set(tops.values()) - set(ROOMS) if _lies_in(sys.modules.get(top), folder)}
        for name, top in tops.items():
            if top in beside:
                del sys.modules[name]


def kept() -> tuple[str, ...]:
    """Return the folders whose files the loaded space may still import, inside of functions."""
    return tuple(_kept)


def _lies_in(module: ModuleType | None, folder: Path) -> bool:
    """Whether a module is a file of `folder`, or a package in it."""
    if file := getattr(module, "__file__", None):
        path = Path(file)
        return (path.parent.parent if path.name == "__init__.py" else path.parent).resolve() == folder
    return any(
        Path(place).parent.resolve() == folder for place in getattr(module, "__path__", ())
    )  # without __init__.py
