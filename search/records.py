"""The vocabulary of all rooms: reported runs, claims, column names, study.json.

This module needs the standard library only, so that every room may import it. A results folder is

    results/<study>/<run>/
        study.json           one `StudyRecord`
        trials.parquet       a row for each trial
        epochs.parquet       a row for each trial and epoch
        members.parquet      a row for each trial, epoch and ensemble size (ensembles: the first 1..n members)
        predictions.parquet  a row for each finished trial and test image

Accuracies are fractions in [0, 1], losses nats per image, times seconds of wall clock.
"""

from __future__ import annotations

import collections.abc
import csv
import dataclasses
import datetime
import hashlib
import itertools
import json
import math
import re
import types
import typing
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.columns import CONFIG as CONFIG
from search.columns import TABLES as TABLES
from search.columns import Column, ColumnError
from search.columns import from_json as own_columns

# Every column of the results folder that is not a hyperparameter, named once.
TRIAL_ID = "trial_id"  # int, numbered from 0 in order of suggestion
ARM = "arm"  # str, the study's arm; null for a searched trial
SEED = "seed"  # int, seed of all random choices of a trial except the data split
PROTOCOL = "protocol"  # str: "search", or how the reported run measured
STATUS = "status"
EPOCHS = "epochs"  # int, epochs that the trial finished
ERROR = "error"  # str, why a failed or diverged trial ended; null otherwise
EPOCH = "epoch"  # int, from 1
MEMBERS = "members"  # int, ensemble size (members.parquet: the first `members` members)
PARAMETERS = "parameters"  # int, count for one deployed predictor: an ensemble counts all members
TOTAL_EPOCHS = "total_epochs"  # int, epochs of the trial if it is not stopped
SECONDS = "seconds"  # wall clock of the trial (trials.parquet) or the epoch (epochs.parquet)
TRAIN_SECONDS = "train_seconds"  # part of an epoch's seconds spent training
IMAGES_PER_SECOND = "images_per_second"  # training images of all members, divided by TRAIN_SECONDS
PEAK_MEMORY_BYTES = "peak_memory_bytes"
ONE_IMAGE_MEMORY_BYTES = "one_image_memory_bytes"  # memory to train one member on one image: trainables.network_memory
LR = "lr"  # epochs.parquet: the rate of that epoch
TRAIN_LOSS = "train_loss"
TRAIN_ACCURACY = "train_accuracy"
VAL_LOSS = "val_loss"
VAL_ACCURACY = "val_accuracy"  # the ensemble's vote
MEMBER_VAL_ACCURACY = "member_val_accuracy"  # mean over the members: what ASHA ranks by
OOB_ACCURACY = "oob_accuracy"  # out-of-bag, with bootstrap samples only
TEST_LOSS = "test_loss"
TEST_KL_LOSS = "test_kl_loss"  # divergence of the smoothed target, if labels are smoothed: note C's test loss
TEST_ACCURACY = "test_accuracy"
MEMBER_TEST_ACCURACY = "member_test_accuracy"
TEST_TOP5_ACCURACY = "test_top5_accuracy"
CURVE_DISTANCE = "curve_distance"  # distance of test accuracies, mean over epochs; only under the protocol "recovery"
BEST_VAL_ACCURACY = "best_val_accuracy"  # over a trial's epochs
BEST_VAL_EPOCH = "best_val_epoch"
BEST_TEST_ACCURACY = "best_test_accuracy"  # over a trial's epochs; only if its protocol tests every epoch
BEST_TEST_EPOCH = "best_test_epoch"
IMAGE = "image"  # int, position in the test set
LABEL = "label"
PREDICTED = "predicted"  # the whole predictor's label
# Columns of ensembles: in members.parquet the figures of the last of the first `members` alone; in epochs.parquet
# AdaBoost's member in training and its own accuracy.
OWN_VAL_ACCURACY = "own_val_accuracy"
OWN_TEST_ACCURACY = "own_test_accuracy"
ROUND = "round"
RUNNING_TRAIN_ACCURACY = "running_train_accuracy"
MEMBER_PREDICTED = "member_predicted"  # list of int, one per member

