"""Hyperparameters that exist only if another one has certain values, from the space to the tables."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from ray import tune

from analysis.importance import importance
from analysis.load import load as load_results
from search.definition import define, differences
from search.initial_design import first_configs
from search.journal import Journal, TrialLog
from search.provenance import domain_name
from search.records import Reported
from search.results import ResultsWriter, schema_of, write_record
from search.searchers import Listed, OptunaProposals, make_proposals
from search.study import Study, StudyError, load, when
from search.tuner import trial_name
from tests.records import make_record

SPACE = {
    "quality": tune.uniform(0.1, 0.9),
    "momentum": when("optimizer", "sgd", tune.uniform(0.1, 0.9)),  # before what brings it along
    "optimizer": tune.choice(["sgd", "adam"]),
    "members": tune.randint(1, 4),
    "vote": when("members", [2, 3], tune.choice(["hard", "soft"])),
    "label_smoothing": when("members", (2, 3), when("vote", "soft", tune.quniform(0.1, 0.3, 0.1))),
    "weight_decay": when("optimizer", "adam", 0.01),
}
SEARCHERS = ("random", "tpe", "gp")


@pytest.fixture(scope="module")
def study(toy: Study) -> Study:
    return dataclasses.replace(toy, param_space=SPACE)


def obeys(config: dict[str, Any]) -> bool:
    """Whether a configuration of SPACE has what it must have, and nothing else."""
    soft = config["members"] > 1 and config["vote"] == "soft"
    return (
        ("momentum" in config) == (config["optimizer"] == "sgd")
        and ("vote" in config) == (config["members"] > 1)
        and ("label_smoothing" in config) == soft
        and config.get("weight_decay") == (0.01 if config["optimizer"] == "adam" else None)
        and {"quality", "optimizer", "members"} <= config.keys()
    )


def run(study: Study, searcher: str, journal: Journal, trials: int, proposals: OptunaProposals | None = None) -> Any:
    """Propose and end trials, each third one stopped, one after the other."""
    proposals = proposals or OptunaProposals(study, searcher, 60, seed=3)
    for number in range(len(journal.trials), trials):
        config, arm, state = proposals.propose(number)
        config |= {"epochs": study.epochs, "seed": number}
        journal.append("suggest", number, name=f"{number:04d}", config=config, arm=arm, state=state)
        last = 2 if number % 3 == 1 else study.epochs
        for epoch in range(1, last + 1):
            value = 0.5 * config["quality"] + 0.4 * config.get("momentum", 0.2)
            result = {"epoch": epoch, "total_epochs": study.epochs, "val_accuracy": value, "parameters": 10}
            proposals.report(number, result)
            journal.append("result", number, result=result)
        status = "completed" if last == study.epochs else "stopped"
        journal.append("end", number, status=status, error=None)
        proposals.end(number, status, journal.trials[number].last)
    return proposals


def folder(path: Path) -> Path:
    path.mkdir()
    return path


# Configurations


def test_a_drawn_configuration_has_what_its_choices_bring_along_and_nothing_else(study: Study) -> None:
    drawn = list(study.sample(200))
    assert all(obeys(config) for config in drawn)
    assert {len(config) for config in drawn} == {1 + size for size in (4, 5, 6)}
    assert list(study.sample(200)) == drawn


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_searcher_proposes_only_what_exists(study: Study, tmp_path: Path, searcher: str) -> None:
    journal = Journal(tmp_path)
    run(study, searcher, journal, 24)
    configs = [log.config for log in journal.trials.values()]
    assert all(obeys(config) for config in configs)
    assert {"momentum" in config for config in configs} == {True, False}
    # Steps stay on their grid, to the last bit.
    assert {config.get("label_smoothing", 0.1) for config in configs} <= {0.1, 0.2, 0.3}


def test_nsga2_proposes_only_what_exists(study: Study, tmp_path: Path) -> None:
    two = dataclasses.replace(study, objectives={"parameters": "min"})
    journal = Journal(tmp_path)
    run(two, "nsga2", journal, 40)
    assert all(obeys(log.config) for log in journal.trials.values())


@pytest.mark.parametrize("searcher", [*SEARCHERS, "nsga2"])
def test_a_search_gone_on_with_after_any_trial_proposes_the_same(study: Study, tmp_path: Path, searcher: str) -> None:
    if searcher == "nsga2":
        study = dataclasses.replace(study, objectives={"parameters": "min"})
    most = 16 if searcher == "gp" else 26
    whole = Journal(folder(tmp_path / "whole"))
    run(study, searcher, whole, most)
    for known in (1, 11, most - 2):
        again = Journal(folder(tmp_path / f"{known}"))
        run(study, searcher, again, known)
        proposals = OptunaProposals(study, searcher, 60, seed=3)
        for log in again.trials.values():
            proposals.recall(log)
        run(study, searcher, again, most, proposals)
        assert [log.config for log in again.trials.values()] == [log.config for log in whole.trials.values()]


def test_tpe_learns_of_a_hyperparameter_that_half_of_the_trials_have(study: Study, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    run(study, "tpe", journal, 60)
    momenta = [log.config["momentum"] for log in journal.trials.values() if "momentum" in log.config]
    assert len(momenta) > 30  # sgd's best is better than adam's
    assert sum(momenta[-10:]) / 10 > sum(momenta[:10]) / 10 + 0.1


def test_a_grid_is_every_combination_that_exists(toy: Study) -> None:
    space = {
        "optimizer": tune.choice(["sgd", "adam"]),
        "momentum": when("optimizer", "sgd", tune.choice([0.5, 0.9])),
        "members": tune.choice([1, 2]),
        "weight_decay": when("members", 2, 0.01),
    }
    study = dataclasses.replace(toy, param_space=space)
    grid = make_proposals(study, "grid", 99, 0)
    assert isinstance(grid, Listed)
    expected = [
        {"optimizer": optimizer, **rest, "members": members, **({"weight_decay": 0.01} if members == 2 else {})}
        for optimizer, rest in (("sgd", {"momentum": 0.5}), ("sgd", {"momentum": 0.9}), ("adam", {}))
        for members in (1, 2)
    ]
    assert [config for config, _ in grid.configs] == expected
    again = make_proposals(study, "grid", 99, 0)
    for number in (5, 0, 3):  # in any order
        again.recall(TrialLog(number, "x", {**grid.configs[number][0], "epochs": 3, "seed": 7}))
    assert [again.propose(number)[0] for number in range(3)] == [grid.configs[number][0] for number in (1, 2, 4)]


def test_the_first_trials_are_spread_over_what_exists(study: Study, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    run(study, "tpe", journal, 10)
    momenta = sorted(log.config["momentum"] for log in journal.trials.values() if "momentum" in log.config)
    assert 3 <= len(momenta) <= 7
    assert momenta[0] < 0.4
    assert momenta[-1] > 0.6


def test_known_settings_come_first_if_they_lie_in_the_space(study: Study) -> None:
    arms = {
        "sgd": {"quality": 0.5, "optimizer": "sgd", "momentum": 0.5, "members": 1},
        "adam": {"quality": 0.5, "optimizer": "adam", "members": 2, "vote": "hard"},
        "outside": {"quality": 0.5, "optimizer": "sgd", "momentum": 0.95, "members": 1},
        "undeclared": {"quality": 0.5, "optimizer": "adam", "momentum": 0.5, "members": 1},  # Adam brings no momentum
    }
    reported = tuple(Reported(run=arm, note="A", section="1", arm=arm, dataset="cifar10", model="toy") for arm in arms)
    noted = dataclasses.replace(study, arms=arms, reported=reported, samples=40)
    assert first_configs(noted) == [
        {"quality": 0.5, "momentum": 0.5, "optimizer": "sgd", "members": 1},
        {"quality": 0.5, "optimizer": "adam", "members": 2, "vote": "hard"},
    ]
    # An arm is completed by the values that its own settings bring along.
    replayed = {arm: config for config, arm in noted.replay_configs(1, 0)}
    assert "weight_decay" not in replayed["sgd"]
    assert replayed["adam"]["weight_decay"] == 0.01


def test_first_trials_of_ones_own(study: Study) -> None:
    first = [{"optimizer": "adam", "quality": 0.3}, {"optimizer": "sgd", "momentum": 0.5}]
    own = dataclasses.replace(study, first=first)
    proposals = OptunaProposals(own, "tpe", 40, 0)
    configs = [proposals.propose(number)[0] for number in range(2)]
    assert all(map(obeys, configs))
    assert configs[0] | first[0] == configs[0]
    assert configs[1] | first[1] == configs[1]
    with pytest.raises(StudyError, match="first: momentum exists only if optimizer is 'sgd', got optimizer 'adam'"):
        dataclasses.replace(study, first=[{"optimizer": "adam", "momentum": 0.5}])
    with pytest.raises(StudyError, match="first: momentum exists only if optimizer is 'sgd', got optimizer 'not named"):
        dataclasses.replace(study, first=[{"momentum": 0.5}])


def test_values_may_be_numpys() -> None:
    assert when("members", np.array([2, 3]), 0.5) == when("members", [2, 3], 0.5)
    assert when("members", np.int64(2), 0.5) == when("members", 2, 0.5)


# What is written otherwise


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"lr": when("optimiser", "sgd", 0.1)}, "lr: when must name another hyperparameter .* got 'optimiser'"),
        ({"lr": when(3, "sgd", 0.1)}, "lr: when must name another hyperparameter"),  # type: ignore[arg-type]
        ({"lr": when("optimizer", "sdg", 0.1)}, "lr: when: optimizer must be one of 'sgd', 'adam', got 'sdg'"),
        ({"lr": when("optimizer", [], 0.1)}, "lr: when needs at least one value of optimizer"),
        ({"lr": when("optimizer", lambda o: o == "sgd", 0.1)}, "lr: when: optimizer must be"),
        ({"lr": when("optimizer", {"sgd": 0.1, "adam": 0.2}, 0.1)}, "lr: when: optimizer must be"),
        ({"lr": when("members", 7, 0.1)}, "lr: when needs values that members can have, got 7"),
        ({"lr": when("switch", 1, 0.1)}, "lr: when: switch must be true or false or None, got 1"),
        ({"lr": when("quality", 0.5, 0.1)}, "lr: when needs a choice or a range of whole numbers, got quality"),
        ({"lr": when("optimizer", "sgd", tune.loguniform(1, 0.1))}, "lr: a domain must hold at least one value"),
        ({"lr": when("optimizer", "sgd", -1.0)}, "lr must be a number above 0, got -1.0"),
        ({"lr": when("optimizer", "sgd", tune.sample_from(lambda _: 1))}, "lr: tune.sample_from .* write the range"),
        ({"lr": when("optimizer", "sgd", tune.grid_search([1]))}, "lr uses tune.grid_search; write tune.choice"),
        ({"epochs": when("optimizer", "sgd", 3)}, "epochs belongs to the study"),
        ({"engine": when("optimizer", "sgd", "bf16")}, "engine must be the same for all trials"),
        (
            {"lr": when("momentum", 0.5, 0.1), "momentum": when("lr", 0.1, 0.5)},
            r"lr: a condition must not lead back to itself, got lr -> momentum -> lr",
        ),
        (
            {"optimizer": tune.choice([{"name": "sgd", "momentum": tune.uniform(0, 1)}, {"name": "adam"}])},
            r"optimizer: a choice must hold values, .* when\(NAME, VALUE, DOMAIN\)",
        ),
        ({"lr": tune.choice([0.1, tune.uniform(0, 1)])}, r"lr: a choice must hold values, .* when\("),
        ({"optimizer": {"name": "sgd", "lr": tune.uniform(0, 1)}}, r"optimizer must be a domain or a value, .* when\("),
    ],
)
def test_a_condition_that_cannot_be_is_refused_in_one_line(toy: Study, space: dict[str, Any], told: str) -> None:
    others = {
        "optimizer": tune.choice(["sgd", "adam"]),
        "quality": tune.uniform(0.1, 0.9),
        "members": tune.choice([1, 2]),
        "switch": tune.choice([False, True]),
    }
    with pytest.raises(StudyError, match=told) as caught:
        dataclasses.replace(toy, param_space={**others, **space})
    assert "\n" not in str(caught.value)


# What changes a space


def test_a_fixed_choice_brings_along_only_its_own(study: Study) -> None:
    adam = study.with_set(["optimizer=adam"])
    assert "momentum" not in adam.searched()
    assert adam.fixed() == {"optimizer": "adam", "weight_decay": 0.01}
    sgd = study.with_set(["optimizer=sgd", "members=1"])
    assert sgd.searched().keys() == {"quality", "momentum"}
    assert not sgd.space.conditions
    assert sgd.fixed() == {"optimizer": "sgd", "members": 1}


def test_set_keeps_the_condition(study: Study) -> None:
    half = study.with_set(["momentum=0.5"])
    assert {config.get("momentum") for config in half.sample(40)} == {0.5, None}
    assert all(obeys(config) for config in half.sample(40))
    assert dataclasses.replace(study, smoke={"momentum": 0.5}).as_smoke().space.sometimes["momentum"] == 0.5


def test_set_without_effect_is_refused(study: Study) -> None:
    with pytest.raises(StudyError, match=r"--set momentum=0\.5 has no effect: momentum exists only if"):
        study.with_set(["optimizer=adam", "momentum=0.5"])


def test_first_trials_follow_what_is_fixed(study: Study) -> None:
    first = [{"optimizer": "sgd", "momentum": 0.5, "quality": 0.3}]
    own = dataclasses.replace(study, first=first)
    assert own.with_set(["optimizer=sgd"]).first == [{"momentum": 0.5, "quality": 0.3}]
    proposals = OptunaProposals(own.with_set(["optimizer=adam"]), "random", 8, 0)
    assert obeys(config := proposals.propose(0)[0])
    assert config["quality"] == 0.3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"sgd", tune',
            '["sgd", "adam"], tune',
            "conditions/momentum was optimizer is 'sgd' and is optimizer is 'sgd' or",
        ),
        (
            'when("optimizer", "sgd", tune.uniform(0, 0.9))',
            "tune.uniform(0, 0.9)",
            "conditions/momentum was .* is gone",
        ),
        ("uniform(0, 0.9)", "uniform(0, 0.8)", "space/momentum was float from 0 to 0.9 and is float from 0 to 0.8"),
        ('"adam", 0.01', '"adam", 0.02', "constants/weight_decay was 0.01 and is 0.02"),
    ],
)
def test_a_changed_condition_is_named(tmp_path: Path, toy_space: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "own.py"
    text = f"""import dataclasses
