"""Can global average pooling replace the hidden linears of the reduced AlexNet on CIFAR-10?

Question   test accuracy and time of the flattened map with two hidden linears, of pooling, and of both
Source     note E, experiment 6
Cost       32 trials, 960 epochs, about 612 with early stopping: 10.7 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_head.py --data DIR [--replay]

The note does not say its dropout here: these arms take .1, as in its best run (pooling alone has no dropout). Whether
training with pooling in front of the linears converges depends on the initial weights: the note's text says He's, its
code by then has a normal of .01. So there are arms for both, each with and without the pooling, those of the code for
10 epochs only; "-as-coded" arms also have the rest of that code, whose pools of stride 1 take 16 times the arithmetic.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import AS_CODED, CODED_STEPS, SmallAlexNetTrial

linear, pooling, both = reported("e-4-no-lrn", "e-6-pooling", "e-6-pooling-linear")

FROM_NORMAL = {"initialization": "normal", "epochs": 10}
AT_CHANCE = 2.2  # loss in nats per image, just under the 2.303 of guessing among ten classes

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
    arms={
        linear.arm: replay(linear),
        pooling.arm: replay(pooling),
        both.arm: replay(both),
        "clean-linear-normal": replay(linear, **FROM_NORMAL),
        "clean-pooling-linear-normal": replay(both, **FROM_NORMAL),
        f"{linear.arm}-coded-steps": replay(linear, **CODED_STEPS),
        f"{pooling.arm}-coded-steps": replay(pooling, **CODED_STEPS),
        f"{linear.arm}-as-coded": replay(linear, **AS_CODED),
        f"{both.arm}-as-coded": replay(both, **AS_CODED),
    },
    reported=(linear, pooling, both),
    claims=(
        Claim(
            "pooling-is-worse",
            "Global average pooling instead of the two hidden linears ends lower.",
            "note E, 6",
            arms=(pooling.arm, linear.arm),
            expected="less",
            printed=("75 %", "81.1599 %"),
        ),
        Claim(
            "pooling-is-worse-as-coded",
            "Pooling instead of the two hidden linears ends lower with the linked code's optimizer, too.",
            "note E, 6, told apart",
            arms=(f"{pooling.arm}-coded-steps", f"{linear.arm}-coded-steps"),
            expected="less",
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
            "With pooling in front of the two hidden linears training does not converge from He's weights: after 10 "
            "epochs the loss is above 2.2 nats (chance: 2.303).",
            "note E, 6",
            arms=(both.arm,),
            quantity="train_loss@10",
            kind="level",
            low=AT_CHANCE,
        ),
        Claim(
            "pooling-and-linears-do-not-converge-from-.01",
            "With pooling in front of the two hidden linears training does not converge from a normal of .01: after 10 "
            "epochs the loss is above 2.2 nats (chance: 2.303).",
            "note E, 6, with the linked code's initialization",
            arms=("clean-pooling-linear-normal",),
            quantity="train_loss@10",
            kind="level",
            low=AT_CHANCE,
        ),
        Claim(
            "linears-alone-converge-from-.01",
            "Without the pooling training converges from a normal of .01: after 10 epochs the loss is below 2.2 nats.",
            "note E, 6, with the linked code's initialization, told apart",
            arms=("clean-linear-normal",),
            quantity="train_loss@10",
            kind="level",
            high=AT_CHANCE,
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
