"""The plan counts what a study trains, and scales what it measured by that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ray import tune

from search.economy import Economy
from search.plan import (
    SIMULATED_TRIALS,
    Measurement,
    Plan,
    check_fits,
    expected_share,
    how_to_shrink,
    make_plan,
    replay_table,
)
from search.request import Request
from search.resources import Resources
from search.study import Study, StudyError
from trainables.data.datasets import ImageData
from trainables.lenet import LeNetTrainable
from trainables.pretrained import PretrainedTrainable

TRAIN, VALIDATION, TEST = 54, 6, 20  # images of `tiny_data`


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The plan measures with as many threads as a trial will have."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def lenet() -> Study:
    return Study(
        name="lenet",
        question="?",
        source="none",
        trainable=LeNetTrainable,
        dataset="cifar10",
        epochs=9,
        samples=12,
        param_space={"conv1": tune.choice([2, 64]), "members": tune.choice([1, 3]), "batch_size": 6},
    )


def plan_of(study: Study, data: ImageData, configs: list[dict[str, Any]] | None = None, slots: int = 2) -> Plan:
    return make_plan(study, data, Resources(1, 0), slots, configs)


def test_a_trials_cost_is_its_images_times_the_measured_time_of_one(lenet: Study, tiny_data: ImageData) -> None:
    config = {"conv1": 6, "members": 3, "epochs": 4, "batch_size": 6}
    plan = plan_of(lenet, tiny_data, [config] * 5)
    train = (plan.cheapest.train_seconds + plan.dearest.train_seconds) / 2
    evaluate = (plan.cheapest.evaluate_seconds + plan.dearest.evaluate_seconds) / 2
    # Three members, four epochs; validation after each, the test set once.
    trial = 3 * (4 * TRAIN * train + (4 * VALIDATION + TEST) * evaluate)
    assert plan.device_seconds == pytest.approx(5 * trial)
    assert plan.wall_seconds == pytest.approx(5 * trial / 2)
    assert (plan.trials, plan.epochs) == (5, 20)
    assert plan.epoch_seconds == pytest.approx(trial / 4)
    assert plan.stopped_device_seconds / plan.device_seconds == pytest.approx(plan.stopped_epochs / plan.epochs)


def test_no_more_trials_run_side_by_side_than_there_are(lenet: Study, tiny_data: ImageData) -> None:
    plan = plan_of(lenet, tiny_data, [{"conv1": 6, "batch_size": 6}], slots=64)
    assert plan.wall_seconds == plan.device_seconds


def test_the_least_and_the_most_expensive_configuration_are_measured(lenet: Study, tiny_data: ImageData) -> None:
    plan = plan_of(lenet, tiny_data)
    assert (plan.trials, plan.epochs) == (lenet.samples, lenet.samples * lenet.epochs)
    assert plan.cheapest.config == {"conv1": 2, "members": 1}
    assert plan.dearest.config == {"conv1": 64, "members": 3}
    # conv1 5x5, conv2 5x5 of 16, linears of 400-120-84-10; a member each
    rest = 16 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10
    assert plan.cheapest.parameters == 2 * 76 + 25 * 2 * 16 + rest
    assert plan.dearest.parameters == 64 * 76 + 25 * 64 * 16 + rest
    assert plan.cheapest.train_seconds > 0


def test_a_larger_image_costs_more_though_the_weights_are_the_same(tiny_data: ImageData) -> None:
    fixed = {"model": "resnet18", "weights": "random", "batch_size": 2}
    study = Study(
        name="resnet",
        question="?",
        source="none",
        trainable=PretrainedTrainable,
        epochs=1,
        param_space={**fixed, "image_size": tune.choice([32, 96])},
    )
    plan = plan_of(study, tiny_data, [{**fixed, "image_size": size} for size in (96, 32, 32)])
    assert plan.cheapest.config == {"image_size": 32}
    assert plan.dearest.config == {"image_size": 96}


def test_arms_may_differ_in_length(lenet: Study, tiny_data: ImageData) -> None:
    study = dataclasses.replace(lenet, scheduler="none")
    plan = plan_of(study, tiny_data, [{"epochs": 2}, {"epochs": 10}, {}])
    assert plan.epochs == 2 + 10 + 9
    assert plan.stopped_epochs == plan.epochs


# A replay


def test_a_replay_costs_what_is_not_answered(lenet: Study, tiny_data: ImageData) -> None:
    common = {"conv1": 6, "batch_size": 6, "validation": False, "epochs": 2}
    arms: dict[str, dict[str, Any]] = {"one": common, "three": {**common, "members": 3}, "other": {**common, "lr": 0.2}}
    study = dataclasses.replace(lenet, arms=arms, scheduler="none")
    configs = study.replay_configs(2, 0)
    plan = plan_of(study, tiny_data, [config for config, _ in configs])
    images = TRAIN + VALIDATION
    single = plan.costs[0]
    assert (single.trained, single.evaluated) == (2 * images, TEST)
    assert [cost.trained / single.trained for cost in plan.costs] == [1, 3, 1, 1, 3, 1]
    assert sum(cost.seconds for cost in plan.costs) == pytest.approx(plan.device_seconds)
    table = replay_table(plan, configs, Economy({"one": "three:1"}, {"other": {"0": "elsewhere: other"}}))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    rows = {name: cells for name, *cells in lines}
    assert [rows[arm][0] for arm in (*arms, "all")] == ["0 of 2", "2", "1 of 2", "3 of 6"]
    assert [rows[arm][-1] for arm in (*arms, "all")] == ["three:1", "", "1 known", ""]
    millions = f"{7 * single.trained / 1e6:,.2f}", f"{10 * single.trained / 1e6:,.2f}"
    assert (rows["all"][1], rows["all"][4]) == millions
    assert "wall time" in table


# Early stopping


def test_without_early_stopping_every_epoch_is_trained(lenet: Study) -> None:
    assert expected_share(dataclasses.replace(lenet, scheduler="none"), 30, 9) == 1
    assert expected_share(dataclasses.replace(lenet, grace_epochs=9), 30, 9) == 1
    assert expected_share(lenet, 1, 9) == 1


def test_successive_halving_trains_about_what_its_rungs_let_pass(lenet: Study) -> None:
    # Of many trials one in two passes each of the rungs at 2, 4 and 8: 2 + 2/2 + 4/4 + 1/8 epochs of 9.
    share = expected_share(lenet, 400, 9)
    assert share == pytest.approx((2 + 2 / 2 + 4 / 4 + 1 / 8) / 9, rel=0.15)
    assert share < expected_share(lenet, 20, 9) < 1
    for scheduler in ("hyperband", "median"):
        assert share < expected_share(dataclasses.replace(lenet, scheduler=scheduler), 40, 9) < 1


def test_fewer_are_stopped_where_size_counts_too(lenet: Study) -> None:
    sized = dataclasses.replace(lenet, objectives={"parameters": "min"})
    assert expected_share(sized, 60, 9) > expected_share(lenet, 60, 9)


# What a person reads


def made_up(**changes: Any) -> Plan:
    measured = Measurement({"lr": 0.012345, "members": 3}, 0.001, 0.0005, 1_234_567)
    plan = Plan(
        trials=64,
        slots=2,
        epochs=1280.0,
        device_seconds=72_000.0,
        stopped_epochs=400.0,
        stopped_device_seconds=18_000.0,
        epoch_seconds=60.0,
        cheapest=measured,
        dearest=measured,
    )
    return dataclasses.replace(plan, **changes)


def test_the_table_holds_both_costs_in_a_persons_units() -> None:
    lines = made_up().table().splitlines()
    assert "| with early stopping | 64 | 400 | 2.5 h | 5.00 |" in lines
    assert "| without | 64 | 1,280 | 10.0 h | 20.00 |" in lines
    assert any("1,000 images/s training, 2,000 evaluating, 1,234,567 parameters" in line for line in lines)
    assert any("lr=0.0123, members=3" in line for line in lines)
    assert lines[-1] == "2 trials side by side"


def test_a_study_too_long_is_told_how_to_shrink() -> None:
    text = how_to_shrink(made_up(stopped_device_seconds=400_000.0), Request.parse(["space.py"]))
    assert "\n" not in text
    for words in ("2.3 days", "--samples", "train_images", "epochs", "--time-budget", "--yes"):
        assert words in text


@pytest.mark.parametrize("asked", [["--replay"], ["--extend", "3"], []])
def test_what_shrinks_a_run_is_what_its_command_takes(asked: list[str]) -> None:
    text = how_to_shrink(made_up(stopped_device_seconds=400_000.0), Request.parse(["space.py", *asked]))
    told = {option for option in ("--samples", "--arm", "--repeats", "--set", "--extend") if option in text}
    ways = {"--replay": {"--arm", "--repeats", "--set"}, "--extend": {"--extend"}}
    assert told == ways.get((asked or [""])[0], {"--samples", "--set"})


@pytest.mark.parametrize(("name", "value", "most"), [("train_images", 55, 54), ("test_images", 21, 20)])
def test_a_study_that_fixes_more_images_than_there_are_is_refused(
    lenet: Study, tiny_data: ImageData, name: str, value: int, most: int
) -> None:
    check_fits(lenet.with_fixed({name: most}), tiny_data)
    with pytest.raises(StudyError, match=rf"{name}: .* to {most} \(all\) images required of a subset, got {value}"):
        check_fits(lenet.with_fixed({name: value}), tiny_data)


def test_a_study_that_may_draw_more_images_than_there_are_is_refused(lenet: Study, tiny_data: ImageData) -> None:
    check_fits(lenet.with_fixed({"train_images": tune.choice([20, TRAIN])}), tiny_data)
    with pytest.raises(StudyError, match=r"train_images: .* got 500"):
        check_fits(lenet.with_fixed({"train_images": tune.choice([20, 500, 40])}), tiny_data)


def test_without_validation_there_are_more_images_to_train_on(lenet: Study, tiny_data: ImageData) -> None:
    check_fits(lenet.with_fixed({"train_images": 60, "validation": False}), tiny_data)


def test_the_share_of_a_long_search_is_simulated_by_a_shorter_one(lenet: Study) -> None:
    assert expected_share(lenet, 10**9, 20) == expected_share(lenet, SIMULATED_TRIALS, 20)
