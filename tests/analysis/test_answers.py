"""An arm that was not run is answered by a run that trained the same, with the figures of a run of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
import torch
from torch import nn

from analysis.answers import with_answers
from analysis.arms import arm_values, right_predictions
from analysis.claims import claims
from analysis.load import Results, load
from search.journal import TrialLog
from search.records import COMPLETED, Claim
from search.results import ResultsWriter, schema_of, write_record
from search.study import Study
from tests.records import make_record
from trainables.base import ImageTrainable, build
from trainables.data.datasets import ImageData
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData
from trainables.ensembles.adaboost import AdaBoost
from trainables.training.recipe import Recipe
from trainables.training.settings import Settings

Arms = dict[str, dict[str, Any]]
CLOCK = {"seconds", "train_seconds", "images_per_second", "peak_memory_bytes", "one_image_memory_bytes"}
SMALL = {
    "train_images": 24,
    "test_images": 60,
    "batch_size": 8,
    "epochs": 2,
    "validation": False,
    "test_every_epoch": True,
}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data("digits")


@dataclass(frozen=True, kw_only=True)
class BoostedSettings(Settings):
    vote: Literal["hard", "logits", "probabilities"] = "probabilities"  # type: ignore[assignment]
    boosting: Literal["note", "samme"] = "note"
    weighting: Literal["loss", "sampling"] = "loss"


class LinearRecipe(Recipe[Any]):
    """The smallest network there is."""

    settings_type = Settings

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


class BoostedRecipe(LinearRecipe):
    settings_type = BoostedSettings


class Bagged(ImageTrainable):
    recipe = LinearRecipe


class Boosted(ImageTrainable):
    recipe = BoostedRecipe
    strategy = AdaBoost


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Steps this small only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def study_of(trainable: type, name: str, arms: Arms, *claims: Claim) -> Study:
    arms = {arm: SMALL | config for arm, config in arms.items()}
    return Study(
        name=name,
        question="?",
        source="note A",
        trainable=trainable,
        dataset="digits",
        param_space={},
        scheduler="none",
        arms=arms,
        claims=claims,
    )


def run(study: Study, data: ImageData, folder: Path, *ran: str, seeds: tuple[int, ...] = (0,), **changes: Any) -> Path:
    """Really train the arms `ran`, as a replay does but without Ray; `changes` are of --set."""
    space, study = study, study.with_fixed(changes)
    device, logs = DeviceData(data), {}
    folder.mkdir(parents=True)
    writer = ResultsWriter(folder, schema=schema_of(study))
    for arm in ran:
        for seed in seeds:
            config = {**study.arms[arm], "seed": seed}
            training = build(study.trainable, config, device)
            log = TrialLog(len(logs), f"{arm}-{seed}", config, arm, status=COMPLETED)
            while training.epoch < training.total_epochs:
                metrics = training.run_epoch()
                arrays = {n: metrics.pop(n) for n in ("predicted", "member_predicted", "test_indices") if n in metrics}
                log.results[training.epoch] = metrics
            writer.keep_predictions(log, arrays, data.test_labels)
            logs[log.number] = log
    writer.refresh(logs, force=True)
    whole = {arm: dataclasses.asdict(space.settings(config)) for arm, config in space.arms.items()}
    record = make_record(
        study=study.name,
        run=folder.name,
        source="note A",
        trainable=study.trainable.__name__,
        dataset_fingerprint=data.fingerprint,
        protocol="replay",
        epochs=2,
        samples=len(logs),
        searcher="grid",
        scheduler="none",
        fixed=dict(changes),
        arms={arm: dict(config) for arm, config in study.arms.items()},
        started="2026-01-01T00:00:00+00:00",
        finished=True,
        options={"set": [f"{name}={value}" for name, value in changes.items()]},
        claims=list(study.claims),
        declared=whole,
    )
    write_record(folder, record)
    return folder


def answer(results: list[Results], arm: str, study: str) -> Results:
    """The one run of the study that answers the arm."""
    found = with_answers(results)[len(results) :]
    (one,) = [each for each in found if each.record.study == study and set(each.trials["arm"]) == {arm}]
    return one


def same(ours: pd.DataFrame, real: pd.DataFrame, keys: list[str]) -> list[str]:
    """The measured columns in which both tables have figures; fails where one differs."""
    ours, real = (frame.sort_values(keys, ignore_index=True) for frame in (ours, real))
    assert ours[keys].to_numpy().tolist() == real[keys].to_numpy().tolist()
    told = []
    for name in real.columns.intersection(ours.columns).difference(keys):
        if real[name].dtype.kind == "f" and name not in CLOCK and not name.startswith("config/"):
            measured = ours[name].notna()
            assert ours[name][measured].tolist() == pytest.approx(real[name][measured].tolist(), abs=1e-9), name
            if measured.all() and len(ours):
                told.append(name)
    return told


BAGGING = {"one": {}, "two": {"members": 2}, "three": {"members": 3}}


@pytest.mark.parametrize("arm", ["one", "two"])
@pytest.mark.parametrize("changes", [{}, {"vote": "soft"}, {"train_measure": "after"}])
def test_the_first_members_are_what_a_run_of_their_own_would_be(
    data: ImageData, tmp_path: Path, arm: str, changes: dict[str, Any]
) -> None:
    study = study_of(Bagged, "s", {name: config | changes for name, config in BAGGING.items()})
    (large,) = load([run(study, data, tmp_path / "large", "three")])
    (real,) = load([run(study, data, tmp_path / "real", arm)])
    ours = answer([large], arm, "s")
    told = same(ours.trials.drop(columns="trial_id"), real.trials.drop(columns="trial_id"), ["arm", "seed"])
    assert {"test_accuracy", "best_test_accuracy", "parameters"} <= set(told)
    assert {"test_accuracy", "parameters"} <= set(same(ours.epochs, real.epochs.assign(trial_id=0), ["epoch"]))
    same(ours.members, real.members, ["epoch", "members"])
    assert arm_values([ours], arm, "seconds_per_epoch").empty  # three members' time is not one's
    right = right_predictions([ours], arm)
    if "vote" in changes and arm == "two":
        assert right is None
    else:
        assert right is not None
        assert right.equals(right_predictions([real], arm))


BOOSTED = {"one": {}, "two": {"members": 2}, "three": {"members": 3}}


@pytest.mark.parametrize("changes", [{}, {"test_every_epoch": False}, {"train_measure": "after"}])
def test_the_first_rounds_are_what_a_run_of_their_own_would_be(
    data: ImageData, tmp_path: Path, changes: dict[str, Any]
) -> None:
    learns = {"train_images": 80, "lr": 0.02, "epochs": 3} | changes  # or its rounds end at once
    study = study_of(Boosted, "s", {name: config | learns for name, config in BOOSTED.items()})
    (large,) = load([run(study, data, tmp_path / "large", "three")])
    (real,) = load([run(study, data, tmp_path / "real", "two")])
    assert large.trials["epochs"].tolist() == [9]
    ours = answer([large], "two", "s")
    told = same(ours.trials.drop(columns="trial_id"), real.trials.drop(columns="trial_id"), ["arm", "seed"])
    assert {"test_accuracy", "train_loss", "parameters"} <= set(told)
    same(ours.epochs, real.epochs, ["epoch"])
    same(ours.members, real.members, ["epoch", "members"])


def test_running_accuracy_is_told_by_a_run_that_votes_after_its_epochs(data: ImageData, tmp_path: Path) -> None:
    arms: Arms = {"running": {}, "after": {"train_measure": "after"}}
    study = study_of(Bagged, "s", arms)
    (after,) = load([run(study, data, tmp_path / "after", "after")])
    (real,) = load([run(study, data, tmp_path / "real", "running")])
    ours = answer([after], "running", "s")
    if after.epochs["running_train_accuracy"].notna().all():
        assert ours.trials["train_accuracy"].tolist() == real.trials["train_accuracy"].tolist()
    else:
        assert ours.trials["train_accuracy"].isna().all()
    # The other way round nothing is known, and nothing is made up.
    back = answer([real], "after", "s")
    assert back.trials["train_accuracy"].isna().all()
    assert back.trials["test_accuracy"].tolist() == real.trials["test_accuracy"].tolist()


CLAIM = Claim("faster", "A higher rate is better.", "note A", ("fast", "one"))
FAST: Arms = {"one": {}, "fast": {"lr": 0.2}}


def test_a_claim_is_tested_on_another_studys_trials_of_the_same_training(data: ImageData, tmp_path: Path) -> None:
    study = study_of(Bagged, "s", FAST, CLAIM)
    other = study_of(Bagged, "other", {"big": {"members": 2}})
    fast = load([run(study, data, tmp_path / "fast", "fast", seeds=(0, 1, 2))])
    big = load([run(other, data, tmp_path / "big", "big", seeds=(0, 1))])
    whole = load([run(study, data, tmp_path / "whole", "fast", "one", seeds=(0, 1))])
    alone, together, expected = (claims(results).iloc[0] for results in (fast, [*fast, *big], whole))
    assert alone["n"] == 0
    assert (together["n"], together["effect"]) == (2, pytest.approx(expected["effect"]))
    assert "other/big/0" in together["trials"]


def test_a_seed_counts_once(data: ImageData, tmp_path: Path) -> None:
    study = study_of(Bagged, "s", BAGGING)
    results = load([run(study, data, tmp_path / "a", "three", "two", "one"), run(study, data, tmp_path / "b", "three")])
    assert len(with_answers(results)) == 2
    more = load([run(study, data, tmp_path / "c", "three", "two", seeds=(7,))])
    (one,) = [each for each in with_answers([*results, *more])[3:] if "one" in set(each.trials["arm"])]
    assert one.trials["seed"].tolist() == [7]
    assert one.trials["config/members"].tolist() == [1]
    assert one.trials["trial_id"].tolist() == [1]  # of the two, which tells as much and is smaller


def test_another_training_answers_nothing(data: ImageData, tmp_path: Path) -> None:
    study = study_of(Bagged, "s", {"one": {}, "three": {"members": 3, "lr": 0.3}})
    results = load([run(study, data, tmp_path / "a", "three")])
    assert with_answers(results) == results
    (old,) = results
    silent = dataclasses.replace(old, record=dataclasses.replace(old.record, declared={}))
    assert with_answers([silent]) == [silent]


def test_an_arm_is_changed_by_what_changes_it(data: ImageData, tmp_path: Path) -> None:
    study = study_of(Bagged, "s", {"one": {}, "three": {"members": 3}})
    changed = run(study, data, tmp_path / "a", "one", "three", members=2, lr=0.2)
    results = load([changed])
    assert results[0].changed_of("three") == "lr=0.2, members=2"
    assert results[0].changed_of("one") == "lr=0.2"
    again = load([run(study, data, tmp_path / "b", "one", seeds=(5,), lr=0.2)])
    # A single model is the same with --set members and without.
    assert arm_values([*results, *again], "one", "test_accuracy").index.tolist() == [0, 5]


def test_arms_compare_if_each_is_as_the_others_command_would_leave_it(data: ImageData, tmp_path: Path) -> None:
    claim = Claim("ensembles gain", "An ensemble gains.", "note A", ("three", "one"))
    study = study_of(Bagged, "s", {"one": {}, "three": {"members": 3}}, claim)
    three = run(study, data, tmp_path / "three", "three", seeds=(0, 1), members=4)
    one = run(study, data, tmp_path / "one", "one", seeds=(0, 1))
    slow = run(study, data, tmp_path / "slow", "one", seeds=(0, 1), lr=0.01)
    row = claims(load([three, one])).iloc[0]
    # The single model is the same without --set members, and it is the first of the four.
    assert (row["n"], row["changed"], row["spread"]) == (2, "members=4", "own pairs: parts of one training")
    row = claims(load([three, slow])).iloc[0]
    assert (row["n"], row["verdict"]) == (0, "not tested")
    assert "different --set: lr=0.01; members=4" in row["why"]
