"""Declare a study, one question as a search, and check it completely before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.util
import math
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
from search.conditions import Space, When, changed, inner, plain_space, replaced
from search.conditions import when as when
from search.domains import DomainError, domain_edges, domain_holds, held, same
from search.foreign import ForeignError, Reports, adapted, is_foreign, original, own_columns
from search.records import (
    CURVE_DISTANCE,
    MEMBER_VAL_ACCURACY,
    MEMBERS,
    NO_DATA,
    RECOVERY_PROTOCOL,
    SEARCH_PROTOCOL,
    VAL_ACCURACY,
    VAL_LOSS,
    Claim,
    RecordError,
    Reported,
    plain,
    writable_text,
)

SEARCHERS = ("tpe", "gp", "random", "grid", "nsga2")
SCHEDULERS = ("asha", "median", "hyperband", "none")
DESIGNS = ("sobol", "random")
GRACE_SHARE = 5  # divisor of a trial's epochs that gives the default grace_epochs
REDUCTION_FACTOR = 2  # default of reduction_factor
DRAWN = 32  # random configurations that a study is checked with
DATASETS = ("cifar10", "cifar100", "digits")
SIZES = (8, 512)  # least and most pixels a side of a data set's images
# Data sets by name: ours, torchvision's (their classes begin with a capital letter), or a folder.
_DATASET = re.compile(rf"{'|'.join(DATASETS)}|[A-Z][A-Za-z0-9]{{0,40}}|folder(:.+)?", re.ASCII | re.DOTALL)
_OF_IMAGES = ("resize", "channels")  # fields of a study that --set may name, too
_ABSENT = object()
LONGEST_ARM = 100  # limit of an arm's name in UTF-8 bytes, since trials' folders are named by the arm
LONGEST_NAME = 200  # limit of a study's name in UTF-8 bytes


class StudyError(ValueError):
    """Report a study that cannot run as asked, in one line for the user."""


@dataclass(frozen=True)
class Study:
    """Declare one question as a search; a space file ends in `study = Study(...)`.

    trainable    an `ImageTrainable` subclass, whose recipe's settings declare the hyperparameters; or a Ray Tune
                 function or class as it is, which reads its own data
    param_space  hyperparameter -> a Ray Tune domain to search, or a fixed value; one that exists only if another has
                 certain values is wrapped in `when`, e.g. when("optimizer", "sgd", tune.uniform(0, 0.99))
    dataset      "cifar10", "cifar100", "digits", a torchvision data set by its name ("FashionMNIST"), or "folder:PATH":
                 a folder with one folder of pictures a class, Parquet files or IDX files (`--data DIR` replaces PATH)
    resize       pixels a side, 8 to 512, to which the middle square of each picture is resized; default: as the
                 pictures are, or 64 if they differ in size
    channels     1 makes every picture gray, 3 RGB; default: as the pictures are
    epochs       epochs of a full trial; also the largest rung of early stopping
    samples      number of trials of a full search
    metric       metric by which the best configuration is chosen, e.g. "val_loss"; never a test metric
    mode         "max" or "min"; default: the metric's own direction
    protocol     "search", or "recovery" for a study that looks for an undisclosed setting by its distance to a
                 printed test curve, "curve_distance"; a recovery decides nothing else, so it has no claims or arms
    rank_by      metric that early stopping compares; default: the metric, but the members' mean for accuracy, so that
                 a small ensemble is not stopped for being small
    objectives   further goals of a multi-objective search, metric -> "max" or "min", e.g. {"parameters": "min"}
    reports      metrics that a Ray Tune function or class reports under other names than ours: name -> "max" or "min"
    grace_epochs epochs before early stopping stops a trial; default: a fifth of a trial's epochs
    reduction_factor
                 early stopping keeps one trial in so many at each rung; default: 2 (both defaults are measured in
                 tests/benchmarks/README.md)
    initial_design
                 choice of the trials before TPE has learnt anything: "sobol", spread over the space, or "random"
    first        configurations that a search begins with, each with some or all of the searched hyperparameters;
                 default: the arms with reported figures that lie in the space
    observations finished trials of other runs that the searcher knows before its own (`--warm-start`): each a mapping
                 with "config" (the searched hyperparameters), "values" (every objective) and "source"
    arms         name -> fixed hyperparameters: the note's own runs and the clean ones (`--replay`)
    reported     the note's figures; each names its arm
    claims       the note's claims; each compares arms
    smoke        changes that `--smoke` makes: hyperparameters, and "samples"

    Raises StudyError, or RecordError from a claim.
    """

    name: str
    question: str
    source: str
    trainable: Any
    param_space: Mapping[str, Any]
    dataset: str = "cifar100"
    resize: int | None = None
    channels: int | None = None
    epochs: int = 20
    samples: int = 64
    metric: str = "val_accuracy"
    mode: str = ""
    rank_by: str = ""
    protocol: str = SEARCH_PROTOCOL
    objectives: Mapping[str, str] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)
    searcher: str = "tpe"
    scheduler: str = "asha"
    grace_epochs: int | None = None
    reduction_factor: int | None = None
    initial_design: str | None = None
    first: Sequence[Mapping[str, Any]] | None = None
    observations: Sequence[Mapping[str, Any]] = ()
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()
    claims: tuple[Claim, ...] = ()
    smoke: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if foreign := is_foreign(original(self.trainable)):
            object.__setattr__(self, "dataset", NO_DATA)
        for name in ("epochs", "samples", "grace_epochs", "reduction_factor", "resize", "channels"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        self._check_types()
        object.__setattr__(self, "arms", plain(self.arms))
        for name in ("first", "observations"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        for name in ("param_space", "smoke"):
            object.__setattr__(self, name, plain_space(getattr(self, name)))
        if foreign:
            self._adapt()
        elif self.reports:
            raise StudyError(
                f"{self.name}: reports is for a Ray Tune function or class, got {', '.join(self.reports)}: an image "
                "trainable declares its own metrics as `metrics`"
            )
        if not self.mode and (column := columns.of("epochs", self.metrics).get(self.metric)):
            object.__setattr__(self, "mode", column.better or "max")
        if not self.rank_by:
            of_members = self.metric == VAL_ACCURACY and not self.foreign
            object.__setattr__(self, "rank_by", MEMBER_VAL_ACCURACY if of_members else self.metric)
        self._check_metrics()
        for name, value, choices in (
            ("searcher", self.searcher, SEARCHERS),
            ("scheduler", self.scheduler, SCHEDULERS),
            ("initial_design", self.initial_design, (None, *DESIGNS)),
            ("protocol", self.protocol, (SEARCH_PROTOCOL, RECOVERY_PROTOCOL)),
            ("channels", self.channels, (None, 1, 3)),
        ):
            if value not in choices:
                allowed = ", ".join(str(choice) for choice in choices)
                raise StudyError(f"{self.name}: {name} must be one of {allowed}, got {value!r}")
        self._check_dataset()
        for name, number, low in (
            ("epochs", self.epochs, 1),
            ("samples", self.samples, 1),
            ("grace_epochs", self.grace_epochs, 1),
            ("reduction_factor", self.reduction_factor, 2),
        ):
            if number is None and name in ("grace_epochs", "reduction_factor"):
                continue
            if type(number) is not int or number < low:
                raise StudyError(f"{self.name}: {name} must be a whole number of at least {low}, got {number!r}")
        if "epochs" in self.param_space:
            raise StudyError(f"{self.name}: epochs belongs to the study, not to param_space")
        for name, domain in self.param_space.items():
            self._check_domain(name, inner(domain))
        self._check_conditions()
        for arm, config in self.arms.items():
            try:
                self.settings(self.completed(config))
            except ValueError as error:
                raise StudyError(f"{self.name}: arm {arm!r}: {error}") from None
        self._check_references()
        self._check_drawn()
        self._check_first()
        self._check_observations()

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
        if not is_foreign(original(self.trainable)) and not (
            isinstance(self.trainable, type) and hasattr(self.trainable, "recipe")
        ):
            raise StudyError(
                f"{self.name}: trainable must be an ImageTrainable subclass or a Ray Tune function or class, got "
                f"{self.trainable!r}"
            )
        for name in ("param_space", "objectives", "arms", "smoke", "reports"):
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

    def _adapt(self) -> None:
        """Make the Ray Tune function or class one that reports, saves and is restored as a study needs it."""
        if type(self.epochs) is not int or self.epochs < 1:
            return  # refused below
        try:
            own = own_columns(self.reports, self.trainable)
            goals = dict.fromkeys(filter(None, (self.metric, *self.objectives, self.rank_by)))
            reports = Reports(tuple(goals), own, self.epochs)
            others = (*self.arms.values(), self.smoke)
            made = adapted(original(self.trainable), reports, self.param_space, others)
            for name in sorted(self.smoke.keys() - {"samples"}):
                made.recipe.settings_type.require_known(name, "smoke: ")
            if odd := [name for name in _OF_IMAGES if getattr(self, name) is not None]:
                raise ForeignError(f"{odd[0]} needs an image trainable, got a Ray Tune trainable: leave it out")
        except (ForeignError, columns.ColumnError) as error:
            raise StudyError(f"{self.name}: {error}") from None
        object.__setattr__(self, "trainable", made)

    @property
    def foreign(self) -> bool:
        """Return whether the trainable is a Ray Tune function or class of the user's own, not an ImageTrainable."""
        return self.dataset == NO_DATA

    def _check_dataset(self) -> None:
        """Check the form of the data set's name; whether the data set is there is known when it is loaded."""
        name = self.dataset
        if is_foreign(original(self.trainable)):
            return
        if not (isinstance(name, str) and writable_text(name) and _DATASET.fullmatch(name)):
            raise StudyError(
                f"{self.name}: dataset must be one of {', '.join(DATASETS)}, a torchvision data set such as "
                f"'FashionMNIST', or 'folder:PATH', got {name!r}"
            )
        if self.resize is not None and not (type(self.resize) is int and SIZES[0] <= self.resize <= SIZES[1]):
            raise StudyError(
                f"{self.name}: resize must be a whole number of {SIZES[0]} to {SIZES[1]} pixels, got {self.resize!r}"
            )

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
        """Check a metric's name, what it is measured on and its direction against the declared columns."""
        column = columns.of("epochs", self.metrics).get(name)
        if column is None:
            close = difflib.get_close_matches(name, known := columns.choosable(self.metrics), n=1)
            word = VAL_LOSS if "loss" in name.lower() else close[0] if close else ""
            hint = f"did you mean {word!r}? " if word in known else ""
            raise StudyError(
                f"{self.name}: {role} must be a metric that the trainable reports, got {name!r}: "
                f"{hint}Choose one of {', '.join(known)}"
            )
        if self.protocol != RECOVERY_PROTOCOL and (reason := column.chosen_by()):
            counterpart = name.replace("test_", "val_", 1)
            instead = f"; its counterpart is {counterpart!r}" if counterpart in columns.choosable(self.metrics) else ""
            raise StudyError(
                f"{self.name}: {role} must be a metric measured on training or validation data, got {name!r}, "
                f"which {reason}{instead if counterpart != name else ''}"
            )
        if role != "objectives" and column.measured_on in ("clock", "memory", "count"):
            raise StudyError(
                f"{self.name}: {role} must be a metric measured on training or validation data, got {name!r}; "
                f"to pursue it as a further goal, write objectives={{{name!r}: {column.better!r}}}"
            )
        if mode != column.better:
            loss = role == "metric" and mode == "min"
            raise StudyError(
                f"{self.name}: {role} {name!r} is better at its {column.better}, so its mode must be "
                f"{column.better!r}, got {mode!r}"
                + (f": to minimise the validation loss, write metric={VAL_LOSS!r}" if loss else "")
            )

    def _check_domain(self, name: str, domain: Any) -> None:
        if isinstance(domain, dict) and "grid_search" in domain:
            raise StudyError(
                f"{self.name}: {name} uses tune.grid_search; write tune.choice and run with --searcher grid"
            )
        if isinstance(domain, Mapping):
            raise StudyError(
                f"{self.name}: {name} must be a domain or a value, got {dict(domain)!r:.80}: name each hyperparameter "
                "in param_space, and write those that a choice brings along as when(NAME, VALUE, DOMAIN)"
            )
        try:
            for value in domain_edges(domain):
                self.checked(name, value)
        except DomainError as error:
            raise StudyError(f"{self.name}: {name}: {error}") from None
        except ValueError as error:
            raise StudyError(f"{self.name}: {error}") from None

    def _check_conditions(self) -> None:
        for name, value in self.param_space.items():
            conditions = value.conditions if isinstance(value, When) else ()
            if conditions and name == "engine" and not self.foreign:
                raise StudyError(f"{self.name}: engine must be the same for all trials, got when(...)")
            for condition in conditions:
                try:
                    for each in condition.values if condition.name in self.param_space else ():
                        self.checked(condition.name, each)
                except ValueError as error:
                    raise StudyError(f"{self.name}: {name}: when: {error}") from None
        try:
            Space(self.param_space)
        except DomainError as error:
            raise StudyError(f"{self.name}: {error}") from None

    def require_effective(self) -> None:
        """Raise StudyError if a declared study has early stopping that could never stop a trial.

        A study with other epochs, as --set and --smoke make it, may keep its grace_epochs.
        """
        if self.scheduler != "none" and (self.grace_epochs or 0) > self.trial_epochs:
            raise StudyError(
                f"{self.name}: grace_epochs must be at most the {self.trial_epochs} epochs of a trial, got "
                f"{self.grace_epochs}: to stop no trial, write scheduler='none'"
            )

    def _check_references(self) -> None:
        for reported in self.reported:
            if reported.arm not in self.arms:
                raise StudyError(
                    f"{self.name}: reported run {reported.run!r} names an arm the study lacks: {reported.arm!r}"
                )
        for claim in self.claims:
            for arm in (*claim.arms, *claim.clean_arms):
                # "study/arm" is another study's arm, which only the analysis of both studies can check.
                if "/" not in arm and re.split("[:@]", arm)[0] not in self.arms:
                    raise StudyError(f"{self.name}: claim {claim.name!r} names an arm the study lacks: {arm!r}")
                if problem := _unmeasurable(claim.quantity, arm):
                    raise StudyError(f"{self.name}: claim {claim.name!r} {problem}")

    def _check_first(self) -> None:
        if self.first is None:
            return
        if not isinstance(self.first, list | tuple) or not all(isinstance(each, Mapping) for each in self.first):
            raise StudyError(f"{self.name}: first must be a list of configurations, got {self.first!r:.80}")
        searched, fixed = self.space.searched, {**self.space.fixed, **self.space.sometimes}
        for config in self.first:
            for name, value in config.items():
                if isinstance(self.param_space.get(name), When) and name not in self.space.known:
                    continue  # a fixed value excludes it
                if name in searched and not domain_holds(searched[name], value):
                    raise StudyError(f"{self.name}: first: {name} must lie in its domain, got {value!r}")
                if name not in searched and not same(fixed.get(name, _ABSENT), value):
                    raise StudyError(
                        f"{self.name}: first: {name} must be searched, or have the study's own value, got {value!r}"
                    )
                for condition in self.space.conditions.get(name, ()):
                    if not condition.holds({**fixed, **config}):
                        raise StudyError(
                            f"{self.name}: first: {name} exists only if {condition}, "
                            f"got {condition.name} {config.get(condition.name, 'not named')!r}"
                        )
            # What a configuration leaves out is proposed: any other values of the space stand for it.
            chosen = {name: domain_edges(domain)[0] for name, domain in searched.items()} | dict(config)
            try:
                self.settings(self.space.compose(lambda name, _, chosen=chosen: chosen[name]))  # type: ignore[misc]
            except ValueError as error:
                raise StudyError(f"{self.name}: first: {error}") from None

    def _check_observations(self) -> None:
        if not isinstance(self.observations, list | tuple):
            raise StudyError(f"{self.name}: observations must be a list, got {self.observations!r:.80}")
        for each in self.observations:
            where = f"{self.name}: an observation must"
            if not isinstance(each, Mapping) or not all(isinstance(each.get(x), Mapping) for x in ("config", "values")):
                raise StudyError(f"{where} hold config and values as mappings, got {each!r:.80}")
            for goal in self.goals:
                value = each["values"].get(goal)
                if type(value) not in (int, float) or not math.isfinite(value):
                    raise StudyError(f"{where} hold a finite number as {goal}, got {value!r:.80}")
            try:
                self.observed(each)
            except LookupError as error:
                name = error.args[0]
                value = each["config"].get(name, "none")
                raise StudyError(f"{where} lie in the space, got {value!r:.80} for {name}") from None

    def observed(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Return an observation's searched hyperparameters. Raises LookupError, with its name, for one that is not in
        its domain."""

        def pick(name: str, domain: Domain) -> Any:
            try:
                return held(domain, observation["config"][name])
            except LookupError:
                raise LookupError(name) from None

        whole = self.space.compose(pick)
        return {name: whole[name] for name in self.searched() if name in whole}

    def _check_drawn(self) -> None:
        """Check whole configurations, since hyperparameters may exclude each other and decide a trial's length.

        Beside random ones they are those in which each choice and each end of a range occurs.
        """
        try:
            for config in self.space.edges():
                self.settings(config)
            lengths = self._drawn_lengths()
        except ValueError as error:
            raise StudyError(f"{self.name}: {error}") from None
        # Early stopping compares trials epoch by epoch.
        if self.scheduler != "none" and len(lengths) > 1:
            raise StudyError(
                f"{self.name}: early stopping needs trials of one length, got {min(lengths)} to {max(lengths)} epochs; "
                f"fix the hyperparameters that decide the length (members, strategy) or use --scheduler none"
            )

    def _drawn_lengths(self) -> set[int]:
        lengths = set()
        for settings in self._drawn_settings():
            lengths.add(int(self.trainable.strategy.trial_epochs(settings)))
        return lengths

    def sample(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield `count` random configurations, the same ones each time, or a single one if nothing is searched."""
        random = np.random.RandomState(0)
        for _ in range(count if self.searched() else 1):
            drawn = self.space.compose(lambda name, domain: domain.sample(random_state=random))
            yield {"epochs": self.epochs, **drawn}

    def _drawn_settings(self) -> Iterator[Any]:
        return map(self.settings, self.sample(DRAWN))

    def check_search(self) -> None:
        """Raise StudyError if some trial of a search would not measure the metrics that the search compares."""
        if self.foreign:
            return  # what its trials measure is known when they report
        known = columns.of("epochs", self.metrics)
        for settings in self._drawn_settings():
            for name in dict.fromkeys((*self.goals, self.rank_by)):
                for need in known[name].needs:
                    if not (given := getattr(settings, need, None)):
                        raise StudyError(f"{self.name}: a search by {name} needs {need}, got {need}={given!r}")

    @property
    def goals(self) -> dict[str, str]:
        """Return every objective with its direction, the metric first."""
        return {self.metric: self.mode, **self.objectives}

    @property
    def metrics(self) -> tuple[columns.Column, ...]:
        """Return the trainable's own metrics."""
        return tuple(getattr(self.trainable, "metrics", ()))

    def hyperparameter_types(self) -> dict[str, str]:
        """Return the type of every hyperparameter's column, as the trainable's settings declare it."""
        types: dict[str, str] = self.trainable.recipe.settings_type.column_types()
        return types

    def configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration completed with the defaults of the hyperparameters that it leaves out."""
        settings = self.settings(config)
        return dict(settings) if isinstance(settings, Mapping) else dataclasses.asdict(settings)

    def settings(self, config: Mapping[str, Any]) -> Any:
        """Return the trainable's validated settings, with the study's epochs unless the configuration has its own.

        Raises ValueError, with one line, if they are invalid.
        """
        return self.trainable.recipe.settings_type.from_config({"epochs": self.epochs, **config})

    def checked(self, name: str, value: Any) -> Any:
        """Return one hyperparameter's value if its type and range are right, whatever the others are.

        Raises ValueError with one line.
        """
        return self.trainable.recipe.settings_type.checked(name, value)

    @functools.cached_property
    def trial_epochs(self) -> int:
        """Return the steps of the longest full trial, given by a member's `epochs` and the trial's strategy."""
        return max(self._drawn_lengths())

    @property
    def grace(self) -> int:
        """Return the epochs before early stopping stops a trial."""
        return self.grace_epochs or max(1, round(self.trial_epochs / GRACE_SHARE))

    @property
    def factor(self) -> int:
        """Return the factor of early stopping: at each rung, one trial in so many continues."""
        return self.reduction_factor or REDUCTION_FACTOR

    @property
    def design(self) -> str:
        """Return how the trials before TPE has learnt anything are chosen: one of DESIGNS."""
        return self.initial_design or DESIGNS[0]

    def replay_configs(
        self, repeats: int, seed: int, arms: Sequence[str] = ()
    ) -> list[tuple[dict[str, Any], str | None]]:
        """Return all arms, or those named, each with seeds seed, seed + 1, ...; equal seeds let arms be paired.

        Raises StudyError if the study lacks a named arm, or has no arms.
        """
        if not self.arms:
            raise StudyError(f"{self.name} has no arms to replay: run it without --replay")
        if unknown := [arm for arm in arms if arm not in self.arms]:
            raise StudyError(f"{self.name} has no arm {unknown[0]!r}: choose from {', '.join(self.arms)}")
        return [
            ({**self.completed(config), "seed": seed + repeat}, arm)
            for repeat in range(repeats)
            for arm, config in self.arms.items()
            if not arms or arm in arms
        ]

    def require_free_seeds(self, arms: Sequence[str] = ()) -> None:
        """Raise StudyError if one of the arms, all or those named, has a seed of its own, which a replay replaces.

        A seed that the study fixes is that of a search's trials.
        """
        for arm, config in self.arms.items():
            if "seed" in config and (not arms or arm in arms):
                raise StudyError(
                    f"{self.name}: a replay gives each arm the seeds of --seed and --repeats, got "
                    f"seed={config['seed']} for arm {arm!r}: leave it out, and use --seed"
                )

    @functools.cached_property
    def space(self) -> Space:
        """Return the search space by what can become of each hyperparameter."""
        return Space(self.param_space)

    def searched(self) -> dict[str, Domain]:
        """Return the domain of each searched hyperparameter, also of those that not every trial has."""
        return self.space.searched

    def fixed(self) -> dict[str, Any]:
        """Return the hyperparameters that have one value in every trial."""
        return self.space.fixed

    def completed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return an arm's configuration with the values that the study fixes and the arm leaves out."""
        whole = {**self.fixed(), **config}
        for name, value in self.space.sometimes.items():
            if name not in whole and all(each.holds(whole) for each in self.space.conditions[name]):
                whole[name] = value
        return whole

    def with_set(self, assignments: Sequence[str]) -> Study:
        """Return the study with `name=value` hyperparameters, or `resize` or `channels`, fixed.

        Raises StudyError for an invalid assignment.
        """
        changes: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise StudyError(f"--set takes name=value, got {assignment!r}")
            if name in _OF_IMAGES and not self.foreign and name not in self.hyperparameter_types():
                own[name] = int(text) if text.isdecimal() else text
                continue
            try:
                changes[name] = self.trainable.recipe.settings_type.parse(name, text)
            except ValueError as error:
                raise StudyError(f"--set {assignment}: {error}") from None
        study = dataclasses.replace(self.with_fixed(changes), **own)
        for name in changes:
            if isinstance(value := study.param_space.get(name), When) and name not in study.space.known:
                told = " and ".join(map(str, value.conditions))
                raise StudyError(f"--set {name}={changes[name]} has no effect: {name} exists only if {told}")
        return study

    def with_fixed(self, changes: Mapping[str, Any]) -> Study:
        """Return the study with these hyperparameters fixed, in the arms too, or given another domain.

        `members` changes ensembles only: an arm with a single model keeps its single model. A hyperparameter that
        exists only under conditions keeps them.
        """
        changes = dict(changes)
        fixed = {name: value for name, value in changes.items() if not isinstance(value, Domain)}
        arms = {arm: {**config, **fixed} for arm, config in self.arms.items()}
        if MEMBERS in fixed and not self.foreign:
            for arm, config in self.arms.items():
                if self.settings(self.completed(config)).members == 1:
                    arms[arm][MEMBERS] = 1
        epochs = changes.pop("epochs", self.epochs)
        space = changed(self.param_space, changes)
        first = self.first
        if first is not None:
            # What a hyperparameter with another domain brings along is not known to exist any more.
            moved = {name for name in changes if name not in fixed}
            dropped = changes.keys() | {
                name
                for name, value in space.items()
                if isinstance(value, When) and any(each.name in moved for each in value.conditions)
            }
            first = [{name: value for name, value in config.items() if name not in dropped} for config in first]
        alike = self.observations if epochs == self.epochs else ()
        known = [each for each in alike if _lies_in(each["config"], changes)]
        return dataclasses.replace(self, param_space=space, epochs=epochs, arms=arms, first=first, observations=known)

    def with_weights(self, folder: str) -> Study:
        """Return the study with pretrained weights read from `folder`; configurations with random weights keep them.

        Raises StudyError if none of the study's networks is pretrained.
        """
        if self.foreign or not self.trainable.recipe.settings_type.pretrained:
            raise StudyError(
                f"{self.name} must have pretrained networks to take weights, got {folder}: trainables/pretrained.py "
                "has them, and a family of your own that declares pretrained = True in its settings"
            )
        undeclared = self.configured({})["weights"]
        if "weights" in self.space.conditions and undeclared != "random":
            told = " and ".join(map(str, self.space.conditions["weights"]))
            raise StudyError(
                f"{self.name}: weights exists only if {told}, so --weights would not reach the other configurations: "
                "write weights in the study without when, or the folder itself"
            )

        def given(weights: Any) -> Any:
            return weights if weights == "random" else folder

        def known(config: Mapping[str, Any]) -> dict[str, Any]:
            return {name: given(value) if name == "weights" else value for name, value in config.items()}

        pretrained = {
            arm for arm, config in self.arms.items() if self.configured(self.completed(config))["weights"] != "random"
        }
        arms = {arm: {**each, "weights": folder} if arm in pretrained else each for arm, each in self.arms.items()}
        space = replaced({"weights": undeclared, **self.param_space}, "weights", given)
        first = None if self.first is None else [known(config) for config in self.first]
        observations = [{**each, "config": known(each["config"])} for each in self.observations]
        return dataclasses.replace(self, param_space=space, arms=arms, first=first, observations=observations)

    def on_folder(self) -> Study:
        """Return the study on a folder of the user's own, without what a note says of another data set."""
        return dataclasses.replace(self, dataset="folder", reported=(), claims=())

    def as_smoke(self) -> Study:
        """Return the same study, tiny, on the digits."""
        changes = dict(self.smoke)
        samples = changes.pop("samples", 8)
        tiny = dataclasses.replace(self, dataset="digits", samples=samples, observations=())
        return tiny.with_fixed(changes)


def _lies_in(config: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Return whether a configuration has a value that its changed hyperparameters still have, as far as it says."""
    return all(
        domain_holds(value, config[name]) if isinstance(value, Domain) else same(value, config[name])
        for name, value in changes.items()
        if name in config
    )


_COUNT = "[1-9][0-9]{0,8}"
_CLAIMED_ARM = re.compile(rf"[^:@]*(:{_COUNT})?(@{_COUNT})?")
_CLAIMED_QUANTITY = re.compile(rf"([^@]*)(@{_COUNT})?")


def _unmeasurable(quantity: str, arm: str) -> str | None:
    """Return why no trial of `arm` can measure a claim's quantity, None if one can."""
    of, told = _CLAIMED_ARM.fullmatch(arm), _CLAIMED_QUANTITY.fullmatch(quantity)
    if of is None:
        return f"must name arms as 'arm', 'arm:k', 'arm@e' or 'arm:k@e' with k and e from 1, got {arm!r}"
    if told is None:
        return f"must name its quantity as 'quantity' or 'quantity@e' with e from 1, got {quantity!r}"
    if of[2] and told[2]:
        return f"must name an epoch with its arms or with its quantity, got {arm!r} and {quantity!r}"
    known = columns.quantities(first_members=bool(of[1]), at_epoch=bool(of[2] or told[2]))
    if told[1] not in known:
        return f"must have as the quantity of {arm!r} one of {', '.join(known)}, got {quantity!r}"
    return None


def load(path: Path, loader: type[siblings.FreshLoader] = siblings.FreshLoader) -> Study:
    """Run a space file and return its study. A space is code and is run as such: load only files you trust.

    The file may import files beside it. Raises StudyError, with file and line if the file does not run.
    """
    if not os.path.isfile(path):  # pathlib raises for a name that no file can have
        raise StudyError(f"no such space file: {path}")
    if path.suffix != ".py":
        raise StudyError(f"a space must be a Python file, got {path}")
    own = loader(f"space_{path.stem}", str(path))
    spec = importlib.util.spec_from_file_location(own.name, path, loader=own)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # The module is in sys.modules only while it runs, since dataclasses look annotations up there. Without it, Ray
    # pickles the file's classes by value afterwards, and workers need not find the file.
    sys.modules[spec.name] = module
    try:
        with siblings.importable(path.resolve().parent, loader), _own_interrupt():
            own.exec_module(module)
    except SyntaxError as error:
        raise StudyError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    except (StudyError, RecordError) as error:
        raise StudyError(f"{path}: {error}") from None
    except _Interrupted:
        raise
    except BaseException as error:  # noqa: BLE001 - any error of a user's file is reported in one line
        raise StudyError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from None
    finally:
        sys.modules.pop(spec.name, None)
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        raise StudyError(f"{path} must define `study = Study(...)`, got {type(study).__name__}")
    try:
        study.require_effective()
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    return study


def _line_of(error: BaseException, path: Path) -> str:
    """Describe the line at which a space file raised, and the line in a file beside it that the space file ran."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == str(path)]
    beside = [frame for frame in frames if Path(frame.filename).parent == path.resolve().parent]
    text = f", line {own[-1]}" if own else ""
    if beside and Path(beside[-1].filename).name != path.name:
        text += f", which runs {Path(beside[-1].filename).name}, line {beside[-1].lineno}"
    return text


class _Interrupted(KeyboardInterrupt):
    """Mark an interrupt by Ctrl-C, as opposed to a KeyboardInterrupt that a space file raises."""


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Turn Ctrl-C into _Interrupted, as opposed to a KeyboardInterrupt that a space file raises itself."""
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
