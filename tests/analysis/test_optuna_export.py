import sqlite3

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray import tune

from analysis import optuna_export
from analysis.load import load
from search.definition import domain_text

SPACE = {
    "lr": "(0.0001, 0.1) log",
    "members": "(1, 12) log",
    "decay": "['cosine', 'constant']",
    "crop": "[True, None, 4]",
}


@pytest.fixture
def study(make_results):
    study = make_results(space=SPACE, run="r1")

    def config(lr, members, decay, crop):
        return {"lr": lr, "members": members, "decay": decay, "crop": crop, "dropout": 0.5}

    study.trial(val=[0.3, 0.4], test=0.41, config=config(0.01, 3, "cosine", "True"))
    study.trial(val=[0.2, 0.25], status="stopped", config=config(0.02, 1, "constant", None))
    study.trial(val=[0.1, float("nan")], status="diverged", config=config(0.09, 12, "cosine", "4"))
    study.trial(status="failed", parameters=None, config=config(0.001, 2, "constant", "4"))
    study.trial(val=[0.1], status="running", config=config(0.001, 2, "constant", "4"))
    study.trial(val=[0.5], test=0.5, arm="a", config=config(0.5, 2, "exponential", "4"))
    study.trial(val=[0.3], test=0.3, arm="b", config={"lr": 0.1, "members": 2, "dropout": 0.1})
    return study


def replayed(study):
    """Leave only finished trials, without a validation accuracy."""
    study.trials[:] = [trial | {"val_accuracy": None} for trial in study.trials if trial["status"] == "completed"]


def exported(folder, tmp_path):
    file = tmp_path / "study.db"
    assert optuna_export.main([str(folder), "-o", str(file)]) == 0
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name="batch_size/r1", storage=f"sqlite:///{file}")


def test_optuna_reads_every_trial_in_its_state(study, tmp_path):
    loaded = exported(study.write(tmp_path / "run"), tmp_path)
    states = [trial.state for trial in loaded.trials]
    complete, pruned, fail = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    assert states == [complete, pruned, fail, fail, complete, complete]
    first, stopped, diverged, _, arm, bare = loaded.trials
    assert first.value == 0.4
    assert first.params == {"lr": 0.01, "members": 3, "decay": "cosine", "crop": True}
    assert (first.user_attrs["test_accuracy"], first.user_attrs["trial_id"]) == (0.41, 0)
    assert stopped.params["crop"] is None
    assert stopped.intermediate_values == {1: 0.2, 2: 0.25}
    assert stopped.value is None or stopped.value == 0.25
    assert diverged.intermediate_values == {1: 0.1}
    assert diverged.user_attrs["error"] == "loss is not finite"
    assert arm.user_attrs["arm"] == "a"
    assert bare.params == {"lr": 0.1, "members": 2, "crop": None}
    assert loaded.best_trial.number == 4
    assert loaded.user_attrs["question"] == "Does a smaller batch reach a higher test accuracy?"


def test_domains_are_the_searched_ones_widened_to_what_ran(study, tmp_path):
    loaded = exported(study.write(tmp_path / "run"), tmp_path)
    assert loaded.trials[0].distributions == {
        "lr": FloatDistribution(0.0001, 0.5, log=True),
        "members": IntDistribution(1, 12, log=True),
        "decay": CategoricalDistribution(["cosine", "constant", "exponential"]),
        "crop": CategoricalDistribution([True, None, 4]),
    }


def test_whole_numbers_end_where_rays_end(make_results, tmp_path):
    study = make_results(run="r1", space={"members": "(1, 4)", "batch_size": "(8, 32)"})
    study.record.definition = {"space": {"batch_size": "integer from 8 to 32, in steps of 8"}}
    study.trial(val=[0.3], test=0.3, config={"members": 1, "batch_size": 8})
    assert exported(study.write(tmp_path / "run"), tmp_path).trials[0].distributions == {
        "members": IntDistribution(1, 3),  # as tune.randint(1, 4) draws
        "batch_size": IntDistribution(8, 32),  # as tune.qrandint(8, 32, 8) does
    }


def test_a_whole_number_that_some_trials_lack_stays_one(make_results, tmp_path):
    study = make_results(run="r1", space={"k": "(1, 5)", "size": "(8, 32)", "rate": "(1, 5)"})
    study.record.definition = {
        "space": {
            "k": domain_text(tune.randint(1, 5)),
            "size": domain_text(tune.qrandint(8, 32, 8)),
            "rate": domain_text(tune.uniform(1, 5)),
        }
    }
    study.trial(val=[0.3], test=0.3, config={"k": 1, "size": 16, "rate": 2.0})
    study.trial(val=[0.3], test=0.3, config={"k": None, "size": None, "rate": None})
    first, bare = exported(study.write(tmp_path / "run"), tmp_path).trials
    assert first.distributions == {
        "k": IntDistribution(1, 4),
        "size": IntDistribution(8, 32),
        "rate": FloatDistribution(1, 5),
    }
    assert {name: type(value) for name, value in first.params.items()} == {"k": int, "size": int, "rate": float}
    assert bare.params == {}


