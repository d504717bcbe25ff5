"""A search that begins with what other runs found, keeps it on record, and needs the other runs no more."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from ray import tune

from search.definition import BOUND, SPACE_CODE, code, define, differences
from search.failures import UsageError
from search.journal import Journal
from search.prepare import prepare
from search.provenance import domain_name, new_record
from search.records import STUDY_FILE, StudyRecord
from search.request import Request
from search.results import ResultsWriter, schema_of, write_record
from search.resume import as_recorded
from search.searchers import LEARNING, STARTUP_TRIALS, OptunaProposals, make_proposals
from search.study import Study, StudyError, load, when
from search.warm_start import observed
from tests.records import make_record
from trainables.data.datasets import load as load_data

SPACE = {
    "quality": tune.uniform(0.1, 0.9),
    "members": tune.randint(1, 5),
    "switch": tune.choice([None, False, True]),
    "optimizer": tune.choice(["sgd", "adam"]),
    "momentum": when("optimizer", "sgd", tune.uniform(0.0, 0.9)),
    "weight_decay": 0.01,
}
Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds, on a machine that does other things too


@pytest.fixture(scope="module")
def study(toy: Study) -> Study:
    return dataclasses.replace(toy, param_space=SPACE)


@pytest.fixture
def write(tmp_path: Path, study: Study) -> Write:
    """Return a function that writes the results of a random search: every fourth trial was stopped."""

    def write(name: str = "20260101-100000", trials: int = 24, own: Study = study, **changes: Any) -> Path:
        folder = tmp_path / "results" / "toy" / name
        folder.mkdir(parents=True)
        journal = Journal(folder)
        proposals = make_proposals(own, "random", trials, seed=5)
        for number in range(trials):
            config, arm, state = proposals.propose(number)
            config |= {"epochs": own.epochs, "seed": number}
            journal.append("suggest", number, name=f"{number:04d}", config=config, arm=arm, state=state)
            last = 1 if number % 4 == 3 else own.epochs
            for epoch in range(1, last + 1):
                # The test figures say the opposite of the validation figures.
                result = {
                    "epoch": epoch,
                    "total_epochs": own.epochs,
                    "val_accuracy": config["quality"],
                    "train_accuracy": config["quality"],
                    "parameters": 7,
                }
                result |= {"test_accuracy": 1 - config["quality"]} if epoch == own.epochs else {}
                journal.append("result", number, result=result)
            journal.append("end", number, status="stopped" if last == 1 else "completed", error=None)
        ResultsWriter(folder, schema=schema_of(own)).refresh(journal.trials, force=True)
        journal.close()
        fields = {"run": name, "space": {each: domain_name(domain) for each, domain in own.searched().items()}}
        fields["definition"] = {"conditions": dict.fromkeys(own.space.conditions, "...")}
        write_record(folder, make_record(**fields | {"fixed": own.fixed()} | changes))
        return folder

    return write


def known(study: Study, *folders: Path) -> Study:
    observations, _ = observed(study, map(str, folders), "0")
    return dataclasses.replace(study, observations=observations)


def test_the_finished_trials_are_observations_at_their_validation_metric(study: Study, write: Write) -> None:
    folder = write()
    observations, lines = observed(study, [str(folder)], "0")
    assert len(observations) == 18
    assert lines == [f"warm start 18 finished trials of {folder}"]
    for each in observations:
        assert each["values"] == {"val_accuracy": each["config"]["quality"]}
        assert ("momentum" in each["config"]) == (each["config"]["optimizer"] == "sgd")
        assert type(each["config"]["members"]) is int
        assert each["config"]["switch"] in (None, False, True)
    assert observations[0]["source"] == "toy/20260101-100000, trial 0"
    assert {each["config"]["switch"] for each in observations} == {None, False, True}


def test_a_folder_of_several_runs_counts_each_once_and_says_what_it_leaves_out(study: Study, write: Write) -> None:
    first, second = write(), write("20260101-110000", metric="val_loss")
    observations, lines = observed(study, [str(first.parent), str(first)], "0")
    assert len(observations) == 18
    assert lines[1] == f"left out   {second} has metric val_loss, this study val_accuracy"


@pytest.mark.parametrize("searcher", LEARNING)
def test_the_searcher_knows_them_from_its_first_trial(study: Study, write: Write, searcher: str) -> None:
    warm = known(study, write())
    assert len(warm.observations) > STARTUP_TRIALS
    qualities = [OptunaProposals(warm, searcher, 40, seed).propose(0)[0]["quality"] for seed in range(8)]
    cold = [OptunaProposals(study, searcher, 40, seed).propose(0)[0]["quality"] for seed in range(8)]
    assert np.mean(qualities) > 0.6 > np.mean(cold)


def test_known_settings_of_the_study_still_come_first(study: Study, write: Write) -> None:
    warm = dataclasses.replace(known(study, write()), first=[{"quality": 0.125}])
    assert OptunaProposals(warm, "tpe", 40, 0).propose(0)[0]["quality"] == 0.125


@pytest.mark.parametrize("objectives", [{}, {"parameters": "min"}])
def test_a_search_gone_on_with_decides_the_same_without_the_other_results(
    study: Study, write: Write, tmp_path: Path, objectives: dict[str, str]
) -> None:
    own = dataclasses.replace(study, objectives=objectives)
    folder = write()
    warm = known(own, folder)
    space = Path(__file__).with_name("toy_space.py")
    # What is written is what is read.
    definition = json.loads(json.dumps(define(warm, space, samples=20, seed=0)))
    record = StudyRecord.from_json(make_record(definition=definition).to_json())
    shutil.rmtree(folder)

    def search(proposals: OptunaProposals, journal: Journal, trials: int) -> None:
        for number in range(len(journal.trials), trials):
            config, arm, state = proposals.propose(number)
            journal.append("suggest", number, name=f"{number}", config=config, arm=arm, state=state)
            result = {"epoch": 3, "total_epochs": 3, "val_accuracy": config["quality"] / 2, "parameters": 3}
            proposals.report(number, result)
            journal.append("result", number, result=result)
            journal.append("end", number, status="completed", error=None)
            proposals.end(number, "completed", result)

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = Journal(tmp_path / "whole"), Journal(tmp_path / "killed")
    search(OptunaProposals(warm, "tpe", 20, 0), whole, 12)
    search(OptunaProposals(warm, "tpe", 20, 0), killed, 7)
    restored = as_recorded(own, record)
    assert list(differences(definition, define(restored, space, samples=20, seed=0))) == []
    proposals = OptunaProposals(restored, "tpe", 20, 0)
    for log in killed.trials.values():
        proposals.recall(log)
    search(proposals, killed, 12)
    assert [log.config for log in killed.trials.values()] == [log.config for log in whole.trials.values()]


def test_the_command_line_takes_them_and_the_record_keeps_them(
    write: Write, toy: Study, toy_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data("digits")
    held = {"dataset_fingerprint": data.fingerprint, "definition": {"code": code(toy.trainable, toy_space)}}
    folder = write(own=toy, **held)
    asked = [str(toy_space), "--smoke", "--results", str(tmp_path / "new"), "--warm-start", str(folder)]
    ready = prepare(Request.parse(asked))
    assert f"warm start 18 finished trials of {folder}" in capsys.readouterr().out
    made = new_record(ready.study, ready.request, data, tmp_path / "new" / "x", ready.proposals, ready.space)
    record = StudyRecord.from_json(made.to_json())
    assert len(record.definition["observations"]) == 18
    assert record.options["warm_start"] == [str(folder)]
    other = write("20260101-110000", own=toy, **held | {"definition": {"code": {SPACE_CODE: "another"}}})
    with pytest.raises(StudyError, match="has another trainable Toy than this study: the code of the space file is an"):
        prepare(Request.parse([*asked[:-1], str(other)]))
    for wrong, told in (
        (["--replay"], "--warm-start is for a search, got --replay too"),
        (["--searcher", "random"], "--warm-start needs a searcher that learns"),
    ):
        with pytest.raises((UsageError, StudyError), match=told):
            prepare(Request.parse([*asked, *wrong]))
    resumed = Request.parse([str(toy_space), "--resume", "--warm-start", str(tmp_path)])
    with pytest.raises(UsageError, match=r"ran with warm_start .*, got --warm-start"):
        resumed.restored(tmp_path, record)


def test_a_studys_own_observations_are_known_beside_those_of_other_runs(
    write: Write, toy: Study, toy_space: Path, tmp_path: Path
) -> None:
    space = tmp_path / "own.py"
    config = {"quality": 0.5, "members": 1, "switch": None}
    known = {"config": config, "values": {"val_accuracy": 0.5}, "source": "a sheet of paper"}
    space.write_text(
        "import dataclasses\nfrom pathlib import Path\nfrom search.study import load\n"
        f"study = dataclasses.replace(load(Path({str(toy_space)!r})), dataset='digits', observations=[{known}])\n"
    )
    held = {"dataset_fingerprint": load_data("digits").fingerprint}
    folder = write(own=toy, **held, definition={"code": code(load(space).trainable, space)})
    asked = [str(space), "--results", str(tmp_path / "new"), "--warm-start", str(folder)]
    sources = [each["source"] for each in prepare(Request.parse(asked)).study.observations]
    assert sources[0] == "a sheet of paper"
    assert len(sources) == 19


# Spaces that are smaller, larger, or another


def test_an_observation_of_a_value_that_is_set_otherwise_does_not_count(study: Study, write: Write) -> None:
    folder = write()
    warm = known(study, folder)
    alike = qualities(folder, lambda row: row["config/optimizer"] == "adam")
    fixed = warm.with_set(["optimizer=adam"])
    assert [each["config"]["quality"] for each in fixed.observations] == alike
    assert OptunaProposals(fixed, "tpe", 40, 0).known == len(alike)
    assert warm.with_set(["epochs=2"]).observations == []
    assert warm.with_set(["weight_decay=0.01"]).observations == warm.observations


def test_a_smaller_space_takes_what_lies_in_it(study: Study, write: Write) -> None:
    narrow = dataclasses.replace(study, param_space={**SPACE, "quality": tune.uniform(0.1, 0.5)})
    folder = write()
    observations, (line,) = observed(narrow, [str(folder)], "0")
    assert 0 < len(observations) < 18
    assert all(each["config"]["quality"] <= 0.5 for each in observations)
    assert line.endswith(f"({18 - len(observations)} others lie outside of this study's space)")


def test_a_space_that_fixes_more_learns_of_the_rest(study: Study, write: Write) -> None:
    fewer = study.with_set(["optimizer=adam", "switch=true"])
    folder = write()
    observations, (line,) = observed(fewer, [str(folder)], "0")
    assert {tuple(each["config"]) for each in observations} == {("quality", "members")}
    alike = qualities(folder, lambda row: row["config/optimizer"] == "adam" and row["config/switch"] is True)
    assert [each["config"]["quality"] for each in observations] == alike
    assert line.endswith(f"({18 - len(alike)} others lie outside of this study's space)")


def qualities(folder: Path, fits: Callable[[dict[str, Any]], bool]) -> list[float]:
    """Return the quality of each completed trial that fits, of some but not of all."""
    rows = [row for row in pq.read_table(folder / "trials.parquet").to_pylist() if row["status"] == "completed"]
    found = [row["config/quality"] for row in rows if fits(row)]
    assert 0 < len(found) < len(rows)
    return found


@pytest.mark.parametrize("way", ["set", "default", "condition"])
def test_a_trial_with_another_value_than_the_one_that_this_study_has_does_not_count(
    study: Study, write: Write, way: str
) -> None:
    space = {name: value for name, value in SPACE.items() if name != "members"}
    if way == "set":
        space["members"] = 1
    if way == "condition":
        space["members"] = when("optimizer", "sgd", 1)
    folder = write()
    observations, _ = observed(dataclasses.replace(study, param_space=space), [str(folder)], "0")
    alike = qualities(
        folder,
        lambda row: row["config/members"] == 1 or (way == "condition" and row["config/optimizer"] == "adam"),
    )
    assert [each["config"]["quality"] for each in observations] == alike


@pytest.mark.parametrize("optimizer", [None, "sgd"])
def test_a_trial_without_a_hyperparameter_that_this_study_fixes_does_not_count(
    study: Study, write: Write, optimizer: str | None
) -> None:
    """Nor one that has it at another value."""
    constant = {**SPACE, "optimizer": optimizer or SPACE["optimizer"], "momentum": 0.5}
    own = dataclasses.replace(
        study, param_space={**SPACE, "momentum": when("optimizer", "sgd", tune.choice([0.5, 0.7]))}
    )
    folder = write(trials=80, own=own)
    observations, _ = observed(dataclasses.replace(study, param_space=constant), [str(folder)], "0")
    assert [each["config"]["quality"] for each in observations] == qualities(
        folder, lambda row: row["config/momentum"] == 0.5
    )


def test_a_larger_space_takes_the_value_that_the_other_run_had(study: Study, write: Write) -> None:
    larger = dataclasses.replace(study, param_space={**SPACE, "weight_decay": tune.loguniform(1e-4, 1.0)})
    observations, _ = observed(larger, [str(write())], "0")
    assert {each["config"]["weight_decay"] for each in observations} == {0.01}
    outside = dataclasses.replace(study, param_space={**SPACE, "weight_decay": tune.loguniform(0.1, 1.0)})
    with pytest.raises(StudyError, match="has 18 finished trials, none of them within this study's space"):
        observed(outside, [str(write("20260101-110000"))], "0")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "val_loss"}, "has metric val_loss, this study val_accuracy"),
        ({"epochs": 4}, "has epochs 4, this study 3"),
        ({"trainable": "LeNetTrainable"}, "has trainable LeNetTrainable, this study Toy"),
        ({"dataset_fingerprint": "1"}, "was trained on other data, digits, than this study's cifar10"),
        ({"protocol": "recovery"}, "has protocol recovery, this study search"),
        ({"space": {"lr": "(0.1, 1.0)"}}, "searched lr, and this study .*quality.*: nothing is shared"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_in_one_line(
    study: Study, write: Write, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(StudyError, match=f"--warm-start: .*20260101-100000 {told}") as caught:
        observed(study, [str(write(**changes))], "0")
    assert "\n" not in str(caught.value)


def test_constants_that_differ_are_refused(study: Study, write: Write) -> None:
    other = dataclasses.replace(study, param_space={**SPACE, "weight_decay": 0.1})
    folder = write()
    with pytest.raises(StudyError, match=r"ran with weight_decay 0\.01, this study with 0\.1"):
        observed(other, [str(folder)], "0")
    with pytest.raises(StudyError, match="ran with train_images None, this study with 100"):
        observed(study.with_set(["train_images=100"]), [str(folder)], "0")
    with pytest.raises(StudyError, match="ran with evaluation float32, this study with bf16"):
        observed(study.with_set(["evaluation=bf16"]), [str(folder)], "0")
    known(study.with_set(["engine=bf16"]), folder)  # how a step is executed may differ


def test_a_vote_that_differs_counts_where_members_vote(study: Study, write: Write) -> None:
    """It decides val_accuracy, the objective, of several members."""
    soft, folder = study.with_set(["vote=soft"]), write()
    with pytest.raises(StudyError, match="ran with vote hard, this study with soft"):
        observed(soft, [str(folder)], "0")
    three = study.with_set(["members=3"])
    with pytest.raises(StudyError, match="ran with vote hard, this study with soft"):
        observed(three.with_set(["vote=soft"]), [str(write("20260101-110000", own=three))], "0")
    one = study.with_set(["members=1"])
    assert len(known(one.with_set(["vote=soft"]), write("20260101-120000", own=one)).observations) == 18


def test_a_vote_that_the_other_run_searched_counts_where_members_vote(study: Study, write: Write) -> None:
    both = dataclasses.replace(study, param_space={**SPACE, "vote": tune.choice(["soft", "hard"])})
    folder = write(own=both)
    alike = qualities(folder, lambda row: row["config/vote"] == "soft" or row["config/members"] == 1)
    observations, _ = observed(study.with_set(["vote=soft"]), [str(folder)], "0")
    assert [each["config"]["quality"] for each in observations] == alike


def test_how_training_accuracy_is_measured_counts_if_it_is_the_objective(study: Study, write: Write) -> None:
    other = ["train_measure=after"]
    known(study.with_set(other), write())
    of_training = dataclasses.replace(study, metric="train_accuracy", rank_by="")
    folder = write("20260101-110000", metric="train_accuracy")
    known(of_training, folder)
    with pytest.raises(StudyError, match="ran with train_measure running, this study with after"):
        observed(of_training.with_set(other), [str(folder)], "0")


def test_another_trainable_of_the_same_name_is_refused(study: Study, write: Write) -> None:
    """Of this project's own files the name says enough, as for trials that are known."""
    folder = write(definition={"code": {SPACE_CODE: "1", "helper.py": "1", "trainables/convnet.py": "1"}})
    same = {SPACE_CODE: "1", "helper.py": "1", "trainables/convnet.py": "2"}
    assert len(observed(study, [str(folder)], "0", same)[0]) == 18
    for own, told in (
        ({**same, "helper.py": "2"}, r"the code of helper\.py is another"),
        ({**same, BOUND: "1"}, f"{BOUND} came or went"),
        ({}, "the code of the space file came or went"),
    ):
        with pytest.raises(StudyError, match=f"20260101-100000 has another trainable Toy than this study: {told}"):
            observed(study, [str(folder)], "0", own)


