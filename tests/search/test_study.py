"""A study validates itself: what is wrong with it is one line that names what it got."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from search import columns
from search.domains import domain_edges
from search.prepare import adapt
from search.records import Claim, Reported
from search.request import Request
from search.study import Study, StudyError, load, when
from trainables.alexnet import AlexNetEnsemble
from trainables.wide_resnet import WideResNetTrial

ROOT = Path(__file__).parents[2]
Make = Callable[..., Study]


@pytest.fixture
def make_study(toy: Study) -> Make:
    return lambda **changes: dataclasses.replace(toy, **changes)


def reported(arm: str) -> Reported:
    return Reported(run="a-1", note="A", section="1", arm=arm, dataset="cifar10", model="alexnet")


def claim(*arms: str, clean: tuple[str, ...] = (), **changes: Any) -> Claim:
    fields = {"clean_arms": clean, "confounded_by": clean[:1], **changes}
    return Claim("better", "The first is better.", "note A", arms, **fields)


def measured(*arms: str, quantity: str = "test_accuracy") -> dict[str, Any]:
    return {"arms": {"one": {}, "two": {}}, "claims": (claim(*arms, quantity=quantity),)}


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "test metric": ({"metric": "test_accuracy"}, ["'test_accuracy'", "training or validation"]),
    "test objective": ({"objectives": {"test_loss": "min"}}, ["'test_loss'"]),
    "ranked by test": ({"rank_by": "test_accuracy"}, ["rank_by", "'test_accuracy'"]),
    "ranked upside down": (
        {"metric": "val_loss", "mode": "min"},
        ["rank_by", "'min'", "'member_val_accuracy'"],
    ),
    "ranked by loss": ({"rank_by": "val_loss"}, ["rank_by", "'max'", "'val_loss'"]),
    "a distance in a search": ({"rank_by": "curve_distance"}, ["'curve_distance'", "'recovery'", "'search'"]),
    "recovery by accuracy": ({"protocol": "recovery"}, ["'curve_distance'", "member_val_accuracy, val_accuracy"]),
    "protocol": ({"protocol": "replay"}, ["search, recovery", "'replay'"]),
    "nobody reports it": ({"metric": "val_acc"}, ["metric", "'val_acc'", "did you mean 'val_accuracy'?"]),
    "ranked by nothing": ({"rank_by": "val_acuracy"}, ["rank_by", "'val_acuracy'", "did you mean 'val_accuracy'?"]),
    "a goal of nothing": ({"objectives": {"params": "min"}}, ["objectives", "'params'", "parameters"]),
    "the wrong way": ({"metric": "val_loss", "mode": "max", "rank_by": "val_loss"}, ["'val_loss'", "'min'", "'max'"]),
    "a goal the wrong way": ({"objectives": {"parameters": "max"}}, ["objectives", "'parameters'", "'min'"]),
    "tested members": ({"metric": "member_test_accuracy"}, ["'member_test_accuracy'", "test images"]),
    "ranked by tested members": ({"rank_by": "member_test_accuracy"}, ["rank_by", "test images"]),
    "a calibrated goal": ({"objectives": {"test_ece": "min"}}, ["'test_ece'", "test images"]),
    "size alone": ({"metric": "parameters", "mode": "min"}, ["metric", "'parameters'", "objectives"]),
    "no measurement": ({"objectives": {"lr": "min"}}, ["objectives", "'lr'"]),
    "known at the end only": ({"metric": "best_val_accuracy"}, ["'best_val_accuracy'"]),
    "an ensemble's list": ({"metric": "prefix_val_accuracy"}, ["'prefix_val_accuracy'"]),
    "mode": ({"mode": "maximum"}, ["'max' or 'min'", "'maximum'"]),
    "objective's mode": ({"objectives": {"parameters": "least"}}, ["'least'", "'parameters'"]),
    "searcher": ({"searcher": "bayes"}, ["tpe, gp, random, grid, nsga2", "'bayes'"]),
    "scheduler": ({"scheduler": "pbt"}, ["asha, median, hyperband, none", "'pbt'"]),
    "dataset": ({"dataset": "imagenet"}, ["cifar10, cifar100, digits", "'imagenet'"]),
    "no epochs": ({"epochs": 0}, ["epochs", "at least 1", "got 0"]),
    "half a sample": ({"samples": 2.5}, ["samples", "whole number", "2.5"]),
    "yes epochs": ({"epochs": True}, ["epochs", "whole number", "True"]),
    "no grace": ({"grace_epochs": 0}, ["grace_epochs", "at least 1"]),
    "reports of an image trainable": ({"reports": {"score": "max"}}, ["reports is for a Ray Tune", "got score"]),
    "factor 1": ({"reduction_factor": 1}, ["reduction_factor", "at least 2", "got 1"]),
    "searched epochs": ({"param_space": {"epochs": tune.choice([1, 2])}}, ["epochs belongs to the study"]),
    "unknown": ({"param_space": {"speed": 1.0}}, ["'speed'", "quality"]),
    "lower end": ({"param_space": {"quality": tune.uniform(-0.1, 0.5)}}, ["quality", "from 0 to 1", "-0.1"]),
    "upper end": ({"param_space": {"quality": tune.uniform(0.1, 1.5)}}, ["quality", "from 0 to 1", "1.5"]),
    "integer range": ({"param_space": {"members": tune.randint(0, 3)}}, ["members", "at least 1", "got 0"]),
    "a choice": ({"param_space": {"members": tune.choice([1, 2.5])}}, ["members", "whole number", "2.5"]),
    "a fixed value": ({"param_space": {"quality": "high"}}, ["quality", "'high'"]),
    "normal": ({"param_space": {"quality": tune.randn(0.5, 0.1)}}, ["quality", "-inf"]),
    "function": ({"param_space": {"quality": tune.sample_from(lambda _: 0.5)}}, ["quality", "choice", "range"]),
    "quantized log": ({"param_space": {"lr": tune.qloguniform(0.1, 1, 0.1)}}, ["lr", "logarithmic", "quantized"]),
    "quantized log int": ({"param_space": {"members": tune.qlograndint(2, 8, 2)}}, ["members", "quantized"]),
    "no choice": ({"param_space": {"members": tune.choice([])}}, ["members", "at least one value", "[]"]),
    "no integer": ({"param_space": {"members": tune.randint(2, 2)}}, ["members", "at least one value", "(2, 2)"]),
    "ends swapped": ({"param_space": {"lr": tune.loguniform(0.1, 0.01)}}, ["lr", "at least one value", "0.1"]),
    "grid_search": (
        {"param_space": {"quality": tune.grid_search([0.1, 0.2])}},
        ["quality", "tune.grid_search", "tune.choice", "--searcher grid"],
    ),
    "arm": ({"arms": {"wide": {"width": 10}}}, ["arm 'wide'", "'width'"]),
    "arm of 300 letters": ({"arms": {"a" * 300: {}}}, ["arm", "at most 100 bytes", "got 300 characters"]),
    "arm of 60 wide letters": ({"arms": {"ä" * 60: {}}}, ["arm", "at most 100 bytes", "got 60 characters"]),
    "arm with NUL": ({"arms": {"a\0b": {}}}, ["arm", "control characters", "'a\\x00b'"]),
    "arm with an escape": ({"arms": {"\x1b[31m": {}}}, ["arm", "control characters", "'\\x1b[31m'"]),
    "arm of two lines": ({"arms": {"a\nb": {}}}, ["arm", "control characters", "'a\\nb'"]),
    "arm with a lone surrogate": ({"arms": {"a\udc80": {}}}, ["arm", "surrogates", "'a\\udc80'"]),
    "question with a lone surrogate": ({"question": "\ud800?"}, ["question", "surrogates", "'\\ud800?'"]),
    "source with NUL": ({"source": "\0"}, ["source", "control characters", "'\\x00'"]),
    "name too wide": ({"name": "名" * 100}, ["name", "at most 200 bytes"]),
    "arm's value": ({"arms": {"good": {"quality": 2.0}}}, ["arm 'good'", "quality", "2.0"]),
    "reported": ({"reported": (reported("lost"),)}, ["'a-1'", "'lost'"]),
    "claim": ({"claims": (claim("one", "two:3"),), "arms": {"one": {}}}, ["'better'", "'two:3'"]),
    "clean arm": (
        {"claims": (claim("one", "two", clean=("one", "gone")),), "arms": {"one": {}, "two": {}}},
        ["'better'", "'gone'"],
    ),
    "a claim on an own metric": (
        measured("one", "two", quantity="val_recall"),
        ["claim 'better'", "'one'", "val_accuracy", "gap", "got 'val_recall'"],
    ),
    "a claim on what first members do not report": (
        measured("one", "two:2", quantity="train_loss"),
        ["claim 'better'", "'two:2'", "train_accuracy", "got 'train_loss'"],
    ),
    "a claim on what has no epochs": (
        measured("one", "two", quantity="best_test_accuracy@3"),
        ["claim 'better'", "test_accuracy", "got 'best_test_accuracy@3'"],
    ),
    "a claim at epoch 0": (measured("one", "two", quantity="test_loss@0"), ["'better'", "from 1", "'test_loss@0'"]),
    "a claim at two epochs": (
        measured("one@2", "two", quantity="test_loss@3"),
        ["'better'", "with its arms or with its quantity", "'one@2' and 'test_loss@3'"],
    ),
    "a claim on no member": (measured("one", "two:0"), ["'better'", "'arm:k'", "'two:0'"]),
    "a clean arm that cannot be measured": (
        {
            "arms": {"one": {}, "two": {}},
            "claims": (claim("one", "two", clean=("one", "two:2"), quantity="train_loss"),),
        },
        ["'better'", "'two:2'", "got 'train_loss'"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_study_is_refused_in_one_line(make_study: Make, case: str) -> None:
    changes, words = WRONG[case]
    with pytest.raises(StudyError) as caught:
        make_study(**changes)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


ENSEMBLES: dict[str, dict[str, Any]] = {
    "fixed together": {"param_space": {"strategy": "adaboost", "vote": "probabilities"}},
    "a choice": {"param_space": {"strategy": "adaboost", "vote": tune.choice(["hard", "probabilities"])}},
    "a condition's value": {
        "param_space": {
            "strategy": "adaboost",
            "vote": tune.choice(["hard", "probabilities"]),
            "lr": when("vote", "probabilities", tune.loguniform(1e-3, 1e-1)),
        }
    },
    "brought along": {
        "param_space": {
            "strategy": tune.choice(["bagging", "adaboost"]),
            "vote": when("strategy", "adaboost", tune.choice(["logits", "probabilities"])),
        }
    },
    "an arm of what the study fixes": {
        "param_space": {"strategy": "adaboost", "members": 2},
        "arms": {"one": {"vote": "probabilities"}},
    },
    "a first trial": {
        "param_space": {
            "strategy": tune.choice(["adaboost", "bagging"]),
            "vote": when("strategy", "adaboost", tune.choice(["probabilities", "logits"])),
            "bootstrap": when("strategy", "bagging", True),
        },
        "first": [{"strategy": "adaboost", "vote": "logits"}],
    },
    "test images augmented": {"param_space": {"validation": False, "test_augmented": True}},
}


@pytest.mark.parametrize("case", ENSEMBLES)
def test_a_value_that_fits_the_studys_others_is_accepted_though_it_does_not_fit_their_defaults(case: str) -> None:
    declared = {"name": "e", "question": "?", "source": "none", "trainable": AlexNetEnsemble, **ENSEMBLES[case]}
    study = Study(scheduler="none", **declared)
    for config in [*study.sample(20), *study.space.edges(), *map(study.completed, study.arms.values())]:
        study.settings(config)


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        ("alexnet_ensembles", {"strategy": "adaboost", "vote": "probabilities"}),
        ("small_alexnet_lr", {"decay": "step", "step_epochs": 20}),
    ],
)
def test_values_set_together_are_checked_together(space: str, wanted: dict[str, Any]) -> None:
    study = load(ROOT / "spaces" / f"{space}.py").with_set([f"{name}={value}" for name, value in wanted.items()])
    configs = [*study.sample(8), *map(study.completed, study.arms.values())]
    assert all({name: config[name] for name in wanted} == wanted for config in configs)


def test_a_length_that_the_command_line_decides_is_held_against_its_own_scheduler() -> None:
    space = {"members": tune.choice([1, 2])}
    bagging = Study(name="e", question="?", source="none", trainable=AlexNetEnsemble, param_space=space)
    lengths = ["e.py", "--set", "strategy=adaboost"]
    assert adapt(bagging, Request.parse([*lengths, "--scheduler", "none"])).scheduler == "none"
    assert adapt(bagging, Request.parse([*lengths, "--set", "members=2"])).scheduler == "asha"
    with pytest.raises(StudyError, match="early stopping needs trials of one length, got 20 to 40 epochs"):
        adapt(bagging, Request.parse(lengths))


DEPTHS = [6 * n + 4 for n in range(1, 60)]
IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "one choice of many": (
        {"trainable": WideResNetTrial, "param_space": {"depth": tune.choice([*DEPTHS, 17, *DEPTHS])}},
        r"depth must be 6n \+ 4 .*got 17",
    ),
    "two choices": (
        {"param_space": {"strategy": tune.choice(["bagging", "adaboost"]), "vote": tune.choice(["hard", "soft"])}},
        "vote must be one of 'hard', 'logits', 'probabilities' if strategy is 'adaboost', got 'soft'",
    ),
    "brought along by one number of many": (
        {"param_space": {"members": tune.randint(1, 500), "vote": when("members", 250, "probabilities")}},
        "vote must be one of 'hard', 'soft' if strategy is 'bagging', got 'probabilities'",
    ),
    "an arm": ({"param_space": {}, "arms": {"one": {"vote": "logits"}}}, "arm 'one': vote must be .* got 'logits'"),
    "an arm of what the study fixes": (
        {"param_space": {"strategy": "adaboost"}, "arms": {"one": {"vote": "soft"}}},
        "arm 'one': vote must be .* if strategy is 'adaboost', got 'soft'",
    ),
    "fixed": ({"param_space": {"test_augmented": True}}, "test_augmented must be false if validation is true"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_values_that_exclude_each_other_are_refused(case: str) -> None:
    changes, told = IMPOSSIBLE[case]
    declared = {"name": "e", "question": "?", "source": "none", "trainable": AlexNetEnsemble, **changes}
    with pytest.raises(StudyError, match=told) as caught:
        Study(scheduler="none", **declared)
    assert "\n" not in str(caught.value)


def test_settings_have_the_studys_epochs(make_study: Make) -> None:
    study = make_study(epochs=7, arms={"one": {}, "short": {"epochs": 2}})
    assert [study.configured(study.completed(arm))["epochs"] for arm in study.arms.values()] == [7, 2]


def test_edges_inside_the_range_are_accepted(make_study: Make) -> None:
    space = {
        "quality": tune.uniform(0.0, 1.0),
        "members": tune.randint(1, 9),
        "lr": tune.loguniform(1e-5, 1),
        "switch": tune.choice([None, True]),
        "weight_decay": 0,
    }
    study = make_study(param_space=space)
    assert set(study.searched()) == {"quality", "members", "lr", "switch"}
    assert study.fixed() == {"weight_decay": 0}


def test_the_end_of_an_integer_range_is_as_ray_takes_it() -> None:
    assert domain_edges(tune.randint(1, 9)) == (1, 8)
    assert domain_edges(tune.lograndint(1, 9)) == (1, 8)
    assert domain_edges(tune.qrandint(2, 8, 2)) == (2, 8)


def test_claims_and_reported_runs_may_name_arms_and_prefixes(make_study: Make) -> None:
    study = make_study(
        arms={"one": {"members": 1}, "nine": {"members": 9}},
        reported=(reported("nine"),),
        claims=(claim("nine:3", "one"),),
    )
    assert study.claims[0].arms == ("nine:3", "one")


def test_goals_put_the_metric_first(make_study: Make) -> None:
    study = make_study(objectives={"parameters": "min"})
    assert list(study.goals.items()) == [("val_accuracy", "max"), ("parameters", "min")]


# --set


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("quality=0.25", 0.25),
        ("quality=1", 1.0),
        ("lr=1e-3", 1e-3),
        ("members=7", 7),
        ("switch=true", True),
        ("switch=False", False),
        ("switch=none", None),
        ("train_images=none", None),
        ("fate=diverges", "diverges"),
    ],
)
def test_set_fixes_a_hyperparameter_with_its_type(toy: Study, assignment: str, value: Any) -> None:
    name = assignment.partition("=")[0]
    study = toy.with_set([assignment])
    assert study.fixed()[name] == value
    assert type(study.fixed()[name]) is type(value)
    assert name not in study.searched()


def test_set_epochs_changes_the_study_and_the_last_assignment_wins(toy: Study) -> None:
    study = toy.with_set(["epochs=7", "members=2", "members=3"])
    assert study.epochs == 7
    assert study.fixed() == {"members": 3}
    assert (toy.epochs, toy.fixed()) == (3, {})


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("quality", ["name=value", "'quality'"]),
        ("speed=3", ["--set speed=3", "'speed'", "quality"]),
        ("members=2.5", ["--set members=2.5", "whole number", "2.5"]),
        ("members=many", ["members", "whole number", "'many'"]),
        ("quality=1.5", ["quality", "from 0 to 1", "1.5"]),
        ("quality=nan", ["quality", "nan"]),
        ("lr=inf", ["lr", "inf"]),
        ("lr=", ["lr", "''"]),
        ("fate=falls", ["'well', 'diverges', 'raises'", "'falls'"]),
        ("switch=1", ["true or false", "got 1"]),
        ("epochs=0", ["epochs", "at least 1", "got 0"]),
        ("epochs=half", ["epochs", "whole number", "'half'"]),
    ],
)
def test_a_wrong_set_is_refused_in_one_line(toy: Study, assignment: str, words: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        toy.with_set([assignment])
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


def test_set_reaches_the_arms_too(make_study: Make) -> None:
    study = make_study(arms={"one": {"members": 1}, "nine": {"members": 9, "quality": 0.9}}).with_set(["quality=0.2"])
    assert study.arms == {"one": {"members": 1, "quality": 0.2}, "nine": {"members": 9, "quality": 0.2}}


# --replay


def test_a_replay_pairs_every_arm_with_the_same_seeds(make_study: Make) -> None:
    study = make_study(arms={"one": {"members": 1}, "nine": {"members": 9, "lr": 0.1, "epochs": 9}}).with_set(
        ["lr=0.2"]
    )
    configs = study.replay_configs(repeats=2, seed=5)
    assert configs == [
        ({"lr": 0.2, "members": 1, "seed": 5}, "one"),
        ({"lr": 0.2, "members": 9, "epochs": 9, "seed": 5}, "nine"),
        ({"lr": 0.2, "members": 1, "seed": 6}, "one"),
        ({"lr": 0.2, "members": 9, "epochs": 9, "seed": 6}, "nine"),
    ]


def test_a_fixed_seed_is_the_searchs_and_a_replay_has_its_own(make_study: Make) -> None:
    space = {"lr": tune.loguniform(1e-3, 1e-1), "seed": 42}
    study = make_study(param_space=space, arms={"one": {"lr": 0.1}, "two": {"lr": 0.01}})
    study.require_free_seeds()
    assert [config["seed"] for config, _ in study.replay_configs(repeats=2, seed=3)] == [3, 3, 4, 4]
    seeded = make_study(param_space=space, arms={"one": {"lr": 0.1}, "two": {"lr": 0.01, "seed": 7}})
    seeded.require_free_seeds(["one"])
    with pytest.raises(StudyError, match=r"got seed=7 for arm 'two': leave it out, and use --seed"):
        seeded.require_free_seeds()


def test_a_study_without_arms_cannot_be_replayed(toy: Study) -> None:
    with pytest.raises(StudyError, match="toy has no arms to replay"):
        toy.replay_configs(1, 0)


# --smoke


def test_smoke_runs_on_the_digits_with_what_the_study_changes(make_study: Make) -> None:
    study = make_study(
        epochs=20, smoke={"samples": 4, "epochs": 2, "members": tune.choice([1, 2]), "train_images": 300}
    ).as_smoke()
    assert (study.dataset, study.samples, study.epochs) == ("digits", 4, 2)
    assert study.searched()["members"].categories == [1, 2]
    assert study.fixed() == {"train_images": 300}
    assert "quality" in study.searched()


def test_smoke_has_few_samples_even_where_the_study_says_nothing(make_study: Make) -> None:
    assert make_study(samples=500).as_smoke().samples == 8


# Space files


def space(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


def test_load_gives_the_study_of_the_file(toy_space: Path) -> None:
    assert load(toy_space).name == "toy"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study = (\n", [", line 1: "]),
        ("x = 1\n", ["must define `study = Study(...)`", "got NoneType"]),
        ("study = 3\n", ["must define `study = Study(...)`", "got int"]),
        (
            "import dataclasses\nfrom tests.search.toy_space import study as toy\n"
            "study = dataclasses.replace(toy, grace_epochs=50)\n",
            ["grace_epochs must be at most the", "got 50", "scheduler='none'"],
        ),
        ("import math\n\nmath.sqrt(-1)\n", [", line 3: ValueError: math domain error"]),
        ("import nothing_of_this_name\n", [", line 1: ModuleNotFoundError", "nothing_of_this_name"]),
        ("raise ValueError('first\\nsecond')\n", [", line 1: ValueError: first"]),
        ("raise SystemExit(0)\n", [", line 1: SystemExit"]),
        ("\nraise GeneratorExit\n", [", line 2: GeneratorExit"]),
        ("raise KeyboardInterrupt('own')\n", [", line 1: KeyboardInterrupt: own"]),
        ("import asyncio\nraise asyncio.CancelledError\n", [", line 2: CancelledError"]),
        ("class Own(BaseException): ...\nraise Own\n", [", line 2: Own"]),
        ("def f(): f()\nf()\n", [", line 1: RecursionError"]),
        ("study = '\udce9'\n", ["utf-8"]),
    ],
)
def test_a_space_that_gives_no_study_is_refused_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = space(tmp_path / "wrong.py", text)
    with pytest.raises(StudyError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == [], message


def test_a_wrong_study_in_a_space_names_the_file(tmp_path: Path, toy_space: Path) -> None:
    path = space(tmp_path / "wrong.py", toy_space.read_text().replace("epochs=3", 'metric="test_accuracy"'))
    with pytest.raises(StudyError, match=r"wrong\.py: toy: .*'test_accuracy'"):
        load(path)


def test_what_is_no_space_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no such space file: .*missing\.py"):
        load(tmp_path / "missing.py")
    with pytest.raises(StudyError, match=r"a space must be a Python file, got .*\.txt"):
        load(space(tmp_path / "space.txt", "study = 1"))
    with pytest.raises(StudyError, match="no such space file"):
        load(tmp_path)
    for name in ("a" * 5000, "a/" * 2500, "a\0b", "\udc80"):
        with pytest.raises(StudyError, match="no such space file"):
            load(tmp_path / f"{name}.py")


def test_ctrl_c_while_a_space_is_read_is_an_interruption_and_no_fault_of_the_file(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    path = space(
        tmp_path / "slow.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**8): ...\n"
    )
    with pytest.raises(KeyboardInterrupt):
        load(path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, handler)


OWN_MODEL = """
from __future__ import annotations

