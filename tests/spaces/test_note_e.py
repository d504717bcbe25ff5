"""Note E's spaces: the note's runs as they were, claims that change one thing, effects as printed."""

import dataclasses
from pathlib import Path

import pytest

from search.records import read_reported
from search.study import load

SPACES = Path(__file__).parents[2] / "spaces"
STUDIES = {
    name: load(SPACES / f"small_alexnet_{name}.py")
    for name in ("lr", "augmentation", "optimizer", "initialization", "lrn", "dropout", "head", "batch_norm")
}
CLAIMS = {claim.name: (study, claim) for study in STUDIES.values() for claim in study.claims}
REPORTED = {run.run: run for run in read_reported(SPACES / "reported").values() if run.note == "E"}
AUGMENTATION = {"random_crop", "flip", "brightness", "contrast"}


def settings(study, arm):
    config, _ = next(pair for pair in study.replay_configs(1, 0) if pair[1] == arm)
    return dataclasses.asdict(study.settings(config))


def test_every_run_of_the_note_is_replayed():
    assert {run.run for study in STUDIES.values() for run in study.reported} == REPORTED.keys()


@pytest.mark.parametrize(
    ("study", "run"),
    [pytest.param(s, run, id=f"{s.name}-{run.run}") for s in STUDIES.values() for run in s.reported],
)
def test_an_arm_is_the_note_s_run_under_its_protocol(study, run):
    ran = settings(study, run.arm)
    stated = {name: value for name, value in run.config.items() if name in ran}
    assert set(run.config) - set(stated) <= {"augmentation"}
    assert {name: ran[name] for name in stated} == stated
    # 45,000 images train, 5,000 validate, 10,000 test.
    assert (ran["epochs"], ran["validation"], ran["test_every_epoch"]) == (run.epochs, True, True)
    assert ran["train_images"] is ran["test_images"] is None
    augmented = {name for name in AUGMENTATION if ran[name]}
    assert augmented == (set() if run.section.startswith("1.") else AUGMENTATION)
    if run.config["decay"] == "exponential" and "step_epochs" not in run.config:
        # The note's code: every 10 steps of 64 images.
        assert ran["step_epochs"] * 45_000 / 64 == pytest.approx(10)


CHANGED = {
    "the-rule-is-best": {"lr", "decay"},
    "too-large-a-rate-is-bad": {"lr"},
    "too-small-a-rate-is-bad": {"lr"},
    "decay-from-.001-does-not-help": {"decay", "step_factor", "step_epochs", "epochs"},
    "augmentation-lifts-65-to-80": AUGMENTATION,
    "augmentation-raises-the-test-accuracy": AUGMENTATION,
    "augmentation-helps-plain-descent": AUGMENTATION,
    "augmented-accuracy-passes-80": set(),
    "augmented-accuracy-passes-80-as-coded": set(),
    "adam-is-no-better": {"optimizer"},
    "adam-is-no-better-than-momentum": {"optimizer", "momentum"},
    "adam-at-its-own-rate-is-no-better": {"optimizer", "lr"},
    "he-shows-no-gain": {"initialization"},
    "he-shows-no-gain-over-.01": {"initialization", "epochs"},  # compared after as many epochs
    "with-batch-norm-it-matters-less": {"initialization"},
    "lrn-changes-accuracy-little": {"lrn"},
    "without-lrn-is-better": {"lrn"},
    "lrn-changes-accuracy-little-as-coded": {"lrn"},
    "without-lrn-a-third-less-time": {"lrn"},
    "more-dropout-is-worse": {"dropout"},
    "more-dropout-is-worse-as-coded": {"dropout"},
    "more-dropout-overfits-less": {"dropout"},
    "more-dropout-converges-more-slowly": {"dropout"},
    "dropout-costs-no-time": {"dropout"},
    "twice-the-epochs-do-not-help": {"epochs"},
    "pooling-is-worse": {"head"},
    "pooling-is-worse-as-coded": {"head"},
    "pooling-is-faster": {"head"},
    "pooling-and-linears-do-not-converge": set(),
    "pooling-and-linears-do-not-converge-from-.01": set(),
    "linears-alone-converge-from-.01": set(),
    "batch-norm-is-worse": {"batch_norm"},
    "batch-norm-is-worse-as-coded": {"batch_norm"},
}


