import io

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from analysis import importance
from analysis.importance import _middle
from analysis.load import ResultsError, load


@pytest.fixture
def run(make_results, tmp_path):
    """Forty trials whose accuracy follows the learning rate, a little the batch size, never `idle`."""
    rng = np.random.default_rng(0)
    study = make_results(
        space={"lr": "(0.0001, 0.1) log", "batch_size": "[16, 64]", "idle": "(0.0, 1.0)", "same": "[1, 2]"}
    )
    for _ in range(40):
        lr, batch = float(10 ** rng.uniform(-4, -1)), int(rng.choice([16, 64]))
        accuracy = 0.5 - 0.1 * (np.log10(lr) + 2) ** 2 + 0.02 * (batch == 16)
        config = {"lr": lr, "batch_size": batch, "idle": float(rng.random()), "same": 1}
        study.trial(val=[accuracy], test=accuracy, config=config)
    # None of these is at equal fidelity, or searched; each would turn the ranking round.
    for k in range(20):
        config = {"lr": 0.01, "batch_size": 16, "idle": k / 20, "same": 1 + k % 2}
        study.trial(val=[k / 20], status="stopped", config=config)
        study.trial(val=[k / 20], test=0.5, arm="a", config=config)
        study.trial(val=[k / 20], test=0.5, protocol="recovery", config=config)
    return study.write(tmp_path / "run")


def test_ranks_what_mattered_above_noise(run):
    table = importance.importance(load([run])[0], resamples=10)
    assert table["hyperparameter"].tolist()[0] == "lr"
    rows = table.set_index("hyperparameter")
    assert set(rows.index) == {"lr", "batch_size", "idle", importance.NOISE}  # one that never varied has no share
    assert rows["importance"].sum() == pytest.approx(1)
    assert rows.loc["lr", "low"] > rows.loc[importance.NOISE, "high"]
    assert rows.loc["idle", "low"] < rows.loc[importance.NOISE, "high"]
    assert (rows["low"] <= rows["high"]).all()
    assert (rows["trials"] == 40).all()
    assert rows.loc["lr", "p"] == 1 / (1 + importance.PERMUTATIONS)  # no permutation gives it as much
    assert rows.loc["idle", "p"] > 0.05


def test_repeats_exactly(run):
    (results,) = load([run])
    pd.testing.assert_frame_equal(*(importance.importance(results, resamples=3, permutations=3) for _ in range(2)))


def test_needs_trials_to_compare(make_results, tmp_path):
    study = make_results()
    for k in range(importance.FEWEST - 1):
        study.trial(val=[k / 40], test=0.5, config={"lr": 0.01 * (k + 1), "batch_size": 16})
    folder = study.write(tmp_path / "few")
    with pytest.raises(ResultsError, match="needs 20 finished searched trials with val_accuracy, got 19: 1 more"):
        importance.importance(load([folder])[0])


def test_nothing_varied(make_results, tmp_path):
    study = make_results()
    for k in range(importance.FEWEST):
        study.trial(val=[k / 40], test=0.5, config={"lr": 0.01, "batch_size": 16})
    with pytest.raises(ResultsError, match="no hyperparameter varied"):
        importance.importance(load([study.write(tmp_path / "run")])[0])


def test_equal_accuracies_leave_nothing_to_explain(make_results, tmp_path):
    study = make_results()
    for k in range(importance.FEWEST):
        study.trial(val=[0.5], test=0.5, config={"lr": 0.01 * (k + 1), "batch_size": 16})
    with pytest.raises(ResultsError, match="the same val_accuracy"):
        importance.importance(load([study.write(tmp_path / "run")])[0])


def test_resamples_without_a_difference_explain_nothing(make_results, tmp_path):
    study = make_results()
    for k in range(importance.FEWEST):
        study.trial(val=[0.6 if k == 0 else 0.5], test=0.5, config={"lr": 0.01 * (k + 1), "batch_size": 16})
    # A third of the resamples lack the one trial that differs.
    table = importance.importance(load([study.write(tmp_path / "run")])[0], resamples=20, permutations=3)
    assert (table["low"] == 0).all()


def test_the_command(run, capsys):
    assert importance.main([str(run), "--resamples", "3", "--permutations", "3", "--format", "csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["hyperparameter"][0] == "lr"
    assert importance.main([str(run), "--resamples", "3", "--permutations", "3"]) == 0
    assert "(40 finished searched trials)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("domain", "middle"),
    [
        (IntDistribution(1, 100, log=True), 10),
        (IntDistribution(1, 12), 6),
        (FloatDistribution(1e-4, 1e-2, log=True), 1e-3),
        (FloatDistribution(0, 1), 0.5),
    ],
)
def test_a_hyperparameter_that_a_trial_lacks_is_halfway_along_its_own_scale(domain, middle):
    assert _middle(domain) == pytest.approx(middle)
