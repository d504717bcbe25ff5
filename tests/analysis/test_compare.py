import io
import math

import pandas as pd
import pytest
from scipy import stats

from analysis import compare
from analysis.load import ResultsError, load

PRINTED = (0.20, 0.30, 0.40)
CURVE = tuple({"epoch": e, "test_accuracy": a, "lr": 0.1} for e, a in enumerate(PRINTED, 1))


@pytest.fixture
def compare_trials(make_results, make_reported, tmp_path):
    """compare_trials(trials, run's fields) -> the comparison by quantity, the curve by epoch."""

    def build(trials, band=0.03, **run):
        study = make_results(reported=[make_reported(**run)])
        for trial in trials:
            study.trial(**({"arm": "small", "protocol": "replay"} | trial))
        results = load([study.write(tmp_path / "run")])
        figures = {row["quantity"]: row for row in compare.compare(results, band).to_dict("records")}
        return figures, compare.curves(results, band)

    return build


def test_ours_is_the_mean_over_seeds_with_its_interval(compare_trials):
    finals = [0.41, 0.44, 0.45]
    figures, _ = compare_trials([{"seed": i, "test": [0.2, a]} for i, a in enumerate(finals)], test_accuracy=0.40)
    row = figures["test_accuracy"]
    mean = sum(finals) / 3
    expected = stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(finals))
    assert (row["ours"], row["difference"]) == pytest.approx((mean, mean - 0.40))
    assert (row["low"], row["high"], row["n"]) == pytest.approx((*expected, 3))
    assert (row["run"], row["arm"], row["section"], row["trials"]) == ("B/16", "small", "B 2", "0 1 2")


def test_one_seed_has_no_interval(compare_trials):
    figures, _ = compare_trials([{"test": [0.2, 0.41]}], test_accuracy=0.40)
    assert math.isnan(figures["test_accuracy"]["low"])
    assert figures["test_accuracy"]["n"] == 1


def test_figures_of_the_notes_best_epoch_are_compared_with_those_of_ours(compare_trials):
    trial = {
        "test": [0.45, 0.41],
        "test_top5_accuracy": [0.70, 0.75],
        "test_loss": [1.1, 1.0],
        "train_loss": [0.5, 0.7],
    }
    printed = {"test_accuracy": 0.40, "top5_accuracy": 0.70, "test_loss": 1.0, "loss_unit": "nats"}
    printed |= {"train_loss": 0.7}
    best, _ = compare_trials([trial], selection="best", **printed)
    assert {q: row["ours"] for q, row in best.items()} == {
        "test_accuracy": 0.45,
        "test_top5_accuracy": 0.70,
        "test_loss": 1.1,
        "train_loss": 0.7,
    }


def test_final_epochs_are_compared_with_final_epochs(compare_trials):
    figures, _ = compare_trials([{"test": [0.45, 0.41]}], selection="final", test_accuracy=0.40)
    assert figures["test_accuracy"]["ours"] == 0.41


@pytest.mark.parametrize(
    ("unit", "printed"), [("nats", 2.0), ("bits", 2.0 * math.log(2)), ("nats, KL to x", None), (None, None)]
)
def test_losses_are_compared_in_nats_or_not_at_all(compare_trials, unit, printed):
    figures, _ = compare_trials([{"test": [0.4], "train_loss": [1.5]}], train_loss=2.0, loss_unit=unit)
    if printed is None:
        assert "train_loss" not in figures
    else:
        assert figures["train_loss"]["reported"] == pytest.approx(printed)
        assert figures["train_loss"]["difference"] == pytest.approx(1.5 - printed)


def test_a_divergence_is_compared_with_a_divergence(compare_trials):
    trial = {"test": [0.4, 0.4], "test_loss": [1.4, 1.3], "test_kl_loss": [0.5, 0.6]}
    unit = "nats, KL to the smoothed target"
    figures, _ = compare_trials([trial], selection="best", test_loss=0.5081, loss_unit=unit)
    assert figures["test_loss"]["ours"] == 0.5