COMPLETED, STOPPED, DIVERGED, FAILED, RUNNING = "completed", "stopped", "diverged", "failed", "running"
STATUSES = (COMPLETED, STOPPED, DIVERGED, FAILED, RUNNING)

SEARCH_PROTOCOL = "search"  # chosen on validation data, tested once at the last epoch
RECOVERY_PROTOCOL = "recovery"  # fits a printed test curve: never in a Pareto table or a claim

# Data set, and its fingerprint, of a study whose trainable reads its own data: a Ray Tune function or class.
NO_DATA = "none"

# Settings that say how a trial is measured, and leave its weights the same.
MEASURING = frozenset(
    {"vote", "train_measure", "train_measure_every", "test_every_epoch", "test_images", "test_augmented"}
)
# Settings that are younger than some kept results, with the value that repeats what those results did.
YOUNGER: Mapping[str, Any] = {
    "loss_unit": "nats",
    "linear_weight_decay": 0.0,
    "input_scale": 1,
    "evaluation": "float32",
}

LAST_EPOCH = 10**6  # greatest epoch of a printed curve

STUDY_FILE = "study.json"
PICTURES_FILE = "pictures.parquet"  # augmented training images and confused test images, see search.gallery
RUN_NAME = "%Y%m%d-%H%M%S"  # name of a run's folder, for strftime
# Format of study.json and the tables beside it; search/README.md has the history.
FORMAT = 3
OLDEST = 1  # oldest format that can still be read
WITH_ENGINES = 3  # first format in which the engine is called `engine` and not `path`
ENGINE_COLUMN, OLD_ENGINE_COLUMN = CONFIG + "engine", CONFIG + "path"


class RecordError(ValueError):
    """A record that does not hold what it must; the message is one line for the user."""


@dataclass(frozen=True)
class Reported:
    """One run as a note printed it (a row of spaces/reported/runs.csv and its curve).

    A field is None if the note does not give it. `config` holds the hyperparameters that the note names, as PyTorch
    names them. `curve` holds one mapping per printed epoch: epoch, train_loss_printed, train_accuracy,
    val_accuracy, test_accuracy, lr, seconds. `alphas` are AdaBoost's weights of its members, round by round.
    """

    run: str
    note: str
    section: str
    arm: str
    dataset: str
    model: str
    strategy: str | None = None
    members: int | None = None
    epochs: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    selection: Literal["final", "best"] | None = None
    train_accuracy: float | None = None
    train_accuracy_measured: str | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    top5_accuracy: float | None = None
    train_loss: float | None = None
    min_train_loss: float | None = None
    test_loss: float | None = None
    loss_unit: str | None = None
    parameters: int | None = None
    total_size_mb: float | None = None
    seconds_per_epoch: float | None = None
    device: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[Mapping[str, float | int | None], ...] = ()
    alphas: tuple[float, ...] = ()


ClaimKind = Literal["difference", "ratio", "order", "within", "level", "no_worse", "contrast"]
_ONE_COMPARISON = ("difference", "ratio", "no_worse")  # kinds that need exactly two arms


