"""Read the notes' reported runs: figures to compare with, and arms that run as the notes did."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.records import RecordError, Reported, read_reported

REPORTED = Path(__file__).parent / "reported"
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000  # numbers of images of either CIFAR
# Unit of the loss that note A's runs are trained on. The note prints its losses in bits; if it also trained on
# bits, its rates are 1 / ln 2 times as large in nats. Not settled: `python -m tests.benchmarks.note_a_losses`.
NOTE_A_LOSS_UNIT = "nats"
VOTED_EVERY = 5  # epochs between two measurements of a vote's training accuracy
HELD_OUT = 5_000  # size of a note's validation set, if it has one, and of the project's own
# Settings that a model's code fixes, so that they are no hyperparameters.
IMPLIED: Mapping[str, Mapping[str, Any]] = {
    "alexnet": {"initialization": "xavier"},
    "wide_resnet": {"initialization": "kaiming", "normalize": True, "step_factor": 0.2},
    "lenet": {"model": "lenet", "normalize": True},
    **{name: {"normalize": True} for name in ("resnet18", "vgg19", "resnet101", "vit_b_32", "swin_b")},
    **{f"cnn{depth}": {"model": f"cnn{depth}", "batch_norm": True} for depth in (2, 3, 5)},  # an arm names the depth
    "small_alexnet": {"augmentation": "none"},  # the parts of its augmentation are hyperparameters instead
}


@functools.cache
def _runs() -> dict[str, Reported]:
    return read_reported(REPORTED)


def reported(*names: str) -> tuple[Reported, ...]:
    """Return the runs of spaces/reported/runs.csv with these names. Raises RecordError for an unknown name."""
    runs = _runs()
    if unknown := [name for name in names if name not in runs]:
        raise RecordError(f"no reported run has the name {', '.join(unknown)}")
    return tuple(runs[name] for name in names)


def curve(run: Reported, column: str) -> list[float]:
    """Return the values that a run prints under `column` for epochs 1, 2, ...

    Raises RecordError unless the run prints every epoch.
    """
    values = [value for point in run.curve if (value := point[column]) is not None]
    if not values or len(values) != run.epochs:
        raise RecordError(f"run {run.run!r} must print {column} for each epoch, got {len(values)} of {run.epochs}")
    return values


def about(figure: float) -> dict[str, Any]:
    """Return the range on which a claim of "about `figure`" is tested, as Claim's arguments: a quarter more or less."""
    return {"low": 0.75 * figure, "high": 1.25 * figure}


def replay(run: Reported, **changes: Any) -> dict[str, Any]:
    """Return an arm: a reported run's configuration under the note's own protocol, with `changes`.

    Settings that the note does not print keep the family's defaults, and a printed seed (note C's 17) is left out: a
    replay has the seeds of --seed and --repeats, and another code draws other numbers from it. The protocol: as many
    images as the note's, no validation set unless the note had one, the test set at every epoch (the notes print
    curves), training accuracy measured in the note's way. Measuring the vote's training accuracy takes as long as a
    third of an epoch, so it is measured at some epochs of the curve, and for AdaBoost, for which note A prints no
    curve, at the end.
    """
    left_out = {"seed", *IMPLIED.get(run.model, {})}
    config = {name: value for name, value in run.config.items() if name not in left_out}
    if (run.train_accuracy_measured or "").startswith("after"):
        config["train_measure"] = "augmented"
        ends = (run.members or 1) * (run.epochs or 1)
        config["train_measure_every"] = ends if run.strategy == "adaboost" else VOTED_EVERY
    if run.model == "alexnet":
        config["loss_unit"] = NOTE_A_LOSS_UNIT
    validation = run.train_images == TRAIN_IMAGES - HELD_OUT
    if not validation and run.train_images not in (TRAIN_IMAGES, None):
        config["train_images"] = run.train_images
    if run.test_images not in (TEST_IMAGES, None):
        config["test_images"] = run.test_images
    return {
        **config,
        "members": run.members or 1,
        "epochs": run.epochs,
        "validation": validation,
        "test_every_epoch": True,
        **changes,
    }
