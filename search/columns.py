"""Every column of the results tables, declared once.

These declarations give the types that a run writes, the checks that a reader makes, the names that a study may
choose or rank by, and the tables of `search/README.md` (`python -m search.columns` prints them). To add a metric,
declare it here and report it from a trainable under the same name; nothing else changes. A trainable's own metrics
are `Column`s, too: see `trainables.base.ImageTrainable.metrics`. This module needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TABLES = ("trials", "epochs", "members", "predictions")
Type = Literal["int64", "int32", "int16", "float64", "bool", "string", "list<int16>"]
MeasuredOn = Literal["", "training", "validation", "test", "clock", "memory", "count"]
CONFIG = "config/"  # prefix of every hyperparameter's column, whose type the settings give

FRACTION, NATS, SECONDS_UNIT, BYTES = "fraction", "nats per image", "s", "bytes"


class ColumnError(ValueError):
    """A declaration that contradicts itself; the message is one line."""


@dataclass(frozen=True)
class Column:
    """One quantity of a results table.

    tables       the tables that have the column
    type         the type of its values, as Arrow names it
    meaning      one sentence for a reader of the table
    unit         "" for a name, a count or a plain number
    measured_on  the images, or the clock, the memory or a count; "" if the column is no measurement
    better       "max" or "min" if the larger or the smaller of two trials' values is better; None if neither is
    required     whether a table without the column cannot be read; its values are then never null, unless `nullable`
    low, high    the least and greatest value (a loss may also be infinite)
    reported_as  a trainable's name for a list with a value for each member or ensemble size; "" if it is `name`
    needs        settings without which the quantity is not measured
    """

    name: str
    tables: tuple[str, ...]
    type: Type
    meaning: str
    unit: str = ""
    measured_on: MeasuredOn = ""
    better: Literal["max", "min"] | None = None
    required: bool = False
    nullable: bool = False
    low: float = -math.inf
    high: float = math.inf
    reported_as: str = ""
    needs: tuple[str, ...] = ()

    @property
    def reported(self) -> str:
        """Return the name under which a trainable reports the quantity."""
        return self.reported_as or self.name

    def chosen_by(self) -> str | None:
        """Return why no trial may be chosen or stopped by this quantity, None if one may."""
        if self.measured_on == "test":
            return "is measured on test images: the test set is reported, and no trial is chosen by it"
        if "epochs" not in self.tables or not self.measured_on or self.better is None:
            return "is nothing that a trainable measures after each epoch"
        return None


def metric(
    name: str,
    meaning: str,
    *,
    measured_on: MeasuredOn,
    better: Literal["max", "min"],
    unit: str = FRACTION,
    low: float = 0.0,
    high: float = math.inf,
    needs: tuple[str, ...] = (),
) -> Column:
    """Declare a metric of the whole predictor that a trainable reports after each epoch.

    Raises ColumnError for a name that another column has or that no column can have, and for an unknown
    `measured_on` or direction.
    """
    if not re.fullmatch(r"[A-Za-z]\w{0,99}", name, re.ASCII):
        raise ColumnError(f"a metric's name must be letters, digits and '_', at most 100, got {name!r:.120}")
    if name in RESERVED:
        raise ColumnError(f"a trainable's own metric must have a name of its own, got {name!r}, a built-in column's")
    if measured_on not in ("training", "validation", "test", "clock", "memory", "count"):
        raise ColumnError(
            f"metric {name!r} must be measured on training, validation, test, clock, memory or count, "
            f"got {measured_on!r}"
        )
    if better not in ("max", "min"):
        raise ColumnError(f"metric {name!r} must have 'max' or 'min' as better, got {better!r}")
    top = 1.0 if unit == FRACTION else high
    tables = ("trials", "epochs")
    return Column(name, tables, "float64", meaning, unit, measured_on, better, low=low, high=top, needs=needs)


def _fractions(name: str, meaning: str, measured_on: MeasuredOn, *tables: str, **more: Any) -> Column:
    better: Literal["max", "min"] = more.pop("better", "max")
    return Column(name, tables, "float64", meaning, FRACTION, measured_on, better, low=0.0, high=1.0, **more)


def _losses(name: str, meaning: str, measured_on: MeasuredOn, *tables: str, **more: Any) -> Column:
    return Column(name, tables, "float64", meaning, NATS, measured_on, "min", **more)


def _of_ensembles(images: MeasuredOn, short: str) -> tuple[Column, ...]:
    """Declare calibration and diversity of the whole predictor and of the first k members, on one set of images."""
    own = ("trials", "epochs")
    needs = ("validation",) if short == "val" else ()
    prefix = f"prefix_{short}_"
    of = "validation" if short == "val" else "test"
    return (
        _fractions(
            f"{short}_ece",
            f"Expected calibration error on {of} images, of the predicted label's probability, in 15 equal bins.",
            images,
            *own,
            better="min",
            needs=needs,
        ),
        Column(
            f"{short}_brier",
            own,
            "float64",
            f"Brier score on {of} images: squared distance of the probabilities from the label, summed over classes.",
            "",
            images,
            "min",
            low=0.0,
            high=2.0,
            needs=needs,
        ),
        _fractions(
            f"{short}_disagreement",
            f"Share of {of} images on which two members' labels differ, mean over the pairs; null for one member.",
            images,
            *own,
            better=None,
            needs=needs,
        ),
        Column(
            f"{short}_q_statistic",
            own,
            "float64",
            f"Yule's Q of two members being right on the same {of} images, mean over the pairs that have one; null "
            "without any (one member, or members that make no error).",
            "",
            images,
            None,
            low=-1.0,
            high=1.0,
            needs=needs,
        ),
        _losses(
            f"{short}_loss",
            f"Negative log-likelihood of the first members' vote on {of} images.",
            images,
            "members",
            reported_as=prefix + "loss",
        ),
        _fractions(
            f"{short}_ece",
            "Expected calibration error of the first members' vote, in 15 equal bins.",
            images,
            "members",
            better="min",
            reported_as=prefix + "ece",
        ),
        Column(
            f"{short}_brier",
            ("members",),
            "float64",
            "Brier score of the first members' vote, summed over classes.",
            "",
            images,
            "min",
            low=0.0,
            high=2.0,
            reported_as=prefix + "brier",
        ),
        _fractions(
            f"{short}_disagreement",
            "Share of images on which two of the first members differ, mean over the pairs; null for one member.",
            images,
            "members",
            better=None,
            reported_as=prefix + "disagreement",
        ),
        Column(
            f"{short}_q_statistic",
            ("members",),
            "float64",
            "Yule's Q of two of the first members being right, mean over the pairs that have one; null without any.",
            "",
            images,
            None,
            low=-1.0,
            high=1.0,
            reported_as=prefix + "q_statistic",
        ),
    )


_EVERY = ("trials", "epochs", "members", "predictions")
_OWN = ("trials", "epochs")

COLUMNS: tuple[Column, ...] = (
    # The subject of a row.
    Column("trial_id", _EVERY, "int64", "Number of the trial, from 0 in order of suggestion.", required=True, low=0),
    Column("epoch", ("epochs", "members"), "int64", "Epoch, from 1.", required=True, low=1),
    Column("members", ("members",), "int64", "Ensemble size: the first members counted.", required=True, low=1),
    Column("name", ("trials",), "string", "The trial's name in the terminal and in its folder.", nullable=True),
    Column(
        "arm",
        ("trials",),
        "string",
        "The study's arm; null for a trial of a search.",
        required=True,
        nullable=True,
    ),
    Column("seed", ("trials",), "int64", "Seed of all random choices except the data split.", required=True, low=0),
    Column(
        "protocol",
        ("trials",),
        "string",
        'How the trial was measured: "search" chooses on validation images and tests once, "replay" measures as the '
        'reported run did, "recovery" fits a printed test curve.',
        required=True,
    ),
    Column("status", ("trials",), "string", "completed, stopped (early), diverged, failed or running.", required=True),
    Column("epochs", ("trials",), "int64", "Epochs that the trial finished.", required=True, low=0),
    Column("total_epochs", ("trials",), "int64", "Epochs of the trial if it is not stopped.", low=1),
    Column("lr", ("epochs",), "float64", "Learning rate of the epoch.", low=0),
    Column("round", ("epochs",), "int64", "AdaBoost: the member in training, from 1.", low=1),
    # Measurements of the whole predictor.
    _losses("train_loss", "Mean training loss of the epoch, over the members.", "training", *_OWN),
    _fractions(
        "train_accuracy",
        "Training accuracy as `train_measure` says: measured during the epoch (running), or the vote's after it; null "
        "after epochs at which the vote's accuracy was not measured.",
        "training",
        *_OWN,
    ),
    _fractions(
        "running_train_accuracy",
        "Training accuracy while weights change: dropout on, images augmented; mean over the members in training.",
        "training",
        *_OWN,
    ),
    _losses("val_loss", "Loss on the validation images.", "validation", *_OWN, needs=("validation",)),
    _fractions(
        "val_accuracy", "The vote's accuracy on the validation images.", "validation", *_OWN, needs=("validation",)
    ),
    _fractions(
        "member_val_accuracy",
        "Mean of the members' own accuracies on the validation images: what early stopping ranks by.",
        "validation",
        *_OWN,
        needs=("validation",),
    ),
    _fractions(
        "oob_accuracy",
        "Out-of-bag accuracy: each training image is voted on by the members that did not train on it.",
        "training",
        *_OWN,
        needs=("bootstrap",),
    ),
    _losses("test_loss", "Loss on the test images.", "test", *_OWN),
    _losses(
        "test_kl_loss",
        "Divergence of the smoothed target from the probabilities on the test images (note C's test loss).",
        "test",
        *_OWN,
        needs=("label_smoothing",),
    ),
    _fractions("test_accuracy", "The vote's accuracy on the test images.", "test", *_OWN),
    _fractions("test_top5_accuracy", "Share of test images whose label is among the five likeliest.", "test", *_OWN),
    _fractions("member_test_accuracy", "Mean of the members' own accuracies on the test images.", "test", *_OWN),
    *_of_ensembles("validation", "val"),
    *_of_ensembles("test", "test"),
    _fractions(
        "curve_distance",
        "Mean distance of the test accuracies from a printed curve, over its epochs; recovery only.",
        "test",
        *_OWN,
        better="min",
    ),
    _fractions("best_val_accuracy", "Highest val_accuracy of the trial's epochs.", "validation", "trials"),
    Column("best_val_epoch", ("trials",), "int64", "Epoch of best_val_accuracy.", low=1),
    _fractions(
        "best_test_accuracy",
        "Highest test_accuracy of the trial's epochs; null if it was measured once.",
        "test",
        "trials",
    ),
    Column("best_test_epoch", ("trials",), "int64", "Epoch of best_test_accuracy.", low=1),
    Column(
        "parameters",
        _OWN,
        "int64",
        "Parameters of one deployed predictor: an ensemble counts all members.",
        measured_on="count",
        better="min",
        low=0,
    ),
    Column("seconds", _OWN, "float64", "Wall clock of the trial or epoch.", "s", "clock", "min", low=0),
    Column("train_seconds", ("epochs",), "float64", "Part of `seconds` spent training.", "s", "clock", "min", low=0),
    Column(
        "images_per_second",
        _OWN,
        "float64",
        "Training images of all members, divided by train_seconds.",
        "images/s",
        "clock",
        "max",
        low=0,
    ),
    Column(
        "peak_memory_bytes",
        _OWN,
        "int64",
        "Peak memory of the device, or of the process on a CPU.",
        BYTES,
        "memory",
        "min",
        low=0,
    ),
    Column(
        "one_image_memory_bytes",
        _OWN,
        "int64",
        "Memory to train one member on one image, comparable across models (see trainables.network_memory); "
        "known from the second epoch on.",
        BYTES,
        "memory",
        "min",
        low=0,
    ),
    # Measurements of an ensemble's members.
    _fractions(
        "val_accuracy",
        "Accuracy of the first members' vote on the validation images.",
        "validation",
        "members",
        required=True,
        nullable=True,
        reported_as="prefix_val_accuracy",
    ),
    _fractions(
        "test_accuracy",
        "Accuracy of the first members' vote on the test images.",
        "test",
        "members",
        required=True,
        nullable=True,
        reported_as="prefix_test_accuracy",
    ),
    _fractions(
        "train_accuracy",
        "Accuracy of the first members' vote on the training images, after the epoch.",
        "training",
        "members",
        reported_as="prefix_train_accuracy",
    ),
    _fractions(
        "oob_accuracy",
        "Out-of-bag accuracy of the first members.",
        "training",
        "members",
        reported_as="prefix_oob_accuracy",
    ),
    _fractions(
        "own_val_accuracy",
        "Accuracy of the last of the first members alone on the validation images.",
        "validation",
        "members",
        reported_as="each_val_accuracy",
    ),
    _fractions(
        "own_test_accuracy",
        "Accuracy of the last of the first members alone on the test images.",
        "test",
        "members",
        reported_as="each_test_accuracy",
    ),
    _fractions(
        "own_train_accuracy",
        "Training accuracy of the last of the first members alone, while its weights change.",
        "training",
        "members",
        reported_as="each_running_train_accuracy",
    ),
    _losses(
        "own_train_loss",
        "Training loss of the last of the first members alone.",
        "training",
        "members",
        reported_as="each_train_loss",
    ),
    Column(
        "alpha",
        ("members",),
        "float64",
        "AdaBoost: weight of the last of the first members in the vote.",
        low=0,
        reported_as="each_alpha",
    ),
    Column(
        "parameters",
        ("members",),
        "int64",
        "Parameters of the first members together.",
        measured_on="count",
        better="min",
        required=True,
        nullable=True,
        low=0,
        reported_as="prefix_parameters",
    ),
    # Predictions for one test image.
    Column("image", ("predictions",), "int32", "Position in the test set, from 0.", required=True, low=0),
    Column("label", ("predictions",), "int16", "The image's label.", required=True, low=0),
    Column("predicted", ("predictions",), "int16", "The whole predictor's label.", required=True, low=0),
    Column("member_predicted", ("predictions",), "list<int16>", "Each member's label.", low=0),
    # The end of a trial.
    Column(
        "error",
        ("trials",),
        "string",
        "Why a failed or diverged trial ended.",
        required=True,
        nullable=True,
    ),
)
RESERVED = frozenset(
    {name for column in COLUMNS for name in (column.name, column.reported)}
    | {"diverged", "done", "test_indices", "trial", "restore", "config"}
)
# What a trainable reports beside metrics: whether the trial goes on, and the arrays of predictions.parquet.
REPORTED_BESIDE = frozenset({"total_epochs", "diverged", "done", "should_checkpoint"}) | frozenset(
    {"predicted", "member_predicted", "test_indices"}
)


def of(table: str, own: Iterable[Column] = ()) -> dict[str, Column]:
    """Return the columns of a table in their order, by name; `own` are a trainable's own."""
    return {column.name: column for column in (*COLUMNS, *own) if table in column.tables}


