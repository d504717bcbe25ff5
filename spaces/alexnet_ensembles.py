"""Bagging or AdaBoost of compressed AlexNets on CIFAR-100, at equal training cost?

Question   whether both end at one accuracy if both train six members for as many epochs; what each gains over one
Source     note A, sections 4.5 and 4.7
Cost       16 trials, 1,584 epochs: 6.2 days on two loaded cores (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_ensembles.py --data DIR [--replay]

The note compares runs that differ in nearly everything; the arms here bag the networks that its best AdaBoost boosts,
at two rates. The claims compare these arms with arms of alexnet_adaboost_lr.py, alexnet_bagging.py and
alexnet_batch_norm.py, and need those results too. A step of Bagging trains every member for an epoch, a step of
AdaBoost a single member: trials differ in length, so none is stopped early. In the search both vote by label, since
both can; the note's AdaBoost votes over probabilities, and so do the clean arms of Bagging.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import about, replay, reported
from trainables.alexnet import AlexNetEnsemble

(adaboost,) = reported("a-4.5-adaboost-lr.03")
LOW, HIGH = "alexnet_adaboost_lr/4.5-adaboost-lr.03", "alexnet_adaboost_lr/4.2-adaboost-rgb"
CLEAN_HIGH = "alexnet_adaboost_lr/clean-lr.06"
BAGGING12, BAGGING9 = "alexnet_bagging/4.7-bagging12-cosine", "alexnet_bagging/4.3-bagging-real-time"
BAGGING6 = "alexnet_bagging/4.6-bagging-p.5"
SINGLE = "alexnet_batch_norm/4.1-single-bn"

study = Study(
    name="alexnet_ensembles",
    question="Bagging or AdaBoost, at equal training cost?",
    source="note A, sections 4.5 and 4.7",
    trainable=AlexNetEnsemble,
    dataset="cifar100",
    epochs=30,  # epochs of one member
    samples=16,
    scheduler="none",
    param_space={
        "strategy": tune.choice(["bagging", "adaboost"]),
        "lr": tune.loguniform(0.01, 0.1),
        "dropout": tune.uniform(0.05, 0.6),
        "augmentation": tune.choice(["none", "real-time"]),
        "vote": "hard",
        "members": 6,
    },
    arms={
        "clean-bagging": replay(adaboost, strategy="bagging", vote="soft"),
        "clean-bagging-lr.06": replay(adaboost, strategy="bagging", vote="soft", lr=0.06),
    },
    claims=(
        Claim(
            "adaboost-and-bagging-end-alike",
            "AdaBoost and Bagging reach much the same test accuracy.",
            "note A, 4.7",
            arms=(LOW, BAGGING12),
            expected="equal",
            margin=0.02,
            printed=("58.9 %", "59.4 %"),
            confounded_by=("members", "batch_size", "lr", "decay", "dropout", "random_crop", "vote"),
            clean_arms=(LOW, "clean-bagging"),
        ),
        Claim(
            "adaboost-trains-lower-than-bagging",
            "AdaBoost's training accuracy is lower than Bagging's.",
            "note A, 4.5",
            arms=(LOW, BAGGING12),
            quantity="train_accuracy",
            expected="less",
            printed=("54.4 %", "71.9 %"),
            confounded_by=("members", "batch_size", "lr", "decay", "dropout", "random_crop", "vote"),
            clean_arms=(LOW, "clean-bagging"),
        ),
        Claim(
            "a-single-model-has-a-positive-gap",
            "Under AdaBoost's augmentation a single model's gap is positive.",
            "note A, 4.5",
            arms=("clean-bagging:1",),
            quantity="gap",
            kind="level",
            low=0.0,
        ),
        Claim(
            "bagging-has-a-positive-gap",
            "Under AdaBoost's augmentation, crop and resize included, Bagging's gap is positive.",
            "note A, 4.5",
            arms=("clean-bagging",),
            quantity="gap",
            kind="level",
            low=0.0,
        ),
        Claim(
            "bagging-without-crop-has-a-positive-gap",
            "Under augmentation without crop and resize Bagging's gap is positive.",
            "note A, 4.5 and 4.7",
            arms=(BAGGING9,),
            quantity="gap",
            kind="level",
            low=0.0,
            printed=("17.5 points",),
        ),
        Claim(
            "bagging-is-more-robust-to-the-rate",
            "Another initial rate changes Bagging's test accuracy less than AdaBoost's.",
            "note A, 4.7",
            arms=(BAGGING9, BAGGING6, HIGH, LOW),
            kind="contrast",
            expected="less",
            printed=("58.3 %", "57.9 %", "52.7 %", "58.9 %"),
            confounded_by=("members", "batch_size", "augmentation", "random_crop", "epochs", "dropout"),
            clean_arms=("clean-bagging-lr.06", "clean-bagging", CLEAN_HIGH, LOW),
        ),
        Claim(
            "adaboost-gains-over-a-single-model",
            "AdaBoost gains about 5 to 7 points of test accuracy over the single model.",
            "note A, 4.7",
            arms=(LOW, SINGLE),
            low=about(0.05)["low"],
            high=about(0.07)["high"],
            printed=("58.9 %", "53 %"),
            confounded_by=("epochs", "dropout", "augmentation", "random_crop"),
            clean_arms=(LOW, f"{LOW}:1"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 2, "train_images": 200},
)