@dataclass(frozen=True)
class Claim:
    """One sentence of a note that a study can test.

    `arms` name the study's arms: "arm", or "arm:k" for the first k members of that arm's ensemble, or "arm@e" for
    that arm at epoch e instead of its last (so that one arm is compared with itself: ("arm@41", "arm@39")), or
    "arm:k@e"; "study/" in front names an arm of another study, and the claim then needs both studies' results.
    `quantity` is what the claim compares, one number for each trial: test_accuracy, train_accuracy, val_accuracy, gap
    (train less test accuracy), test_top5_accuracy, train_loss, val_loss, test_loss, test_kl_loss, seconds_per_epoch,
    parameters; best_test_accuracy (of all epochs); member_test_accuracy, the mean of the members' own test accuracies
    (for a single model its test accuracy): three members of one run sharpen a claim on a single model, if members are
    trained alike (Bagging). "quantity@e" takes epoch e of every arm.

    kind        effect                                holds when
    difference  quantity(arms[0]) - (arms[1])         its sign is `expected` ("greater", "less"), or
                                                      |effect| < margin for "equal"
    ratio       quantity(arms[0]) / (arms[1])         against 1 likewise ("equal": |effect - 1| < margin)
    order       the least step along `arms`           quantity is "increasing" or "decreasing" in that order
    within      largest less smallest                 effect < margin
    level       quantity(arm), of the arm that lies   low < quantity < high for every one of `arms` (one or more)
                deepest outside low..high or next
                to an end
    no_worse    quantity(arms[0]) - (arms[1])         arms[0] is less than `margin` worse than arms[1]; the lower is
                                                      worse if the quantity's column says that more is better
                                                      (accuracies, images_per_second), else the higher
    contrast    |(arms[0]) - (arms[1])| -             the first change is smaller ("less") or larger ("greater")
                |(arms[2]) - (arms[3])|               than the second, whichever way each goes

    `low` and `high`, in the effect's own unit, are the size that the statement itself gives. "level" needs them
    (either end may be open: "the gap is negative" is high=0.0; 57 to 60 % is low=0.57, high=0.60). "difference",
    "ratio" and "contrast" may have them, and then hold only if the effect lies between them ("at least
    21 points": low=0.21; "5 to 7 points": low=0.05, high=0.07; "about 5 times" of a ratio: low=4, high=6, or whatever
    the statement's author would still call "about"). The range must lie on the side that `expected` names.

    `effect` is the note's own figure in the same unit (None: not printed). `printed` holds the figures from which
    `effect` comes as the note prints them, so that their last place is known: one for each arm ("53 %", "47.2 %"), or
    one alone for the whole effect ("4.39 points", "5"); " %" and " points" stand for hundredths. Without `effect`,
    `printed` gives it; with both, they must agree. Without `printed` the last place is guessed from `effect`, as a
    whole percent at most.

    If the note's comparison changes more than one thing, `confounded_by` names what else changes and `clean_arms`
    are the arms that change one thing only; the claim is then reported as confounded, with the clean arms' verdict.
    """

    name: str
    statement: str
    source: str
    arms: tuple[str, ...]
    quantity: str = TEST_ACCURACY
    kind: ClaimKind = "difference"
    expected: Literal["greater", "less", "equal", "increasing", "decreasing"] = "greater"
    margin: float | None = None
    effect: float | None = None
    confounded_by: tuple[str, ...] = ()
    clean_arms: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    printed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problem := _mistyped(self) or self._contradiction() or self._misprinted():
            raise RecordError(f"claim {self.name!r:.80} {problem}")
        if self.effect is None:
            object.__setattr__(self, "effect", self._printed_effect())

    def _contradiction(self) -> str | None:
        return self._miscounted() or self._unexpected() or self._mismeasured()

    def _miscounted(self) -> str | None:
        fewest = 1 if self.kind == "level" else 4 if self.kind == "contrast" else 2
        if len(self.arms) < fewest:
            return f"needs at least {_count(fewest)}, got {len(self.arms)}"
        if self.kind in _ONE_COMPARISON and len(self.arms) != 2:
            return f"of kind {self.kind!r} needs exactly two arms, got {len(self.arms)}"
        if self.kind == "contrast" and len(self.arms) != 4:
            return f"of kind 'contrast' needs exactly four arms, got {len(self.arms)}"
        if bool(self.confounded_by) != bool(self.clean_arms):
            return "must name both confounded_by and clean_arms or neither"
        if self.clean_arms and len(self.clean_arms) != len(self.arms) and self.kind not in ("within", "level"):
            return f"needs {len(self.arms)} clean_arms, got {len(self.clean_arms)}"
        return None

    def _unexpected(self) -> str | None:
        if self.kind == "order" and self.expected not in ("increasing", "decreasing"):
            return f"of kind 'order' must expect 'increasing' or 'decreasing', got {self.expected!r}"
        if self.kind in ("difference", "ratio") and self.expected not in ("greater", "less", "equal"):
            return f"of kind {self.kind!r} must expect 'greater', 'less' or 'equal', got {self.expected!r}"
        if self.kind == "contrast" and self.expected not in ("greater", "less"):
            return f"of kind 'contrast' must expect 'greater' or 'less', got {self.expected!r}"
        if self.kind in ("level", "no_worse") and self.expected != "greater":
            return f"of kind {self.kind!r} takes no expected (its range or margin decides), got {self.expected!r}"
        return None

    def _mismeasured(self) -> str | None:
        margins = self.kind in ("within", "no_worse") or self.expected == "equal"
        if margins and not (self.margin and self.margin > 0):
            return f"needs a positive margin, got {self.margin!r}"
        if self.margin is not None and not margins:
            return f"takes a margin only with kind 'within' or 'no_worse' or expected 'equal', got {self.margin!r}"
        if self.low is None and self.high is None:
            return "of kind 'level' needs low or high, got neither" if self.kind == "level" else None
        given = f"got low={self.low!r}, high={self.high!r}"
        if self.low is not None and self.high is not None and not self.low < self.high:
            return f"needs low < high, {given}"
        if self.kind == "level":
            return None
        if self.kind not in ("difference", "ratio", "contrast") or self.expected == "equal":
            kinds = "'level', or 'difference', 'ratio' or 'contrast' with expected 'greater' or 'less'"
            return f"takes low and high only with kind {kinds}, {given}"
        none = 1.0 if self.kind == "ratio" else 0.0
        inner = self.low if self.expected == "greater" else self.high
        if inner is None or (inner < none if self.expected == "greater" else inner > none):
            return f"expects {self.expected!r}: its range must lie on that side of {none:g}, {given}"
        return None

    def _misprinted(self) -> str | None:
        if not self.printed:
            return None
        if len(self.printed) not in (1, len(self.arms)):
            return f"needs printed to hold one figure for each of its {len(self.arms)} arms or one, got {self.printed}"
        try:
            figures = self.figures
        except RecordError as error:
            return str(error)
        if self.kind == "ratio" and figures[-1][0] == 0:
            return f"of kind 'ratio' divides by zero, got printed {self.printed}"
        told = self._printed_effect()
        slack = sum(place for _, place in figures)  # half a place for each figure, and as much again for the effect
        if self.kind == "ratio" and len(figures) == 2:
            (above, up), (below, down) = figures
            slack = abs(above / below) * (up / abs(above or 1.0) + down / abs(below))
        if told is not None and self.effect is not None and abs(told - self.effect) > slack:
            return f"needs an effect of {told:.6g}, which printed {self.printed} gives, got effect={self.effect!r}"
        return None

    @property
    def figures(self) -> tuple[tuple[float, float], ...]:
        """Return each figure of `printed` as value and unit of its last place, in the quantity's unit. Raises
        RecordError."""
        return tuple(printed_figure(text) for text in self.printed)

    def _printed_effect(self) -> float | None:
        """Return the effect that `printed` gives; None without it, and for levels of several arms, which have none."""
        values = [value for value, _ in self.figures]
        if len(values) == 1:
            return values[0] if self.kind != "level" or len(self.arms) == 1 else None
        if self.kind == "level" or not values:
            return None
        if self.kind == "ratio":
            return values[0] / values[1]
        if self.kind == "within":
            return max(values) - min(values)
        if self.kind == "order":
            steps = [after - before for before, after in itertools.pairwise(values)]
            return min(steps) if self.expected == "increasing" else min(-step for step in steps)
        if self.kind == "contrast":
            return abs(values[0] - values[1]) - abs(values[2] - values[3])
        return values[0] - values[1]


