"""Which trials of a replay are not run: those that another arm's run holds, and those that other results hold."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from search.economy import Economy, answered, economise, known
from search.failures import UsageError
from search.options import STORED
from search.prepare import propose
from search.provenance import new_record
from search.records import MEASURING, Claim, StudyRecord, Training
from search.request import Request
from search.results import write_record
from search.searchers import Listed
from search.study import Study, StudyError
from trainables.alexnet import BoostedAlexNet
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData
from trainables.image_trainable import image_trainable
from trainables.lenet import LeNetTrainable

ROOT = Path(__file__).parents[2]

ARMS: dict[str, dict[str, Any]] = {
    "one": {"lr": 0.1},
    "three": {"lr": 0.1, "members": 3},
    "other": {"lr": 0.2},
}


def lenet(*claims: Claim, **arms: dict[str, Any]) -> Study:
    return Study(
        name="economy",
        question="?",
        source="none",
        trainable=LeNetTrainable,
        dataset="digits",
        epochs=2,
        param_space={"train_images": 40},
        arms=arms or ARMS,
        claims=claims,
    )


def training(trainable: str = "T", fingerprint: str = "f", **settings: Any) -> Training:
    return Training.of(trainable, fingerprint, {"lr": 0.1, "seed": 0, "members": 1, "engine": "plain"} | settings)


# The identity of a training


@pytest.mark.parametrize(
    "changes",
    [{"lr": 0.2}, {"engine": "bf16"}, {"trainable": "U"}, {"fingerprint": "g"}, {"loss_unit": "bits"}, {"new": 1}],
)
def test_what_changes_weights_makes_another_training(changes: dict[str, Any]) -> None:
    assert training().key != training(**changes).key


@pytest.mark.parametrize(
    "changes", [{"seed": 4}, {"members": 3}, {"vote": "soft"}, {"lr": 0.1, "loss_unit": "nats"}, {"test_images": 7}]
)
def test_what_changes_no_weight_leaves_the_training(changes: dict[str, Any]) -> None:
    assert training().key == training(**changes).key


def test_equal_numbers_are_equal_settings() -> None:
    assert training(lr=1).key == training(lr=1.0).key


def test_members_that_share_their_steps_are_no_prefix_of_one_another() -> None:
    three, two, one = (training(engine="fuse+bf16", members=members) for members in (3, 2, 1))
    assert len({three.key, two.key, one.key}) == 3
    assert one.key == training(engine="bf16").key  # one member has nobody to share with


def test_an_ensemble_that_ends_by_its_own_vote_is_no_prefix_of_another() -> None:
    three, one = (training(patience=2, members=members) for members in (3, 1))
    assert not three.holds(one)
    assert training(patience=None, members=3).holds(training(patience=None, members=1))


def test_of_the_users_own_network_the_code_counts_and_of_the_projects_the_name() -> None:
    def of(**code: str) -> str:
        return Training.of("small", "f", {"lr": 0.1}, {name.replace("_", "/"): text for name, text in code.items()}).key

    assert len({of(), of(mine="1"), of(mine="2"), of(mine="1", beside="1")}) == 4
    assert of(mine="1", trainables_x="1", search_y="1") == of(mine="1", trainables_x="2")


def test_another_network_of_the_same_name_is_not_known(tmp_path: Path, tiny_data: ImageData) -> None:
    study, run = lenet(), tmp_path / "lenet" / "20260101-000000"
    recorded(study, run, tiny_data)
    finish(run, ("three", 0, "completed"))
    record = json.loads((run / "study.json").read_text())
    record["definition"]["code"]["space.py"] = "the digest of a network"
    (run / "study.json").write_text(json.dumps(record))

    def found(own: dict[str, str]) -> list[str]:
        places = known(study, study.replay_configs(1, 0), tiny_data.fingerprint, [str(tmp_path)], own=own)
        return sorted(places)

    assert found({"space.py": "the digest of a network"}) == ["one", "three"]
    assert found({"space.py": "another"}) == found({}) == []


@pytest.mark.parametrize("trainable", [LeNetTrainable, BoostedAlexNet])
def test_settings_of_measuring_change_no_weight(trainable: type, tiny_data: ImageData) -> None:
    """Every one of them that the family has is changed, one by one, in a real training."""
    other: dict[str, Any] = {
        "vote": "soft" if trainable is LeNetTrainable else "hard",
        "train_measure": "after",
        "test_every_epoch": True,
        "test_images": 10,
        "test_augmented": True,
        "train_measure_every": 2,
    }
    assert other.keys() == MEASURING
    names = {field.name for field in dataclasses.fields(trainable.recipe.settings_type)}  # type: ignore[attr-defined]
    device = DeviceData(tiny_data)

    def weights(**changes: Any) -> torch.Tensor:
        config = {"epochs": 1, "members": 2, "train_images": 20, "validation": False, **changes}
        training = build(trainable, config, device)  # type: ignore[arg-type]
        for _ in range(training.total_epochs):
            training.run_epoch()
        return torch.cat([parameter.flatten() for m in training.members for parameter in m.network.parameters()])

    plain = weights()
    for name in MEASURING & names:
        assert torch.equal(weights(**{name: other[name]}), plain), name


@pytest.mark.parametrize(
    ("run", "arm", "answers"),
    [
        ({"members": 3}, {"members": 1}, True),
        ({"members": 1}, {"members": 3}, False),
        ({"test_images": 10}, {}, False),
        ({"members": 3, "vote": "soft"}, {"members": 2, "vote": "hard"}, False),
        ({"members": 3, "vote": "soft"}, {"members": 1, "vote": "hard"}, True),  # one has nothing to vote on
        ({"train_measure": "after"}, {"train_measure": "running"}, True),
        ({"train_measure": "running"}, {"train_measure": "after"}, False),
        ({"train_measure": "after"}, {"train_measure": "augmented"}, False),
    ],
)
def test_a_run_answers_what_it_measured(run: dict[str, Any], arm: dict[str, Any], answers: bool) -> None:
    assert training(**run).answers(training(**arm)) == answers


# Within a replay


def test_the_largest_ensemble_answers_its_prefixes() -> None:
    assert answered(lenet()) == {"one": "three:1"}
    assert answered(lenet(), ["one", "other"]) == {}


def test_of_equal_arms_the_one_that_measures_more_runs() -> None:
    after = {"lr": 0.1, "train_measure": "after", "validation": False}
    arms = {"running": after | {"train_measure": "running"}, "after": after, "again": after}
    assert answered(lenet(**arms)) == {"running": "after", "again": "after"}


def test_an_arm_whose_time_is_claimed_runs_itself() -> None:
    claim = Claim("time", "?", "none", ("one", "other"), quantity="seconds_per_epoch")
    assert answered(lenet(claim)) == {}
    twins = {"one": {"lr": 0.1}, "twin": {"lr": 0.1}, "other": {"lr": 0.2}}
    assert answered(lenet(claim, **twins)) == {"twin": "one"}


def test_an_arm_whose_first_members_were_not_asked_runs_itself() -> None:
    claim = Claim("top five", "?", "none", ("one", "other"), quantity="test_top5_accuracy")
    assert answered(lenet(claim)) == {}


def test_an_ensemble_does_not_answer_a_smaller_one_if_the_user_has_a_metric(
    tmp_path: Path, tiny_data: ImageData
) -> None:
    """The metric is kept for whole ensembles only."""
    trainable = image_trainable(small, metrics={"right": right})
    study = dataclasses.replace(lenet(**ARMS, twin={"lr": 0.1}), trainable=trainable)
    assert answered(study) == {"twin": "one"}
    run = tmp_path / "economy" / "20260101-000000"
    own = recorded(study, run, tiny_data).definition["code"]
    finish(run, ("three", 0, "completed"))
    found = known(study, study.replay_configs(1, 0), tiny_data.fingerprint, [str(tmp_path)], own=own)
    assert found == {"three": {"0": f"{run}: three"}}


def right(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (probabilities.argmax(1) == labels).float().mean()


def small(channels: int, classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(classes))


# --arm and --set


def request_of(*arguments: str) -> Request:
    return Request.parse(["space.py", "--replay", *arguments])


def names(study: Study, *arguments: str) -> list[str]:
    request = request_of(*arguments)
    proposals = propose(study, request, economise(study, request, "f", None))
    assert isinstance(proposals, Listed)
    return [f"{arm} {config['seed']}" for config, arm in proposals.configs]


def test_a_replay_runs_the_arms_that_are_named() -> None:
    assert names(lenet(), "--arm", "one", "--repeats", "2") == ["one 0", "one 1"]
    assert names(lenet(), "--arm", "three", "--arm", "one") == ["three 0"]
    assert names(lenet()) == ["three 0", "other 0"]


def test_an_arm_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(StudyError, match="has no arm 'four': choose from one, three, other"):
        names(lenet(), "--arm", "four")


@pytest.mark.parametrize("option", [["--arm", "one"], ["--known", "."]])
def test_arms_are_a_replays(option: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]} needs --replay"):
        Request.parse(["space.py", *option])


def test_what_is_known_lies_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must be a folder of results, got /nowhere"):
        names(lenet(), "--known", "/nowhere")
    own = str(tmp_path / "new")  # which the run will make: the first line of a queue knows nothing yet
    assert names(lenet(), "--known", own, "--results", own) == ["three 0", "other 0"]


def test_what_is_known_is_somewhere_in_the_folder(tmp_path: Path, toy: Study) -> None:
    request = Request.parse(["space.py", "--replay", "--known", str(tmp_path)])
    with pytest.raises(StudyError, match=f"--known must be a folder of results, got {tmp_path}, which holds no run"):
        economise(toy, request, "", None)


def test_members_are_an_ensembles() -> None:
    arms = lenet(single={}, inherits={"lr": 0.3}, three={"members": 3}).with_set(["members=2"]).arms
    assert {arm: config["members"] for arm, config in arms.items()} == {"single": 1, "inherits": 1, "three": 2}
    spread = dataclasses.replace(lenet(), param_space={"members": 3}).with_set(["members=2"]).arms
    assert {config["members"] for config in spread.values()} == {2}


# What is on record


def recorded(study: Study, folder: Path, data: ImageData, *arguments: str) -> StudyRecord:
    """A run's record in a folder of its own."""
    request = dataclasses.replace(request_of(*arguments), engine="plain")
    folder.mkdir(parents=True)
    economy = economise(study, request, data.fingerprint, None)
    record = new_record(study, request, data, folder, propose(study, request, economy), study)
    record.answered_by, record.known = dict(economy.answered_by), {a: dict(s) for a, s in economy.known.items()}
    write_record(folder, record)
    return record