def prefix_lists() -> dict[str, str]:
    """Map each list that a trainable reports, a value for each member or ensemble size, to its column in members."""
    return {column.reported: column.name for column in COLUMNS if "members" in column.tables and column.reported_as}


def unknown(reported: Iterable[str], own: Iterable[Column] = ()) -> list[str]:
    """Return the reported names that no column declares, in alphabetical order."""
    known = of("epochs", own).keys() | prefix_lists().keys() | REPORTED_BESIDE
    return sorted(set(reported) - known)


def wrong(reported: Mapping[str, Any], own: Iterable[Column] = ()) -> str | None:
    """Return in one line what a trainable reported that no column can hold, None if all is well."""
    own = tuple(own)
    if names := unknown(reported, own):
        known = ", ".join(column.name for column in own) or "none"
        return f"must report declared metrics only, got {', '.join(names)} (declared in its `metrics`: {known})"
    for name, column in of("epochs", own).items():
        value = reported.get(name)
        if value is None:
            continue
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or (column.type == "int64" and not isinstance(value, int)):
            wanted = "a whole number" if column.type == "int64" else "a number"
            return f"must report {wanted} as {name}, got {value!r:.60}"
        if not (math.isnan(value) or math.isinf(value) or column.low <= value <= column.high):
            return f"must report {name} from {column.low:g} to {column.high:g}, got {value!r:.60}"
    return None


