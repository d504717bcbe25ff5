import json

import pandas as pd
import pytest

from analysis.load import ResultsError, load, require_one_data_set


@pytest.fixture
def run(make_results, tmp_path):
    study = make_results()
    study.trial(val=[0.3, 0.4], test=0.41, config={"lr": 0.1}, predict=True)
    study.trial(val=[0.2], status="stopped", config={"lr": 0.2})
    study.trial(val=[0.9, 0.9], test=0.9, protocol="recovery", config={"lr": 0.3})
    study.trial(status="failed", parameters=None, config={"lr": None})
    return study.write(tmp_path / "batch_size" / "first")


def test_reads_a_run(run):
    (results,) = load([run])
    assert results.record.study == "batch_size"
    assert list(results.trials["config/lr"][:3]) == [0.1, 0.2, 0.3]
    assert len(results.epochs) == 5
    assert not results.partial
    assert list(results.finished()["trial_id"]) == [0]


def test_tables_that_a_study_does_not_have_are_empty_with_their_columns(run):
    (run / "predictions.parquet").unlink()
    (results,) = load([run])
    assert results.members.empty
    assert {"trial_id", "epoch", "members", "val_accuracy", "parameters"} <= set(results.members)
    assert list(results.predictions(0)) == ["trial_id", "image", "label", "predicted", "member_predicted"]
    assert results.predictions(0).empty


def test_predictions_are_one_trials_in_order_of_image(make_results, tmp_path):
    study = make_results()
    for _ in range(2):
        study.trial(val=[0.5], test=0.5)
    study.labels(1, [1, 3, 2], [1, 1, 1])
    study.predictions[0] = study.predictions[0].iloc[::-1]
    study.labels(0, [0], [7])
    (results,) = load([study.write(tmp_path / "run")])
    assert list(results.predictions(1)["label"]) == [1, 3, 2]
    assert list(results.predictions(0)["predicted"]) == [7]


def broken(run, what):
    if what == "json":
        (run / "study.json").write_text("{")
    elif what == "bytes":
        (run / "trials.parquet").write_bytes((run / "trials.parquet").read_bytes()[:-50])
    elif what == "missing":
        (run / "epochs.parquet").unlink()
    else:
        frame = pd.read_parquet(run / "trials.parquet")
        if what == "status":
            frame["status"] = "done"
        elif what == "twice":
            frame["trial_id"] = 0
        elif what == "text":
            frame["test_accuracy"] = "high"
        else:
            frame = frame.drop(columns="status")
        frame.to_parquet(run / "trials.parquet")


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("json", "study.json is not JSON"),
        ("bytes", "trials.parquet cannot be read"),
        ("missing", "has no epochs.parquet"),
        ("status", "unknown status: done"),
        ("twice", "more than one row for trial_id 0"),
        ("text", "must hold numbers in test_accuracy"),
        ("column", "lacks status"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(run, what, names):
    broken(run, what)
    with pytest.raises(ResultsError, match=names) as error:
        load([run])
    assert "\n" not in str(error.value)
    assert str(run) in str(error.value)


@pytest.mark.parametrize("options", [{"set": 3}, {"set": [1]}, {"set": "a=1"}, {"set": None}, {"engine": 3}])
def test_options_of_another_type_are_one_clear_line(make_results, tmp_path, options):
    folder = make_results(options=options).write(tmp_path / "run")
    with pytest.raises(ResultsError, match=r"study\.json: options must hold"):
        load([folder])


def test_paths_that_are_no_results_folder(run, tmp_path):
    with pytest.raises(ResultsError, match="no such folder"):
        load([tmp_path / "nowhere"])
    with pytest.raises(ResultsError, match="not a folder"):
        load([run / "study.json"])
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"not a results folder.*found below/"):
        load([tmp_path / "empty"])
    # A run named twice would count its trials twice.
    with pytest.raises(ResultsError, match="once"):
        load([run, run.parent])


@pytest.mark.parametrize("changes", [{"dataset": "cifar100"}, {"dataset_fingerprint": "sha256:bb"}])
def test_other_data_is_refused_by_name(run, make_results, tmp_path, changes):
    other = make_results(**changes)
    other.trial(val=[0.1], test=0.1)
    results = load([run, other.write(tmp_path / "other")])
    with pytest.raises(ResultsError, match="data set") as error:
        require_one_data_set(results)
    assert next(iter(changes.values())) in str(error.value)


@pytest.mark.parametrize(
    ("point", "what"),
    [
        ({"test_accuracy": 0.3}, "an epoch from 1 to .* got None"),
        ({"epoch": 0}, "an epoch from 1 to .* got 0"),
        ({"epoch": 1.5}, "an epoch from 1"),
        ({"epoch": 10**400}, "an epoch from 1"),
        ({"epoch": True}, "curve of type"),
        ({"epoch": 1, "test_accuracy": "high"}, "curve of type"),
    ],
)
def test_a_printed_curve_has_epochs_and_numbers(make_results, make_reported, tmp_path, point, what):
    folder = make_results(reported=[make_reported(curve=({"epoch": 1, "test_accuracy": None}, point))]).write(
        tmp_path / "run"
    )
    with pytest.raises(ResultsError, match=f"study.json: reported run .*{what}"):
        load([folder])


@pytest.mark.parametrize("arm", ["a/b", "a:2", "a@3", "/", ""])
def test_an_arm_is_not_called_what_claims_write_otherwise(make_results, tmp_path, arm):
    study = make_results()
    study.trial(arm=arm, val=[0.2], test=0.2)
    with pytest.raises(ResultsError, match=r"trials\.parquet must hold arms without"):
        load([study.write(tmp_path / "run")])


def test_half_a_character_is_one_clear_line(make_results, tmp_path):
    folder = make_results().write(tmp_path / "run")
    file = folder / "study.json"
    file.write_text(file.read_text().replace("Does a smaller batch", "Does \\ud83d"))
    with pytest.raises(ResultsError, match=r"study\.json: text .* required") as error:
        load([folder])
    assert "\n" not in str(error.value)


def test_a_run_of_before_engines_had_their_name_reads_the_same(make_results, tmp_path):
    """Formats 1 and 2 called the engine `path`, in the record and in the tables."""
    arms = {"a": {"engine": "bf16"}}
    study = make_results(
        options={"engine": "bf16"}, fixed={"engine": "bf16"}, arms=arms, declared={"a": {"engine": "plain"}}
    )
    study.trial(arm="a", config={"engine": "bf16"})
    (today,) = load([study.write(tmp_path / "today")])
    old = study.write(tmp_path / "old")
    record = json.loads((old / "study.json").read_text().replace('"engine"', '"path"'))
    (old / "study.json").write_text(json.dumps(record | {"format": 2}))
    trials = pd.read_parquet(old / "trials.parquet").rename(columns={"config/engine": "config/path"})
    trials.to_parquet(old / "trials.parquet")
    (read,) = load([old])
    assert read.engine == "bf16"
    assert read.changed == today.changed == "engine=bf16"
    assert read.training_of("a") == today.training_of("a")
    pd.testing.assert_frame_equal(read.trials, today.trials)