from dataclasses import dataclass


from ray import tune
from torch import nn

from search.study import Study
from trainables.base import ImageTrainable
from trainables.training.recipe import Recipe
from trainables.training.settings import Settings, number


@dataclass(frozen=True, kw_only=True)
class MySettings(Settings):
    width: int | None = number(16, low=1)


class MyRecipe(Recipe):
    settings_type = MySettings

    def network(self):
        return nn.Flatten()


class Mine(ImageTrainable):
    recipe = MyRecipe


study = Study(
    name="mine", question="?", source="me", trainable=Mine, param_space={"width": tune.choice([8, 16])}
)
"""


def test_a_space_may_hold_its_own_model_and_settings_also_in_a_worker(tmp_path: Path) -> None:
    mine = load(space(tmp_path / "mine.py", OWN_MODEL)).trainable
    there = tmp_path / "mine.pickle"
    there.write_bytes(ray.cloudpickle.dumps(mine))  # as Ray hands it to a worker, which lacks the file
    code = (
        f"import pickle, pathlib; mine = pickle.loads(pathlib.Path({str(there)!r}).read_bytes())\n"
        "try: mine.recipe.settings_type.from_config({'width': 0})\n"
        "except ValueError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout == "width must be a whole number or None of at least 1, got 0\n", ran.stderr


def test_a_loss_is_minimised_and_ranked_by_when_it_is_named(toy: Study) -> None:
    by_loss = Study(
        name="toy", question="q", source="s", trainable=toy.trainable, param_space=toy.param_space, metric="val_loss"
    )
    assert (by_loss.mode, by_loss.rank_by) == ("min", "val_loss")
    by_accuracy = Study(name="toy", question="q", source="s", trainable=toy.trainable, param_space=toy.param_space)
    assert (by_accuracy.mode, by_accuracy.rank_by) == ("max", "member_val_accuracy")


def test_a_trainables_own_metric_may_be_chosen_by_and_is_held_to_its_declaration(toy: Study) -> None:
    class Sharp(toy.trainable):  # type: ignore[misc, name-defined]
        metrics = (
            columns.metric("sharpness", "Of the minimum.", measured_on="training", better="min", unit="nats"),
            columns.metric("test_f1", "Macro F1.", measured_on="test", better="max"),
        )

    def study(**changes: Any) -> Study:
        return Study(name="toy", question="q", source="s", trainable=Sharp, param_space=toy.param_space, **changes)

    assert study(metric="sharpness").mode == "min"
    with pytest.raises(StudyError, match=r"'test_f1'.*test images"):
        study(metric="test_f1")
    with pytest.raises(StudyError, match=r"'sharpness'.*'min'.*'max'"):
        study(objectives={"sharpness": "max"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "oob_accuracy", "rank_by": "oob_accuracy"}, ["oob_accuracy", "bootstrap"]),
        ({"param_space": {"validation": False}}, ["val_accuracy", "validation=False"]),
        (
            {"param_space": {"bootstrap": tune.choice([True, False])}, "objectives": {"oob_accuracy": "max"}},
            ["bootstrap"],
        ),
    ],
)
def test_a_search_is_refused_if_a_trial_would_not_measure_what_it_compares(
    make_study: Make, changes: dict[str, Any], said: list[str]
) -> None:
    study = make_study(**changes)  # a replay of its arms is none the worse
    with pytest.raises(StudyError) as raised:
        study.check_search()
    assert all(text in str(raised.value) for text in said)
