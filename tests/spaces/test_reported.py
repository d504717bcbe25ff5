"""The reported figures: complete, as printed, and consistent with the formulas that the notes name."""

import csv
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from search.records import Reported, read_reported

FOLDER = Path(__file__).parents[2] / "spaces" / "reported"
RUNS = read_reported(FOLDER)

# Runs of which only some epochs are printed; every other curve runs from 1 to the last epoch.
PARTIAL = {
    "a-4.3-bagging-cached": [30],
    "a-4.3-bagging-real-time": [1, 30],
    "a-4.7-bagging12-cosine": [1, 30],
    "a-4.7-bagging12-exponential": [1, 30],
    "e-1-3": [60, 80],
}
CHOICES = {
    "optimizer": {"sgd", "adam"},
    "decay": {"constant", "exponential", "cosine", "step", "steps", "plateau"},
    "augmentation": {"none", "real-time", "cached"},
    "vote": {"hard", "logits", "probabilities"},
    "boosting": {"note"},
    "initialization": {"default", "kaiming", "xavier", "he"},
    "policy": {"none", "autoaugment", "augmix"},
    "head": {"linear", "pooling", "pooling+linear"},
} | {
    switch: {True, False}
    for switch in ("batch_norm", "normalize", "gray", "random_crop", "shuffle", "flip", "adaptive", "lrn")
}
NUMBERS = {
    *("lr", "momentum", "weight_decay", "batch_size", "dropout", "ratio", "conv1", "conv2"),
    *("policy_probability", "crop_padding", "step_epochs", "step_factor", "depth", "width", "rho"),
    *("label_smoothing", "cutout", "seed"),
}


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def curves(note: str) -> list[Reported]:
    return [run for run in RUNS.values() if run.note == note and run.curve]


def point(run: str, epoch: int) -> dict[str, Any]:
    (found,) = (dict(p) for p in RUNS[run].curve if p["epoch"] == epoch)
    return found


def test_every_run_of_every_note_is_there() -> None:
    assert Counter(run.note for run in RUNS.values()) == {"A": 14, "B": 14, "C": 1, "D": 7, "E": 12}
    for run in RUNS.values():
        assert run.run == f"{run.note.lower()}-{run.arm}"
        assert run.section
        assert run.dataset in ("cifar10", "cifar100")
        assert run.epochs


def test_note_a_prints_257_epochs_and_note_b_two_curves_of_12() -> None:
    assert sum(len(run.curve) for run in curves("A")) == 257
    assert len(curves("A")) == 14
    assert {run.run: len(run.curve) for run in curves("B")} == {"b-0-batch-64": 12, "b-2-adam": 12}


def test_the_epochs_of_a_curve_are_those_printed_in_order() -> None:
    in_file: dict[str, list[int]] = {}
    for row in rows("curves.csv"):
        in_file.setdefault(row["run"], []).append(int(row["epoch"]))
    for name, epochs in in_file.items():
        assert epochs == PARTIAL.get(name, list(range(1, (RUNS[name].epochs or 0) + 1))), name
    assert PARTIAL.keys() <= in_file.keys()


