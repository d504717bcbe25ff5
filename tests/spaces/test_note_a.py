"""Note A's spaces: the note's runs as they were, each claim declared once, clean arms that change one thing."""

import dataclasses
import math
from pathlib import Path

import pytest
from ray import tune

from search.records import read_reported
from search.study import StudyError, load
from spaces.notes import NOTE_A_LOSS_UNIT

SPACES = Path(__file__).parents[2] / "spaces"
QUESTIONS = {
    "batch_norm": "4.1",
    "gray": "4.2",
    "augmentation": "4.3",
    "shuffle": "4.4",
    "adaboost_lr": "4.5",
    "dropout": "4.6",
    "bagging": "4.7",
    "cifar10": "4.8",
    "momentum": "figure 4",
    "ensembles": "4.7",
    "ratio": "2",
}
STUDIES = {f"alexnet_{name}": load(SPACES / f"alexnet_{name}.py") for name in QUESTIONS}
RUNS = {run.run: run for run in read_reported(SPACES / "reported").values() if run.note == "A"}
CLAIMS = [pytest.param(study, claim, id=claim.name) for study in STUDIES.values() for claim in study.claims]
REPLAYED = [pytest.param(s, run, id=f"{s.name}-{run.run}") for s in STUDIES.values() for run in s.reported]
# What a claim is about, where it changes anything but a prefix of one arm; the clean arms change nothing else.
ABOUT = {
    "batch-norm-and-normalization-help": {"batch_norm", "normalize"},
    "batch-norm-helps": {"batch_norm"},
    "normalization-helps": {"normalize"},
    "gray-costs-training-accuracy": {"gray"},
    "gray-costs-test-accuracy": {"gray"},
    "cached-augmentation-is-faster": {"augmentation"},
    "cached-augmentation-costs-test-accuracy": {"augmentation"},
    "real-time-augmentation-tests-better": {"augmentation"},
    "real-time-augmentation-overfits-less": {"augmentation"},
    "bagging-adds-nothing-to-cached-training": {"members"},
    "bagging-adds-training-accuracy-to-cached-training": {"members"},
    "the-crop-is-what-caching-loses-by": {"random_crop"},
    "no-shuffling-costs-test-accuracy": {"shuffle"},
    "no-shuffling-overfits": {"shuffle"},
    "more-dropout-does-not-stop-the-overfitting": {"shuffle"},
    "augmentation-does-not-stop-the-overfitting": {"shuffle"},
    "lower-rate-suits-adaboost": {"lr"},
    "less-dropout-suits-augmentation": {"dropout"},
    "more-epochs-with-another-decay-gain": {"epochs", "step_factor", "step_epochs"},
    "more-epochs-gain": {"epochs"},
    "slower-decay-gains": {"step_factor"},
    "longer-decay-period-gains": {"step_epochs"},
    "less-dropout-widens-the-gap": {"dropout"},
    "dropout-.3-tests-better-than-.5": {"dropout"},
    "dropout-.3-tests-better-than-.1": {"dropout"},
    "the-gap-falls-with-dropout": {"dropout"},
    "the-gap-falls-up-to-dropout-.9": {"dropout"},
    "one-change-moves-bagging-little": {"lr", "batch_size", "decay"},
    "more-members-move-bagging-little": {"members"},
    "bagging-is-robust-in-training": {"lr", "members", "batch_size", "decay"},
    "bagging-gains-over-a-single-model": {"members"},
    "bagging-gains-over-its-first-member": {"members"},
    "a-smaller-batch-starts-faster": {"batch_size"},
    "a-lower-rate-starts-faster": {"lr"},
    "resampling-gains": {"bootstrap"},
    "cosine-and-exponential-decay-end-alike": {"decay"},
    "decays-end-alike-without-augmentation": {"decay"},
    "cifar10-ends-like-cifar100": set(),
    "cifar10-has-the-smaller-gap": set(),
    "cifar10-has-the-smaller-gap-on-augmented-images": {"ratio"},  # which makes the two networks equally wide
    "less-dropout-and-a-lower-ratio-help-on-cifar10": {"dropout", "ratio"},
    "less-dropout-helps-on-cifar10": {"dropout"},
    "a-lower-ratio-helps-on-cifar10": {"ratio"},
    "momentum-makes-adaboost-worse-than-its-single-model": {"members"},
    "momentum-costs-test-accuracy": {"momentum"},
    # The two name their vote over probabilities differently.
    "adaboost-and-bagging-end-alike": {"strategy", "vote"},
    "adaboost-trains-lower-than-bagging": {"strategy", "vote"},
    "bagging-is-more-robust-to-the-rate": {"lr", "strategy", "vote"},
    "adaboost-gains-over-a-single-model": {"members", "strategy", "vote"},
}
# Claims on a level of single arms compare none with another.
LEVELS = {
    "adaboost-has-a-negative-gap",
    "negative-gap-is-the-augmentations",
    "bagging-is-robust-on-test",
    "bagging-has-a-positive-gap",
    "a-single-model-has-a-positive-gap",
    "bagging-without-crop-has-a-positive-gap",
    "the-gap-of-0-is-that-of-augmented-test-images",
    "4.1-was-trained-on-its-loss-in-nats",
    "4.1-was-trained-on-its-loss-in-bits",
}
COMPARISONS = [parameters for parameters in CLAIMS if parameters.id not in LEVELS]


