"""Is Adam better than gradient descent for the reduced AlexNet on CIFAR-10?

Question   test accuracy of gradient descent, with and without momentum, and Adam
Source     note E, experiment 3
Cost       48 trials, 1,440 epochs, about 665 with early stopping: 17.9 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_optimizer.py --data DIR [--replay]

The note gives both optimizers the rate .01, ten times Adam's usual rate: an arm has Adam at .001, and the search
chooses a rate for each. The note's own figure for gradient descent is that of experiment 4 with LRN, for which its
code has momentum .9.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

adam, descent = reported("e-3-adam", "e-4-lrn")

study = Study(
    name="small_alexnet_optimizer",
    question="Is Adam better than gradient descent for the reduced AlexNet?",
    source="note E, experiment 3",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=48,
    param_space={
        "optimizer": tune.choice(["sgd", "adam"]),
        "momentum": tune.choice([0.0, 0.9]),
        "lr": tune.loguniform(0.0001, 0.1),
    },
    arms={
        adam.arm: replay(adam),
        descent.arm: replay(descent),
        "momentum": replay(descent, momentum=0.9),
        "adam-lr-.001": replay(adam, lr=0.001),
    },
    reported=(adam, descent),
    claims=(
        Claim(
            "adam-is-no-better",
            "Adam is no better than gradient descent at the same rate: descent is less than a point worse.",
            "note E, 3, from its figures",
            arms=(descent.arm, adam.arm),
            kind="no_worse",
            margin=0.01,
            printed=("80.6290 %", "79.347 %"),
        ),
        Claim(
            "adam-is-no-better-than-momentum",
            "Adam is no better than descent with momentum .9 at the same rate: descent is less than a point worse.",
            "note E, 3, with the linked code's optimizer",
            arms=("momentum", adam.arm),
            kind="no_worse",
            margin=0.01,
        ),
        Claim(
            "adam-at-its-own-rate-is-no-better",
            "Adam at its usual rate is no better than gradient descent: descent is less than a point worse.",
            "note E, 3, at a rate that suits Adam",
            arms=(descent.arm, "adam-lr-.001"),
            kind="no_worse",
            margin=0.01,
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
