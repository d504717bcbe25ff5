"""Printed weights of AdaBoost's members beside ours."""

import csv
import math
from pathlib import Path

import pytest

from analysis import adaboost_weights
from analysis.load import load
from search.records import read_reported

REPORTED = Path(__file__).parents[2] / "spaces" / "reported"
ALPHAS = (0.0532, 0.0525, 0.0526)


@pytest.fixture
def study(make_results, make_reported):
    """A replay of two seeds whose third round is missing; labels of 100 classes."""
    built = make_results(reported=[make_reported(alphas=ALPHAS, strategy="adaboost", members=3)])
    for seed, alpha in enumerate((0.053, 0.055)):
        members = [
            {
                "members": k,
                "val_accuracy": None,
                "test_accuracy": 0.4,
                "parameters": 10 * k,
                "alpha": alpha - k / 1000,
                "own_train_accuracy": 0.3 - k / 100,
            }
            for k in (1, 2)
        ]
        trial = built.trial(arm="small", seed=seed, protocol="replay", test=[0.4], members=members)
        built.labels(trial, list(range(100)), list(range(100)))
    return built


def test_each_round_has_ours_beside_the_printed_one(study, tmp_path):
    frame = adaboost_weights.adaboost_weights(load([study.write(tmp_path / "run")]))
    assert frame["round"].tolist() == [1, 2]
    assert frame["ours"].tolist() == pytest.approx([0.053, 0.052])
    assert frame["reported"].tolist() == list(ALPHAS[:2])
    assert frame["difference"].tolist() == pytest.approx([0.053 - 0.0532, 0.052 - 0.0525])
    assert frame["train_accuracy"].tolist() == pytest.approx([0.29, 0.28])
    assert frame["n"].tolist() == [2, 2]
    share = frame["reported_train_accuracy"][0]
    assert math.log2(99 * share / (1 - share)) / 100 == pytest.approx(ALPHAS[0])


def test_all_24_printed_weights_tell_whole_numbers_of_images():
    runs = read_reported(REPORTED)
    with (REPORTED / "alphas.csv").open(newline="") as file:
        counts = [(row["run"], int(row["round"]), int(row["correct_images"])) for row in csv.DictReader(file)]
    assert len(counts) == 24 == sum(len(run.alphas) for run in runs.values())
    for run, round_, correct in counts:
        assert 50_000 * adaboost_weights.accuracy_of(runs[run].alphas[round_ - 1], 100) == pytest.approx(
            correct, abs=0.01
        )


def test_without_labels_nobody_knows_the_classes(make_results, make_reported, tmp_path):
    built = make_results(reported=[make_reported(alphas=ALPHAS)])
    members = [{"members": 1, "val_accuracy": None, "test_accuracy": 0.4, "parameters": 10, "alpha": 0.05}]
    built.trial(arm="small", protocol="replay", test=[0.4], members=members)
    frame = adaboost_weights.adaboost_weights(load([built.write(tmp_path / "run")]))
    assert frame["ours"].tolist() == [0.05]
    assert frame["reported_train_accuracy"].isna().all()


def test_the_command(study, tmp_path, capsys):
    assert adaboost_weights.main([str(study.write(tmp_path / "run"))]) == 0
    assert "AdaBoost's weights beside 2 printed ones" in capsys.readouterr().out


def test_a_bagging_run_has_none(make_results, make_reported, tmp_path, capsys):
    built = make_results(reported=[make_reported()])
    built.trial(arm="small", protocol="replay", test=[0.4])
    assert adaboost_weights.main([str(built.write(tmp_path / "run"))]) == 0
    assert "No arm of an AdaBoost run" in capsys.readouterr().out
