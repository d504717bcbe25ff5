"""What does AdaBoost of compressed AlexNets lose on CIFAR-100 when it sees gray images?

Question   gray against RGB input, in training and in test accuracy
Source     note A, section 4.2
Cost       16 trials, 2,880 epochs, about 1,507 with early stopping: 4.0 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_gray.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import about, replay, reported
from trainables.alexnet import BoostedAlexNet

gray, rgb = reported("a-4.2-adaboost-gray", "a-4.2-adaboost-rgb")

study = Study(
    name="alexnet_gray",
    question="What does AdaBoost lose when it sees gray images?",
    source="note A, section 4.2",
    trainable=BoostedAlexNet,
    dataset="cifar100",
    epochs=30,  # epochs of one round
    samples=16,
    param_space={
        "gray": tune.choice([False, True]),
        "lr": tune.loguniform(0.01, 0.12),
        "dropout": tune.uniform(0.1, 0.6),
        "members": 6,
        "augmentation": "real-time",
    },
    arms={gray.arm: replay(gray), rgb.arm: replay(rgb)},
    reported=(gray, rgb),
    claims=(
        Claim(
            "gray-costs-training-accuracy",
            "Gray images cost about 8 points of training accuracy.",
            "note A, 4.2",
            arms=(rgb.arm, gray.arm),
            quantity="train_accuracy",
            **about(0.08),
            printed=("44.4 %", "36.2 %"),
        ),
        Claim(
            "gray-costs-test-accuracy",
            "Gray images cost about 6 points of test accuracy.",
            "note A, 4.2",
            arms=(rgb.arm, gray.arm),
            **about(0.06),
            printed=("52.7 %", "46.4 %"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 2, "train_images": 200},
)
