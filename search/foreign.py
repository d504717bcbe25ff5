"""Run a Ray Tune trainable that somebody already has, a function or a class, in a study as it is.

What it reports is numbered and timed, and its checkpoints are packed into the one verified file that a run keeps of
every trial: early stopping, resuming, records and report then work as for an image trainable. Ensembles, plans and
engines need an `ImageTrainable`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import json
import math
import pickle
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.train._internal.session import TrialInfo, get_session, init_session, shutdown_session
from ray.tune.result import RESULT_DUPLICATE
from ray.tune.search.sample import Categorical, Domain, Float, Integer
from ray.tune.trainable.function_trainable import wrap_function

from search import columns
from search.checkpoints import read_checkpoint, write_checkpoint
from search.conditions import inner
from search.records import MEMBERS, writable_text

CHECKPOINT_SECONDS = 10.0  # time after which a class trainable is asked for another checkpoint
_META, _DICT = "of_the_search.json", "of_the_search.pickle"  # our files in a packed checkpoint
_OURS = ("trial", "restore")
# Hyperparameters of every trial, and counts with their least values, which a configuration without one has.
_OF_EACH_TRIAL = dict.fromkeys(("seed", "epochs"), frozenset({"int64"}))
_COUNTS = {"seed": 0, "epochs": 1, MEMBERS: 1}
_WHOLE, _NUMBER = r"[+-]?\d+", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NO_REQUEST = tune.Trainable.default_resource_request.__func__


class ForeignError(ValueError):
    """A trainable that cannot run in a study; the message is one line."""


def is_foreign(trainable: Any) -> bool:
    """Return whether this is a Ray Tune function or class trainable without a recipe."""
    if hasattr(trainable, "recipe") or hasattr(trainable, "strategy"):
        return False
    return issubclass(trainable, tune.Trainable) if isinstance(trainable, type) else callable(trainable)


@dataclasses.dataclass(frozen=True)
class Reports:
    """What a study expects of a foreign trainable.

    goals   metrics that each result must hold, since trials are compared by them
    own     the columns of the metrics that the study declares
    epochs  results of a full trial
    """

    goals: tuple[str, ...]
    own: tuple[columns.Column, ...]
    epochs: int


def adapted(
    trainable: Any, reports: Reports, space: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()
) -> type[tune.Trainable]:
    """Return a trainable for a study; its search space names the hyperparameters, `others` hold more of their values.

    Raises ForeignError.
    """
    of_class = isinstance(trainable, type)
    request = getattr(getattr(trainable, "default_resource_request", None), "__func__", None)
    if hasattr(trainable, "_resources") or (of_class and request is not _NO_REQUEST):
        raise ForeignError(
            "trainable must be without tune.with_resources and default_resource_request, since --cpus-per-trial and "
            f"--gpus-per-trial say what a trial gets, got {_name(trainable)} with resources of its own"
        )
    opened = trainable if of_class else _opened(trainable)
    if getattr(opened, "__name__", "") == "<lambda>":
        raise ForeignError("trainable must be written with def, so that a run knows when it changes, got a lambda")
    if not of_class:
        try:
            body = wrap_function(trainable)
        except ValueError as error:
            raise ForeignError(f"trainable {_name(trainable)}: {' '.join(str(error).split())}") from None
    bases = (_OfClass, trainable) if of_class else (_OfFunction,)
    own_reset = of_class and trainable.reset_config is not tune.Trainable.reset_config
    attributes = {
        "__doc__": trainable.__doc__,
        "foreign": staticmethod(trainable) if not of_class else trainable,
        "made_of": (opened,) if not of_class else (),
        "bound": {"trainable": trainable},
        "recipe": _Recipe(_settings_type(space, others)),
        "strategy": _Length,
        "metrics": reports.own,
        "reports": reports,
        "reusable": own_reset or not of_class,
        "saves": not of_class or trainable.save_checkpoint is not tune.Trainable.save_checkpoint,
    }
    if not of_class:
        attributes["run_function"] = body._trainable_func
    return type(_name(trainable), bases, attributes)


def _opened(trainable: Any) -> Any:
    """Return the function whose code a trial runs, without functools.partial, tune.with_parameters and decorators.

    Of a callable object it is the class. Raises ForeignError.
    """
    if isinstance(trainable, functools.partial):
        return _opened(trainable.func)
    if hasattr(trainable, "__wrapped__"):
        return _opened(trainable.__wrapped__)
    if (given := parameters(trainable)) is not None:
        return _opened(given[0])
    return trainable if hasattr(trainable, "__qualname__") else type(trainable)


def parameters(trainable: Any) -> tuple[Any, dict[str, Any]] | None:
    """Return the trainable in a tune.with_parameters and the values given to it; None if it is no such wrapper.

    Raises ForeignError.
    """
    if getattr(trainable, "__module__", None) != tune.with_parameters.__module__:
        return None
    of_class = isinstance(trainable, type)
    try:
        held = inspect.getclosurevars(vars(trainable)["setup"] if of_class else trainable).nonlocals
        values = {name: held["parameter_registry"].get(held["prefix"] + name) for name in held["keys"]}
        return trainable.__bases__[0] if of_class else held["trainable"], values
    except (KeyError, TypeError):
        raise ForeignError(
            f"trainable {_name(trainable)}: this Ray's tune.with_parameters does not show what is in it, so that a run "
            "would not know when it changes: write a function that gives it its data"
        ) from None


def original(trainable: Any) -> Any:
    """Return the user's own trainable of an adapted one, any other as it is."""
    return getattr(trainable, "foreign", trainable)