def choosable(own: Iterable[Column] = ()) -> list[str]:
    """Return the names of the metrics by which a trial may be chosen."""
    return [column.name for column in of("epochs", own).values() if column.chosen_by() is None]


# What claims compare beside columns: training less test accuracy, and the median time of a trial's epochs.
GAP, SECONDS_PER_EPOCH = "gap", "seconds_per_epoch"
# Quantities that are means over members, and the column of each member's own.
OF_EACH_MEMBER = {"member_test_accuracy": "own_test_accuracy", "member_val_accuracy": "own_val_accuracy"}


@functools.cache
def quantities(*, first_members: bool = False, at_epoch: bool = False) -> tuple[str, ...]:
    """Return the names of what a claim may compare of a trial, of its first members, or of one of its epochs."""
    names = [
        name
        for name, column in of("trials").items()
        if column.type in ("int64", "float64") and column.measured_on and not name.endswith("_epoch")
    ]
    if first_members:
        members = of("members")
        return (*(name for name in names if OF_EACH_MEMBER.get(name, name) in members), GAP)
    if at_epoch:
        epochs = of("epochs")
        names = [name for name in names if name in epochs]
    return (*names, GAP, SECONDS_PER_EPOCH)


def as_json(columns: Iterable[Column]) -> list[dict[str, Any]]:
    """Return declarations as study.json keeps them: fields that differ from their default, finite numbers only."""
    kept = []
    for column in columns:
        given = {field.name: getattr(column, field.name) for field in dataclasses.fields(column)}
        default = {field.name: field.default for field in dataclasses.fields(column)}
        kept.append(
            {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in given.items()
                if value != default[name] and not (isinstance(value, float) and math.isinf(value))
            }
        )
    return kept


