"""Note C's spaces: the note's run as it was, arms that change what they say, claims that compare like with like."""

import dataclasses
from pathlib import Path

import pytest

from search.study import load
from trainables.base import build
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData
from trainables.training import schedules
from trainables.wide_resnet import WideResNet, WideResNetSettings

SPACES = Path(__file__).parents[2] / "spaces"
SAM, SIZE = (load(SPACES / f"wide_resnet_{name}.py") for name in ("sam", "size"))
NOTE = "wide-resnet-sam"


def settings(study, arm):
    config, _ = next(pair for pair in study.replay_configs(1, 0) if pair[1] == arm)
    return dataclasses.asdict(study.settings(config))


def changes(study, one, other):
    first, second = settings(study, one), settings(study, other)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def test_the_note_s_arm_is_its_run():
    (reported,) = SAM.reported
    assert reported.run == "c-wide-resnet-sam"
    ran = settings(SAM, NOTE)
    protocol = {"validation": False, "test_every_epoch": True}
    assert ran == dataclasses.asdict(WideResNetSettings()) | protocol
    stated = {name: value for name, value in reported.config.items() if name in ran and name != "seed"}
    assert {name: ran[name] for name in stated} == stated
    assert len(stated) == 16
    assert ran["epochs"] == reported.epochs


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("sgd", {"rho": (0.1, 0.0)}),
        ("sgd-as-many-passes", {"rho": (0.1, 0.0), "epochs": (200, 400)}),
        ("frozen-batch-norm", {"freeze_batch_norm": (False, True)}),
        ("no-cutout", {"cutout": (16, 0)}),
        ("no-smoothing", {"label_smoothing": (0.1, 0.0)}),
    ],
)
def test_every_other_arm_changes_what_it_is_named_for(arm, changed):
    assert changes(SAM, NOTE, arm) == changed


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("thin-adaptive", {"adaptive": (False, True), "rho": (0.1, 1.0)}),
        ("thin-sgd", {"rho": (0.1, 0.0)}),
        ("thin-no-cutout", {"cutout": (16, 0)}),
        ("thin-sgd-no-cutout", {"rho": (0.1, 0.0), "cutout": (16, 0)}),
    ],
)
def test_a_thin_arm_changes_what_it_is_named_for_on_a_small_network(arm, changed):
    assert changes(SAM, "thin-sam", arm) == changed
    assert changes(SAM, NOTE, "thin-sam") == {"depth": (34, 16), "width": (10, 2), "epochs": (200, 30)}


@pytest.mark.parametrize(("arm", "falls"), [(NOTE, (40, 100, 140, 170)), ("thin-sam", (6, 15, 21, 26))])
def test_claims_on_the_falls_of_the_rate_are_on_those_of_the_schedule(arm, falls):
    epochs = settings(SAM, arm)["epochs"]
    rates = [schedules.steps(epoch, epochs) for epoch in range(1, epochs + 1)]
    assert tuple(epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]) == falls
    told = [claim for claim in SAM.claims if all(each.startswith(f"{arm}@") for each in claim.arms)]
    before = {(claim.quantity, int(claim.arms[1].partition("@")[2])) for claim in told}
    assert before == {
        *(("gap", epoch) for epoch in falls[:3]),
        *(("train_loss", epoch) for epoch in falls[:2]),
        *(("test_kl_loss", epoch) for epoch in falls),
        *((accuracy, epoch) for accuracy in ("train_accuracy", "test_accuracy") for epoch in falls),
    }
    (contrast,) = (claim for claim in told if claim.kind == "contrast")
    assert [int(each.partition("@")[2]) for each in contrast.arms[1::2]] == [falls[2], falls[1]]


def test_wide_and_thin_networks_have_about_as_many_parameters():
    counts = {}
    for arm in SIZE.arms:
        ran = settings(SIZE, arm)
        network = WideResNet(ran["depth"], ran["width"], classes=100)
        counts[arm] = sum(p.numel() for p in network.parameters())
    assert counts == {"deep-and-thin": 1_542_196, "shallow-and-wide": 1_479_220}
    assert set(changes(SIZE, *SIZE.arms)) == {"depth", "width"}


def test_each_claim_expects_what_the_note_expects():
    told = {
        claim.name: (claim.arms, claim.quantity, claim.expected)
        for study in (SAM, SIZE)
        for claim in study.claims
        if not any("@" in arm for arm in claim.arms)
    }
    assert told == {
        "sam-generalises-better": ((NOTE, "sgd"), "test_accuracy", "greater"),
        "sam-is-worth-its-passes": ((NOTE, "sgd-as-many-passes"), "test_accuracy", "greater"),
        "cutout-generalises-better": ((NOTE, "no-cutout"), "test_accuracy", "greater"),
        "frozen-batch-norm-tests-better": (("frozen-batch-norm", NOTE), "test_accuracy", "greater"),
        "sam-generalises-better-on-a-thin-network": (("thin-sam", "thin-sgd"), "test_accuracy", "greater"),
        "adaptive-sam-generalises-better-on-a-thin-network": (
            *(("thin-adaptive", "thin-sgd"), "test_accuracy", "greater"),
        ),
        "cutout-generalises-better-on-a-thin-network": (("thin-sam", "thin-no-cutout"), "test_accuracy", "greater"),
        "wider-is-as-good": (("shallow-and-wide", "deep-and-thin"), "test_accuracy", "greater"),
        "wider-is-faster": (("shallow-and-wide", "deep-and-thin"), "seconds_per_epoch", "less"),
    }


@pytest.fixture(scope="module")
def data():
    return DeviceData(load_data("digits"))


@pytest.mark.parametrize("study", [SAM, SIZE], ids=lambda study: study.name)
def test_a_smoke_run_is_small_and_takes_a_step(study, data):
    smoke = study.as_smoke()
    config = {name: domain.sample() for name, domain in smoke.searched().items()}
    training = build(study.trainable, {**smoke.fixed(), **config, "epochs": smoke.epochs}, data)
    assert training.total_epochs == 2
    assert training.parameters < 400_000
    assert training.members[0].train_epoch(1, steps=1).images == 32
    assert {config["depth"] for config in smoke.arms.values()} == {10}
    assert max(config["width"] for config in smoke.arms.values()) <= 2
