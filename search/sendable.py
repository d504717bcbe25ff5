"""Check that Ray can send a trainable to its workers: Ray pickles it with all that it uses, up to a limit."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray import cloudpickle
from ray._private.ray_constants import FUNCTION_SIZE_ERROR_THRESHOLD
from ray.tune.registry import _ParameterRegistry

from search.foreign import original
from search.study import Study, StudyError

LIMIT = FUNCTION_SIZE_ERROR_THRESHOLD - (1 << 16)  # bytes, less what Ray adds to a trainable
_DEEPEST = 8  # levels of values in values that are looked through for the one that cannot be pickled


def require_sendable(study: Study) -> None:
    """Raise StudyError if the study's trainable cannot be pickled, or is too large for Ray."""
    trainable = original(study.trainable)
    name = getattr(trainable, "__name__", type(trainable).__name__)
    weighed = _Weighed()
    problem = _problem(lambda: weighed.dump(study.trainable))
    place, value = "", trainable
    if problem:
        place, value = _culprit(trainable, name)
    for registry in () if problem else weighed.registries:
        for key, given in list(registry.to_flush.items()):  # which a Ray that starts beside this empties
            if found := _problem(lambda given=given: _Weighed().dump(given)):  # type: ignore[misc]
                problem, place, value = found, f"{key.rpartition('>_')[2]} in its tune.with_parameters", given
    if problem:
        raise StudyError(
            f"{study.name}: trainable {name} must hold only what can be pickled, since Ray sends it to its workers, "
            f"got {place or name}, of type {type(value).__name__} ({problem}): make it inside the function or class"
        )
    if weighed.size > LIMIT:
        raise StudyError(
            f"{study.name}: trainable {name} must take at most {LIMIT / 2**20:.0f} MiB with the values that it uses, "
            f"got {weighed.size / 2**20:.0f} MiB: load the data inside it, or hand it over by tune.with_parameters"
        )


class _Weighed(cloudpickle.Pickler):
    """Pickles as Ray does, and keeps only the size; Ray sends the values of tune.with_parameters by themselves."""

    def __init__(self) -> None:
        self.size = 0
        self.registries: list[_ParameterRegistry] = []
        super().__init__(self)

    def write(self, part: Any) -> int:
        self.size += (count := memoryview(part).nbytes)
        return count

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, _ParameterRegistry):
            return None
        self.registries.append(value)
        return "parameters"


def _problem(pickle: Callable[[], object]) -> str:
    """Return in one line why something cannot be pickled, "" if it can."""
    try:
        pickle()
    except Exception as error:  # noqa: BLE001 - objects raise anything if they are pickled
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


def _culprit(value: Any, name: str, depth: int = _DEEPEST) -> tuple[str, Any]:
    """Return the innermost value in `value` that cannot be pickled, after a phrase that says where it is."""
    for each, held in _held(value) if depth else ():
        if _problem(lambda held=held: _Weighed().dump(held)):  # type: ignore[misc]
            inner, found = _culprit(held, each, depth - 1)
            return (inner if " in " in inner else f"{inner} in {name}"), found
    return name, value


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that are pickled with a value."""
    value = getattr(value, "__func__", value)
    if isinstance(value, functools.partial):
        yield getattr(value.func, "__name__", "function"), value.func
        yield from value.keywords.items()
        yield from ((f"argument {place}", each) for place, each in enumerate(value.args, 1))
    elif isinstance(value, types.FunctionType):
        names = value.__code__.co_names
        yield from ((name, value.__globals__[name]) for name in names if name in value.__globals__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield from ((name, each) for each in _content(cell))
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r:.40}]", each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{place}]", each) for place, each in enumerate(value))
    else:
        yield from dict(getattr(value, "__dict__", {})).items()


def _content(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # an empty cell
        return []
