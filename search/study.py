"""A study: one question as a search, complete and valid before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.util
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search.sample import Domain

from search import columns, siblings
from search.domains import DomainError, domain_edges, plain_space
from search.records import (
    CURVE_DISTANCE,
    MEMBER_VAL_ACCURACY,
    MEMBERS,
    RECOVERY_PROTOCOL,
    SEARCH_PROTOCOL,
    VAL_ACCURACY,
    Claim,
    RecordError,
    Reported,
    plain,
    writable_text,
)

SEARCHERS = ("tpe", "random", "grid", "nsga2")
SCHEDULERS = ("asha", "median", "hyperband", "none")
DRAWN = 32  # random configurations that a study is checked with
LONGEST_ARM = 100  # bytes of an arm's name in UTF-8: trials' folders are named by it
LONGEST_NAME = 200  # bytes of a study's


class StudyError(ValueError):
    """A study that cannot run as asked; the message is one line for the user."""


@dataclass(frozen=True)
class Study:
    """One question. A space file ends in `study = Study(...)`.

    trainable    an `ImageTrainable` subclass; its recipe's settings say which hyperparameters there are
    param_space  hyperparameter -> a Ray Tune domain to search, or a fixed value
    epochs       of a full trial; also the largest rung of early stopping
    samples      trials of a full search
    metric       what the best configuration is chosen by, e.g. "val_loss"; never a test metric
    mode         "max" or "min": the metric's own direction, which need not be given
    protocol     "search", or "recovery" for a study that looks for an undisclosed setting by its distance to a
                 printed test curve, "curve_distance": of no use for anything else, so without claims or arms
    rank_by      what early stopping compares; not given, the metric, but of accuracy the members' mean, so that a
                 small ensemble is not stopped for being small
    objectives   further goals, metric -> "max" or "min", e.g. {"parameters": "min"}: multi-objective
    arms         name -> fixed hyperparameters: the note's own runs and the clean ones (`--replay`)
    reported     the note's figures; each names its arm
    claims       the note's claims; each compares arms
    smoke        what `--smoke` changes: hyperparameters, and "samples"

    Raises StudyError, or RecordError from a claim.
    """

    name: str
    question: str
    source: str
    trainable: Any
    param_space: Mapping[str, Any]
    dataset: str = "cifar100"
    epochs: int = 20
    samples: int = 64
    metric: str = "val_accuracy"
    mode: str = ""
    rank_by: str = ""
    protocol: str = SEARCH_PROTOCOL
    objectives: Mapping[str, str] = field(default_factory=dict)
    searcher: str = "tpe"
    scheduler: str = "asha"
    grace_epochs: int = 1
    reduction_factor: int = 3
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()
    claims: tuple[Claim, ...] = ()
    smoke: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "samples", "grace_epochs", "reduction_factor"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        self._check_types()
        object.__setattr__(self, "arms", plain(self.arms))
        for name in ("param_space", "smoke"):
            object.__setattr__(self, name, plain_space(getattr(self, name)))
        if not self.mode and (column := columns.of("epochs", self.metrics).get(self.metric)):
            object.__setattr__(self, "mode", column.better or "max")
        if not self.rank_by:
            of_members = self.metric == VAL_ACCURACY
            object.__setattr__(self, "rank_by", MEMBER_VAL_ACCURACY if of_members else self.metric)
        self._check_metrics()
        for name, value, choices in (
            ("searcher", self.searcher, SEARCHERS),
            ("scheduler", self.scheduler, SCHEDULERS),
            ("protocol", self.protocol, (SEARCH_PROTOCOL, RECOVERY_PROTOCOL)),
            ("dataset", self.dataset, ("cifar10", "cifar100", "digits")),
        ):
            if value not in choices:
                raise StudyError(f"{self.name}: {name} must be one of {', '.join(choices)}, got {value!r}")
        for name, number, low in (
            ("epochs", self.epochs, 1),
            ("samples", self.samples, 1),
            ("grace_epochs", self.grace_epochs, 1),
            ("reduction_factor", self.reduction_factor, 2),
        ):
            if type(number) is not int or number < low:
                raise StudyError(f"{self.name}: {name} must be a whole number of at least {low}, got {number!r}")
        if "epochs" in self.param_space:
            raise StudyError(f"{self.name}: epochs belongs to the study, not to param_space")
        for name, domain in self.param_space.items():
            self._check_domain(name, domain)
        for arm, config in self.arms.items():
            try:
                self.settings(config)
            except ValueError as error:
                raise StudyError(f"{self.name}: arm {arm!r}: {error}") from None
        self._check_references()
        self._check_drawn()

    def _check_types(self) -> None:
        if not (isinstance(self.name, str) and re.fullmatch(r"\w[\w.-]{0,99}", self.name)):
            raise StudyError(f"a study's name must be letters, digits, '_', '-' and '.', got {self.name!r}")
        if len(self.name.encode()) > LONGEST_NAME:
            raise StudyError(f"a study's name must take at most {LONGEST_NAME} bytes, got {self.name!r}")
        for name in ("question", "source", "metric", "mode", "rank_by"):
            if not isinstance(text := getattr(self, name), str):
                raise StudyError(f"{self.name}: {name} must be text, got {text!r}")
            if not writable_text(" ".join(text.split())):
                raise StudyError(f"{self.name}: {name} must be without control characters and surrogates, got {text!r}")
        if not (isinstance(self.trainable, type) and hasattr(self.trainable, "recipe")):
            raise StudyError(f"{self.name}: trainable must be an ImageTrainable subclass, got {self.trainable!r}")
        for name in ("param_space", "objectives", "arms", "smoke"):
            given = getattr(self, name)
            if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
                raise StudyError(f"{self.name}: {name} must be a mapping from names, got {given!r}")
        for arm, config in self.arms.items():
            if not arm or set(arm) & set("/:@"):
                raise StudyError(f"{self.name}: an arm's name must be without '/', ':' and '@', got {arm!r}")
            if not writable_text(arm) or len(arm.encode()) > LONGEST_ARM:
                raise StudyError(
                    f"{self.name}: an arm's name must be without control characters and surrogates, and take at most "
                    f"{LONGEST_ARM} bytes, got {len(arm)} characters: {arm!r}"
                )
            if not isinstance(config, Mapping):
                raise StudyError(f"{self.name}: arm {arm!r} must be a mapping, got {config!r}")
        for name, kind in (("reported", Reported), ("claims", Claim)):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not all(isinstance(each, kind) for each in given):
                raise StudyError(f"{self.name}: {name} must be a tuple of {kind.__name__}, got {given!r}")

    def _check_metrics(self) -> None:
        goals = {self.metric: self.mode, **self.objectives}
        compared = {*goals, self.rank_by}
        if self.protocol == RECOVERY_PROTOCOL and (compared != {CURVE_DISTANCE} or self.arms or self.claims):
            raise StudyError(
                f"{self.name}: protocol {self.protocol!r} takes {CURVE_DISTANCE!r} as its metric and rank_by, no "
                f"arms and no claims, got {', '.join(sorted(compared))}, {len(self.arms)} arms, "
                f"{len(self.claims)} claims"
            )
        if self.protocol != RECOVERY_PROTOCOL and CURVE_DISTANCE in compared:
            raise StudyError(
                f"{self.name}: {CURVE_DISTANCE!r} is measured on the test set, so it needs protocol "
                f"{RECOVERY_PROTOCOL!r}, got {self.protocol!r}"
            )
        for metric, mode in goals.items():
            if mode not in ("max", "min", ""):
                raise StudyError(f"{self.name}: mode must be 'max' or 'min', got {mode!r} for {metric!r}")
        for role, name, mode in (
            ("metric", self.metric, self.mode),
            ("rank_by", self.rank_by, self.mode),
            *(("objectives", name, mode) for name, mode in self.objectives.items()),
        ):
            self._check_metric(role, name, mode)

    def _check_metric(self, role: str, name: str, mode: str) -> None:
        """Hold a name against the columns: what it was measured on, and which direction is better."""
        column = columns.of("epochs", self.metrics).get(name)
        if column is None:
            close = difflib.get_close_matches(name, known := columns.choosable(self.metrics), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise StudyError(
                f"{self.name}: {role} must be a metric that the trainable reports, got {name!r}: "
                f"{hint}There are {', '.join(known)}"
            )
        if self.protocol != RECOVERY_PROTOCOL and (reason := column.chosen_by()):
            raise StudyError(
                f"{self.name}: {role} must be a metric measured on training or validation data, got {name!r}, "
                f"which {reason}"
            )
        if role != "objectives" and column.measured_on in ("clock", "memory", "count"):
            raise StudyError(
                f"{self.name}: {role} must be a metric measured on training or validation data, got {name!r}; "
                f"as a further goal it is objectives={{{name!r}: {column.better!r}}}"
            )
        if mode != column.better:
            raise StudyError(
                f"{self.name}: {role} {name!r} is better at its {column.better}, so its mode must be "
                f"{column.better!r}, got {mode!r}"
            )

    def _check_domain(self, name: str, domain: Any) -> None:
        if isinstance(domain, dict) and "grid_search" in domain:
            raise StudyError(
                f"{self.name}: {name} uses tune.grid_search; write tune.choice and run with --searcher grid"
            )
        try:
            for value in domain_edges(domain):
                self.settings({name: value})
        except DomainError as error:
            raise StudyError(f"{self.name}: {name}: {error}") from None
        except ValueError as error:
            raise StudyError(f"{self.name}: {error}") from None

    def _check_references(self) -> None:
        for reported in self.reported:
            if reported.arm not in self.arms:
                raise StudyError(
                    f"{self.name}: reported run {reported.run!r} names an arm the study lacks: {reported.arm!r}"
                )
        for claim in self.claims:
            for arm in (*claim.arms, *claim.clean_arms):
                # "study/arm" is another study's: only the analysis of both can tell.
                if "/" not in arm and re.split("[:@]", arm)[0] not in self.arms:
                    raise StudyError(f"{self.name}: claim {claim.name!r} names an arm the study lacks: {arm!r}")

    def _check_drawn(self) -> None:
        """Hyperparameters may exclude each other, and decide together how long a trial is."""
        try:
            lengths = self._drawn_lengths()
        except ValueError as error:
            raise StudyError(f"{self.name}: {error}") from None
        # Early stopping compares trials epoch by epoch.
        if self.scheduler != "none" and len(lengths) > 1:
            raise StudyError(
                f"{self.name}: early stopping needs trials of one length, got {min(lengths)} to {max(lengths)} epochs; "
                f"fix what decides it (members, strategy) or use --scheduler none"
            )

    def _drawn_lengths(self) -> set[int]:
        lengths = set()
        for settings in self._drawn_settings():
            lengths.add(int(self.trainable.strategy.trial_epochs(settings)))
        return lengths

    def _drawn_settings(self) -> Iterator[Any]:
        random = np.random.RandomState(0)
        for _ in range(DRAWN):
            drawn = {name: domain.sample(random_state=random) for name, domain in self.searched().items()}
            yield self.settings({**self.fixed(), **drawn, "epochs": self.epochs})

    def check_search(self) -> None:
        """Raise StudyError if some trial of a search would not measure what the search compares."""
        known = columns.of("epochs", self.metrics)
        for settings in self._drawn_settings():
            for name in dict.fromkeys((*self.goals, self.rank_by)):
                for need in known[name].needs:
                    if not (given := getattr(settings, need, None)):
                        raise StudyError(f"{self.name}: a search by {name} needs {need}, got {need}={given!r}")

    @property
    def goals(self) -> dict[str, str]:
        """Every objective with its direction, the metric first."""
        return {self.metric: self.mode, **self.objectives}

    @property
    def metrics(self) -> tuple[columns.Column, ...]:
        """The trainable's own metrics."""
        return tuple(getattr(self.trainable, "metrics", ()))

    def hyperparameter_types(self) -> dict[str, str]:
        """Return the type of every hyperparameter's column: those of the trainable's settings."""
        types: dict[str, str] = self.trainable.recipe.settings_type.column_types()
        return types

    def configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration with every hyperparameter that it leaves at its default."""
        return dataclasses.asdict(self.settings(config))

    def settings(self, config: Mapping[str, Any]) -> Any:
        """The trainable's validated settings; raises ValueError with one line."""
        return self.trainable.recipe.settings_type.from_config(config)

    @functools.cached_property
    def trial_epochs(self) -> int:
        """Steps of a full trial, of the longest: `epochs` of a member, as its strategy trains the members."""
        return max(self._drawn_lengths())

    def replay_configs(
        self, repeats: int, seed: int, arms: Sequence[str] = ()
    ) -> list[tuple[dict[str, Any], str | None]]:
        """Every arm, or the named `arms`, with seeds seed, seed + 1, ...: the same ones for all, so that they pair.

        Raises StudyError if there is no such arm.
        """
        if not self.arms:
            raise StudyError(f"{self.name} has no arms to replay")
        if unknown := [arm for arm in arms if arm not in self.arms]:
            raise StudyError(f"{self.name} has no arm {unknown[0]!r}; it has {', '.join(self.arms)}")
        return [
            ({**self.fixed(), **config, "seed": seed + repeat}, arm)
            for repeat in range(repeats)
            for arm, config in self.arms.items()
            if not arms or arm in arms
        ]

    def searched(self) -> dict[str, Domain]:
        return {name: domain for name, domain in self.param_space.items() if isinstance(domain, Domain)}

    def fixed(self) -> dict[str, Any]:
        return {name: value for name, value in self.param_space.items() if not isinstance(value, Domain)}

    def with_set(self, assignments: list[str]) -> Study:
        """The study with `name=value` hyperparameters fixed; raises StudyError."""
        changes: dict[str, Any] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise StudyError(f"--set takes name=value, got {assignment!r}")
            try:
                changes[name] = self.trainable.recipe.settings_type.parse(name, text)
            except ValueError as error:
                raise StudyError(f"--set {assignment}: {error}") from None
        return self.with_fixed(changes)

    def with_fixed(self, changes: Mapping[str, Any]) -> Study:
        """The study with these hyperparameters fixed, in the arms too, or given another domain.

        `members` changes ensembles only: an arm of a single model stays one.
        """
        changes = dict(changes)
        fixed = {name: value for name, value in changes.items() if not isinstance(value, Domain)}
        arms = {arm: {**config, **fixed} for arm, config in self.arms.items()}
        if MEMBERS in fixed:
            for arm, config in self.arms.items():
                if self.settings({**self.fixed(), **config}).members == 1:
                    arms[arm][MEMBERS] = 1
        epochs = changes.pop("epochs", self.epochs)
        return dataclasses.replace(self, param_space={**self.param_space, **changes}, epochs=epochs, arms=arms)

    def with_weights(self, folder: str) -> Study:
        """The study with pretrained weights read from `folder`; what starts from random ones still does.

        Raises StudyError if none of its networks is pretrained.
        """
        try:
            self.settings({"weights": folder})
        except ValueError:
            raise StudyError(f"{self.name} must have pretrained networks to take weights, got {folder}") from None

        def changed(config: Mapping[str, Any]) -> dict[str, Any]:
            return dict(config) if config.get("weights") == "random" else {**config, "weights": folder}

        arms = {arm: changed(config) for arm, config in self.arms.items()}
        return dataclasses.replace(self, param_space=changed(self.param_space), arms=arms)

    def as_smoke(self) -> Study:
        """The same study, tiny, on the digits."""
        changes = dict(self.smoke)
        samples = changes.pop("samples", 8)
        tiny = dataclasses.replace(self, dataset="digits", samples=samples)
        return tiny.with_fixed(changes)


