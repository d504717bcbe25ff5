"""Describe the values that are bound into a trainable: its source does not say them, and its results depend on them.

Bound are the arguments of functools.partial and tune.with_parameters, what a function made by another one closes
over, and the attributes of a callable object.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.compiled import PLAIN, compiled
from search.foreign import parameters

# Where this Python's library and packages lie, which may be in a folder of the user's own. Not all of its prefix: that
# holds packages that are installed to be edited, too.
INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
PACKAGES = frozenset({"site-packages", "dist-packages"})  # folders in which any Python's packages lie
_DEEPEST = 40  # levels of values in values that are described
_ARRAYS = ("_parameters", "_buffers", "_modules")  # attributes of every nn.Module that hold what it is made of
_RECORDS = (types.SimpleNamespace, argparse.Namespace)  # classes of the standard library whose attributes are values


def described(values: Mapping[str, Any], name: str) -> tuple[dict[str, str], list[Any]]:
    """Describe what is bound into each of `values`, and return the functions and classes that are in them.

    A value of which the source says all, the function or class `name`, is left out. The descriptions are equal in each
    process: an array counts by its type, shape and bytes, an object by its class and attributes, and what has none of
    these, such as a file or a generator, by its class alone.
    """
    found: dict[str, str] = {}
    parts: list[Any] = []
    for role, value in values.items():
        text = _Description(parts).text(value)
        plain = value if hasattr(value, "__qualname__") else type(value)
        if plain.__qualname__.rpartition(".")[2] != name or text.removesuffix("()") != _title(plain):
            found[role] = text
    return found, parts


class _Description:
    """A description in progress: `seen` numbers what can hold itself, `parts` are the functions and classes met."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self.seen: dict[int, int] = {}
        self.depth = 0

    def text(self, value: Any) -> str:
        if self.depth > _DEEPEST:
            return _title(type(value))
        self.depth += 1
        try:
            return self._text(value)
        except Exception:  # noqa: BLE001 - objects may raise anything, and must not keep a run from its start
            return _title(type(value))
        finally:
            self.depth -= 1

    def _text(self, value: Any) -> str:
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.Tensor):
            return _tensor(torch, value)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"{type(value).__name__} {len(value)} {_digest(value)}"
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) in self.seen:
            return f"#{self.seen[id(value)]}"
        self.seen[id(value)] = len(self.seen)
        if isinstance(value, functools.partial):
            return f"partial({self._call(value.func, value.args, value.keywords)})"
        if (given := parameters(value)) is not None:
            # Ray may hand each of them over by itself, so that they share no objects.
            apart = {name: _Description(self.parts).text(each) for name, each in sorted(given[1].items())}
            return f"with_parameters({self.text(given[0])}, {apart})"
        if isinstance(value, types.MethodType):
            return f"{self.text(value.__self__)}.{value.__func__.__name__}"
        if isinstance(value, types.FunctionType):
            self._met(inspect.unwrap(value))
            return _with(_title(value), self._closed(value))
        if isinstance(value, type):
            self._met(value)
            return _with(_title(value), self._made(value))
        if isinstance(value, types.BuiltinFunctionType | types.ModuleType):
            return _title(value)
        if isinstance(value, Mapping):
            items = (f"{self.text(key)}: {self.text(each)}" for key, each in value.items())
            return f"{_title(type(value))}{{{', '.join(items)}}}"
        if isinstance(value, set | frozenset):  # whose order is another in each process
            return f"{_title(type(value))}{sorted(_Description(self.parts).text(each) for each in value)}"
        if isinstance(value, list | tuple | collections.deque):
            return f"{_title(type(value))}[{', '.join(map(self.text, value))}]"
        if hasattr(value, "__array__"):  # of pandas and others
            return f"{_title(type(value))} {self.text(getattr(value, 'columns', None))} {self._array(value)}"
        return self._object(value)

    def _met(self, part: Any) -> None:
        if part not in self.parts:
            self.parts.append(part)

    def _call(self, function: Any, args: Iterable[Any], keywords: Mapping[str, Any]) -> str:
        named = (f"{name}={self.text(value)}" for name, value in sorted(keywords.items()))
        return ", ".join([self.text(function), *map(self.text, args), *named])

    def _closed(self, function: types.FunctionType) -> dict[str, str]:
        """Describe what a function holds that stands in no module: the one that made it has its source, not these."""
        found = {}
        if function.__code__.co_name == "<lambda>":
            found["code"] = _digest(compiled(function).encode())
        # One that a module has under its name, e.g. a decorated one, is as the module's source says.
        if inspect.unwrap(function).__globals__.get(function.__qualname__) is not function:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                if name != "__class__":
                    found[name] = self.text(cell.cell_contents)
        if "<locals>" in function.__qualname__:
            defaults = (*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items()))
            found |= {"defaults": self.text(defaults)} if defaults else {}
        return found

    def _made(self, made: type) -> dict[str, str]:
        """Describe what a class holds that a function made."""
        if "<locals>" not in made.__qualname__:
            return {}
        found: dict[str, str] = {}
        for name, value in sorted(vars(made).items()):
            method = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(method, types.FunctionType):
                found |= {f"{name}.{each}": text for each, text in self._closed(method).items()}
            elif not name.startswith(("__", "_abc_")):
                found[name] = self.text(value)
        made_too = [base for base in made.__bases__ if "<locals>" in base.__qualname__ or parameters(base)]
        return found | ({"bases": self.text(made_too)} if made_too else {})

    def _object(self, value: Any) -> str:
        kind = type(value)
        self._met(kind)
        title, held = _with(_title(kind), self._made(kind)), _attributes(value)
        if held is None:
            lasting = " at 0x" not in repr(value) and not kind.__module__.startswith("ray.")
            return f"{title}({repr(value) if lasting else ''})"
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            hidden = vars(torch.nn.Module()).keys() - set(_ARRAYS)
            held = {name: each for name, each in held.items() if name not in hidden}
        if _installed(kind):  # caches, locks and counters are such a class's own affair
            held = {name: each for name, each in held.items() if not name.startswith("_") or name in _ARRAYS}
        items = ", ".join(f"{name}={self.text(each)}" for name, each in sorted(held.items()))
        return f"{title}({items})"

    def _array(self, value: Any) -> str:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return f"{array.dtype} {array.shape} {self.text(array.tolist())}"
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return f"{array.dtype} {array.shape} {_digest(content)}"


