"""A search begins with what is known to be good, then with points that are spread over the space."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ray import tune
from scipy.stats import qmc

from search.domains import distribution, domain_holds
from search.initial_design import first_configs, sobol_point
from search.records import COMPLETED
from search.searchers import STARTUP_TRIALS, OptunaProposals
from search.study import Study, StudyError, load

SPACES = Path(__file__).resolve().parents[2] / "spaces"
DOMAINS = {
    "lr": tune.loguniform(1e-4, 0.3),
    "momentum": tune.uniform(0.0, 0.98),
    "width": tune.lograndint(4, 65),
    "depth": tune.randint(1, 6),
    "step": tune.quniform(0.1, 0.9, 0.1),
    "batch_size": tune.qrandint(32, 128, 32),
    "optimizer": tune.choice(["sgd", "adam", "rmsprop"]),
}


@pytest.fixture
def toy(toy_space: Path) -> Study:
    return load(toy_space)


# Known settings


def test_a_notes_search_begins_with_the_notes_own_settings() -> None:
    study = load(SPACES / "lenet_best.py")
    assert first_configs(study) == [
        {"policy": "autoaugment", "lr": 0.002, "weight_decay": 1e-4, "dropout": 0.1, "conv1": 256, "conv2": 256}
    ]
    config, arm, _ = OptunaProposals(study, "tpe", 40, seed=0).propose(0)
    assert arm is None
    assert config == {**study.fixed(), **first_configs(study)[0]}


def test_settings_outside_of_the_space_are_left_out() -> None:
    study = load(SPACES / "lenet_best.py")
    # The note's other run has neither the best one's BatchNorm nor its channels.
    assert len({reported.arm for reported in study.reported}) == 2
    narrow = dataclasses.replace(study, param_space={**study.param_space, "lr": tune.loguniform(1e-4, 1e-3)})
    assert first_configs(narrow) == []
    other = dataclasses.replace(study, param_space={**study.param_space, "batch_norm": False})
    assert first_configs(other) == []


def test_settings_lie_in_a_space_that_writes_them_as_another_kind_of_number() -> None:
    study = load(SPACES / "lenet_best.py")
    zero = tune.choice([0, 1e-4])  # a setting of floats: the arm's is 0.0
    arms = {arm: {**config, "weight_decay": 0} for arm, config in study.arms.items()}
    written = dataclasses.replace(
        study, arms=arms, param_space={**study.param_space, "weight_decay": zero, "momentum": tune.randint(0, 2)}
    )
    arms = {arm: {**config, "momentum": 1} for arm, config in arms.items()}
    (first,) = first_configs(dataclasses.replace(written, arms=arms))
    assert (first["weight_decay"], first["momentum"]) == (0, 1)
    assert [type(first[name]) for name in ("weight_decay", "momentum")] == [int, int]  # as any other trial has them


def test_at_most_a_quarter_of_a_search_is_of_known_settings() -> None:
    study = load(SPACES / "model_size.py")
    assert len(first_configs(dataclasses.replace(study, samples=48))) == 7
    assert len(first_configs(dataclasses.replace(study, samples=8))) == 2
    assert len(first_configs(dataclasses.replace(study, samples=1))) == 1


def test_points_of_ones_own_come_first_and_may_be_partial(toy: Study) -> None:
    study = dataclasses.replace(toy, first=({"quality": np.float64(0.75), "members": 2}, {"quality": 0.5}))
    proposals = OptunaProposals(study, "random", 8, seed=0)
    configs = [proposals.propose(number)[0] for number in range(3)]
    assert (configs[0]["quality"], configs[0]["members"]) == (0.75, 2)
    assert configs[1]["quality"] == 0.5
    assert configs[2]["quality"] not in (0.75, 0.5)


def test_a_point_of_ones_own_is_proposed_as_the_domain_writes_it(toy: Study) -> None:
    space = {"quality": tune.choice([0, 0.5]), "lr": 1, "switch": tune.choice([None, False])}
    study = dataclasses.replace(toy, param_space=space, first=[{"quality": 0.0, "lr": 1.0, "switch": False}])
    config, _, _ = OptunaProposals(study, "random", 8, seed=0).propose(0)
    assert (config["quality"], type(config["quality"])) == (0, int)
    with pytest.raises(StudyError, match="lr must be searched, or have the study's own value, got True"):
        dataclasses.replace(study, first=[{"lr": True}])


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ([{"quality": 7.0}], "quality must lie in its domain, got 7.0"),
        ([{"members": True}], "members must lie in its domain, got True"),
        ([{"no_such": 1}], "no_such must be searched"),
        ([3], "must be a list of configurations"),
        ("abc", "must be a list of configurations"),
    ],
)
def test_a_point_that_is_not_in_the_space_is_refused(toy: Study, first: object, told: str) -> None:
    with pytest.raises(StudyError, match=told):
        dataclasses.replace(toy, first=first)  # type: ignore[arg-type]


def test_a_hyperparameter_that_is_fixed_later_leaves_the_points(toy: Study) -> None:
    study = dataclasses.replace(toy, first=({"quality": 0.75, "members": 2},))
    assert study.with_set(["quality=0.5"]).first == [{"members": 2}]


# Points spread over the space


def test_the_first_sixteen_points_fill_sixteen_bands_of_every_dimension() -> None:
    ranges = {name: distribution(tune.uniform(0.0, 1.0)) for name in "abcd"}
    points = np.array([list(sobol_point(ranges, 3, number).values()) for number in range(16)])
    for dimension in points.T:
        assert sorted((dimension * 16).astype(int)) == list(range(16))
    random = np.random.RandomState(0).rand(16, 4)
    assert qmc.discrepancy(points) < 0.6 * qmc.discrepancy(random)


def test_points_lie_in_their_domains_and_reach_every_choice() -> None:
    ranges = {name: distribution(domain) for name, domain in DOMAINS.items()}
    points = [sobol_point(ranges, 1, number) for number in range(64)]
    for name, domain in DOMAINS.items():
        assert all(domain_holds(domain, point[name]) for point in points), name
    assert {point["optimizer"] for point in points} == {"sgd", "adam", "rmsprop"}
    assert {point["depth"] for point in points} == {1, 2, 3, 4, 5}
    assert {point["batch_size"] for point in points} == {32, 64, 96, 128}
    assert len({point["step"] for point in points}) == 9
    below = np.mean([point["lr"] < (1e-4 * 0.3) ** 0.5 for point in points])
    assert below == pytest.approx(0.5, abs=0.05)  # half of a logarithmic range lies below its geometric middle


def test_another_seed_has_other_points() -> None:
    ranges = {name: distribution(domain) for name, domain in DOMAINS.items()}
    assert sobol_point(ranges, 1, 5) == sobol_point(ranges, 1, 5)
    assert sobol_point(ranges, 1, 5) != sobol_point(ranges, 2, 5)


@pytest.mark.parametrize("searcher", ["tpe", "gp"])
def test_points_are_taken_until_the_sampler_knows_enough(toy: Study, searcher: str) -> None:
    proposals = OptunaProposals(toy, searcher, 40, seed=5)
    ranges, seed = proposals.distributions, proposals.seed_of_design
    for number in range(STARTUP_TRIALS + 2):
        config = proposals.propose(number)[0]
        point = {name: config[name] for name in ranges}
        assert (point == sobol_point(ranges, seed, number)) == (number < STARTUP_TRIALS)
        result = {"epoch": 3, "val_accuracy": config["quality"]}
        proposals.report(number, result)
        proposals.end(number, COMPLETED, result)


def test_random_search_stays_random(toy: Study) -> None:
    spread = OptunaProposals(toy, "tpe", 40, seed=5).propose(0)[0]
    random = OptunaProposals(toy, "random", 40, seed=5).propose(0)[0]
    before = OptunaProposals(dataclasses.replace(toy, initial_design="random"), "tpe", 40, seed=5).propose(0)[0]
    assert random["quality"] == before["quality"] != spread["quality"]
