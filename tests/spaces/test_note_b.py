"""Note B's spaces: the note's runs as they were, each claim declared once, clean arms that change one thing."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from search.records import read_reported
from search.study import load
from trainables.lenet import LeNet
from trainables.pretrained import build

SPACES = Path(__file__).parents[2] / "spaces"
LENETS = ("batch_size", "flip", "optimizer", "scheduler", "batch_norm", "initialization", "channels", "best")
NAMES = [*(f"lenet_{name}" for name in LENETS), "resnet18", "resnet18_pretrained"]
STUDIES = {name: load(SPACES / f"{name}.py") for name in NAMES}
RECOVERY = load(SPACES / "lenet_recover_lr.py")
RUNS = {run.arm: run for run in read_reported(SPACES / "reported").values() if run.note == "B"}
CLAIMS = [pytest.param(study, claim, id=claim.name) for study in STUDIES.values() for claim in study.claims]
REPLAYED = [pytest.param(s, run, id=f"{s.name}-{run.run}") for s in STUDIES.values() for run in s.reported]
# What each claim is about: the settings in which its arms (its clean ones, where the note's differ in more) differ.
ABOUT = {
    "larger-batch-is-worse": {"batch_size"},
    "larger-batch-is-worse-at-a-scaled-rate": {"batch_size", "lr"},
    "flip-changes-little": {"flip"},
    "flip-raises-the-training-loss": {"flip"},
    "flip-overfits-less": {"flip"},
    "adam-ends-higher": {"optimizer"},
    "adam-starts-faster": {"optimizer"},
    "adam-ends-higher-than-sgd-at-ten-times-the-rate": {"optimizer", "lr"},
    "step-decay-helps-sgd": {"decay"},
    "step-decay-lowers-the-loss-of-sgd": {"decay"},
    "step-decay-changes-little-under-adam": {"decay"},
    "step-decay-lowers-the-loss-of-adam": {"decay"},
    "step-decay-overfits-adam": {"decay"},
    "batch-norm-helps-lenet": {"batch_norm"},
    "kaiming-helps": {"initialization"},
    "double-channels-help": {"conv1", "conv2"},
    "best-recipe-of-lenet": {
        *("optimizer", "lr", "weight_decay", "decay", "batch_norm", "dropout", "conv1", "conv2"),
        *("flip", "crop_padding", "policy"),
    },
    "best-recipe-of-lenet-with-the-imagenet-policy": {
        *("optimizer", "lr", "weight_decay", "decay", "batch_norm", "dropout", "conv1", "conv2"),
        *("flip", "crop_padding", "policy"),
    },
    # LeNet's own settings apart, its dropout and BatchNorm among them.
    "resnet18-equals-the-best-lenet": set(),
    "resnet18-equals-the-best-lenet-with-the-imagenet-policy": set(),
    "resnet18-is-smaller": set(),
}
# What LeNet's code fixes.
IMPLIED = {"model", "normalize"}


def settings(study, arm):
    """An arm's whole configuration, as a replay would run it; "study/arm" is looked up there."""
    if "/" in arm:
        name, arm = arm.split("/")
        study = STUDIES[name]
    config, _ = next(pair for pair in study.replay_configs(1, 0) if pair[1] == arm)
    return dataclasses.asdict(study.settings({"epochs": study.epochs, **config}))


def differences(study, arms):
    configs = [settings(study, arm) for arm in arms]
    shared = set.intersection(*(set(config) for config in configs))
    return {name for name in shared if len({config[name] for config in configs}) > 1}


def test_every_run_is_replayed_by_the_space_that_asks_about_it():
    assert {run.arm for study in STUDIES.values() for run in study.reported} == RUNS.keys()
    for study in STUDIES.values():
        assert (study.dataset, study.epochs) == ("cifar10", 12)
        assert study.source.startswith("note B")


@pytest.mark.parametrize(("study", "run"), REPLAYED)
def test_an_arm_is_the_notes_run_under_its_protocol(study, run):
    ran = settings(study, run.arm)
    stated = {name: value for name, value in run.config.items() if name not in IMPLIED}
    assert {name: ran[name] for name in stated} == stated
    assert (ran["epochs"], ran["members"], ran["validation"], ran["test_every_epoch"]) == (12, 1, False, True)
    assert (ran["train_images"], ran["test_images"], ran["train_measure"]) == (None, None, "running")
    if "lr" not in run.config:  # never printed, inferred
        assert (ran["lr"], ran["momentum"]) == (0.001, 0.9)