def test_every_claim_is_declared_once():
    assert CLAIMS.keys() == CHANGED.keys()
    assert sum(len(study.claims) for study in STUDIES.values()) == len(CLAIMS)


@pytest.mark.parametrize("name", CHANGED)
def test_a_claim_compares_arms_that_differ_in_its_subject_alone(name):
    study, claim = CLAIMS[name]
    if claim.kind == "level":
        assert not CHANGED[name]
        assert not claim.confounded_by
        return
    pairs = claim.clean_arms or claim.arms
    for pair in (pairs[:2], pairs[2:]) if claim.kind == "contrast" else (pairs,):
        one, other = (settings(study, arm) for arm in pair)
        assert {key for key in one if one[key] != other[key]} == CHANGED[name]
    confounded = [settings(study, arm) for arm in claim.arms]
    differing = {key for key in one if confounded[0][key] != confounded[1][key]}
    # .9995 and its period belong to the decay.
    of_decay = {"step_factor", "step_epochs"} if "decay" in differing else set()
    assert differing - of_decay - CHANGED[name] == set(claim.confounded_by)


@pytest.mark.parametrize("name", CHANGED)
def test_printed_figures_are_those_of_the_claims_runs(name):
    study, claim = CLAIMS[name]
    if claim.effect is None or len(claim.printed) < 2:
        return
    runs = {run.arm: run for run in study.reported}

    def figure(run):
        if claim.quantity == "seconds_per_epoch":
            return run.seconds_per_epoch * run.epochs  # the note prints the whole run's
        points = {point["epoch"]: point["test_accuracy"] for point in run.curve}
        return points[60] if run.epochs > 60 and "@60" in claim.quantity else run.test_accuracy

    assert [value for value, _ in claim.figures] == pytest.approx([figure(runs[arm]) for arm in claim.arms], rel=1e-5)


def test_claims_that_hinge_on_the_first_weights_have_arms_of_both():
    study = STUDIES["head"]
    assert settings(study, "6-pooling-linear")["initialization"] == "he"
    for arm, head in (("clean-pooling-linear-normal", "pooling+linear"), ("clean-linear-normal", "linear")):
        ran = settings(study, arm)
        assert (ran["initialization"], ran["head"], ran["epochs"]) == ("normal", head, 10)
    levels = {name: (claim.arms, claim.quantity, claim.low, claim.high) for name, (_, claim) in CLAIMS.items()}
    assert levels["pooling-and-linears-do-not-converge"] == (("6-pooling-linear",), "train_loss@10", 2.2, None)
    assert levels["linears-alone-converge-from-.01"][2:] == (None, 2.2)


@pytest.mark.parametrize("name", STUDIES)
def test_an_arm_as_coded_is_what_the_linked_code_has(name):
    """Momentum everywhere; weight decay of the linears, but not in the commits with BatchNorm; pools of stride 1."""
    study = STUDIES[name]
    for arm in study.arms:
        ran = settings(study, arm)
        # One arm has BatchNorm alone, and the rest of the commits before.
        with_batch_norm = ran["batch_norm"] and not arm.endswith("-alone-coded-steps")
        if not arm.endswith(("-coded-steps", "-as-coded")):
            assert (ran["linear_weight_decay"], ran["input_scale"], ran["pool_stride"]) == (0, 1, 2)
            continue
        assert (ran["momentum"], ran["lr"], ran["optimizer"]) == (0.9, 0.01, "sgd")
        assert ran["linear_weight_decay"] == (0 if with_batch_norm else 0.004)
        if with_batch_norm:
            assert (ran["dropout"], ran["step_factor"]) == (0, 0.9997)
        whole = arm.endswith("-as-coded")
        assert (ran["initialization"], ran["input_scale"], ran["pool_stride"]) == (
            ("normal", 255, 1) if whole else ("he", 1, 2)
        )