def test_the_first_epoch_off_the_printed_curve(compare_trials):
    # Off by 2, 4 and 1 points on average.
    trials = [{"seed": 0, "test": [0.23, 0.35, 0.40]}, {"seed": 1, "test": [0.21, 0.33, 0.42]}]
    figures, curve = compare_trials(trials, test_accuracy=0.40, curve=CURVE)
    assert curve["difference"].tolist() == pytest.approx([0.02, 0.04, 0.01])
    assert curve["outside"].tolist() == [False, True, False]
    assert (figures["test_accuracy"]["leaves_at"], figures["test_accuracy"]["epochs_compared"]) == (2, 3)


@pytest.mark.parametrize(("band", "leaves"), [(0.015, 1), (0.05, None)])
def test_the_band_is_the_readers(compare_trials, band, leaves):
    figures, _ = compare_trials([{"test": [0.22, 0.34, 0.41]}], band=band, test_accuracy=0.40, curve=CURVE)
    assert figures["test_accuracy"]["leaves_at"] == leaves


def test_a_repeated_seed_counts_once(compare_trials):
    trials = [{"seed": seed, "test": [accuracy]} for seed, accuracy in ((0, 0.30), (0, 0.32), (1, 0.37))]
    figures, curve = compare_trials(trials, test_accuracy=0.40, curve=CURVE)
    for row in (figures["test_accuracy"], curve.iloc[0]):
        assert (row["n"], row["ours"]) == (2, pytest.approx(0.34))


def test_only_epochs_that_both_have_are_compared(compare_trials):
    figures, curve = compare_trials([{"val": [0.2, 0.3], "test": 0.31}], test_accuracy=0.40, curve=CURVE)
    assert curve["epoch"].tolist() == [2]  # a search looks at the test set once
    assert figures["test_accuracy"]["epochs_compared"] == 1


def test_selection_bias_is_what_choosing_by_test_gains(compare_trials):
    trials = [
        {"seed": 0, "val": [0.3, 0.5, 0.4], "test": [0.31, 0.42, 0.45]},
        {"seed": 1, "val": [0.3, 0.4, 0.5], "test": [0.31, 0.42, 0.41]},
    ]
    figures, _ = compare_trials(trials, test_accuracy=0.40)
    assert figures["test_accuracy"]["selection_bias"] == pytest.approx((0.03 + 0.01) / 2)


@pytest.mark.parametrize("trial", [{"test": [0.3, 0.4]}, {"val": [0.3, 0.4], "test": 0.4}])
def test_selection_bias_needs_validation_and_every_test_epoch(compare_trials, trial):
    figures, _ = compare_trials([trial], test_accuracy=0.40)
    assert math.isnan(figures["test_accuracy"]["selection_bias"])


def test_adaboost_curves_are_its_last_members(make_results, make_reported, tmp_path):
    run = make_reported(
        members=2,
        train_accuracy_measured="after, vote; curve running, last member",
        test_accuracy=0.5,
        train_accuracy=0.6,
        curve=[{"epoch": e, "train_accuracy": 0.3, "test_accuracy": 0.4} for e in (1, 2)],
    )
    study = make_results(reported=[run])
    study.trial(
        arm="small",
        test=[0.1, 0.2, 0.51, 0.52],
        train_accuracy=[0.1, 0.2, 0.4, 0.61],
        running_train_accuracy=[0.1, 0.2, 0.31, 0.32],
        round=[1, 1, 2, 2],
    )
    for epoch, own in enumerate(((0.1,), (0.2,), (0.2, 0.41), (0.2, 0.42)), 1):
        for size, accuracy in enumerate(own, 1):
            row = {"trial_id": 0, "epoch": epoch, "members": size, "own_test_accuracy": accuracy}
            study.members.append(row | dict.fromkeys(("val_accuracy", "test_accuracy", "own_val_accuracy")))
            study.members[-1]["parameters"] = size
    results = load([study.write(tmp_path / "run")])
    curve = compare.curves(results).set_index(["quantity", "epoch"])["ours"].to_dict()
    assert curve == pytest.approx(
        {
            ("train_accuracy", 1): 0.31,
            ("train_accuracy", 2): 0.32,
            ("test_accuracy", 1): 0.41,
            ("test_accuracy", 2): 0.42,
        }
    )
    figures = compare.compare(results).set_index("quantity")["ours"]
    assert (figures["test_accuracy"], figures["train_accuracy"]) == (0.52, 0.61)  # the vote's