@pytest.mark.parametrize(
    ("run", "printed"),
    [
        (
            "a-4.1-bagging-no-bn",
            {"members": 3, "train_accuracy": 0.693, "test_accuracy": 0.472, "train_loss": 2.2769},
        ),
        ("a-4.1-single-bn", {"train_accuracy_measured": "running, one member", "test_accuracy": 0.53}),
        ("a-4.2-adaboost-gray", {"train_accuracy": 0.362, "test_accuracy": 0.464, "members": 6}),
        ("a-4.2-adaboost-rgb", {"train_accuracy": 0.444, "test_accuracy": 0.527, "section": "4.2, 4.5"}),
        ("a-4.3-single-cached", {"train_images": 30_000, "test_images": 2_000, "test_accuracy": 0.37}),
        ("a-4.3-bagging-real-time", {"section": "4.3, 4.7", "members": 9, "test_accuracy": 0.583}),
        ("a-4.4-adaboost-unshuffled", {"train_accuracy": 0.698, "test_accuracy": 0.391, "epochs": 20}),
        ("a-4.5-adaboost-lr.03", {"train_accuracy": 0.544, "test_accuracy": 0.589}),
        ("a-4.6-bagging-p.3", {"train_accuracy": 0.977, "test_accuracy": 0.6, "seconds_per_epoch": None}),
        ("a-4.7-bagging12-cosine", {"members": 12, "test_accuracy": 0.594, "loss_unit": "bits"}),
        ("a-4.8-single-cifar10", {"dataset": "cifar10", "train_accuracy": 0.53, "test_accuracy": 0.53}),
        ("b-0-batch-16", {"test_accuracy": 0.65, "epochs": 12}),
        ("b-1-flip", {"test_accuracy": 0.56, "train_loss": 1.226, "loss_unit": "nats"}),
        ("b-3-sgd-step", {"test_accuracy": 0.6, "train_loss": 1.068}),
        ("b-8-resnet18", {"test_accuracy": 0.83, "model": "resnet18"}),
        (
            "c-wide-resnet-sam",
            {
                "test_accuracy": 0.8436,
                "top5_accuracy": 0.9665,
                "test_loss": 0.5081,
                "loss_unit": "nats, KL to the smoothed target",
                "selection": "best",
                "parameters": 46_218_164,
            },
        ),
        (
            "d-cnn3",
            {
                "test_accuracy": 0.4414,
                "parameters": 168_036,
                "total_size_mb": 46.94,
                "train_loss": 1.9817,
                "min_train_loss": 1.5404,
                "seconds_per_epoch": pytest.approx(70.645922 / 5, abs=1e-3),
            },
        ),
        (
            "d-swin-b",
            {
                "test_accuracy": 0.8353,
                "min_train_loss": 0.2692,
                "seconds_per_epoch": pytest.approx(2431.978593 / 5, abs=1e-3),
            },
        ),
        (
            "e-1-1",
            {
                "val_accuracy": 0.63,
                "test_accuracy": 0.625,
                "train_loss": 0.000547,
                "train_images": 45_000,
                "seconds_per_epoch": pytest.approx(3895.7 / 60, abs=1e-3),
            },
        ),
        ("e-1-2", {"test_accuracy": None, "val_accuracy": None}),
        ("e-4-no-lrn", {"test_accuracy": 0.811599, "seconds_per_epoch": pytest.approx(3010 / 80)}),
        ("e-5-dropout-.5-twice", {"test_accuracy": 0.769331, "epochs": 160}),
    ],
)
def test_a_run_holds_what_was_printed(run: str, printed: dict[str, Any]) -> None:
    assert {name: getattr(RUNS[run], name) for name in printed} == printed


@pytest.mark.parametrize(
    ("run", "epoch", "printed"),
    [
        (
            "a-4.1-bagging-no-bn",
            1,
            {"train_loss_printed": 6.5423, "train_accuracy": 0.028, "seconds": None, "lr": 0.03},
        ),
        ("a-4.1-bagging-no-bn", 2, {"test_accuracy": 0.091, "seconds": 173.5, "lr": 0.0298}),
        ("a-4.1-single-bn", 19, {"train_loss_printed": 1.8956, "test_accuracy": 0.54, "lr": None}),
        ("a-4.2-adaboost-gray", 11, {"test_accuracy": 0.24, "seconds": 19.2}),
        ("a-4.2-adaboost-rgb", 30, {"train_accuracy": 0.35, "test_accuracy": 0.48}),
        ("a-4.6-bagging-p.3", 19, {"train_accuracy": 0.971, "test_accuracy": 0.603, "seconds": 16671.8}),
        ("a-4.7-bagging12-cosine", 30, {"lr": 0.0003, "train_loss_printed": 2.1637}),
        ("a-4.8-single-cifar10", 1, {"train_loss_printed": 3.0479, "test_accuracy": 0.27}),
        ("b-0-batch-64", 6, {"test_accuracy": 0.46}),
        ("b-2-adam", 10, {"test_accuracy": 0.65}),
        ("e-1-3", 60, {"test_accuracy": 0.6042, "val_accuracy": 0.6198, "train_loss_printed": 0.001159}),
    ],
)
def test_an_epoch_holds_what_was_printed(run: str, epoch: int, printed: dict[str, Any]) -> None:
    found = point(run, epoch)
    assert {name: found[name] for name in printed} == printed