def _tensor(torch: Any, value: Any) -> str:
    said = f"{value.dtype} {tuple(value.shape)}"
    # Weights are drawn anew each time that the source is read.
    if isinstance(value, torch.nn.Parameter) or value.layout != torch.strided or value.is_meta:
        return said
    content = value.detach().cpu().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
    return f"{said} {_digest(content.numpy())}"


def _attributes(value: Any) -> dict[str, Any] | None:
    """Return an object's attributes; None if it has none or is of the standard library, which keeps state in them."""
    kind = type(value)
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"} and not isinstance(value, _RECORDS):
        return None
    slots = [name for each in kind.__mro__ for name in _names(vars(each).get("__slots__", ()))]
    found = {name: getattr(value, name) for name in slots if not name.startswith("__") and hasattr(value, name)}
    return (getattr(value, "__dict__", {}) | found) or None


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _installed(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    path = Path(file).resolve() if file else None
    return path is not None and not (INSTALLED.isdisjoint(path.parents) and PACKAGES.isdisjoint(path.parts))


def _with(title: str, held: Mapping[str, str]) -> str:
    return f"{title}{dict(held)}" if held else title


def _title(thing: Any) -> str:
    """Return a name that stays if the space file is renamed or is run as a script."""
    module = getattr(thing, "__module__", None) or ""
    name = getattr(thing, "__qualname__", thing.__name__)
    return name if module == "__main__" or module.startswith("space_") else f"{module}.{name}"


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