def test_what_cannot_be_compared_is_left_out(compare_trials):
    unfinished = [{"test": [0.4], "status": "stopped"}, {"test": [0.4], "protocol": "recovery"}]
    assert compare_trials(unfinished, test_accuracy=0.40)[0] == {}


def test_runs_on_other_data_are_left_out(compare_trials):
    assert compare_trials([{"test": [0.4]}], test_accuracy=0.40, dataset="cifar100")[0] == {}


def test_an_arm_under_two_protocols_is_refused(compare_trials):
    with pytest.raises(ResultsError, match="one protocol, got replay, search"):
        compare_trials([{"test": [0.4]}, {"test": [0.4], "protocol": "search", "seed": 1}], test_accuracy=0.4)


def test_the_command(compare_trials, tmp_path, capsys):
    compare_trials([{"test": [0.22, 0.34, 0.41]}], test_accuracy=0.40, curve=CURVE)
    run = str(tmp_path / "run")
    assert compare.main([run]) == 0
    out = capsys.readouterr().out
    assert "| small | B 2 | test accuracy % | 41.00 |  | 1 | 40.00 | +1.00 | epoch 2 |\n" in out
    for band, told in (("1.5", "| epoch 1 |"), ("5", "| not in 3 epochs |")):
        assert compare.main([run, "--band", band]) == 0
        assert told in capsys.readouterr().out
    assert compare.main([run, "--curves", "--format", "csv"]) == 0
    curve = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert curve["ours"].tolist() == [0.22, 0.34, 0.41]
    assert compare.main([run, "--curves"]) == 0
    said = capsys.readouterr().out
    assert "| small | B/16 | test accuracy % | 2 | 34.00 |  | 1 | 30.00 | +4.00 | yes |\n" in said
    assert "| 3 | 41.00 |  | 1 | 40.00 | +1.00 |  |\n" in said
    assert compare.main([run, "--format", "html"]) == 0
    assert "Plotly.newPlot" in capsys.readouterr().out


def test_a_curve_is_printed_in_the_unit_that_the_note_below_names(compare_trials):
    _, curve = compare_trials([{"seed": i, "test": [a]} for i, a in enumerate((0.40, 0.42))], curve=CURVE)
    one = curve.iloc[0]
    (row,) = compare.readable_curves(curve).to_dict("records")
    assert (row["ours"], row["reported"], row["difference"]) == ("41.00", "20.00", "+21.00")
    assert row["95 %"] == f"{100 * one['low']:.2f} to {100 * one['high']:.2f}"


def test_nothing_replayed_is_an_empty_table(make_results, tmp_path, capsys):
    study = make_results()
    study.trial(val=[0.5], test=0.5)
    for arguments in ([], ["--curves"], ["--format", "html"]):
        assert compare.main([str(study.write(tmp_path / f"run{len(arguments)}{arguments}")), *arguments]) == 0
        assert "0 runs of batch_size" in capsys.readouterr().out.split("<script>")[0]


def test_a_changed_run_says_what_was_changed(make_results, make_reported, tmp_path):
    study = make_results(
        reported=[make_reported(test_accuracy=0.4)],
        options={"set": ["train_images=2000", "epochs=3"], "engine": "bf16"},
    )
    study.trial(arm="small", protocol="replay", test=0.3)
    frame = compare.compare(load([study.write(tmp_path / "run")]))
    assert frame["changed"].tolist() == ["engine=bf16, epochs=3, train_images=2000"]
    assert compare.readable(frame)["changed"].tolist() == ["engine=bf16, epochs=3, train_images=2000"]