def finish(folder: Path, *trials: tuple[str, int, str]) -> None:
    rows = [{"arm": arm, "seed": seed, "status": status} for arm, seed, status in trials]
    pq.write_table(pa.Table.from_pylist(rows), folder / "trials.parquet")


def test_arms_and_what_is_not_run_are_on_record_and_restored(tmp_path: Path, tiny_data: ImageData) -> None:
    study = lenet()
    written = recorded(study, tmp_path / "run", tiny_data, "--arm", "one", "--arm", "three")
    record = StudyRecord.from_json(written.to_json())
    assert record.answered_by == {"one": "three:1"}
    request = Request.parse(["space.py", "--resume"]).restored(tmp_path / "run", record)
    assert request.arm == ("one", "three")
    # A run of before there were such answers goes on with all of its trials.
    old = dataclasses.replace(record, answered_by={})
    proposals = propose(study, request, economise(study, request, "f", (tmp_path, old)))
    assert isinstance(proposals, Listed)
    assert len(proposals.configs) == 2


@pytest.mark.parametrize("changes", [{"answered_by": {"one": 3}}, {"known": {"one": {"0": 1}}}, {"known": {"one": []}}])
def test_a_damaged_answer_is_named(changes: dict[str, Any], tmp_path: Path, tiny_data: ImageData) -> None:
    record = dataclasses.replace(recorded(lenet(), tmp_path / "run", tiny_data), **changes)
    with pytest.raises(ValueError, match=next(iter(changes))):
        StudyRecord.from_json(record.to_json())