def test_an_arm_at_0_lies_outside_a_logarithmic_range(make_results, tmp_path):
    study = make_results(run="r1", space={"weight_decay": "(1e-05, 0.01) log"})
    study.trial(val=[0.3], test=0.3, config={"weight_decay": 0.001})
    study.trial(val=[0.3], test=0.3, arm="none", config={"weight_decay": 0.0})
    assert exported(study.write(tmp_path / "run"), tmp_path).trials[0].distributions == {
        "weight_decay": FloatDistribution(0.0, 0.01)
    }


def test_nothing_is_written_where_a_run_cannot_be(make_results, tmp_path, capsys):
    whole, lacking = make_results(run="a"), make_results(run="b", space={"rho": "(0, 1)"})
    for study in (whole, lacking):
        study.trial(val=[0.3], test=0.3, config={"lr": 0.1, "batch_size": 16})
        study.write(tmp_path / "results" / study.record.run)
    file = tmp_path / "all.db"
    assert optuna_export.main([str(tmp_path / "results"), "-o", str(file)]) == 2
    assert "no trial has a column config/rho" in capsys.readouterr().err
    assert not file.exists()


def test_trials_that_finished_without_an_objective_are_left_out_and_counted(study, make_results, tmp_path, capsys):
    study.trials[0]["val_accuracy"] = None
    study.trials[5]["val_accuracy"] = None
    replay = make_results(run="r2", space=SPACE, protocol="replay")
    replay.trial(arm="c", protocol="replay", test=0.4, config={"lr": 0.1, "members": 2})
    for each in (study, replay):
        each.write(tmp_path / "results" / each.record.run)
    loaded = exported(tmp_path / "results", tmp_path)
    assert [trial.user_attrs["trial_id"] for trial in loaded.trials] == [1, 2, 3, 6]
    told = capsys.readouterr()
    assert told.out.endswith("study batch_size/r1, 4 trials (2 finished without val_accuracy: left out)\n")
    assert told.err.endswith("r2: no trial to export, 1 finished without val_accuracy.\n")


def test_a_run_and_its_copy_are_not_written_as_one(study, tmp_path, capsys):
    runs = [str(study.write(tmp_path / name)) for name in ("run", "copy")]
    file = tmp_path / "both.db"
    assert optuna_export.main([*runs, "-o", str(file)]) == 2
    told = capsys.readouterr()
    assert told.err.endswith(f"each run must be named once, got batch_size/r1 in {runs[0]} and in {runs[1]}\n")
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert not file.exists()


def test_optuna_goes_on_from_it(study, tmp_path):
    loaded = exported(study.write(tmp_path / "run"), tmp_path)
    trial = loaded.ask(dict(loaded.trials[0].distributions))
    assert 0.0001 <= trial.params["lr"] <= 0.5


def test_several_objectives(study, tmp_path):
    study.record.objectives = {"val_accuracy": "max", "parameters": "min"}
    loaded = exported(study.write(tmp_path / "run"), tmp_path)
    assert [direction.name for direction in loaded.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert loaded.trials[0].values == [0.4, 1000]
    assert loaded.trials[1].intermediate_values == {1: 0.2, 2: 0.25}
    assert loaded.trials[1].state == TrialState.PRUNED
    assert loaded.metric_names == ["val_accuracy", "parameters"]  # as optuna-dashboard labels its axes
    assert loaded.user_attrs["objectives"] == {"val_accuracy": "max", "parameters": "min"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda study, file: file.write_text("mine"), "exists"),
        (lambda study, file: study.record.space.update(lr="uniform(0, 1)"), "got 'uniform(0, 1)' for lr"),
        (lambda study, file: study.record.space.update(lr="0.5"), "got '0.5' for lr"),
        (lambda study, file: study.record.space.update(rho="(0, 1)"), "no trial has a column config/rho"),
        (lambda study, file: replayed(study), "no trial to export, 3 finished without val_accuracy"),
    ],
)
def test_what_cannot_be_exported_is_one_line(study, tmp_path, capsys, spoil, message):
    file = tmp_path / "study.db"
    study.record.space = dict(SPACE)
    spoil(study, file)
    before = file.exists()
    folder = study.write(tmp_path / "run")
    assert optuna_export.main([str(folder), "-o", str(file)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert file.exists() == before


def test_needs_a_file(study, tmp_path, capsys):
    folder = study.write(tmp_path / "run")
    with pytest.raises(SystemExit) as left:
        optuna_export.main([str(folder)])
    assert left.value.code == 2
    assert optuna_export.main([str(folder), "-o", str(tmp_path / "nowhere" / "s.db")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a?b.db", "a#b.db", "a%41.db", "a b.db"])
def test_a_files_name_is_taken_as_it_is(study, tmp_path, name):
    folder = study.write(tmp_path / "run")
    before = set(tmp_path.iterdir())
    assert optuna_export.main([str(folder), "-o", str(tmp_path / name)]) == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / name}
    with sqlite3.connect(tmp_path / name) as written:
        (count,) = written.execute("select count(*) from trials").fetchone()
    assert count == len(optuna_export.exported(load([folder])[0])) > 0


def test_a_file_that_cannot_be_written_is_one_line(study, tmp_path, capsys):
    folder = study.write(tmp_path / "run")
    assert optuna_export.main([str(folder), "-o", str(tmp_path / ("x" * 300))]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere" / "link.db")
    assert optuna_export.main([str(folder), "-o", str(tmp_path / "link.db")]) == 2
    err = capsys.readouterr().err
    assert "link.db cannot be written: " in err
    assert err.count("\n") == 1
