"""Describe a class or function by what it was compiled to, if its source is in another process."""

from __future__ import annotations

import dis
import enum
import functools
import inspect
import operator
import types
from collections.abc import Iterable, Iterator
from typing import Any

PLAIN = str | int | float | complex | bytes | range | slice | enum.Enum | types.EllipsisType | None
_WRAPPERS: tuple[type, ...] = (property, staticmethod, classmethod, types.MethodType)
_WRAPPERS += (functools.partial, functools.cached_property)
_WRAPPED = ("__func__", "__self__", "__wrapped__", "func", "args", "keywords", "fget", "fset", "fdel")
_SAID = ("__doc__", "__firstlineno__", "__static_attributes__")  # what a class in a function is told of its own text


def compiled(part: Any, met: set[str] | None = None) -> str:
    """Describe a class or function by what it was compiled to, with all that it uses of its own module.

    Equal for the same code wherever it stands and in each process, in one version of Python; docstrings are no part
    of it. Of an object only its class counts. `met` takes up the names of the modules that it uses.
    """
    return _described(part, part.__module__, {}, set() if met is None else met)


def _described(value: Any, module: str, seen: dict[int, int], met: set[str]) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in seen:
        return f"#{seen[id(value)]}"
    if isinstance(value, type | types.FunctionType | list | dict):  # what can hold itself
        seen[id(value)] = len(seen)
    kind = type(value).__name__
    if isinstance(value, set | frozenset):  # whose order is another in each process
        return f"{kind}{sorted(_described(each, module, dict(seen), met) for each in value)}"
    met.update(_modules(value))
    if (held := _held(value, module)) is not None:
        return f"{kind}({', '.join(_described(each, module, seen, met) for each in held)})"
    name = getattr(value, "__qualname__", getattr(value, "__name__", None))
    if isinstance(name, str):
        return f"{getattr(value, '__module__', None)}.{name}"
    return f"a {_described(type(value), module, seen, met)}"


def _modules(value: Any) -> Iterator[str]:
    """Yield the names of the modules that a value is, comes from, or imports when it is called."""
    if isinstance(value, types.CodeType):
        steps = [(step.opname, step.argval) for step in dis.get_instructions(value)]
        within = ""
        for name, operand in steps:
            within = operand if name == "IMPORT_NAME" else within
            yield from [operand] * (name == "IMPORT_NAME")
            yield from [f"{within}.{operand}"] * (name == "IMPORT_FROM")
    else:
        module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        yield from [module] if isinstance(module, str) else []


def _held(value: Any, module: str) -> Iterable[Any] | None:
    """Return all that decides what a value does, in a lasting order; None if that is its name or its class."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, types.CodeType):
        return _instructions(value)
    if isinstance(value, _WRAPPERS):
        return [getattr(value, name, None) for name in _WRAPPED]
    if getattr(value, "__module__", None) != module:
        return None
    if isinstance(value, type):
        own = vars(value).items()
        kept = (each for each in own if not each[0].startswith("__") or callable(getattr(each[1], "__func__", each[1])))
        return (value.__name__, value.__bases__, *sorted(kept, key=operator.itemgetter(0)))
    if isinstance(value, types.FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        used = [value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__]
        return (value.__name__, value.__code__, *closed, *used, value.__defaults__, value.__kwdefaults__)
    return None


def _names(code: types.CodeType) -> list[str]:
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    own = [name for name in code.co_names if not name.startswith("__")]  # __file__ is no code
    return [*own, *(name for each in inner for name in _names(each))]


def _instructions(code: types.CodeType) -> Iterator[Any]:
    """Yield what a function's code does; a constant by value, since its place moves with a docstring."""
    yield from (code.co_argcount, code.co_kwonlyargcount, code.co_varnames, code.co_exceptiontable)
    yield code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    steps = list(dis.get_instructions(code))
    said = {place for place, step in enumerate(steps) if step.opname == "STORE_NAME" and step.argval in _SAID}
    for place, step in enumerate(steps):
        if not said & {place, place + 1}:
            constant, named = step.opcode in dis.hasconst, step.opcode in dis.hasname
            yield step.opname, step.argval if constant else step.argrepr if named else step.arg
