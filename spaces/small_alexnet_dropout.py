"""How much dropout suits the reduced AlexNet on CIFAR-10, and does more dropout only need more epochs?

Question   test accuracy at dropout .1 and .5, and at .5 with twice the epochs
Source     note E, experiment 5
Cost       32 trials, 960 epochs, about 473 with early stopping: 9.0 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_dropout.py --data DIR [--replay]

The note prints the probability of keeping: its .9 and .5 are .1 and .5 here. The note's code leaves dropout on when
it tests, which by itself lowers the figures printed for .5; our evaluation has no dropout. The "-coded-steps" arms
have the momentum and the weight decay of the note's code.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import CODED_STEPS, SmallAlexNetTrial

little, half, twice = reported("e-4-no-lrn", "e-5-dropout-.5", "e-5-dropout-.5-twice")

study = Study(
    name="small_alexnet_dropout",
    question="How much dropout suits the reduced AlexNet, and does more of it only need more epochs?",
    source="note E, experiment 5",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    param_space={
        "dropout": tune.uniform(0.0, 0.8),
        "lr": tune.loguniform(0.003, 0.1),
    },
    arms={
        little.arm: replay(little),
        half.arm: replay(half),
        twice.arm: replay(twice),
        f"{little.arm}-coded-steps": replay(little, **CODED_STEPS),
        f"{half.arm}-coded-steps": replay(half, **CODED_STEPS),
    },
    reported=(little, half, twice),
    claims=(
        Claim(
            "more-dropout-is-worse",
            "Dropout .5 ends below dropout .1.",
            "note E, 5",
            arms=(half.arm, little.arm),
            expected="less",
            printed=("78.526 %", "81.1599 %"),
        ),
        Claim(
            "more-dropout-is-worse-as-coded",
            "Dropout .5 ends below .1 with the linked code's optimizer and weight decay, too.",
            "note E, 5, told apart",
            arms=(f"{half.arm}-coded-steps", f"{little.arm}-coded-steps"),
            expected="less",
        ),
        Claim(
            "more-dropout-overfits-less",
            "With dropout .5 the gap of training over test accuracy is smaller than with .1.",
            "note E, introduction",
            arms=(half.arm, little.arm),
            quantity="gap",
            expected="less",
        ),
        Claim(
            "more-dropout-converges-more-slowly",
            "Dropout .5 takes longer to converge: after 20 epochs its validation accuracy is below that of .1.",
            "note E, 5",
            arms=(half.arm, little.arm),
            quantity="val_accuracy@20",
            expected="less",
        ),
        Claim(
            "dropout-costs-no-time",
            "An epoch takes as long with dropout .5 as with .1, within a tenth.",
            "note E, introduction and 5, told apart",
            arms=(half.arm, little.arm),
            quantity="seconds_per_epoch",
            kind="ratio",
            expected="equal",
            margin=0.1,
        ),
        Claim(
            "twice-the-epochs-do-not-help",
            "Twice the epochs do not make up for it: dropout .5 ends lower still.",
            "note E, 5",
            arms=(twice.arm, half.arm),
            expected="less",
            printed=("76.9331 %", "78.526 %"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
