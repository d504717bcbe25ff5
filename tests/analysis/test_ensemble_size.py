import math

import numpy as np
import pytest
from scipy import stats

from analysis.ensemble_size import ensemble_sizes
from analysis.independent_voters import vote_accuracy
from analysis.load import load


def prefixes(*test, val=0.5):
    return [
        {"members": k, "val_accuracy": val, "test_accuracy": accuracy, "parameters": 10 * k}
        for k, accuracy in enumerate(test, 1)
    ]


def test_an_arm_over_its_seeds(make_results, tmp_path):
    study = make_results()
    for seed, second in enumerate((0.45, 0.47, 0.48)):
        study.trial(arm="bag", seed=seed, test=[second], members=prefixes(0.4 + seed / 100, second))
    study.trial(arm="single", seed=0, test=[0.4], members=prefixes(0.4))  # no ensemble
    rows = ensemble_sizes(load([study.write(tmp_path / "run")])).to_dict("records")
    assert [(row["ensemble"], row["members"]) for row in rows] == [("bag", 1), ("bag", 2)]
    accuracies = [0.45, 0.47, 0.48]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(accuracies), scale=stats.sem(accuracies))
    assert rows[1]["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((low, high))
    assert (rows[1]["n"], rows[1]["over"], rows[1]["trials"]) == (3, "seeds", "0 1 2")


def test_one_seed_over_its_test_images(make_results, tmp_path):
    study = make_results()
    trial = study.trial(arm="bag", test=[0.75], members=prefixes(0.5, 0.75))
    study.labels(trial, [0, 0, 0, 0], [0, 0, 0, 1])
    row = ensemble_sizes(load([study.write(tmp_path / "run")])).to_dict("records")[1]
    expected = stats.binomtest(3, 4).proportion_ci(0.95, method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["n"], row["over"]) == (4, "test images")


def test_one_seed_without_predictions_has_no_interval(make_results, tmp_path):
    study = make_results()
    study.trial(arm="bag", test=[0.75], members=prefixes(0.5, 0.75))
    row = ensemble_sizes(load([study.write(tmp_path / "run")])).iloc[1]
    assert math.isnan(row["low"])
    assert row["test_accuracy"] == 0.75


def test_of_the_searched_the_best_ensemble_by_validation(make_results, tmp_path):
    study = make_results()
    study.trial(val=[0.5], test=0.9, members=prefixes(0.8, 0.9))
    study.trial(val=[0.6], test=0.5, members=prefixes(0.4, 0.5))
    study.trial(val=[0.7], test=0.6, members=prefixes(0.6))  # better, but no ensemble
    study.trial(val=[0.9], test=0.6, status="stopped", members=prefixes(0.4, 0.6))
    rows = ensemble_sizes(load([study.write(tmp_path / "run")]))
    assert rows["ensemble"].unique().tolist() == ["trial 1"]
    assert rows["test_accuracy"].tolist() == [0.4, 0.5]


def test_no_ensembles(make_results, tmp_path):
    study = make_results()
    study.trial(val=[0.5], test=0.9)
    assert ensemble_sizes(load([study.write(tmp_path / "run")])).empty


def test_independent_voters_and_the_members_correlation_stand_beside(make_results, tmp_path):
    """Three members on ten classes, of which the first two are right on the same half of the images."""
    study = make_results()
    label = np.arange(1000) % 10
    right = np.stack([np.arange(1000) < 500, np.arange(1000) < 500, np.arange(1000) % 2 == 0])
    predicted = np.where(right, label, (label + 1) % 10)
    rows = [
        row | {"own_test_accuracy": own} for row, own in zip(prefixes(0.5, 0.5, 0.6), (0.5, 0.5, 0.62), strict=True)
    ]
    trial = study.trial(arm="bag", test=[0.6], members=rows)
    study.labels(trial, label, predicted[0], predicted.T)
    found = ensemble_sizes(load([study.write(tmp_path / "run")])).to_dict("records")
    assert [row["member_test_accuracy"] for row in found] == pytest.approx([0.5, 0.5, 0.54])
    assert [row["independent_test_accuracy"] for row in found] == pytest.approx([0.5, 0.5, vote_accuracy(3, 0.54, 10)])
    assert [row["correlation"] for row in found] == pytest.approx([math.nan, 1.0, 1 / 3], nan_ok=True)


def test_what_was_not_kept_is_not_told(make_results, tmp_path):
    study = make_results()
    study.trial(arm="bag", test=[0.75], members=prefixes(0.5, 0.75))
    frame = ensemble_sizes(load([study.write(tmp_path / "run")]))
    assert frame[["member_test_accuracy", "independent_test_accuracy", "correlation"]].isna().all(axis=None)


def test_at_one_member_independent_voters_are_the_member_also_if_a_trial_ended_with_it(make_results, tmp_path):
    """AdaBoost ends with a member that is no better than chance: seeds then differ in size."""
    study = make_results()
    label = np.arange(100) % 10
    for seed, accuracies in enumerate(((0.5, 0.6), (0.4,))):
        rows = [row | {"own_test_accuracy": row["test_accuracy"]} for row in prefixes(*accuracies)]
        trial = study.trial(arm="boost", seed=seed, test=[accuracies[-1]], members=rows)
        study.labels(trial, label, label, np.tile(label[:, None], len(accuracies)))
    one, two = ensemble_sizes(load([study.write(tmp_path / "run")])).to_dict("records")
    assert one["test_accuracy"] == one["independent_test_accuracy"] == one["member_test_accuracy"] == 0.45
    assert (two["test_accuracy"], two["member_test_accuracy"]) == (0.6, pytest.approx(0.55))