# The note tested them on 2,000 images, on which no claim within 2 points can be decided.
ON_ALL_TEST_IMAGES = {"a-4.3-single-cached", "a-4.3-bagging-cached"}


def settings(study, arm):
    """An arm's whole configuration, as a replay would run it; "study/arm" is looked up there."""
    if "/" in arm:
        name, arm = arm.split("/")
        study = STUDIES[name]
    arm, _, size = arm.partition(":")
    config, _ = next(pair for pair in study.replay_configs(1, 0) if pair[1] == arm)
    whole = dataclasses.asdict(study.settings({"epochs": study.epochs, **config}))
    return whole | ({"members": int(size)} if size else {})


def differences(study, arms):
    configs = [settings(study, arm) for arm in arms]
    names = set.intersection(*(set(config) for config in configs))
    found = {name for name in names if len({repr(c[name]) for c in configs}) > 1}
    if len({"strategy" in config or "boosting" not in config for config in configs}) > 1:
        found.add("strategy")  # a family that boosts or bags only has no such hyperparameter
    return found


def test_every_question_is_a_space_and_every_run_is_replayed():
    for name, section in QUESTIONS.items():
        study = STUDIES[f"alexnet_{name}"]
        assert study.name == f"alexnet_{name}"
        assert section in study.source
    assert {run.run for study in STUDIES.values() for run in study.reported} == RUNS.keys()


@pytest.mark.parametrize(("study", "run"), REPLAYED)
def test_an_arm_is_the_notes_run_under_its_protocol(study, run):
    ran = settings(study, run.arm)
    stated = {name: value for name, value in run.config.items() if name != "initialization"}
    assert {name: ran[name] for name in stated} == stated
    assert (ran["epochs"], ran["members"]) == (run.epochs, run.members)
    assert (ran["validation"], ran["test_every_epoch"]) == (False, True)
    tested = 10_000 if run.run in ON_ALL_TEST_IMAGES else run.test_images
    assert (ran["train_images"] or 50_000, ran["test_images"] or 10_000) == (run.train_images, tested)
    assert ran["train_measure"] == ("running" if run.train_accuracy_measured.startswith("running") else "augmented")
    if "strategy" in ran:
        assert ran["strategy"] == ("adaboost" if run.strategy == "adaboost" else "bagging")
    assert study.dataset == run.dataset


def test_every_claim_is_declared_once():
    names = [parameters.id for parameters in CLAIMS]
    assert sorted(names) == sorted([*ABOUT, *LEVELS])
    assert {parameters.id for parameters in CLAIMS if parameters.values[1].kind == "level"} == LEVELS


@pytest.mark.parametrize(("study", "claim"), COMPARISONS)
def test_a_claim_compares_what_it_says_and_owns_up_to_the_rest(study, claim):
    about = ABOUT[claim.name]
    changed = differences(study, claim.arms) - {"train_measure_every"}  # when, not what
    confounded = set(claim.confounded_by)
    if "train" not in claim.quantity and claim.quantity != "gap":
        changed.discard("train_measure")  # how training accuracy is measured touches nothing else
    if "width" in confounded:
        confounded.discard("width")  # the same ratio: ten classes make it another network
        assert settings(study, claim.arms[0])["ratio"] == settings(study, claim.arms[1])["ratio"]
    assert changed - confounded == about - confounded
    assert confounded <= changed
    if claim.clean_arms:
        clean = differences(study, claim.clean_arms) - {"train_measure_every"}
        assert clean <= about | ({"ratio"} if study.name == "alexnet_cifar10" else set())
        assert clean or about == set()


# A claim's printed figures that are no column of its arms' runs: the section prints them beside.
ELSEWHERE = {
    "cached-augmentation-is-faster": "seconds of a single model's epoch, section 1",
    "cifar10-has-the-smaller-gap": "gaps in whole points, section 4.8",
    "the-gap-of-0-is-that-of-augmented-test-images": "the gap of 4.8",
    **dict.fromkeys((f"4.1-was-trained-on-its-loss-in-{unit}" for unit in ("nats", "bits")), "the loss of epoch 7"),
}


@pytest.mark.parametrize(("study", "claim"), CLAIMS)
def test_printed_figures_are_those_of_the_claims_runs(study, claim):
    runs = {run.arm: run for run in RUNS.values()}
    quantity, _, epoch = claim.quantity.partition("@")

    def figure(run):
        if epoch:
            return next(point for point in run.curve if point["epoch"] == int(epoch))[quantity]
        return run.train_accuracy - run.test_accuracy if quantity == "gap" else getattr(run, quantity)

    # Of an arm that is a run of the note's, and of no prefix of one.
    printed = [runs.get(arm.split("/")[-1]) for arm in claim.arms]
    if claim.name in ELSEWHERE:
        assert claim.printed
    elif None in printed:
        assert not claim.printed
        assert claim.effect is None
    elif "told apart" not in claim.source:
        assert [value for value, _ in claim.figures] == pytest.approx([figure(run) for run in printed])


