"""Does He initialisation help the reduced AlexNet on CIFAR-10?

Question   test accuracy from weights of variance 2 / fan in and from PyTorch's own
Source     note E, experiment 1 and summary
Cost       32 trials, 960 epochs, about 473 with early stopping: 9.2 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_initialization.py --data DIR [--replay]

The note prints no run without He initialisation. Its code calls another initialisation He's, and later gives every
layer a normal of .01, see SmallAlexNetSettings: the arm "normal-initialization", for 10 epochs.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

(he,) = reported("e-4-no-lrn")

study = Study(
    name="small_alexnet_initialization",
    question="Does He initialisation help the reduced AlexNet?",
    source="note E, experiment 1 and summary",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    param_space={
        "initialization": tune.choice(["he", "default"]),
        "batch_norm": tune.choice([False, True]),
        "lr": tune.loguniform(0.003, 0.1),
    },
    arms={
        he.arm: replay(he),
        "default-initialization": replay(he, initialization="default"),
        "normal-initialization": replay(he, initialization="normal", epochs=10),
        "batch-norm-he": replay(he, batch_norm=True),
        "batch-norm-default": replay(he, batch_norm=True, initialization="default"),
    },
    reported=(he,),
    claims=(
        Claim(
            "he-shows-no-gain",
            "He initialisation shows no gain on CIFAR-10: PyTorch's own is less than a point worse.",
            "note E, summary",
            arms=("default-initialization", he.arm),
            kind="no_worse",
            margin=0.01,
        ),
        Claim(
            "he-shows-no-gain-over-.01",
            "After 10 epochs the normal of .01 that the linked code has is less than a point worse than He's.",
            "note E, summary, with the linked code's initialization",
            arms=("normal-initialization", he.arm),
            quantity="test_accuracy@10",
            kind="no_worse",
            margin=0.01,
        ),
        Claim(
            "with-batch-norm-it-matters-less",
            "With BatchNorm the initialisation matters less.",
            "note E, summary",
            arms=("batch-norm-he", "batch-norm-default", he.arm, "default-initialization"),
            kind="contrast",
            expected="less",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
