"""How far does a small LeNet on CIFAR-10 get without another structure and without more epochs?

Question   the best rate, weight decay, dropout, channels and augmentation policy within 12 epochs
Source     note B, question 7
Cost       40 trials, 480 epochs, about 215 with early stopping: 17.6 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_best.py --data DIR [--replay]

The note calls `AutoAugment()`, whose policy in torchvision is ImageNet's unless another is asked for, and cites the
AugMix paper beside it. The note does not say which policy it used, so there are arms for CIFAR-10's policy (inferred
from the note's data set), ImageNet's and AugMix.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

plain, best = reported("b-0-batch-64", "b-7-best")

study = Study(
    name="lenet_best",
    question="How far does a small LeNet get without another structure and without more epochs?",
    source="note B, question 7",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=40,
    param_space={
        "optimizer": "adam",
        "decay": "cosine",
        "batch_norm": True,
        "flip": True,
        "crop_padding": 2,
        "policy": tune.choice(["none", "autoaugment", "autoaugment-imagenet", "augmix"]),
        "lr": tune.loguniform(3e-4, 1e-2),
        "weight_decay": tune.choice([0.0, 1e-5, 1e-4, 1e-3]),
        "dropout": tune.uniform(0.0, 0.3),
        "conv1": tune.choice([64, 128, 256]),
        "conv2": tune.choice([64, 128, 256]),
    },
    arms={
        plain.arm: replay(plain),
        best.arm: replay(best),
        "7-best-imagenet-policy": replay(best, policy="autoaugment-imagenet"),
        "7-best-augmix": replay(best, policy="augmix"),
    },
    reported=(plain, best),
    claims=(
        Claim(
            "best-recipe-of-lenet",
            "All changes together raise the test accuracy by 27 points: 83 against 56 %.",
            "note B, 7",
            arms=(best.arm, plain.arm),
            printed=("83 %", "56 %"),
        ),
        Claim(
            "best-recipe-of-lenet-with-the-imagenet-policy",
            "All changes together, AutoAugment's policy for ImageNet among them, raise the test accuracy by 27 points.",
            "note B, 7, told apart",
            arms=("7-best-imagenet-policy", plain.arm),
            effect=0.27,
            printed=("27 points",),
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 100, "conv1": 16, "conv2": 32},
)
