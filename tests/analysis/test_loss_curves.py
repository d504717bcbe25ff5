"""Printed training losses beside ours, in the note's unit."""

import math

import pytest

from analysis import loss_curves
from analysis.load import load

CURVE = tuple({"epoch": e, "train_loss_printed": loss} for e, loss in ((1, 6.5), (2, 5.0), (4, 4.0)))


@pytest.fixture
def compare_losses(make_results, make_reported, tmp_path):
    def build(trials, **run):
        study = make_results(reported=[make_reported(**({"curve": CURVE, "loss_unit": "bits"} | run))])
        for trial in trials:
            study.trial(**({"arm": "small", "protocol": "replay"} | trial))
        return loss_curves.loss_curves(load([study.write(tmp_path / "run")]))

    return build


def test_bits_are_compared_with_bits(compare_losses):
    frame = compare_losses([{"seed": seed, "train_loss": [4.0 + seed / 10, 3.0, 2.5]} for seed in (0, 1)])
    assert frame["epoch"].tolist() == [1, 2]  # epochs that both have
    assert frame["ours"].tolist() == pytest.approx([4.05 / math.log(2), 3.0 / math.log(2)])
    assert frame["difference"].tolist() == pytest.approx([4.05 / math.log(2) - 6.5, 3.0 / math.log(2) - 5.0])
    assert (frame["unit"].tolist(), frame["n"].tolist()) == (["bits", "bits"], [2, 2])
    assert frame["low"][0] < frame["ours"][0] < frame["high"][0]


def test_nats_stay_nats(compare_losses):
    assert compare_losses([{"train_loss": [4.0]}], loss_unit="nats")["ours"].tolist() == [4.0]


@pytest.mark.parametrize("unit", ["nats, one batch", "nats, KL to the smoothed target", None])
def test_losses_of_another_kind_compare_with_no_epochs_mean(compare_losses, unit):
    assert compare_losses([{"train_loss": [4.0]}], loss_unit=unit).empty


def test_adaboosts_printed_epochs_are_its_last_members(make_results, make_reported, tmp_path):
    run = make_reported(
        members=2, train_accuracy_measured="after, vote; curve running, last member", curve=CURVE, loss_unit="nats"
    )
    study = make_results(reported=[run])
    study.trial(
        arm="small",
        protocol="replay",
        test=[0.1] * 4,
        train_loss=[4.0, 3.0, 3.5, 2.0],
        running_train_accuracy=[0.1] * 4,
        round=[1, 1, 2, 2],
    )
    for epoch in range(1, 5):
        for size in range(1, 1 + (epoch + 1) // 2):
            row = dict.fromkeys(("val_accuracy", "test_accuracy"), 0.1)
            study.members.append({"trial_id": 0, "epoch": epoch, "members": size, "parameters": size, **row})
    assert loss_curves.loss_curves(load([study.write(tmp_path / "run")]))["ours"].tolist() == [3.5, 2.0]


def test_the_command(make_results, make_reported, tmp_path, capsys):
    study = make_results(reported=[make_reported(curve=CURVE, loss_unit="bits")], options={"set": ["epochs=2"]})
    study.trial(arm="small", protocol="replay", train_loss=[4.0, 3.0])
    folder = str(study.write(tmp_path / "run"))
    assert loss_curves.main([folder]) == 0
    said = capsys.readouterr().out
    assert "Training losses beside 2 printed ones" in said
    assert "epochs=2" in said
    assert loss_curves.main([folder, "--format", "html"]) == 0
    assert "Plotly.newPlot" in capsys.readouterr().out


def test_nothing_replayed_is_said(make_results, tmp_path, capsys):
    study = make_results()
    study.trial(val=[0.5], test=0.5)
    assert loss_curves.main([str(study.write(tmp_path / "run"))]) == 0
    assert "No arm of a run whose note prints" in capsys.readouterr().out