def load(path: Path) -> Study:
    """Run a space file and return its study. A space is code and is run as such: load only files you trust.

    It may import files beside it. Raises StudyError, with file and line where the file does not run.
    """
    if not os.path.isfile(path):  # of a name that no file can have, pathlib raises
        raise StudyError(f"no such space file: {path}")
    if path.suffix != ".py":
        raise StudyError(f"a space is a Python file, got {path}")
    spec = importlib.util.spec_from_file_location(f"space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # In sys.modules while it runs, where dataclasses look annotations up, and not after: Ray then pickles what
    # the file defines by value, and workers need not find the file.
    sys.modules[spec.name] = module
    try:
        with siblings.importable(path.resolve().parent), _own_interrupt():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise StudyError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except (StudyError, RecordError) as error:
        raise StudyError(f"{path}: {error}") from None
    except _Interrupted:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a user's file raises is the user's to see, in a line
        raise StudyError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from None
    finally:
        sys.modules.pop(spec.name, None)
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        raise StudyError(f"{path} must define `study = Study(...)`, got {type(study).__name__}")
    return study


def _line_of(error: BaseException, path: Path) -> str:
    """The line of a space file, and the line of a file beside it, at which it raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == str(path)]
    beside = [frame for frame in frames if Path(frame.filename).parent == path.resolve().parent]
    text = f", line {own[-1]}" if own else ""
    if beside and Path(beside[-1].filename).name != path.name:
        text += f", which runs {Path(beside[-1].filename).name}, line {beside[-1].lineno}"
    return text


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C, as no space file raises it."""


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Let Ctrl-C be told from a KeyboardInterrupt that a space file raises itself."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise _Interrupted

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