def from_json(declared: Any) -> tuple[Column, ...]:
    """Return the declarations that `as_json` wrote. Raises ColumnError if they are malformed."""
    if not isinstance(declared, list):
        raise ColumnError(f"metrics must be a list, got {declared!r:.40}")
    columns = []
    for one in declared:
        if not isinstance(one, Mapping):
            raise ColumnError(f"a metric must be an object, got {one!r:.40}")
        given = {str(name): value for name, value in one.items() if name not in ("tables", "type")}
        try:
            given["needs"] = tuple(given.get("needs", ()))
            given.setdefault("unit", "")  # `as_json` leaves the unit of a plain number out
            columns.append(metric(**given))
        except TypeError as error:
            raise ColumnError(f"a metric's declaration is malformed: {error}") from None
    return tuple(columns)


def page() -> str:
    """Return every table's columns as Markdown."""
    parts = []
    for table in TABLES:
        lines = [f"`{table}.parquet`", "", "| column | type | unit | measured on | better | meaning |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for column in of(table).values():
            must = "" if not column.required else ", must be there"
            cells = (column.type + must, column.unit, column.measured_on, column.better or "", column.meaning)
            lines.append(f"| `{column.name}` | {' | '.join(cells)} |")
        if table == "trials":
            lines.append(
                f"| `{CONFIG}NAME` | as the setting's | | | | A hyperparameter, whether set or left at its default. |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