from pathlib import Path
from ray import tune
from search.study import load, when
study = dataclasses.replace(load(Path({str(toy_space)!r})), param_space={{
    "quality": tune.uniform(0.1, 0.9),
    "optimizer": tune.choice(["sgd", "adam"]),
    "momentum": when("optimizer", "sgd", tune.uniform(0, 0.9)),
    "weight_decay": when("optimizer", "adam", 0.01),
    "lr": when("optimizer", {{"sgd", "adam"}}, tune.loguniform(0.1, 1)),
}})
"""
    path.write_text(text)
    before = define(load(path), path, samples=8, seed=0)
    assert before["conditions"]["lr"] == "optimizer is 'adam' or 'sgd'"  # in one order, whatever a set's
    assert list(differences(before, define(load(path), path, samples=8, seed=0))) == []
    assert old in text
    path.write_text(text.replace(old, new))
    (found, *_) = differences(before, define(load(path), path, samples=8, seed=0))
    assert re.match(told, found)


# What is left behind


def test_a_hyperparameter_that_a_trial_lacks_is_null_and_does_not_name_it(study: Study, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    run(study, "random", journal, 36)
    writer = ResultsWriter(tmp_path, schema=schema_of(study))
    writer.refresh(journal.trials, force=True)
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    for row, log in zip(rows, journal.trials.values(), strict=True):
        for name in ("momentum", "vote", "label_smoothing", "weight_decay"):
            assert row[f"config/{name}"] == log.config.get(name)
        assert row["config/decay"] == "constant"  # a default is recorded as before
    name = trial_name(study)(0, journal.trials[0].config, None)
    assert ("momentum=" in name) == ("momentum" in journal.trials[0].config)


def test_importance_sees_a_hyperparameter_that_some_trials_lack(study: Study, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    run(study, "random", journal, 60)
    record = make_record(space={name: domain_name(each) for name, each in study.searched().items()})
    ResultsWriter(tmp_path, schema=schema_of(study)).refresh(journal.trials, force=True)
    write_record(tmp_path, record)
    table = importance(load_results([tmp_path])[0], resamples=5, permutations=5).set_index("hyperparameter")
    assert {"momentum", "vote", "label_smoothing", "quality", "optimizer"} <= set(table.index)
    assert table.loc["quality", "importance"] > table.loc["vote", "importance"]
    assert table["importance"].sum() == pytest.approx(1)
