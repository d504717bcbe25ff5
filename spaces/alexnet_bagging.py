"""Which rate, dropout, batch size, momentum, decay and ensemble size suit a bagged AlexNet on CIFAR-100?

Question   how robust Bagging is to rate, members, batch size and decay, and what it gains over one model
Source     note A, sections 4.6 and 4.7
Cost       64 trials, 1,280 epochs, about 269 with early stopping: 4.3 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_bagging.py --data DIR [--replay]

The note's four runs differ in several things at once; the clean arms change one each, and members are the
prefixes of one run.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet

six, nine, cosine, exponential, single = reported(
    "a-4.6-bagging-p.5",
    "a-4.3-bagging-real-time",
    "a-4.7-bagging12-cosine",
    "a-4.7-bagging12-exponential",
    "a-4.1-single-bn",
)
FOUR = (six.arm, nine.arm, cosine.arm, exponential.arm)
FOUR_DIFFER_IN = ("lr", "members", "batch_size", "decay", "augmentation", "epochs")

study = Study(
    name="alexnet_bagging",
    question="Which rate, dropout, batch size, momentum, decay and ensemble size suit a bagged AlexNet?",
    source="note A, sections 4.6 and 4.7",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=20,
    samples=64,
    param_space={
        "lr": tune.loguniform(0.03, 0.1),
        "dropout": tune.uniform(0.1, 0.9),
        "batch_size": tune.choice([16, 32, 64, 128]),
        "momentum": tune.choice([0.0, 0.9]),
        "members": tune.choice([1, 3, 6, 9, 12]),
        "decay": tune.choice(["exponential", "cosine"]),
        "augmentation": tune.choice(["none", "real-time"]),
        # 4.7 leaves the random crop out of its augmentation.
        "random_crop": False,
    },
    arms={
        six.arm: replay(six),
        nine.arm: replay(nine),
        cosine.arm: replay(cosine),
        exponential.arm: replay(exponential),
        single.arm: replay(single),
        "clean-lr.06": replay(six, lr=0.06),
        "clean-lr.1": replay(six, lr=0.1),
        "clean-batch-64": replay(six, batch_size=64),
        "clean-cosine": replay(six, decay="cosine"),
    },
    reported=(six, nine, cosine, exponential, single),
    claims=(
        Claim(
            "bagging-is-robust-on-test",
            "Whatever the rate, members, batch size and decay, the test accuracy is 57 to 60 %.",
            "note A, 4.7",
            arms=FOUR,
            kind="within",
            margin=0.03,
            effect=0.015,
            confounded_by=FOUR_DIFFER_IN,
            clean_arms=(six.arm, f"{six.arm}:3", "clean-lr.06", "clean-lr.1", "clean-batch-64", "clean-cosine"),
        ),
        Claim(
            "bagging-is-robust-in-training",
            "Whatever the rate, members, batch size and decay, training accuracies lie within 10 points.",
            "note A, 4.7",
            arms=FOUR,
            quantity="train_accuracy",
            kind="within",
            margin=0.1,
            effect=0.107,
            confounded_by=FOUR_DIFFER_IN,
            clean_arms=(six.arm, "clean-lr.06", "clean-lr.1", "clean-batch-64", "clean-cosine"),
        ),
        Claim(
            "bagging-gains-over-a-single-model",
            "Bagging gains 5 to 7 points of test accuracy over the single model of 4.1.",
            "note A, 4.7",
            arms=(cosine.arm, single.arm),
            effect=0.064,
            confounded_by=("lr", "batch_size", "decay", "augmentation", "epochs"),
            clean_arms=(six.arm, f"{six.arm}:1"),
        ),
        Claim(
            "a-smaller-batch-starts-faster",
            "A batch of 32 gives a higher accuracy after the first epoch than one of 64.",
            "note A, 4.7",
            arms=(six.arm, nine.arm),
            quantity="test_accuracy@1",
            effect=0.128,
            confounded_by=("lr", "members", "augmentation", "epochs"),
            clean_arms=(six.arm, "clean-batch-64"),
        ),
        Claim(
            "a-lower-rate-starts-faster",
            "A lower initial rate (.03, .06, .1) gives a higher accuracy after the first epoch.",
            "note A, 4.7",
            arms=(six.arm, nine.arm),
            quantity="test_accuracy@1",
            effect=0.128,
            confounded_by=("batch_size", "members", "augmentation", "epochs"),
            clean_arms=(six.arm, "clean-lr.1"),
        ),
        Claim(
            "cosine-and-exponential-decay-end-alike",
            "Cosine and periodic exponential decay hardly differ.",
            "note A, 4.7",
            arms=(cosine.arm, exponential.arm),
            expected="equal",
            margin=0.02,
            effect=0.013,
        ),
    ),
    smoke={
        "samples": 10,
        "epochs": 4,
        "train_images": 300,
        "members": tune.choice([1, 2, 3]),
        "batch_size": tune.choice([16, 32]),
    },
)