def _count(arms: int) -> str:
    return {1: "one arm", 2: "two arms", 4: "four arms"}[arms]


_PRINTED = re.compile(r"([+-]?)([0-9][0-9,]*|(?=\.))(?:\.([0-9]+))?\s*(%|points)?")


def printed_figure(text: str) -> tuple[float, float]:
    """Return a printed figure's value and the unit of its last place: "47.2 %" -> (0.472, 0.001).

    Raises RecordError for what is no number with an optional " %" or " points" behind it.
    """
    match = _PRINTED.fullmatch(text.strip())
    if match is None:
        raise RecordError(f"needs printed figures such as '53 %', '4.39 points' or '1.226', got {text!r:.40}")
    sign, whole, places, unit = match.groups()
    shift = (2 if unit else 0) + len(places or "")
    digits = int((whole.replace(",", "") or "0") + (places or ""))
    return float(f"{sign}{digits}e-{shift}"), float(f"1e-{shift}")


@dataclass(frozen=True)
class Training:
    """All that determines the weights of a trial except its seed, and how the trial is measured.

    key         digest of the trainable's name, its code if it is the user's own, the data's fingerprint and every
                setting that changes weights
    members     ensemble size; member i draws from (seed, i) alone, so that the first k of n members equal the members
                of a training of k
    sequential  whether members train one after the other (AdaBoost), so that k members are the first k rounds
    measuring   the settings of `MEASURING`

    Two trials with the same key, seed and number of members have the same weights.
    """

    key: str
    members: int
    sequential: bool
    measuring: Mapping[str, Any]

    @classmethod
    def of(
        cls, trainable: str, fingerprint: str, settings: Mapping[str, Any], code: Mapping[str, str] | None = None
    ) -> Training:
        """Return the training of a trial with these `settings`, including those left at their defaults.

        `code`: as a record's definition has it. Of this project's own families the name says enough. Of a trainable
        without data of ours every setting but the seed counts, since its names have its user's meaning.
        """
        own = own_code(code or {})

        def key(whole: Mapping[str, Any]) -> str:
            text = json.dumps([trainable, fingerprint, whole, *([own] if own else [])], sort_keys=True, default=str)
            return hashlib.sha256(text.encode()).hexdigest()

        if fingerprint == NO_DATA:
            whole = {name: _number(value) for name, value in settings.items() if name != "seed"}
            return cls(key(whole), 1, False, {})
        kept = {name: value for name, value in settings.items() if name not in MEASURING | {"seed", "members"}}
        kept = {name: value for name, value in kept.items() if name not in YOUNGER or value != YOUNGER[name]}
        members = settings.get("members", 1)
        steps = str(kept.pop("engine", None) or "plain").split("+")
        if "fuse" in steps and members == 1:
            steps = [step for step in steps if step != "fuse"] or ["plain"]
        elif "fuse" in steps or kept.get("patience") is not None:
            # Fused members draw dropout from one stream, and patience is that of the whole vote: a smaller ensemble
            # has other members, or other epochs.
            kept["members"] = members
        whole = {name: _number(value) for name, value in kept.items()} | {"engine": "+".join(sorted(steps))}
        return cls(
            key(whole),
            members,
            "boosting" in settings and settings.get("strategy") != "bagging",
            {name: settings[name] for name in sorted(MEASURING & settings.keys())},
        )

    def holds(self, other: Training) -> bool:
        """Return whether these weights include those of `other`, with the test set measured alike.

        How training accuracy was measured may differ.
        """
        same = ("test_images", "test_every_epoch", "test_augmented", *(("vote",) if other.members > 1 else ()))
        return (
            self.key == other.key
            and self.members >= other.members
            and all((self.measuring.get(name) or None) == (other.measuring.get(name) or None) for name in same)
        )

    def answers(self, other: Training) -> bool:
        """Return whether this training measures all that `other` would; all measure running accuracies and losses."""
        way = ("train_measure", "train_measure_every")
        return self.holds(other) and (
            other.measuring.get("train_measure", "running") == "running"
            or all(self.measuring.get(name) == other.measuring.get(name) for name in way)
        )


