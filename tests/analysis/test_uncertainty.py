"""Calibration and diversity by ensemble size, from members.parquet."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis import uncertainty
from analysis.load import load


def sizes(count, shift=0.0, **fixed):
    """Rows of members.parquet for the first 1..count members."""
    return [
        {
            "members": k,
            "val_accuracy": 0.5 + k / 100 + shift,
            "test_accuracy": 0.4 + k / 100 + shift,
            "parameters": 10 * k,
            "val_ece": 0.2 / k + shift,
            "test_ece": 0.1 / k + shift,
            "test_loss": 2 - k / 10 + shift,
            "test_disagreement": None if k == 1 else 0.3 + shift,
            "test_q_statistic": None if k == 1 else 0.7 + shift,
            **fixed,
        }
        for k in range(1, count + 1)
    ]


def rows(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.to_dict("records")


def test_a_quantity_is_the_mean_over_seeds_with_its_interval(make_results, tmp_path):
    study = make_results()
    shifts = (0.0, 0.01, 0.05)
    for seed, shift in enumerate(shifts):
        study.trial(arm="bag", seed=seed, test=[0.4], members=sizes(3, shift))
    frame = uncertainty.uncertainty(load([study.write(tmp_path / "run")]))
    (row,) = rows(frame, members=2, images="test", quantity="ece")
    values = np.array(shifts) + 0.05
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (row["value"], row["low"], row["high"]) == pytest.approx((values.mean(), low, high))
    assert (row["ensemble"], row["n"], row["trials"]) == ("bag", 3, "0 1 2")
    assert not rows(frame, members=1, quantity="disagreement")  # one member has nobody to disagree with
    assert len(rows(frame, members=3, quantity="q_statistic", images="test")) == 1


def test_a_seed_that_ran_twice_counts_once(make_results, tmp_path):
    study = make_results()
    for seed, shift in ((0, 0.0), (0, 0.02), (1, 0.05)):
        study.trial(arm="bag", seed=seed, test=[0.4], members=sizes(2, shift))
    (row,) = rows(
        uncertainty.uncertainty(load([study.write(tmp_path / "run")])), members=1, images="test", quantity="ece"
    )
    assert (row["n"], row["value"]) == (2, pytest.approx(0.1 + (0.01 + 0.05) / 2))


def test_training_and_out_of_bag_accuracies_stand_beside(make_results, tmp_path):
    study = make_results()
    study.trial(arm="bag", test=[0.4], members=sizes(2, train_accuracy=0.9, oob_accuracy=0.45))
    frame = uncertainty.uncertainty(load([study.write(tmp_path / "run")]))
    assert [row["value"] for row in rows(frame, images="training")] == [0.9, 0.9]
    (row,) = rows(frame, images="out of bag", members=2)
    assert (row["quantity"], row["value"], row["n"]) == ("accuracy", 0.45, 1)
    assert math.isnan(row["low"])  # one seed has no interval


def test_of_the_searched_the_best_trial_also_a_single_model_and_the_best_ensemble(make_results, tmp_path):
    study = make_results()
    study.trial(val=[0.5], test=0.4, members=sizes(3))
    study.trial(val=[0.7], test=0.4, members=sizes(1))
    study.trial(val=[0.9], test=0.4, status="stopped", members=sizes(1))
    frame = uncertainty.uncertainty(load([study.write(tmp_path / "run")]))
    assert frame["ensemble"].unique().tolist() == ["trial 1", "trial 0"]
    assert frame["members"].max() == 3


def test_a_run_that_did_not_record_it_gives_no_row(make_results, tmp_path, capsys):
    study = make_results()
    before = [
        {name: row[name] for name in ("members", "val_accuracy", "test_accuracy", "parameters")} for row in sizes(2)
    ]
    study.trial(arm="bag", test=[0.4], members=before)
    folder = study.write(tmp_path / "run")
    assert uncertainty.uncertainty(load([folder])).empty
    assert uncertainty.main([str(folder)]) == 0
    assert "No finished trial has recorded calibration" in capsys.readouterr().out


def test_the_command(make_results, tmp_path, capsys):
    study = make_results()
    for seed, shift in enumerate((0.0, 0.01)):
        study.trial(arm="bag", seed=seed, test=[0.4], members=sizes(2, shift))
    folder = str(study.write(tmp_path / "run"))
    assert uncertainty.main([folder]) == 0
    said = capsys.readouterr().out
    assert "| ensemble | members | images | accuracy % | log-likelihood loss | calibration error |" in said
    assert "| bag | 2 | test | 42.50 (" in said
    assert uncertainty.main([folder, "--format", "html"]) == 0
    assert "Plotly.newPlot" in capsys.readouterr().out
