import pytest

from search import columns
from trainables.curve_fit import CurveFit
from trainables.ensembles.bagging import Bagging
from trainables.training.settings import SettingError

CURVES = {"sgd": [0.2, 0.4, 0.5], "adam": [0.5, 0.6, 0.6]}
CONFIG = {"epochs": 3, "test_every_epoch": True, "validation": False}


@pytest.fixture(scope="module")
def make_fit(make_recipe):
    return lambda **config: CurveFit("optimizer", CURVES)(make_recipe(**CONFIG | config))


def history(training):
    return [training.run_epoch() for _ in range(training.epoch, training.total_epochs)]


def test_distance_is_the_mean_over_curves_and_epochs_of_independent_runs(make_recipe, make_fit):
    accuracies = {
        optimizer: [m["test_accuracy"] for m in history(Bagging(make_recipe(**CONFIG, optimizer=optimizer)))]
        for optimizer in CURVES
    }
    found = history(make_fit())
    gaps = []
    for epoch, metrics in enumerate(found):
        gaps += [abs(accuracies[name][epoch] - CURVES[name][epoch]) for name in CURVES]
        assert metrics["curve_distance"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
        assert {name: metrics[f"{name}_test_accuracy"] for name in CURVES} == {
            name: accuracies[name][epoch] for name in CURVES
        }
    assert accuracies["sgd"] != accuracies["adam"]


def test_what_it_reports_is_declared(make_fit):
    assert columns.wrong(make_fit().run_epoch(), CurveFit("optimizer", CURVES).metrics) is None
    assert "sgd_test_accuracy" in columns.wrong(make_fit().run_epoch(), ())


def test_reports_what_a_trial_reports_but_no_figure_to_choose_a_model_by(make_fit):
    metrics = make_fit().run_epoch()
    assert (metrics["epoch"], metrics["total_epochs"]) == (1, 3)
    assert {"lr", "train_loss", "seconds", "train_seconds", "images_per_second", "parameters"} <= metrics.keys()
    assert not {"val_accuracy", "test_accuracy", "member_val_accuracy", "prefix_parameters"} & metrics.keys()


def test_a_restored_fit_goes_on_as_if_uninterrupted(make_fit):
    whole = history(make_fit())
    training = make_fit()
    training.run_epoch()
    resumed = make_fit()
    resumed.load_state_dict(training.state_dict())
    assert [m["curve_distance"] for m in history(resumed)] == [m["curve_distance"] for m in whole[1:]]


def test_costs_as_much_as_its_curves_together(make_recipe):
    made = make_recipe(**CONFIG)
    alone = Bagging.work(made.settings, made.task)
    assert CurveFit("optimizer", CURVES).work(made.settings, made.task) == (2 * alone[0], 2 * alone[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "epochs must be at most the 3 that are printed, got 4"),
        ({"test_every_epoch": False}, "test_every_epoch must be true if a printed test curve is fitted, got False"),
    ],
)
def test_what_cannot_be_compared_is_refused(make_fit, change, message):
    with pytest.raises(SettingError, match=message):
        make_fit(**change)