def test_accuracies_are_fractions() -> None:
    for run in RUNS.values():
        values = [run.train_accuracy, run.val_accuracy, run.test_accuracy, run.top5_accuracy]
        for p in run.curve:
            values += [p["train_accuracy"], p["val_accuracy"], p["test_accuracy"]]
        assert all(0 < value < 1 for value in values if value is not None), run.run


def test_a_curve_ends_in_its_run() -> None:
    """AdaBoost apart: its row is the vote, its curve the sixth member's."""
    for run in RUNS.values():
        if run.curve and run.strategy != "adaboost":
            last = run.curve[-1]
            assert last["test_accuracy"] == run.test_accuracy, run.run
            assert last["train_accuracy"] == run.train_accuracy, run.run
            if last["train_loss_printed"] is not None:
                assert last["train_loss_printed"] == run.train_loss, run.run


def test_printed_rates_follow_the_decay_of_the_run() -> None:
    checked = 0
    for run in curves("A"):
        lr, decay = run.config["lr"], run.config["decay"]
        for p in run.curve:
            if p["lr"] is None:
                continue
            epoch = p["epoch"]
            assert epoch is not None
            if decay == "cosine":
                expected = lr * (1 + math.cos(math.pi * (epoch - 1) / (run.epochs or 0))) / 2
            else:
                exponent = (epoch - 1) // run.config["step_epochs"]
                expected = lr * run.config["step_factor"] ** exponent
            assert p["lr"] == pytest.approx(expected, abs=0.00005), (run.run, epoch)
            checked += 1
    assert checked == 67


def test_alphas_invert_to_whole_numbers_of_correct_images() -> None:
    found: dict[str, list[int]] = {}
    for row in rows("alphas.csv"):
        share = int(row["correct_images"]) / 50_000
        assert float(row["alpha"]) == pytest.approx(math.log2(99 * share / (1 - share)) / 100, abs=1e-7), row
        found.setdefault(row["run"], []).append(int(row["correct_images"]))
        assert int(row["round"]) == len(found[row["run"]])
    assert {run: len(correct) for run, correct in found.items()} == {
        name: run.members for name, run in RUNS.items() if run.strategy == "adaboost"
    }
    for run, correct in found.items():
        # The curve is the sixth member's, printed in whole percents.
        assert correct[-1] / 50_000 == pytest.approx(RUNS[run].curve[-1]["train_accuracy"], abs=0.005), run


def test_seconds_per_epoch_of_note_a_are_the_median_of_its_curve() -> None:
    for run in curves("A"):
        if run.run != "a-4.6-bagging-p.3":
            median = statistics.median(p["seconds"] for p in run.curve if p["seconds"] is not None)
            assert run.seconds_per_epoch == pytest.approx(median, abs=0.01), run.run


def test_how_training_accuracy_was_measured_is_said_wherever_it_is_printed() -> None:
    measured = {
        "single": "running, one member",
        "bagging": "after, vote",
        "adaboost": "after, vote; curve running, last member",
    }
    for run in RUNS.values():
        said = measured[run.strategy or ""] if run.train_accuracy is not None else None
        assert run.train_accuracy_measured == said, run.run
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{phrase}`" in readme for phrase in measured.values())


def test_a_loss_has_a_unit() -> None:
    for run in RUNS.values():
        losses = [
            run.train_loss,
            run.min_train_loss,
            run.test_loss,
            *(p["train_loss_printed"] for p in run.curve),
        ]
        assert (run.loss_unit is not None) == any(loss is not None for loss in losses), run.run


def test_configurations_use_the_shared_names_and_values() -> None:
    for run in RUNS.values():
        for name, value in run.config.items():
            if name in NUMBERS:
                assert isinstance(value, int | float), (run.run, name)
                assert not isinstance(value, bool), (run.run, name)
            elif name == "model":
                assert value == run.model
            else:
                assert value in CHOICES[name], (run.run, name)