def test_every_claim_is_declared_once():
    assert sorted(parameters.id for parameters in CLAIMS) == sorted(ABOUT)


@pytest.mark.parametrize(("study", "claim"), CLAIMS)
def test_a_claim_compares_what_it_says_and_owns_up_to_the_rest(study, claim):
    assert differences(study, claim.clean_arms or claim.arms) == ABOUT[claim.name]
    assert differences(study, claim.arms) - ABOUT[claim.name] == set(claim.confounded_by)


@pytest.mark.parametrize(("study", "claim"), CLAIMS)
def test_the_effect_is_the_difference_of_the_printed_figures(study, claim):
    quantity, _, epoch = claim.quantity.partition("@")
    runs = [RUNS.get(arm.split("/")[-1]) for arm in claim.arms]
    if claim.effect is None or None in runs:
        assert "told apart" in claim.source or quantity in ("parameters", "gap")  # the note prints no gap
        return

    def figure(run):
        if not epoch:
            return getattr(run, quantity)
        return next(point for point in run.curve if point["epoch"] == int(epoch))[quantity]

    figures = [figure(run) for run in runs]
    if claim.kind == "order":
        assert min(a - b for a, b in itertools.pairwise(figures)) == pytest.approx(claim.effect)
    else:
        assert figures[0] - figures[1] == pytest.approx(claim.effect)


def test_resnet_18_has_more_parameters_than_the_best_lenet():
    """What the note claims the other way round is decided by arithmetic."""
    ran = settings(STUDIES["lenet_best"], "7-best")
    with torch.device("meta"):
        resnet = build("resnet18", 10, "random")
        lenet = LeNet(10, conv1=ran["conv1"], conv2=ran["conv2"], batch_norm=ran["batch_norm"])
    counts = [sum(p.numel() for p in network.parameters()) for network in (resnet, lenet)]
    assert counts == [11_181_642, 2_438_510]
    (claim,) = (claim for claim in STUDIES["resnet18"].claims if claim.name == "resnet18-is-smaller")
    assert (claim.quantity, claim.expected) == ("parameters", "less")


def test_every_policy_that_the_note_can_mean_is_an_arm():
    best, resnet = STUDIES["lenet_best"], STUDIES["resnet18"]
    assert {settings(best, arm)["policy"] for arm in best.arms} == {
        *("none", "autoaugment", "autoaugment-imagenet", "augmix"),
    }
    assert {settings(resnet, arm)["policy"] for arm in resnet.arms} == {"autoaugment", "autoaugment-imagenet"}


def test_setting_the_undisclosed_rate_reaches_every_arm():
    study = STUDIES["lenet_flip"].with_set(["lr=0.002", "momentum=0.5"])
    assert {(settings(study, arm)["lr"], settings(study, arm)["momentum"]) for arm in study.arms} == {(0.002, 0.5)}


def test_resnet_18_from_scratch_sees_images_as_lenet_does():
    ran = settings(STUDIES["resnet18"], "8-resnet18")
    assert (ran["model"], ran["weights"], ran["tuned"]) == ("resnet18", "random", "all")
    assert (ran["image_size"], ran["normalization"]) == (32, "half")


def test_the_recovery_fits_both_printed_curves_and_nothing_else():
    assert (RECOVERY.protocol, RECOVERY.metric, RECOVERY.mode, RECOVERY.rank_by) == (
        *("recovery", "curve_distance", "min", "curve_distance"),
    )
    assert set(RECOVERY.searched()) == {"lr", "momentum"}
    assert not RECOVERY.claims
    fit = RECOVERY.trainable.strategy
    assert fit.vary == "optimizer"
    assert fit.curves["sgd"] == [0.16, 0.29, 0.36, 0.4, 0.43, 0.46, 0.48, 0.5, 0.51, 0.53, 0.55, 0.56]
    assert fit.curves["adam"] == [0.48, 0.54, 0.57, 0.6, 0.62, 0.62, 0.63, 0.64, 0.63, 0.65, 0.64, 0.65]
    ran = RECOVERY.settings({"epochs": RECOVERY.epochs, **RECOVERY.fixed()})
    assert (ran.validation, ran.test_every_epoch, ran.batch_size, ran.decay) == (False, True, 64, "constant")
