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
    "augmentation-helps-plain-descent": AUGMENTATION,
    "adam-is-no-better": {"optimizer"},
    "adam-at-its-own-rate-is-no-better": {"optimizer", "lr"},
    "he-shows-no-gain": {"initialization"},
    "with-batch-norm-it-matters-less": {"initialization"},
    "lrn-changes-accuracy-little": {"lrn"},
    "without-lrn-a-third-less-time": {"lrn"},
    "more-dropout-is-worse": {"dropout"},
    "twice-the-epochs-do-not-help": {"epochs"},
    "pooling-is-worse": {"head"},
    "pooling-is-faster": {"head"},
    "pooling-and-linears-do-not-converge": {"head"},
    "batch-norm-is-worse": {"batch_norm"},
}


def test_every_claim_is_declared_once():
    assert CLAIMS.keys() == CHANGED.keys()
    assert sum(len(study.claims) for study in STUDIES.values()) == len(CLAIMS)


@pytest.mark.parametrize("name", CHANGED)
def test_a_claim_compares_arms_that_differ_in_its_subject_alone(name):
    study, claim = CLAIMS[name]
    one, other = (settings(study, arm) for arm in claim.clean_arms or claim.arms)
    assert {key for key in one if one[key] != other[key]} == CHANGED[name]
    confounded = [settings(study, arm) for arm in claim.arms]
    differing = {key for key in one if confounded[0][key] != confounded[1][key]}
    # .9995 and its period belong to the decay.
    assert differing - {"step_factor", "step_epochs"} - CHANGED[name] == set(claim.confounded_by)


@pytest.mark.parametrize("name", CHANGED)
def test_an_effect_is_the_difference_that_the_note_prints(name):
    study, claim = CLAIMS[name]
    runs = {run.arm: run for run in study.reported}
    if claim.effect is None or claim.confounded_by:
        return
    one, other = (runs[arm] for arm in claim.arms)
    if claim.kind == "ratio":
        expected = one.seconds_per_epoch / other.seconds_per_epoch
    elif "@60" in claim.quantity:
        expected = next(p["test_accuracy"] for p in one.curve if p["epoch"] == 60) - other.test_accuracy
    else:
        expected = one.test_accuracy - other.test_accuracy
    assert claim.effect == pytest.approx(expected, abs=1e-5)
    assert (claim.effect < (1 if claim.kind == "ratio" else 0)) or claim.expected == "greater"
