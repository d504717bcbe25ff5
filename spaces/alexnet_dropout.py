"""How does dropout move the train-test gap of bagged AlexNets on CIFAR-100?

Question   the gap of training over test accuracy for dropout from .1 to .9; the note says that it falls in proportion
Source     note A, section 4.6
Cost       24 trials, 480 epochs, about 248 with early stopping: 5.1 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_dropout.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet

p3, p5 = reported("a-4.6-bagging-p.3", "a-4.6-bagging-p.5")

study = Study(
    name="alexnet_dropout",
    question="How does dropout move the train-test gap of bagged AlexNets?",
    source="note A, section 4.6",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=20,
    samples=24,
    param_space={
        "dropout": tune.uniform(0.1, 0.9),
        "lr": tune.loguniform(0.01, 0.1),
        "members": 6,
        "train_measure": "after",
    },
    arms={
        p3.arm: replay(p3),
        p5.arm: replay(p5),
        "clean-p.1": replay(p5, dropout=0.1),
        "clean-p.7": replay(p5, dropout=0.7),
        "clean-p.9": replay(p5, dropout=0.9),
    },
    reported=(p3, p5),
    claims=(
        Claim(
            "less-dropout-widens-the-gap",
            "The gap grows as dropout falls: 37.7 points at .3, 24.2 at .5.",
            "note A, 4.6",
            arms=(p3.arm, p5.arm),
            quantity="gap",
            printed=("37.7 points", "24.2 points"),
        ),
        Claim(
            "dropout-.3-tests-better-than-.5",
            "Dropout .3 tests better than .5, and best of all in the note: 60 against 57.9 %.",
            "note A, 4.6 and 4.8",
            arms=(p3.arm, p5.arm),
            printed=("60.0 %", "57.9 %"),
        ),
        Claim(
            "dropout-.3-tests-better-than-.1",
            "Dropout .3 tests better than .1, which the note has with augmentation only.",
            "note A, 4.6, told apart",
            arms=(p3.arm, "clean-p.1"),
        ),
        Claim(
            "the-gap-falls-with-dropout",
            "From dropout .1 to .7 the gap falls as dropout grows.",
            "note A, 4.6",
            arms=("clean-p.1", p3.arm, p5.arm, "clean-p.7"),
            quantity="gap",
            kind="order",
            expected="decreasing",
        ),
        Claim(
            "the-gap-falls-up-to-dropout-.9",
            "From dropout .7 to .9 the gap falls, too.",
            "note A, 4.6, told apart",
            arms=("clean-p.9", "clean-p.7"),
            quantity="gap",
            expected="less",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 3, "train_images": 200},
)