def test_a_claim_about_a_size_is_tested_on_it():
    """ "about 5 times", "at least 21 points", "about 5 to 7 points": as the statement says, and no further."""
    sized = {claim.name: (claim.low, claim.high) for _, claim in (each.values for each in COMPARISONS) if claim.low}
    assert sized == {
        "gray-costs-training-accuracy": pytest.approx((0.06, 0.1)),
        "gray-costs-test-accuracy": pytest.approx((0.045, 0.075)),
        "cached-augmentation-is-faster": pytest.approx((3.75, 6.25)),
        "cached-augmentation-costs-test-accuracy": (0.21, None),
        "bagging-adds-training-accuracy-to-cached-training": pytest.approx((0.09, 0.15)),
        "bagging-gains-over-a-single-model": pytest.approx((0.0375, 0.0875)),
        "adaboost-gains-over-a-single-model": pytest.approx((0.0375, 0.0875)),
    }
    for each in CLAIMS:
        _, claim = each.values
        worded = any(word in claim.statement for word in ("about", "at least"))
        assert worded == (claim.name in sized), claim.name


def test_arms_on_augmented_test_images_differ_in_nothing_else():
    cifar10, cifar100 = STUDIES["alexnet_cifar10"], STUDIES["alexnet_augmentation"]
    for study, plain, augmented in (
        (cifar10, "4.8-single-cifar10", "clean-4.8-test-augmented"),
        (cifar10, "clean-ratio.3", "clean-ratio.3-test-augmented"),
        (cifar100, "clean-4.8-on-cifar100", "clean-4.8-on-cifar100-test-augmented"),
    ):
        assert differences(study, (plain, augmented)) == {"test_augmented"}
        assert settings(study, augmented)["test_augmented"]


def test_a_single_model_is_the_first_member_of_a_declared_ensemble():
    """So that one run answers for both: nothing that trains differs but the number of members."""
    for study, single, ensemble in (
        ("alexnet_bagging", "4.1-single-bn", "4.6-bagging-p.5"),
        ("alexnet_augmentation", "4.3-single-cached", "4.3-bagging-cached"),
    ):
        assert differences(STUDIES[study], (single, ensemble)) <= {"members", "train_measure", "train_measure_every"}


def test_the_unit_of_the_loss_is_the_same_for_all_runs_and_both_are_tried_on_one():
    study = STUDIES["alexnet_batch_norm"]
    (run,) = (run for run in study.reported if run.run == "a-4.1-single-bn")
    arms = {unit: f"clean-loss-in-{unit}" for unit in ("nats", "bits")}
    assert {settings(s, r.arm)["loss_unit"] for s in STUDIES.values() for r in s.reported} == {NOTE_A_LOSS_UNIT}
    for unit, arm in arms.items():
        assert settings(study, arm)["loss_unit"] == unit
        assert differences(study, (run.arm, arm)) == (set() if unit == NOTE_A_LOSS_UNIT else {"loss_unit"})
    (point,) = (point for point in run.curve if point["epoch"] == 7)
    printed = point["train_loss_printed"] * math.log(2)
    for claim in study.claims:
        if "was-trained-on" in claim.name:
            assert claim.effect == pytest.approx(printed, abs=0.0005)
            assert (claim.low, claim.high) == pytest.approx((printed - 0.05, printed + 0.05), abs=0.0005)


def test_half_the_ratio_gives_ten_classes_the_widths_of_a_hundred():
    """What the clean comparison of 4.8 rests on: (10/1000)^.3 = (100/1000)^.6."""
    study = STUDIES["alexnet_cifar10"]
    ratio = settings(study, "clean-ratio.3")["ratio"]
    elsewhere = settings(study, "alexnet_augmentation/clean-4.8-on-cifar100")["ratio"]
    assert 0.01**ratio == pytest.approx(0.1**elsewhere)


def test_trials_that_early_stopping_compares_are_equally_long():
    gray, ensembles = STUDIES["alexnet_gray"], STUDIES["alexnet_ensembles"]
    assert gray.trial_epochs == 6 * 30
    with pytest.raises(StudyError, match=r"needs trials of one length, got 30 to 180 epochs"):
        dataclasses.replace(gray, param_space=gray.param_space | {"members": tune.choice([1, 6])})
    with pytest.raises(StudyError, match=r"needs trials of one length, got 30 to 180 epochs"):
        dataclasses.replace(ensembles, scheduler="asha")


def test_hyperparameters_that_exclude_each_other_are_refused_before_anything_starts():
    with pytest.raises(StudyError, match="vote must be one of 'hard', 'soft' if strategy is 'bagging'"):
        STUDIES["alexnet_ensembles"].with_set(["vote=logits"])


def test_a_study_of_unequal_trials_is_as_long_as_its_longest():
    assert STUDIES["alexnet_ensembles"].trial_epochs == 6 * 30