def test_what_other_results_hold_finished_is_not_run_again(tmp_path: Path, tiny_data: ImageData) -> None:
    other = dataclasses.replace(lenet(big={"lr": 0.1, "members": 5}), name="other_study")
    run = tmp_path / "other_study" / "20260101-000000"
    recorded(other, run, tiny_data)
    finish(run, ("big", 0, "completed"), ("big", 1, "failed"), ("big", 2, "completed"))
    study = lenet()
    configs = study.replay_configs(3, 0)
    expected = {arm: dict.fromkeys(("0", "2"), f"{run}: big:{k}") for arm, k in (("one", 1), ("three", 3))}
    assert known(study, configs, tiny_data.fingerprint, [str(tmp_path)]) == expected
    assert known(study, configs, "other data", [str(tmp_path)]) == {}
    assert known(study, configs, tiny_data.fingerprint, [str(tmp_path)], run) == {}
    economy = Economy({"one": "three:1"}, expected)
    left = [(arm, config["seed"]) for config, arm in economy.left(configs)]
    assert left == [("other", 0), ("three", 1), ("other", 1), ("other", 2)]
    assert economy.told() == [
        "answered   one by three:1, which trains the same",
        f"known      4 of the trials are in {run}",
    ]


def test_an_extension_keeps_what_was_left_out_and_looks_for_the_new_seeds(tmp_path: Path, tiny_data: ImageData) -> None:
    study, folder = lenet(a={"lr": 0.1}, b={"lr": 0.2}), tmp_path / "new" / "run"
    run = tmp_path / "old" / "run"
    recorded(study, run, tiny_data)
    finish(run, ("a", 0, "completed"))
    record = recorded(study, folder, tiny_data, "--known", str(tmp_path / "old"))
    assert record.known == {"a": {"0": f"{run}: a"}}
    # Meanwhile the other run has gone on: what this one runs already it keeps.
    finish(run, ("a", 0, "completed"), ("b", 0, "completed"), ("b", 1, "completed"))
    request = Request.parse(["space.py", "--extend", "1"]).restored(folder, record)
    economy = economise(study, request, tiny_data.fingerprint, (folder, record))
    assert economy.known == {"a": {"0": f"{run}: a"}, "b": {"1": f"{run}: b"}}
    assert {*STORED} >= {"arm", "known"}