def test_results_without_a_trial_that_counts_are_refused(study: Study, write: Write, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"--warm-start must be a folder of results, with a study\.json in it, got"):
        observed(study, [str(tmp_path / "nothing")], "0")
    folder = write()
    two = dataclasses.replace(study, objectives={"val_loss": "min"})
    with pytest.raises(StudyError, match="has finished trials without val_loss, an objective of this study"):
        observed(two, [str(folder)], "0")
    (folder / "trials.parquet").write_bytes(b"PAR1")
    with pytest.raises(StudyError, match="20260101-100000 cannot be read: "):
        observed(study, [str(folder)], "0")
    (folder / "trials.parquet").unlink()
    with pytest.raises(StudyError, match=r"20260101-100000 has no trials\.parquet"):
        observed(study, [str(folder)], "0")


@pytest.mark.parametrize("searcher", ["random", "nsga2", "grid"])
def test_a_searcher_that_does_not_learn_is_refused(study: Study, write: Write, searcher: str) -> None:
    with pytest.raises(StudyError, match=f"--warm-start needs a searcher that learns .* tpe or gp, got {searcher}"):
        make_proposals(known(study, write()), searcher, 8, 0)


@pytest.mark.parametrize(
    "observation",
    [3, {}, {"config": {}, "values": {}}, {"config": {"quality": 5.0}, "values": {"val_accuracy": 0.5}},
     {"config": {"quality": 0.5}, "values": {"val_accuracy": float("nan")}}],
)  # fmt: skip
def test_a_damaged_record_is_one_line(study: Study, observation: Any) -> None:
    record = make_record(definition={"observations": [observation]})
    with pytest.raises(StudyError, match="toy: an observation must"):
        as_recorded(study, record)
    with pytest.raises(StudyError, match="toy: observations must be a list"):
        as_recorded(study, make_record(definition={"observations": {"a": 1}}))


