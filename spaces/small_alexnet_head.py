"""Can global average pooling replace the hidden linears of the reduced AlexNet on CIFAR-10?

Question   test accuracy and time of the flattened map with two hidden linears, of pooling, and of both
Source     note E, experiment 6
Cost       32 trials, 960 epochs, about 435 with early stopping: 7.6 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_head.py --data DIR [--replay]

Which dropout the note has here is not said: .1, as in its best run (pooling alone has none).
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

linear, pooling, both = reported("e-4-no-lrn", "e-6-pooling", "e-6-pooling-linear")

study = Study(
    name="small_alexnet_head",
    question="Can global average pooling replace the hidden linears of the reduced AlexNet?",
    source="note E, experiment 6",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    objectives={"parameters": "min"},
    param_space={
        "head": tune.choice(["linear", "pooling", "pooling+linear"]),
        "batch_norm": tune.choice([False, True]),
        "momentum": tune.choice([0.0, 0.9]),
        "lr": tune.loguniform(0.003, 0.1),
    },
    arms={linear.arm: replay(linear), pooling.arm: replay(pooling), both.arm: replay(both)},
    reported=(linear, pooling, both),
    claims=(
        Claim(
            "pooling-is-worse",
            "Global average pooling instead of the two hidden linears ends lower.",
            "note E, 6",
            arms=(pooling.arm, linear.arm),
            expected="less",
            effect=0.75 - 0.811599,
        ),
        Claim(
            "pooling-is-faster",
            "Global average pooling instead of the two hidden linears trains faster.",
            "note E, 6",
            arms=(pooling.arm, linear.arm),
            quantity="seconds_per_epoch",
            kind="ratio",
            expected="less",
        ),
        Claim(
            "pooling-and-linears-do-not-converge",
            "With pooling in front of the two hidden linears training does not converge.",
            "note E, 6",
            arms=(both.arm, pooling.arm),
            expected="less",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
