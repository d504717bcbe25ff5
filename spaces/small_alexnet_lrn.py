"""What does local response normalisation bring the reduced AlexNet on CIFAR-10, and what does it cost?

Question   test accuracy and time of an epoch with LRN after the first two convolutions and without
Source     note E, experiment 4
Cost       32 trials, 960 epochs, about 231 with early stopping: 4.3 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_lrn.py --data DIR [--replay]

The note's times are whole runs over their epochs. Its code's pools have stride 1 (see SmallAlexNetSettings): there
the second LRN has four times as many places to normalise, the convolutions after it 16 times as many.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

without, lrn = reported("e-4-no-lrn", "e-4-lrn")

study = Study(
    name="small_alexnet_lrn",
    question="What does local response normalisation bring the reduced AlexNet, and what does it cost?",
    source="note E, experiment 4",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    param_space={
        "lrn": tune.choice([False, True]),
        "momentum": tune.choice([0.0, 0.9]),
        "lr": tune.loguniform(0.003, 0.1),
    },
    arms={without.arm: replay(without), lrn.arm: replay(lrn)},
    reported=(without, lrn),
    claims=(
        Claim(
            "lrn-changes-accuracy-little",
            "LRN changes the test accuracy little.",
            "note E, 4",
            arms=(lrn.arm, without.arm),
            expected="equal",
            margin=0.01,
            effect=0.80629 - 0.811599,
        ),
        Claim(
            "without-lrn-a-third-less-time",
            "Without LRN training takes about a third less time.",
            "note E, 4",
            arms=(without.arm, lrn.arm),
            quantity="seconds_per_epoch",
            kind="ratio",
            expected="less",
            effect=3010 / 4225,
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