def _name(trainable: Any) -> str:
    return str(getattr(trainable, "__name__", type(trainable).__name__))


def own_columns(declared: Mapping[str, Any], trainable: Any) -> tuple[columns.Column, ...]:
    """Return the columns of the metrics that a study declares as name -> "max" or "min", or its trainable's `metrics`.

    A metric is taken as measured on validation data, unless its name begins with "test" or "train", and as a fraction
    if its name ends in "accuracy", since readers see such a one in percent. Raises ColumnError.
    """
    given = tuple(getattr(original(trainable), "metrics", ()))
    made = [
        columns.metric(
            name,
            f"{name}, as the trainable reports it.",
            measured_on="test" if name.startswith("test") else "training" if name.startswith("train") else "validation",
            better=better,
            unit=columns.FRACTION if name.endswith("accuracy") else "",
            low=0.0 if name.endswith("accuracy") else -math.inf,
        )
        for name, better in declared.items()
        if name not in {column.name for column in given}
    ]
    return (*given, *made)


# Hyperparameters.


class _Recipe:
    """The part of a trainable that a study asks for its hyperparameters."""

    def __init__(self, settings_type: type[ForeignSettings]) -> None:
        self.settings_type = settings_type

    def require(self, settings: Any) -> None: ...


class _Length:
    """The part of a trainable that a study asks for the length of a trial."""

    @staticmethod
    def trial_epochs(settings: Any) -> int:
        return int(settings["epochs"])


