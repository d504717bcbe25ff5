"""How much dropout suits the reduced AlexNet on CIFAR-10, and does more dropout only need more epochs?

Question   test accuracy at dropout .1 and .5, and at .5 with twice the epochs
Source     note E, experiment 5
Cost       32 trials, 960 epochs, about 231 with early stopping: 4.4 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_dropout.py --data DIR [--replay]

The note prints the probability of keeping: its .9 and .5 are .1 and .5 here. Its code leaves dropout on when it
tests, which by itself lowers the figures that it prints for .5; here evaluation has none.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

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
    arms={little.arm: replay(little), half.arm: replay(half), twice.arm: replay(twice)},
    reported=(little, half, twice),
    claims=(
        Claim(
            "more-dropout-is-worse",
            "Dropout .5 ends below dropout .1.",
            "note E, 5",
            arms=(half.arm, little.arm),
            expected="less",
            effect=0.78526 - 0.811599,
        ),
        Claim(
            "twice-the-epochs-do-not-help",
            "Twice the epochs do not make up for it: dropout .5 ends lower still.",
            "note E, 5",
            arms=(twice.arm, half.arm),
            expected="less",
            effect=0.769331 - 0.78526,
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