# Real processes


def command(space: Path, results: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "search.run", str(space), *options, "--results", str(results)]


def searched(results: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the only run, and what its searcher chose, trial by trial."""
    (folder,) = (results / "toy").iterdir()
    rows = pq.read_table(folder / "trials.parquet").sort_by("trial_id").to_pylist()
    return folder, [{name: value for name, value in row.items() if name.startswith("config/")} for row in rows]


@pytest.mark.long
def test_a_search_begun_with_another_ones_results_decides_the_same_when_killed_and_resumed_without_them(
    tmp_path: Path, toy_space: Path
) -> None:
    def run(results: Path, *options: str) -> None:
        asked = command(toy_space, results, *options)
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    one_by_one = ("--smoke", "--scheduler", "none", "--set", "wait=0.5", "--set", "epochs=2", "--cpus-per-trial", "2")
    known = tmp_path / "known"
    run(known, "--samples", "12", *one_by_one)
    # Twelve finished trials are more than the sampler waits for: all suggestions below come from its model.
    warm = ("--samples", "5", "--seed", "3", *one_by_one, "--warm-start", str(known))
    run(tmp_path / "peace", *warm)
    process = subprocess.Popen(
        command(toy_space, tmp_path / "killed", *warm), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert any("0002 epoch 1/" in line for line in process.stdout)
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:  # as a power cut would
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.communicate()
    shutil.rmtree(known)
    run(tmp_path / "killed", "--resume")
    (_, peace), (folder, killed) = searched(tmp_path / "peace"), searched(tmp_path / "killed")
    assert len(killed) == 5
    assert killed == peace
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    assert len(record.definition["observations"]) == 12