class ForeignSettings(dict[str, Any]):
    """Hyperparameters of a foreign trainable by name, which may be any text: the space's, `seed` and `epochs`.

    kinds  hyperparameter -> the kinds of its values: columns' types, "none", and "number" for a fixed whole number,
           which may stand for any number
    """

    kinds: ClassVar[Mapping[str, frozenset[str]]] = _OF_EACH_TRIAL

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ForeignSettings:
        """Return the settings of a configuration. Raises ForeignError for an unknown name or a wrong type."""
        checked = {name: cls.checked(name, value) for name, value in config.items()}
        return cls({name: _COUNTS.get(name) for name in cls.kinds} | checked)

    @classmethod
    def require_known(cls, name: str, where: str = "") -> None:
        if name not in cls.kinds:
            known = ", ".join(sorted(cls.kinds))
            raise ForeignError(f"{where}unknown hyperparameter {name!r}; this study has {known}")

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """Return one hyperparameter's value. Raises ForeignError for an unknown name or a wrong type."""
        cls.require_known(name)
        if name in _COUNTS and (type(value) is not int or value < _COUNTS[name]):
            raise ForeignError(
                f"{name} must be a whole number of at least {_COUNTS[name]}, got {value!r}: tables and analysis take "
                f"{', '.join(sorted(_COUNTS))} for what they are in every study, so give another meaning another name"
            )
        if not _storable(value):
            raise ForeignError(f"{name} must be a finite number, text, true, false or None, got {value!r:.80}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ForeignError(f"{name} must be a whole number of at most 64 bits, got {value!r:.80}")
        if isinstance(value, str) and any(0xD800 <= ord(each) < 0xE000 for each in value):
            raise ForeignError(f"{name} must be text without surrogates, got {value!r:.80}")
        return value

    @classmethod
    def column_types(cls) -> dict[str, str]:
        return {name: _column(kinds) for name, kinds in cls.kinds.items()}

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """Return the value that `name=text` on a command line means, of the space's kind. Raises ForeignError."""
        kinds = cls.kinds.get(name, frozenset())
        if not kinds - {"none"}:  # unknown, or None alone says nothing
            kinds = frozenset(("none", "bool", "int64", "float64", "string"))
        if "none" in kinds and text.lower() in ("none", "null"):
            return cls.checked(name, None)
        if "bool" in kinds and text.lower() in ("true", "false"):
            return cls.checked(name, text.lower() == "true")
        if kinds & {"int64", "number"} and re.fullmatch(_WHOLE, text, re.ASCII):
            return cls.checked(name, int(text))
        if kinds & {"float64", "number"} and re.fullmatch(_NUMBER, text, re.ASCII):
            return cls.checked(name, float(text))
        if "string" in kinds:
            return cls.checked(name, text)
        number = "a number" if kinds & {"float64", "number"} else "a whole number" if "int64" in kinds else ""
        wanted = [number, "true or false" if "bool" in kinds else "", "none" if "none" in kinds else ""]
        raise ForeignError(f"{name} must be {' or '.join(filter(None, wanted))}, got {text!r:.80}")


def _storable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _settings_type(space: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> type[ForeignSettings]:
    """Return the settings of the space's hyperparameters; `others`, arms and the like, hold more of their values."""
    kinds = {name: set(_kinds(inner(domain))) for name, domain in space.items()}
    for name in kinds:
        if not name or "=" in name or not writable_text(name):
            raise ForeignError(f"a hyperparameter's name must be text without '=' and control characters, got {name!r}")
    for other in others:
        for name, domain in other.items():
            kinds.get(name, set()).update(_kinds(inner(domain)))
    if ours := [name for each in (space, *others) for name in each if name in _OURS]:
        raise ForeignError(f"{ours[0]} belongs to the search, give the hyperparameter another name")
    own = {name: frozenset(found) for name, found in kinds.items()}
    return type("ForeignHyperparameters", (ForeignSettings,), {"kinds": own | _OF_EACH_TRIAL})


def _kinds(domain: Any) -> set[str]:
    if isinstance(domain, Integer):
        return {"int64"}
    if isinstance(domain, Float):
        return {"float64"}
    names = {bool: "bool", int: "int64", float: "float64", type(None): "none"}
    if isinstance(domain, Domain):
        values = domain.categories if isinstance(domain, Categorical) else ()
        return {names.get(type(value), "string") for value in values}
    return {names.get(type(domain), "string"), *(["number"] if type(domain) is int else [])}


def _column(kinds: Iterable[str]) -> str:
    kinds = set(kinds) - {"none", "number"}
    if len(kinds) == 1:
        return next(iter(kinds))
    return "float64" if kinds and kinds <= {"int64", "float64"} else "string"


# A trial.


class _Adapter:
    """Number, time and check the results of a foreign trainable, and pack its checkpoints."""

    reports: Reports
    saves: bool

    def _begin(self) -> None:
        self.count = 0  # results so far
        self.saved = time.monotonic()

    def _result(self, raw: Mapping[str, Any], seconds: float, *, last: bool, checkpoint: bool) -> dict[str, Any]:
        """Return a result for the search; raises ForeignError if a metric is missing or no number."""
        reports = self.reports
        self.count += 1
        last = last or bool(raw.get("done")) or self.count >= reports.epochs
        known = columns.of("epochs", reports.own)
        result: dict[str, Any] = {
            "epoch": self.count,
            "total_epochs": self.count if last else reports.epochs,
            "seconds": seconds,
            "done": last,
            "should_checkpoint": checkpoint and (last or time.monotonic() - self.saved >= CHECKPOINT_SECONDS),
        }
        told = {name: _number(name, raw[name]) for name in known if name in raw and name not in result}
        if missing := [goal for goal in reports.goals if told.get(goal) is None]:
            reported = ", ".join(sorted(name for name in raw if not name.startswith("_"))[:12]) or "nothing"
            raise ForeignError(f"{type(self).__name__} must report {missing[0]}, got {reported}")
        for goal in reports.goals:
            if not math.isfinite(told[goal]):
                result |= {"diverged": f"{goal} is {told[goal]} in epoch {self.count}", "done": True}
                result |= {"total_epochs": reports.epochs, "should_checkpoint": False}
        if problem := columns.wrong(told, reports.own):
            raise ForeignError(f"{type(self).__name__} {problem}")
        return result | told

    def _pack(self, folder: Path, checkpoint_dir: str) -> None:
        (folder / _META).write_text(json.dumps({"epoch": self.count}))
        write_checkpoint(Path(checkpoint_dir), packed(folder))
        self.saved = time.monotonic()

    def _unpack(self, restore: str, folder: Path) -> None:
        unpack(read_checkpoint(Path(restore)), folder)
        self.count = int(json.loads((folder / _META).read_text())["epoch"])
        (folder / _META).unlink()


def _number(name: str, value: Any) -> Any:
    value = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ForeignError(f"{name} must be reported as a number, got {value!r:.60}")


def packed(folder: Path) -> bytes:
    """Return a folder's files as one uncompressed archive, the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of a packed checkpoint, e.g. of best.pt, into a folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _OURS}


class _OfClass(_Adapter, tune.Trainable):
    """A class trainable: the user's own class follows this one."""

    def setup(self, config: dict[str, Any], data: Any = None) -> None:
        self.config = _own(config)
        super().setup(_own(config))
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = _own(new_config)
        if not super().reset_config(_own(new_config)):
            return False
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        self._begin()
        if config.get("restore"):
            self.load_checkpoint(config["restore"])

    def step(self) -> dict[str, Any]:
        start = time.perf_counter()
        raw = super().step()
        return self._result(raw, time.perf_counter() - start, last=False, checkpoint=self.saves)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            given: Any = super().save_checkpoint(temporary)
            if isinstance(given, dict):
                (folder / _DICT).write_bytes(pickle.dumps(given))
            self._pack(folder, checkpoint_dir)

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            self._unpack(checkpoint_dir, folder)
            # The run's folder is the user's own, see `search.doors.require_own`.
            own = folder / _DICT
            super().load_checkpoint(pickle.loads(own.read_bytes()) if own.exists() else temporary)


class _Kept:
    """Ray's storage of a trial, which packs a checkpoint when it is reported, before its folder is removed."""

    checkpoint_dir_name = ""

    def __init__(self, storage: Any) -> None:
        self.storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def _update_checkpoint_index(self, metrics: dict[str, Any]) -> None: ...

    def persist_artifacts(self, force: bool = False) -> None: ...

    def persist_current_checkpoint(self, checkpoint: Any) -> Any:
        with checkpoint.as_directory() as folder:
            checkpoint.packed = packed(Path(folder))
        return checkpoint


class _OfFunction(_Adapter, tune.Trainable):
    """A function trainable, run in a thread by Ray's own session; its results are fetched one ahead.

    Only so is it known of a result that it is the last: the function ends when it likes.
    """

    run_function: ClassVar[Callable[[Any, dict[str, Any]], Any]]
    _storage: Any

    def setup(self, config: dict[str, Any], data: Any = None) -> None:
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._stop():
            return False
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        self._begin()
        self.config = own = _own(config)
        self.ahead: Any = None
        self.error: BaseException | None = None
        self.newest: bytes | None = None  # the packed checkpoint of the newest delivered result that has one
        storage = _Kept(self._storage)
        init_session(
            training_func=lambda: self.run_function(dict(own)),
            trial_info=TrialInfo(
                name=self.trial_name,
                id=self.trial_id,
                resources=self.trial_resources,
                logdir=storage.trial_working_directory,
                driver_ip=None,
                driver_node_id=None,
                experiment_name=storage.experiment_dir_name,
            ),
            storage=storage,
            synchronous_result_reporting=True,
            world_rank=None,
            local_rank=None,
            node_rank=None,
            local_world_size=None,
            world_size=None,
            dataset_shard=None,
            checkpoint=self._restored_checkpoint(config.get("restore")),
        )

    def _restored_checkpoint(self, restore: str | None) -> Any:
        if not restore:
            return None
        self.kept = tempfile.TemporaryDirectory()  # as long as the function may read it
        self._unpack(restore, Path(self.kept.name))
        self.newest = packed(Path(self.kept.name))
        return tune.Checkpoint.from_directory(self.kept.name)

    def _fetch(self) -> Any:
        """Return the function's next result and the seconds that it took; None at its end."""
        session = get_session()
        assert session is not None
        start = time.perf_counter()
        if not session.training_started:
            session.start()
        found = session.get_next()
        seconds = time.perf_counter() - start
        return None if found is None or RESULT_DUPLICATE in found.metrics else (found, seconds)

    def step(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        now = self.ahead or self._fetch()
        if now is None:
            raise ForeignError(f"{type(self).__name__} must report results by tune.report, got none")
        found, seconds = now
        last = self.count + 1 >= self.reports.epochs
        self.ahead = None
        if not last:
            try:
                self.ahead = self._fetch()
                last = self.ahead is None
            except Exception as error:  # noqa: BLE001 - raised by the next step: this result came before it
                self.error = error
        if found.checkpoint is not None:
            self.newest = found.checkpoint.packed
        fresh = found.checkpoint is not None or (last and self.newest is not None)
        return self._result(found.metrics, seconds, last=last, checkpoint=fresh)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.newest is not None
        with tempfile.TemporaryDirectory() as temporary:
            unpack(self.newest, Path(temporary))
            self._pack(Path(temporary), checkpoint_dir)

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        raise NotImplementedError("a trial is restored when it begins")

    def _stop(self) -> bool:
        """End the function's thread, which waits in its report; return whether it has ended."""
        session = get_session()
        if session is None:
            return True
        with contextlib.suppress(BaseException):  # how the function ends matters no more
            session.finish(timeout=2)
        ended = not session.training_started or not session.training_thread.is_alive()
        shutdown_session()
        return ended

    def cleanup(self) -> None:
        self._stop()
