"""How deep and wide should a plain convolutional network for CIFAR-100 be?

Question   accuracy against parameters of 5x5 convolution blocks after 5 epochs, by depth and width
Source     note D, 1 and 4
Cost       40 trials, 200 epochs, about 115 with early stopping: 5.7 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/convnet_depth.py --data DIR [--replay]

A further block halves the map, so that the last linear layer shrinks: three blocks have fewer parameters than two.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.convnet import ConvNetTrainable

cnn2, cnn3, cnn5 = reported("d-cnn2", "d-cnn3", "d-cnn5")

study = Study(
    name="convnet_depth",
    question="How deep and wide should a plain convolutional network be?",
    source="note D, 1 and 4",
    trainable=ConvNetTrainable,
    dataset="cifar100",
    epochs=5,
    samples=40,
    objectives={"parameters": "min"},
    param_space={
        "depth": tune.choice([1, 2, 3, 4, 5]),
        "width": tune.choice([8, 16, 32, 64]),
        "lr": tune.loguniform(3e-4, 1e-2),
    },
    arms={
        cnn2.arm: replay(cnn2, depth=2),
        cnn3.arm: replay(cnn3, depth=3),
        cnn5.arm: replay(cnn5, depth=5),
    },
    reported=(cnn2, cnn3, cnn5),
    claims=(
        Claim(
            "third-layer-helps",
            "From 2 to 3 layers the test accuracy rises by 4.39 points.",
            "note D, 4",
            arms=(cnn3.arm, cnn2.arm),
            printed=("44.14 %", "39.75 %"),
        ),
        Claim(
            "third-layer-saves-parameters",
            "From 2 to 3 layers the parameters fall, since the last layer has fewer inputs.",
            "note D, 4",
            arms=(cnn3.arm, cnn2.arm),
            quantity="parameters",
            expected="less",
            printed=("168,036", "219,044"),
        ),
        Claim(
            "five-layers-gain-nothing",
            "From 3 to 5 layers the test accuracy hardly rises: 44.20 against 44.14 %.",
            "note D, 4",
            arms=(cnn5.arm, cnn3.arm),
            expected="equal",
            margin=0.01,
            printed=("44.20 %", "44.14 %"),
        ),
        Claim(
            "five-layers-overfit",
            "With 5 layers the gap of training over test accuracy is larger than with 3: depth overfits.",
            "note D, 4",
            arms=(cnn5.arm, cnn3.arm),
            quantity="gap",
        ),
        Claim(
            "five-layers-cost-parameters",
            "From 3 to 5 layers the parameters grow 6.64 times.",
            "note D, 4",
            arms=(cnn5.arm, cnn3.arm),
            quantity="parameters",
            kind="ratio",
            printed=("1,116,388", "168,036"),
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
