import numpy as np
import pytest

from analysis.arms import QUANTITIES, UnmeasuredError, arm_values, majority, more_is_better, right_predictions
from analysis.load import load
from search import columns


@pytest.fixture
def results(make_results, tmp_path):
    study = make_results()
    for seed in (1, 0):
        study.trial(
            arm="bag",
            seed=seed,
            val=[0.2, 0.3, 0.3],
            test=[0.25, 0.3, 0.35 + seed / 100],
            train_accuracy=[0.4, 0.5, 0.6],
            train_loss=[2.0, 1.5, 1.0],
            parameters=30,
            member_test_accuracy=[0.2, 0.25, 0.3],
            members=[
                {
                    "members": k,
                    "val_accuracy": 0.1 * k,
                    "test_accuracy": 0.1 * k,
                    "own_test_accuracy": 0.05 * k,
                    "parameters": 10 * k,
                }
                for k in (1, 2, 3)
            ],
        )
    for row in study.epochs:
        row["seconds"] = 10.0 if row["epoch"] == 1 else 4.0
    study.trial(arm="bag", seed=2, val=[0.3], test=0.9, status="stopped")
    study.trial(arm="other", seed=0, val=[0.3], test=0.9)
    return load([study.write(tmp_path / "run")])


@pytest.mark.parametrize(
    ("arm", "quantity", "expected"),
    [
        ("bag", "test_accuracy", {0: 0.35, 1: 0.36}),
        ("bag", "test_accuracy@1", {0: 0.25, 1: 0.25}),
        ("bag", "test_accuracy@9", {}),
        ("bag", "gap", {0: 0.25, 1: 0.24}),
        ("bag", "gap@1", {0: 0.15, 1: 0.15}),
        ("bag", "train_loss", {0: 1.0, 1: 1.0}),
        ("bag", "seconds_per_epoch", {0: 4.0, 1: 4.0}),
        ("bag", "seconds_per_epoch@1", {0: 10.0, 1: 10.0}),
        ("bag", "parameters", {0: 30, 1: 30}),
        ("bag:2", "parameters", {0: 20, 1: 20}),
        ("bag:2", "test_accuracy", {0: 0.2, 1: 0.2}),
        ("bag:4", "test_accuracy", {}),
        ("nothing", "test_accuracy", {}),
        ("bag@2", "test_accuracy", {0: 0.3, 1: 0.3}),
        ("bag@2", "gap", {0: 0.2, 1: 0.2}),
        ("bag:2@3", "test_accuracy", {0: 0.2, 1: 0.2}),
        ("bag:2@1", "test_accuracy", {}),
        ("bag@9", "train_loss", {}),
        ("bag", "best_test_accuracy", {0: 0.35, 1: 0.36}),
        # The members of one run are as many single models.
        ("bag", "member_test_accuracy", {0: 0.3, 1: 0.3}),
        ("bag", "member_test_accuracy@1", {0: 0.2, 1: 0.2}),
        ("bag:2", "member_test_accuracy", {0: 0.075, 1: 0.075}),
        ("bag:4", "member_test_accuracy", {}),
        ("other", "member_test_accuracy", {0: 0.9}),
    ],
)
def test_values_seed_by_seed(results, arm, quantity, expected):
    assert arm_values(results, arm, quantity).to_dict() == pytest.approx(expected)


def test_a_repeated_seed_counts_once(results, make_results, tmp_path):
    again = make_results(run="again")
    again.trial(arm="bag", seed=0, val=[0.3], test=0.45)
    again.trial(arm="bag", seed=7, val=[0.3], test=0.45)
    both = [*results, *load([again.write(tmp_path / "again")])]
    values = arm_values(both, "bag", "test_accuracy")
    assert values.to_dict() == pytest.approx({0: 0.40, 1: 0.36, 7: 0.45})


@pytest.mark.parametrize(
    ("arm", "quantity", "message"),
    [
        ("bag", "speed", "got 'speed'"),
        ("bag", "test_accuracy@last", "got 'test_accuracy@last'"),
        ("bag:all", "test_accuracy", "got 'bag:all'"),
        ("bag:0", "test_accuracy", "got 'bag:0'"),
        ("bag@0", "test_accuracy", "got 'bag@0'"),
        ("bag@2@3", "test_accuracy", "got 'bag@2@3'"),
        ("bag@2", "test_accuracy@2", "an epoch with its arms or its quantity, got 'bag@2' and 'test_accuracy@2'"),
        ("bag:2", "train_loss", "'bag:2' must be one of .*, val_accuracy, .*, got 'train_loss'"),
        ("bag:2", "seconds_per_epoch", "got 'seconds_per_epoch'"),
        ("bag@1", "best_test_accuracy", "'bag@1' must be one of .*, test_accuracy, .*, got 'best_test_accuracy'"),
        ("gone:2", "train_loss", "got 'train_loss'"),  # also before any run of the arm
        ("bag:2", "gap", "does not report train_accuracy for an ensemble's first members"),
    ],
)
def test_what_cannot_be_measured_is_named(results, arm, quantity, message):
    with pytest.raises(UnmeasuredError, match=message):
        arm_values(results, arm, quantity)


@pytest.mark.parametrize("arm", ["bag", "bag@1"])
def test_every_quantity_that_a_claim_may_name_is_measured(results, arm):
    names = columns.quantities(at_epoch="@" in arm)
    assert {"gap", "seconds_per_epoch", "val_loss", "parameters"} <= set(names)
    for name in names:
        arm_values(results, arm, name)


def test_majority_breaks_ties_by_the_smallest_label():
    votes = np.array([[3, 1, 1], [2, 0, 1], [5, 5, 0], [9, 2, 2]])
    assert majority(votes).tolist() == [1, 0, 5, 2]
    assert majority(votes[:, :2]).tolist() == [1, 0, 5, 2]


def ensemble(made_up, tmp_path, prefix_accuracy):
    label = np.zeros(4, int)
    votes = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]])  # 0.75 right alone, 0.75 as three
    study = made_up()
    rows = [
        {"members": k, "val_accuracy": 0.5, "test_accuracy": accuracy, "parameters": k}
        for k, accuracy in enumerate(prefix_accuracy, 1)
    ]
    study.trial(arm="bag", val=[0.5], test=0.75, members=rows)
    study.labels(0, label, majority(votes), votes)
    return load([study.write(tmp_path / "run")])


def test_which_images_the_first_members_get_right(make_results, tmp_path):
    results = ensemble(make_results, tmp_path, (0.75, 0.5, 0.75))
    assert right_predictions(results, "bag")[0].tolist() == [0, 1, 1, 1]
    assert right_predictions(results, "bag:1")[0].tolist() == [1, 1, 0, 1]


def test_votes_that_are_no_majority_are_not_redone(make_results, tmp_path):
    # The run measured another accuracy for its first member than its label gives: not this vote.
    assert right_predictions(ensemble(make_results, tmp_path, (0.5, 0.5, 0.75)), "bag:1") is None


def test_without_all_predictions_there_is_nothing_over_images(results):
    assert right_predictions(results, "bag") is None
    assert right_predictions(results, "nothing") is None


def test_what_is_better():
    more = [name for name in QUANTITIES if more_is_better(name)]
    assert {"test_accuracy", "val_accuracy", "images_per_second"} <= set(more)
    assert not {"gap", "train_loss", "test_loss", "parameters", "seconds_per_epoch"} & set(more)
