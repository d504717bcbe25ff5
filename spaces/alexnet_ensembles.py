"""Bagging or AdaBoost of compressed AlexNets on CIFAR-100, at equal training cost?

Question   whether the two end alike when both train six members for as many epochs, and what they gain over one
Source     note A, sections 4.5 and 4.7
Cost       16 trials, 1,584 epochs: 6.2 days on two loaded cores (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_ensembles.py --data DIR [--replay]

The note compares runs that differ in nearly everything; the clean arm bags what its best AdaBoost boosts. A
step of Bagging trains every member for an epoch, one of AdaBoost a single member: trials differ in length, so
none is stopped early. In the search both vote by label, which both can; the note's AdaBoost votes over
probabilities, as its clean Bagging does.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import AlexNetEnsemble

adaboost, bagging12, bagging9, single = reported(
    "a-4.5-adaboost-lr.03", "a-4.7-bagging12-cosine", "a-4.3-bagging-real-time", "a-4.1-single-bn"
)

study = Study(
    name="alexnet_ensembles",
    question="Bagging or AdaBoost, at equal training cost?",
    source="note A, sections 4.5 and 4.7",
    trainable=AlexNetEnsemble,
    dataset="cifar100",
    epochs=30,  # of a member
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
        adaboost.arm: replay(adaboost, strategy="adaboost"),
        bagging12.arm: replay(bagging12, strategy="bagging"),
        bagging9.arm: replay(bagging9, strategy="bagging"),
        single.arm: replay(single, strategy="bagging"),
        "clean-bagging": replay(adaboost, strategy="bagging", vote="soft"),
    },
    reported=(adaboost, bagging12, bagging9, single),
    claims=(
        Claim(
            "adaboost-and-bagging-end-alike",
            "AdaBoost and Bagging reach much the same test accuracy.",
            "note A, 4.7",
            arms=(adaboost.arm, bagging12.arm),
            expected="equal",
            margin=0.02,
            effect=-0.005,
            confounded_by=("members", "batch_size", "lr", "decay", "dropout", "random_crop"),
            clean_arms=(adaboost.arm, "clean-bagging"),
        ),
        Claim(
            "only-adaboost-has-a-negative-gap",
            "Under the same augmentation Bagging's gap is positive and AdaBoost's negative.",
            "note A, 4.5",
            arms=(adaboost.arm, bagging9.arm),
            quantity="gap",
            expected="less",
            effect=-0.22,
            confounded_by=("members", "batch_size", "lr", "dropout", "random_crop"),
            clean_arms=(adaboost.arm, "clean-bagging"),
        ),
        Claim(
            "adaboost-gains-over-a-single-model",
            "AdaBoost gains 5 to 7 points of test accuracy over the single model.",
            "note A, 4.7",
            arms=(adaboost.arm, single.arm),
            effect=0.059,
            confounded_by=("epochs", "dropout", "augmentation", "random_crop"),
            clean_arms=(adaboost.arm, f"{adaboost.arm}:1"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 2, "train_images": 200},
)