def test_a_replay_goes_on_without_the_results_that_it_knew(tmp_path: Path, tiny_data: ImageData) -> None:
    """Its record holds which trials they had finished."""
    study, folder, old = lenet(a={"lr": 0.1}, b={"lr": 0.2}), tmp_path / "new" / "run", tmp_path / "old"
    recorded(study, old / "run", tiny_data)
    finish(old / "run", ("a", 0, "completed"))
    record = recorded(study, folder, tiny_data, "--known", str(old))
    old.rename(tmp_path / "moved")
    for option in (["--resume"], ["--extend", "1"]):
        request = Request.parse(["space.py", *option]).restored(folder, record)
        assert economise(study, request, tiny_data.fingerprint, (folder, record)).known == record.known


# A real run

SPACE = """
import dataclasses
from pathlib import Path
from search.study import load

arms = {{"one": {{"quality": 0.5}}, "three": {{"quality": 0.5, "members": 3}}, "two": {{"quality": 0.2, "members": 2}}}}
study = dataclasses.replace(load(Path({toy!r})), name="armed", arms=arms)
"""


@pytest.mark.long
def test_a_replay_trains_once_what_arms_share(toy_space: Path, tmp_path: Path) -> None:
    space = tmp_path / "armed.py"
    space.write_text(SPACE.format(toy=str(toy_space)))
    command = [sys.executable, "-m", "search.run", str(space), "--smoke", "--replay", "--results", str(tmp_path / "r")]

    def run(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def newest() -> tuple[StudyRecord, list[tuple[str, int]]]:
        folder = max((tmp_path / "r" / "armed").glob("*"))
        rows = pq.read_table(folder / "trials.parquet").to_pylist()
        record = StudyRecord.from_json((folder / "study.json").read_text())
        return record, [(row["arm"], row["seed"]) for row in rows]

    assert "answered   one by three:1" in run("--arm", "one", "--arm", "three")
    record, trials = newest()
    assert record.answered_by == {"one": "three:1"}
    assert trials == [("three", 0)]
    assert "known      1 of the trials are in" in run("--repeats", "2", "--known", str(tmp_path / "r"))
    record, trials = newest()
    assert sorted(trials) == [("three", 1), ("two", 0), ("two", 1)]
    run("--extend", "1")
    assert sorted(newest()[1]) == [("three", 1), ("three", 2), ("two", 0), ("two", 1), ("two", 2)]
    assert "there is nothing to run" in run("--repeats", "3", "--known", str(tmp_path / "r"))
