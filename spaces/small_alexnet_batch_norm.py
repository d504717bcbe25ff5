"""Is BatchNorm worse for the reduced AlexNet on CIFAR-10, as the note's author found and doubted?

Question   test accuracy with BatchNorm before every ReLU and without
Source     note E, experiment 7
Cost       32 trials, 960 epochs, about 231 with early stopping: 4.3 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_batch_norm.py --data DIR [--replay]

The note's code evaluates with a second set of BatchNorm's scales and shifts, which nothing trains, and by the
statistics of the test batch: the mistake that its author suspects. Here it is PyTorch's BatchNorm.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

without, batch_norm = reported("e-4-no-lrn", "e-7-batch-norm")

study = Study(
    name="small_alexnet_batch_norm",
    question="Is BatchNorm worse for the reduced AlexNet, as the note found?",
    source="note E, experiment 7",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    param_space={
        "batch_norm": tune.choice([False, True]),
        "momentum": tune.choice([0.0, 0.9]),
        "dropout": tune.choice([0.0, 0.1, 0.5]),
        "lr": tune.loguniform(0.003, 0.3),
    },
    arms={without.arm: replay(without), batch_norm.arm: replay(batch_norm)},
    reported=(without, batch_norm),
    claims=(
        Claim(
            "batch-norm-is-worse",
            "BatchNorm makes the network worse.",
            "note E, 7",
            arms=(batch_norm.arm, without.arm),
            expected="less",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
