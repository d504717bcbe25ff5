"""What does local response normalisation bring the reduced AlexNet on CIFAR-10, and what does it cost?

Question   test accuracy and time of an epoch with LRN after the first two convolutions and without
Source     note E, experiment 4
Cost       32 trials, 960 epochs, about 473 with early stopping: 8.8 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_lrn.py --data DIR [--replay]

The note's time of an epoch is a whole run's time over its epochs. The pools of the note's code have stride 1 (see
SmallAlexNetSettings): there the second LRN has four times as many places to normalise, the convolutions after it 16
times as many. The "-coded-steps" arms have that code's momentum and weight decay; --set pool_stride=1 gives its pools.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import CODED_STEPS, SmallAlexNetTrial

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
    arms={
        without.arm: replay(without),
        lrn.arm: replay(lrn),
        f"{without.arm}-coded-steps": replay(without, **CODED_STEPS),
        f"{lrn.arm}-coded-steps": replay(lrn, **CODED_STEPS),
    },
    reported=(without, lrn),
    claims=(
        Claim(
            "lrn-changes-accuracy-little",
            "LRN changes the test accuracy little.",
            "note E, 4",
            arms=(lrn.arm, without.arm),
            expected="equal",
            margin=0.01,
            printed=("80.6290 %", "81.1599 %"),
        ),
        Claim(
            "without-lrn-is-better",
            "Without LRN the test accuracy is higher, as the note sees in its single runs.",
            "note E, 4",
            arms=(without.arm, lrn.arm),
            printed=("81.1599 %", "80.6290 %"),
        ),
        Claim(
            "lrn-changes-accuracy-little-as-coded",
            "LRN changes the test accuracy little with the linked code's optimizer and weight decay, too.",
            "note E, 4, told apart",
            arms=(f"{lrn.arm}-coded-steps", f"{without.arm}-coded-steps"),
            expected="equal",
            margin=0.01,
        ),
        Claim(
            "without-lrn-a-third-less-time",
            "Without LRN training takes about a third less time: 3,010 s for 4,225.",
            "note E, 4",
            arms=(without.arm, lrn.arm),
            quantity="seconds_per_epoch",
            kind="ratio",
            expected="less",
            low=1 - 1.25 / 3,
            high=1 - 0.75 / 3,
            printed=("3010", "4225"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