def own_code(code: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a definition's code that is the user's own, not this project's."""
    return {part: digest for part, digest in code.items() if not part.startswith(("trainables/", "search/"))}


def _number(value: Any) -> Any:
    """Return a whole number as a float, so that 1 and 1.0 have the same text."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass
class StudyRecord:
    """The content of study.json: how a run was asked for, started and ended."""

    study: str
    run: str
    question: str
    source: str
    trainable: str
    dataset: str
    dataset_fingerprint: str
    protocol: str
    metric: str
    mode: str
    objectives: dict[str, str]  # metric -> "max" or "min"; one entry unless multi-objective
    epochs: int
    samples: int
    searcher: str
    scheduler: str
    seed: int
    space: dict[str, str]  # hyperparameter -> its domain as Ray Tune prints it
    fixed: dict[str, Any]  # hyperparameters that the study, --set or --smoke fixed
    arms: dict[str, dict[str, Any]]
    command: str
    started: str  # ISO 8601, UTC
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    wall_seconds: float = 0.0
    finished: bool = False
    smoke: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # options of the command line, for --resume
    reported: list[Reported] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    # Every setting of each arm as the study declares it, before --set and --smoke; empty in older records.
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)  # the trainable's own, from `search.columns.as_json`
    columns: dict[str, list[str]] = field(default_factory=dict)  # table -> its columns; since format 2
    format: int = FORMAT
    # Arms of a replay that were not run: arm -> "other" or "other:k", the arm that trains the same.
    answered_by: dict[str, str] = field(default_factory=dict)
    # Trials of a replay that were not run: arm -> seed -> folder and arm of an equal trial that had finished.
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    # Every value that the results depend on, as `search.definition` names them; empty in older records.
    definition: dict[str, Any] = field(default_factory=dict)
    journal: str = ""  # id in the first line of the run's journal
    class_names: list[str] = field(default_factory=list)  # names of labels 0, 1, ...; empty in older records
    # What a network's inputs are made with: channels, size, mean, std; and how many images each part has, and how they
    # were prepared. Empty in older records.
    images: dict[str, Any] = field(default_factory=dict)

    @property
    def own_columns(self) -> tuple[Column, ...]:
        """Return the columns of the trainable's own metrics."""
        return own_columns(self.metrics)

    def settings_of(self, arm: str) -> dict[str, Any] | None:
        """Return every setting of an arm as it was run, None if the record lacks them, as older records do."""
        if arm not in self.declared or arm not in self.arms:
            return None
        settings = self.declared[arm] | self.arms[arm]
        # Before 2026-11-30 an arm that named no epochs was declared with the trainable's default, not the study's.
        inherits = "epochs" in settings and "epochs" not in self.arms[arm] | self.fixed
        return settings | {"epochs": self.epochs} if inherits else settings

    def training_of(self, arm: str) -> Training | None:
        """Return the training of an arm's trials, None if the record lacks the arm's settings."""
        settings = self.settings_of(arm)
        code = self.definition.get("code")
        return Training.of(self.trainable, self.dataset_fingerprint, settings, code) if settings else None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = STUDY_FILE) -> StudyRecord:
        """Parse study.json. Raises RecordError, naming `where`, if the text is not a study record."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise RecordError(f"{where} must hold a JSON object, got {type(raw).__name__}")
        # A record of format 1 has no number.
        written = raw.setdefault("format", 1)
        if type(written) is not int or not OLDEST <= written <= FORMAT:
            raise RecordError(f"{where} must have a format from {OLDEST} to {FORMAT}, got {written!r:.40}: {_REMEDY}")
        if written < WITH_ENGINES:
            raw = _with_engines(raw)
        known, hints = {f.name: f for f in dataclasses.fields(cls)}, typing.get_type_hints(cls)
        required = {
            name
            for name, f in known.items()
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        if missing := sorted(required - raw.keys()):
            raise RecordError(f"{where} lacks {', '.join(missing)}")
        if unknown := sorted(raw.keys() - known.keys()):
            raise RecordError(f"{where} has fields this version does not know: {', '.join(unknown)}")
        for name, value in raw.items():
            # The contents of these fields are checked below, where messages can name the faulty one.
            outer = {"reported": list, "claims": list} | dict.fromkeys(
                ("columns", "arms", "declared", "answered_by", "known"), dict
            )
            if not _fits(value, outer.get(name, hints[name])):
                raise RecordError(f"{where}: {name} must be {known[name].type}, got {value!r:.40}")
        for table, names in raw.get("columns", {}).items():
            if not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
                raise RecordError(f"{where}: columns must name the columns of table {table!r:.40}, got {names!r:.40}")
        for name in ("arms", "declared"):
            if odd := [arm for arm, settings in raw.get(name, {}).items() if not isinstance(settings, dict)]:
                raise RecordError(f"{where}: {name} must hold the settings of each arm, got none of {odd[0]!r:.40}")
            for arm, settings in raw.get(name, {}).items():
                for count in ("members", "epochs"):
                    if (value := settings.get(count, 1)) != 1 and not (type(value) is int and value > 1):
                        raise RecordError(f"{where}: {count} of arm {arm!r:.40} must be 1 or more, got {value!r:.40}")
        if odd := [arm for arm, other in raw.get("answered_by", {}).items() if not isinstance(other, str)]:
            raise RecordError(f"{where}: answered_by must name the arm that answers {odd[0]!r:.40}")
        for arm, seeds in raw.get("known", {}).items():
            if not isinstance(seeds, dict) or not all(isinstance(each, str) for each in seeds.values()):
                raise RecordError(f"{where}: known must name a folder for each seed of {arm!r:.40}, got {seeds!r:.40}")
        try:
            raw["reported"] = [Reported(**_tuples(run)) for run in raw.get("reported", [])]
            for run in raw["reported"]:
                if problem := _mistyped(run) or _unplaced(run.curve):
                    raise RecordError(f"reported run {run.run!r:.80} {problem}")
            raw["claims"] = [Claim(**_tuples(claim)) for claim in raw.get("claims", [])]
            own_columns(raw.get("metrics", []))
            return cls(**raw)
        except (RecordError, ColumnError) as error:
            raise RecordError(f"{where}: {error}") from None
        except (TypeError, AttributeError) as error:
            raise RecordError(f"{where} holds a malformed record: {error}") from None


def _with_engines(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a record older than `WITH_ENGINES` with `path`, its name of the engine, replaced by `engine`."""

    def renamed(settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        return {"engine" if name == "path" else name: value for name, value in settings.items()}

    def of_arms(arms: Any) -> Any:
        return {arm: renamed(settings) for arm, settings in arms.items()} if isinstance(arms, dict) else arms

    single, several = {"fixed", "options", "space", "constants"}, {"arms", "declared"}
    made = {}
    for name, value in raw.items():
        if name == "definition" and isinstance(value, dict):
            made[name] = _with_engines(value)
        else:
            made[name] = renamed(value) if name in single else of_arms(value) if name in several else value
    return made


_REMEDY = "another version of this project wrote it"


def _mistyped(record: Any) -> str | None:
    """Return what is wrong with the type of a field, None if nothing is: a frozen record may come from JSON."""
    for name, hint in typing.get_type_hints(type(record)).items():
        if not _fits(value := getattr(record, name), hint):
            wanted = str(hint).replace("typing.", "") if typing.get_args(hint) else hint.__name__
            return f"needs {name} of type {wanted}, got {value!r:.40}"
    return None


def _unplaced(curve: tuple[Mapping[str, Any], ...]) -> str | None:
    """Return what is wrong with the epochs of a printed curve, None if nothing is."""
    epochs = [point.get(EPOCH) for point in curve]
    odd = [epoch for epoch in epochs if not (isinstance(epoch, int) and 1 <= epoch <= LAST_EPOCH)]
    return f"needs an epoch from 1 to {LAST_EPOCH} at each point of its curve, got {odd[0]!r:.40}" if odd else None


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value and all that it contains have the type that `hint` names; numbers must be finite."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return isinstance(value, str) and value in arguments
        case types.UnionType | typing.Union:
            return any(_fits(value, each) for each in arguments)
        case collections.abc.Mapping:
            return isinstance(value, Mapping) and all(_fits(each, arguments[1]) for each in value.values())
        case origin if origin in (tuple, list):
            return isinstance(value, origin) and all(_fits(each, arguments[0]) for each in value)
        case origin if origin is dict:
            return isinstance(value, dict) and all(_fits(each, arguments[1]) for each in value.values())
    if hint is Any:
        return True
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        try:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:  # a whole number larger than every float
            return False
    return isinstance(value, hint)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a record's fields with JSON's lists replaced by tuples, which frozen records hold."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _cell(text: str) -> Any:
    """Return a CSV cell as a number or truth value if it is one, None if it is empty, else as text."""
    if text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text


def read_reported(folder: Path) -> dict[str, Reported]:
    """Return the reported runs in `folder` (runs.csv, curves.csv, alphas.csv if there is one), by run name.

    Raises RecordError for a file that cannot be read, an unknown or missing column, a row with too many or too few
    cells, a repeated run, a curve of an unknown run or without epochs, and weights of an unknown run or out of the
    order of rounds 1, 2, ...
    """
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(folder / "curves.csv", ("run", "epoch")):
        run = row.pop("run")
        point = {name: _cell(text) for name, text in row.items()}
        if not isinstance(point["epoch"], int):
            raise RecordError(f"curves.csv: run {run!r} must have whole epochs, got {row['epoch']!r}")
        curves.setdefault(run, []).append(point)
    alphas = _read_alphas(folder / "alphas.csv")
    fields_of_run = dataclasses.fields(Reported)
    known = {f.name for f in fields_of_run} - {"config", "curve", "alphas"}
    required = tuple(f.name for f in fields_of_run if f.default is f.default_factory is dataclasses.MISSING)
    # Columns whose cells are text even if they look like numbers: "A", "4.1".
    text_columns = {"run", "note", "section", "arm", "dataset", "model", "strategy", "device"}
    runs: dict[str, Reported] = {}
    for row in _rows(folder / "runs.csv", required):
        fields: dict[str, Any] = {}
        config: dict[str, Any] = {}
        for column, text in row.items():
            if column.startswith(CONFIG):
                if text != "":
                    config[column[len(CONFIG) :]] = _cell(text)
            elif column not in known:
                raise RecordError(f"runs.csv has an unknown column, {column!r}")
            else:
                fields[column] = (text or None) if column in text_columns else _cell(text)
        run = row["run"]
        if not run:
            raise RecordError("runs.csv has a row without the name of its run")
        if run in runs:
            raise RecordError(f"runs.csv has run {run!r} twice")
        curve = tuple(sorted(curves.pop(run, []), key=lambda point: point["epoch"]))
        runs[run] = Reported(**fields, config=config, curve=curve, alphas=tuple(alphas.pop(run, ())))
    for file, left in (("curves.csv", curves), ("alphas.csv", alphas)):
        if left:
            raise RecordError(f"{file} has runs that runs.csv lacks: {', '.join(map(repr, sorted(left)))}")
    return runs


def _read_alphas(file: Path) -> dict[str, list[float]]:
    """Return each run's weights in the order of rounds. Raises RecordError."""
    alphas: dict[str, list[float]] = {}
    for row in _rows(file, ("run", "round", "alpha")) if file.exists() else ():
        of_run, alpha = alphas.setdefault(row["run"], []), _cell(row["alpha"])
        if _cell(row["round"]) != len(of_run) + 1 or not isinstance(alpha, int | float):
            raise RecordError(
                f"{file.name}: run {row['run']!r} must have a number as alpha in round {len(of_run) + 1}, "
                f"got {row['alpha']!r} in round {row['round']!r}"
            )
        of_run.append(alpha)
    return alphas


def _rows(file: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    for row in rows:
        if None in row or None in row.values():
            raise RecordError(f"{file.name}: run {row.get('run')!r} has too many or too few cells")
        if missing := [name for name in required if name not in row]:
            raise RecordError(f"{file.name} lacks the column {', '.join(missing)}")
    return rows


def plain(value: Any) -> Any:
    """Return a value with NumPy's and PyTorch's scalars and arrays replaced by Python's numbers, text and lists."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        found = value.tolist()
        return float(found) if hasattr(found, "dtype") else found  # tolist of a long double returns the long double
    return value


def writable_text(text: str) -> bool:
    """Return whether text fits a file's name, a table and one line: no control character, no lone surrogate."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def run_order(folder: str, record: StudyRecord | None = None) -> tuple[str, int, str]:
    """Return the key that sorts a study's runs by the name of their folder: the newest run has the greatest.

    A run's name is the second in which the run began, and at least one second after the newest earlier name: names
    grow even if the clock was set back. After the calendar's last second a count follows. A renamed folder is sorted
    by its record.
    """
    for name in (folder, record.run if record else ""):
        match = re.fullmatch(r"(\d{8}-\d{6})(?:-(\d{1,9}))?(?:-smoke)?", name, re.ASCII)
        try:
            if match and datetime.datetime.strptime(match[1], RUN_NAME):
                return match[1], int(match[2] or 1), name
        except ValueError:
            continue  # the digits are no date
    return "", 0, record.started if record else folder
