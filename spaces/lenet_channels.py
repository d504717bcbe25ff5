"""What do more channels give a small LeNet on CIFAR-10?

Question   accuracy against parameters as the two convolutions grow
Source     note B, question 6
Cost       32 trials, 384 epochs, about 237 with early stopping: 2.3 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_channels.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

plain, doubled = reported("b-0-batch-64", "b-6-double-channels")

study = Study(
    name="lenet_channels",
    question="What do more channels give a small LeNet?",
    source="note B, question 6",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=32,
    objectives={"parameters": "min"},
    param_space={
        "conv1": tune.choice([3, 6, 12, 24, 48]),
        "conv2": tune.choice([8, 16, 32, 64, 128]),
        "lr": tune.loguniform(3e-4, 3e-2),
    },
    arms={plain.arm: replay(plain), doubled.arm: replay(doubled)},
    reported=(plain, doubled),
    claims=(
        Claim(
            "double-channels-help",
            "With twice the channels the test accuracy is 4 points higher: 60 against 56 %.",
            "note B, 6",
            arms=(doubled.arm, plain.arm),
            effect=0.04,
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
