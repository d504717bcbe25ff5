"""Note D's spaces: the note's runs as they were, each claim declared once."""

import dataclasses
from pathlib import Path

import pytest

from analysis.compare import NATS
from search.records import read_reported
from search.study import load
from trainables.convnet import ConvNet

SPACES = Path(__file__).parents[2] / "spaces"
NAMES = ("convnet_depth", "convnet_training", "pretrained_models", "model_size")
STUDIES = {name: load(SPACES / f"{name}.py") for name in NAMES}
RUNS = {run.arm: run for run in read_reported(SPACES / "reported").values() if run.note == "D"}
CLAIMS = [pytest.param(study, claim, id=claim.name) for study in STUDIES.values() for claim in study.claims]
REPLAYED = [pytest.param(s, run, id=f"{s.name}-{run.run}") for s in STUDIES.values() for run in s.reported]
DEPTHS = {"cnn2": 2, "cnn3": 3, "cnn5": 5}
ABOUT = {
    "third-layer-helps": {"depth"},
    "third-layer-saves-parameters": {"depth"},
    "five-layers-gain-nothing": {"depth"},
    "five-layers-cost-parameters": {"depth"},
    "five-layers-overfit": {"depth"},
    "more-epochs-help-cnn5": {"epochs"},
    "early-stopping-prevents-overfitting": {"patience"},
    "early-stopping-helps-cnn5": {"patience"},
    "label-smoothing-helps-cnn5": {"label_smoothing"},
    "sgd-helps-cnn5": {"optimizer", "lr"},
    "warm-up-helps-cnn5": {"warmup_epochs"},
    "cosine-decay-helps-cnn5": {"decay"},
    "three-pretrained-end-alike": {"model"},
    "three-pretrained-end-alike-center-cropped": {"model"},
    "resnet101-beats-vgg19": {"model"},
    "resnet101-is-smaller-than-vgg19": {"model"},
    # Of the settings of VGG19 the note's own networks ignore the weights and the size, VGG19 the depth of theirs.
    "vgg19-beats-cnn5": {"model", "depth", "weights", "image_size"},
    "vgg19-is-the-largest": {"model"},
    "vit-and-swin-are-as-large": {"model"},
    "swin-takes-more-memory": {"model"},
}


def settings(study, arm):
    config, _ = next(pair for pair in study.replay_configs(1, 0) if pair[1] == arm)
    return dataclasses.asdict(study.settings({"epochs": study.epochs, **config}))


def changes(study, one, other):
    first, second = settings(study, one), settings(study, other)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def test_every_run_is_replayed_and_the_size_table_holds_both_groups():
    assert {run.arm for name in NAMES[:3] for run in STUDIES[name].reported} == RUNS.keys()
    assert {run.arm for run in STUDIES["model_size"].reported} == RUNS.keys()
    assert STUDIES["model_size"].goals == {"val_accuracy": "max", "parameters": "min"}
    assert all(run.parameters and run.total_size_mb for run in STUDIES["model_size"].reported)


@pytest.mark.parametrize(("study", "run"), REPLAYED)
def test_an_arm_is_the_notes_run_under_its_protocol(study, run):
    ran = settings(study, run.arm)
    stated = {name: run.config[name] for name in ("lr", "batch_size", "optimizer")}
    assert {name: ran[name] for name in stated} == stated
    assert (ran["epochs"], ran["validation"], ran["decay"], ran["warmup_epochs"]) == (5, False, "constant", 0)
    if run.arm in DEPTHS:
        assert (ran["depth"], ran["width"], ran.get("model", "convnet")) == (DEPTHS[run.arm], 16, "convnet")
        network = ConvNet(ran["depth"], width=ran["width"])
        assert sum(p.numel() for p in network.parameters()) == run.parameters
    else:
        assert (ran["model"], ran["tuned"], ran["momentum"]) == (run.config["model"], "all", 0.9)
        # Resize, ToTensor, Normalize: of the weights' size and channels, and nothing cut off.
        assert (ran["image_size"], ran["normalization"], ran["weights"]) == (None, "weights", None)
        assert ran["center_crop"] is False


def test_the_weights_own_transform_is_an_arm_of_each_network():
    study = STUDIES["pretrained_models"]
    for run in study.reported:
        assert changes(study, run.arm, f"{run.arm}-center-crop") == {"center_crop": (False, True)}


def test_a_single_batch_s_loss_is_compared_with_no_epoch_s_mean():
    assert {run.loss_unit for run in RUNS.values()} == {"nats, one batch"}
    assert "nats, one batch" not in NATS


def test_every_claim_is_declared_once():
    assert sorted(parameters.id for parameters in CLAIMS) == sorted(ABOUT)


@pytest.mark.parametrize(("study", "claim"), CLAIMS)
def test_a_claim_compares_what_it_says(study, claim):
    first, *others = claim.clean_arms or claim.arms
    for arm in others:
        assert changes(study, first, arm).keys() == ABOUT[claim.name]
    if claim.clean_arms:
        assert changes(study, *claim.arms).keys() - ABOUT[claim.name] == set(claim.confounded_by) - ABOUT[claim.name]


@pytest.mark.parametrize(("study", "claim"), CLAIMS)
def test_the_effect_is_that_of_the_printed_figures(study, claim):
    if claim.effect is None:
        unprinted = study.name == "convnet_training" or claim.quantity in ("gap", "one_image_memory_bytes")
        assert unprinted or "told apart" in claim.source
        return
    figures = [getattr(RUNS[arm], claim.quantity) for arm in claim.arms]
    if claim.kind == "within":
        assert max(figures) - min(figures) == pytest.approx(claim.effect)
    elif claim.kind == "ratio":
        assert figures[0] / figures[1] == pytest.approx(claim.effect, abs=0.005)
    else:
        assert figures[0] - figures[1] == pytest.approx(claim.effect)


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("cnn5-5-epochs", {"epochs": (20, 5)}),
        ("cnn5-20-epochs-patience-2", {"patience": (None, 2)}),
        ("cnn5-20-epochs-label-smoothing-.1", {"label_smoothing": (0.0, 0.1)}),
        ("cnn5-20-epochs-sgd", {"optimizer": ("adam", "sgd"), "lr": (0.001, 0.01)}),
        ("cnn5-20-epochs-warmup-3", {"warmup_epochs": (0, 3)}),
        ("cnn5-20-epochs-cosine", {"decay": ("constant", "cosine")}),
    ],
)
def test_an_arm_of_the_outlook_changes_what_it_is_named_for(arm, changed):
    assert changes(STUDIES["convnet_training"], "cnn5-20-epochs", arm) == changed


@pytest.mark.parametrize("name", ["pretrained_models", "model_size"])
def test_a_smoke_run_downloads_nothing_and_says_so_in_every_row(name):
    smoke = STUDIES[name].as_smoke()
    assert (smoke.fixed()["weights"], smoke.fixed()["image_size"]) == ("random", 32)
    assert {config["weights"] for config in smoke.arms.values()} == {"random"}
