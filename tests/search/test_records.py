"""study.json and the reported runs: what is written is what is read, and damage is told in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from search.records import Claim, RecordError, Reported, StudyRecord, printed_figure, read_reported
from tests.records import make_record

REPORTED = Path(__file__).parents[2] / "spaces" / "reported"


@pytest.fixture
def record() -> StudyRecord:
    return make_record(
        study="alexnet",
        run="20260101-100000",
        question="Wie groß? – «größer»",
        source="note A, section 4.7",
        trainable="BaggedAlexNet",
        dataset="cifar100",
        dataset_fingerprint="ab" * 32,
        objectives={"val_accuracy": "max", "parameters": "min"},
        epochs=20,
        samples=64,
        space={"lr": "(0.03, 0.1) log"},
        fixed={"random_crop": False, "train_images": None},
        arms={"nine": {"members": 9, "lr": 0.06}},
        command="python -m search.run spaces/alexnet_bagging.py",
        versions={"torch": "2.13.0"},
        commit="c0ffee",
        machine={"cpus": 2, "gpus": 0},
        wall_seconds=12.5,
        finished=True,
        options={"set": ["lr=0.05"], "data": None},
        reported=list(read_reported(REPORTED).values()),
        claims=[
            Claim("difference", "Nine beat one.", "note A, 4.7", ("nine", "one"), effect=0.05),
            Claim("flat", "All alike.", "note A, 4.7", ("nine:3", "nine:6", "nine"), kind="within", margin=0.03),
            Claim(
                *("cached", "Cached costs 21 points.", "note A, 4.3", ("real-time", "cached")),
                confounded_by=("lr", "train_images"),
                clean_arms=("clean real-time", "clean cached"),
            ),
        ],
    )


def test_a_record_is_read_as_it_was_written(record: StudyRecord) -> None:
    assert record.reported
    read = StudyRecord.from_json(record.to_json())
    for field in dataclasses.fields(StudyRecord):
        assert getattr(read, field.name) == getattr(record, field.name), field.name
    assert read == record


def test_a_record_is_strict_json_with_its_text_readable(record: StudyRecord) -> None:
    assert "größer" in record.to_json()
    with pytest.raises(ValueError, match="JSON compliant"):
        dataclasses.replace(record, wall_seconds=float("nan")).to_json()


def test_what_may_be_left_out_has_its_default(record: StudyRecord) -> None:
    raw = json.loads(record.to_json())
    for name in ("reported", "claims", "options", "finished", "commit"):
        del raw[name]
    read = StudyRecord.from_json(json.dumps(raw))
    assert (read.reported, read.claims, read.options, read.finished, read.commit) == ([], [], {}, False, None)


def changed(record: StudyRecord, **changes: Any) -> str:
    return json.dumps(json.loads(record.to_json()) | changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda record: record.to_json()[:200], ["is not JSON"]),
        (lambda record: "[1]", ["must hold a JSON object, got list"]),
        (lambda record: "{}", ["lacks", "study", "metric"]),
        (lambda record: changed(record, colour="red"), ["does not know: colour"]),
        (lambda record: changed(record, reported=[{"run": "a"}]), ["malformed record", "note"]),
        (lambda record: changed(record, reported=[{"speed": 1}]), ["malformed record", "speed"]),
        (lambda record: changed(record, reported=None), ["reported must be list[Reported], got None"]),
        (lambda record: changed(record, epochs="3"), ["epochs must be int, got '3'"]),
        (lambda record: changed(record, finished=1), ["finished must be bool, got 1"]),
        (lambda record: "[" * 100_000, ["is not JSON"]),
        (lambda record: changed(record, claims=["a"]), ["malformed record"]),
        (lambda record: changed(record, declared={"nine": [9]}), ["declared must hold the settings of each arm"]),
        (lambda record: changed(record, arms={"nine": None}), ["arms must hold the settings of each arm"]),
        (
            lambda record: changed(
                record, reported=[{"run": "a", "note": "A", "section": "1", "arm": "b", "dataset": "c", "model": 5}]
            ),
            ["reported run 'a' needs model of type str, got 5"],
        ),
        (
            lambda record: changed(record, claims=[{"name": "c", "statement": "", "source": "", "arms": ["a"]}]),
            ["claim 'c' needs at least two arms, got 1"],
        ),
    ],
)
def test_a_damaged_record_names_the_file_and_what_is_wrong(record: StudyRecord, spoil: Any, words: list[str]) -> None:
    with pytest.raises(RecordError) as caught:
        StudyRecord.from_json(spoil(record), "results/x/study.json")
    message = str(caught.value)
    assert "\n" not in message
    assert "results/x/study.json" in message
    assert [word for word in words if word not in message] == [], message


# Claims


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ("a",)}, "needs at least two arms, got 1"),
        ({"arms": ("a", "b", "c")}, "of kind 'difference' needs exactly two arms, got 3"),
        ({"kind": "ratio", "arms": ("a", "b", "c")}, "of kind 'ratio' needs exactly two arms, got 3"),
        ({"kind": "order", "arms": ("a", "b", "c")}, "'increasing' or 'decreasing', got 'greater'"),
        ({"expected": "increasing"}, "'greater', 'less' or 'equal', got 'increasing'"),
        ({"expected": "equal"}, "needs a positive margin, got None"),
        ({"expected": "equal", "margin": 0.0}, "needs a positive margin, got 0.0"),
        ({"kind": "within", "margin": -0.1}, "needs a positive margin, got -0.1"),
        ({"margin": 0.01}, "takes a margin only with kind 'within' or 'no_worse' or expected 'equal', got 0.01"),
        ({"kind": "level", "arms": ()}, "needs at least one arm, got 0"),
        ({"kind": "level"}, "of kind 'level' needs low or high"),
        ({"kind": "level", "low": 0.6, "high": 0.57}, "needs low < high, got low=0.6, high=0.57"),
        ({"kind": "level", "low": 0.5, "margin": 0.1}, "takes a margin only with kind"),
        ({"kind": "level", "low": 0.5, "expected": "less"}, "takes no expected"),
        ({"kind": "no_worse"}, "needs a positive margin, got None"),
        ({"kind": "no_worse", "margin": 0.01, "expected": "less"}, "takes no expected"),
        ({"kind": "no_worse", "margin": 0.01, "low": 0.0}, "takes low and high only with kind"),
        ({"kind": "no_worse", "margin": 0.01, "arms": ("a", "b", "c")}, "needs exactly two arms, got 3"),
        ({"kind": "contrast"}, "needs at least four arms, got 2"),
        ({"kind": "contrast", "arms": ("a", "b", "c", "d", "e")}, "needs exactly four arms, got 5"),
        ({"kind": "contrast", "arms": ("a", "b", "c", "d"), "expected": "equal", "margin": 0.1}, "got 'equal'"),
        ({"low": -0.1}, "must lie on that side of 0"),
        ({"high": 0.1}, "must lie on that side of 0"),
        ({"expected": "less", "low": -0.1, "high": 0.1}, "must lie on that side of 0"),
        ({"kind": "ratio", "low": 0.5, "high": 2.0}, "must lie on that side of 1"),
        ({"expected": "equal", "margin": 0.1, "low": 0.0}, "takes low and high only with kind"),
        (
            {"printed": ("53 %", "52 %", "51 %")},
            "one figure for each of its 2 arms or one, got ('53 %', '52 %', '51 %')",
        ),
        ({"printed": ("about 5",)}, "needs printed figures such as '53 %', '4.39 points' or '1.226', got 'about 5'"),
        ({"printed": ("53 %", "47.2 %"), "effect": 0.08}, "needs an effect of 0.058, which printed"),
        ({"printed": ("3010", "0"), "kind": "ratio"}, "divides by zero"),
        ({"confounded_by": ("lr",)}, "both confounded_by and clean_arms or neither"),
        ({"clean_arms": ("a", "b")}, "both confounded_by and clean_arms or neither"),
        ({"confounded_by": ("lr",), "clean_arms": ("a",)}, "needs 2 clean_arms, got 1"),
        ({"confounded_by": "lr", "clean_arms": ("a", "b")}, "needs confounded_by of type tuple[str, ...], got 'lr'"),
        ({"arms": ("a", 1)}, "needs arms of type tuple[str, ...]"),
        ({"kind": "x"}, "needs kind of type Literal["),
        ({"quantity": 5}, "needs quantity of type str, got 5"),
        ({"effect": "a"}, "needs effect of type float | None, got 'a'"),
        ({"effect": float("nan")}, "needs effect of type float | None, got nan"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError) as caught:
        make_claim(**changes)
    assert str(caught.value).startswith("claim 'c' ")
    assert words in str(caught.value)


def make_claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {"name": "c", "statement": "s", "source": "note A", "arms": ("a", "b")}
    return Claim(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"printed": ("53 %", "47.2 %")}, 0.058),
        ({"printed": ("4.39 points",)}, 0.0439),
        ({"printed": ("1.226", "1.209"), "quantity": "train_loss"}, 0.017),
        ({"printed": ("3,010", "4225"), "kind": "ratio", "expected": "less"}, 3010 / 4225),
        ({"printed": ("3010", "4225"), "kind": "ratio", "expected": "less", "effect": 0.7124}, 0.7124),
        (
            {"printed": ("65 %", "63 %", "56 %"), "arms": ("a", "b", "c"), "kind": "order", "expected": "decreasing"},
            0.02,
        ),
        ({"printed": ("65 %", "63 %", "56 %"), "arms": ("a", "b", "c"), "kind": "within", "margin": 0.1}, 0.09),
        ({"printed": ("60.0 %",), "arms": ("a",), "kind": "level", "low": 0.57, "high": 0.6}, 0.6),
        ({"printed": ("60 %", "58 %"), "kind": "level", "low": 0.57, "high": 0.6}, None),
        ({"printed": ("60 %", "58 %"), "kind": "no_worse", "margin": 0.01}, 0.02),
        (
            {
                "printed": ("60 %", "58 %", "51 %", "58 %"),
                "kind": "contrast",
                "expected": "less",
                "arms": tuple("abcd"),
            },
            -0.05,
        ),
        ({"printed": ("21 points",), "low": 0.21}, 0.21),
    ],
)
def test_an_effect_is_computed_from_the_printed_figures(changes: dict[str, Any], effect: float | None) -> None:
    assert make_claim(**changes).effect == (effect if effect is None else pytest.approx(effect))


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ("53 %", 0.53, 0.01),
        ("60.0 %", 0.6, 0.001),
        ("0 %", 0.0, 0.01),
        (".1", 0.1, 0.1),
        ("-0.20 points", -0.002, 0.0001),
        ("97,274,880", 97274880, 1),
        ("5", 5, 1),
    ],
)
def test_a_printed_figure_carries_its_last_place(text: str, value: float, place: float) -> None:
    assert printed_figure(text) == (pytest.approx(value), pytest.approx(place))


# Reported runs


RUNS = """run,note,section,arm,dataset,model,members,test_accuracy,config/lr,config/shuffle
a-1,A,4.1,one,cifar10,alexnet,1,0.5,0.03,True
a-2,A,4.2,two,cifar10,alexnet,,0.6,,
"""
CURVES = """run,epoch,test_accuracy
a-1,2,0.5
a-1,1,0.25
"""


ALPHAS = """run,round,alpha,correct_images
a-2,1,0.053,14410
a-2,2,0.052,13912
"""


def folder(path: Path, runs: str = RUNS, curves: str = CURVES, alphas: str | None = None) -> Path:
    (path / "runs.csv").write_text(runs)
    (path / "curves.csv").write_text(curves)
    if alphas is not None:
        (path / "alphas.csv").write_text(alphas)
    return path


def test_reported_runs_hold_their_cells_typed_and_their_curve_in_order(tmp_path: Path) -> None:
    runs = read_reported(folder(tmp_path))
    assert list(runs) == ["a-1", "a-2"]
    assert runs["a-1"] == Reported(
        *("a-1", "A", "4.1", "one", "cifar10", "alexnet"),
        members=1,
        test_accuracy=0.5,
        config={"lr": 0.03, "shuffle": True},
        curve=({"epoch": 1, "test_accuracy": 0.25}, {"epoch": 2, "test_accuracy": 0.5}),
    )
    assert runs["a-2"].members is None
    assert (runs["a-2"].config, runs["a-2"].curve) == ({}, ())


def test_adaboosts_weights_are_read_in_order_of_rounds_and_survive_the_record(
    tmp_path: Path, record: StudyRecord
) -> None:
    runs = read_reported(folder(tmp_path, alphas=ALPHAS))
    assert (runs["a-1"].alphas, runs["a-2"].alphas) == ((), (0.053, 0.052))
    held = dataclasses.replace(record, reported=[runs["a-2"]])
    assert StudyRecord.from_json(held.to_json()).reported == [runs["a-2"]]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"runs": RUNS.replace("members", "size")}, "has an unknown column, 'size'"),
        ({"runs": RUNS.replace("a-2", "a-1")}, "has run 'a-1' twice"),
        ({"curves": CURVES + "a-9,1,0.1\n"}, "curves.csv has runs that runs.csv lacks: 'a-9'"),
        ({"alphas": ALPHAS + "a-9,1,0.1,\n"}, "alphas.csv has runs that runs.csv lacks: 'a-9'"),
        ({"alphas": ALPHAS + "a-2,4,0.1,\n"}, "must have a number as alpha in round 3, got '0.1' in round '4'"),
        ({"alphas": ALPHAS + "a-2,3,much,\n"}, "must have a number as alpha in round 3, got 'much' in round '3'"),
        ({"alphas": "run,alpha\na-2,0.1\n"}, "alphas.csv lacks the column round"),
        ({"runs": RUNS.replace("0.6,,", "0.6,,,extra")}, "run 'a-2' has too many or too few cells"),
        ({"runs": RUNS.replace("0.6,,", "0.6")}, "run 'a-2' has too many or too few cells"),
    ],
)
def test_a_wrong_reported_file_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_reported(folder(tmp_path, **files))
    assert words in str(caught.value)


def test_an_arm_that_names_no_epochs_trains_for_the_studys() -> None:
    """Records written before 2026-11-30 declare the trainable's default for it: equal trainings must stay equal."""
    arms, of_default = {"short": {"epochs": 2}, "plain": {"lr": 0.1}}, {"lr": 0.1, "epochs": 20}
    record = make_record(epochs=3, arms=arms, declared={"short": of_default, "plain": of_default})
    assert record.settings_of("short") == {"lr": 0.1, "epochs": 2}
    assert record.settings_of("plain") == {"lr": 0.1, "epochs": 3}
    today = make_record(epochs=3, arms=arms, declared={**record.declared, "plain": {"lr": 0.1, "epochs": 3}})
    assert record.training_of("plain") == today.training_of("plain")
    assert (
        make_record(epochs=3, fixed={"epochs": 4}, arms=arms, declared=record.declared).settings_of("plain")
        == of_default
    )
