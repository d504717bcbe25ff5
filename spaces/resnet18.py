"""Does ResNet-18 do better on CIFAR-10 than the best small LeNet, under its recipe?

Question   test accuracy after 12 epochs from random weights
Source     note B, question 8
Cost       24 trials, 288 epochs, about 139 with early stopping: 5.6 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/resnet18.py --data DIR [--replay]

The images keep their 32 pixels, as in the note. The note compares ResNet-18 with its best LeNet, in lenet_best.py:
the claims need the results of both studies. The note's statement that ResNet-18 has fewer parameters is wrong by
arithmetic: 11,181,642 against the 2,438,510 of a LeNet of 256 and 256 channels.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.pretrained import PretrainedTrainable

(scratch,) = reported("b-8-resnet18")
AS_LENET = {"image_size": 32, "normalization": "half"}
BEST_LENET = "lenet_best/7-best"

study = Study(
    name="resnet18",
    question="Does ResNet-18 do better than the best small LeNet, under its recipe?",
    source="note B, question 8",
    trainable=PretrainedTrainable,
    dataset="cifar10",
    epochs=12,
    samples=24,
    param_space={
        **AS_LENET,
        "model": "resnet18",
        "weights": "random",
        "optimizer": "adam",
        "decay": "cosine",
        "flip": True,
        "crop_padding": 2,
        "policy": tune.choice(["none", "autoaugment"]),
        "lr": tune.loguniform(3e-4, 1e-2),
        "weight_decay": tune.choice([0.0, 1e-5, 1e-4, 1e-3]),
    },
    arms={
        scratch.arm: replay(scratch, **AS_LENET, weights="random"),
        "8-resnet18-imagenet-policy": replay(scratch, **AS_LENET, weights="random", policy="autoaugment-imagenet"),
    },
    reported=(scratch,),
    claims=(
        Claim(
            "resnet18-equals-the-best-lenet",
            "ResNet-18 reaches the same test accuracy as the best LeNet: 83 %.",
            "note B, 8",
            arms=(scratch.arm, BEST_LENET),
            expected="equal",
            margin=0.01,
            printed=("83 %", "83 %"),
        ),
        Claim(
            "resnet18-equals-the-best-lenet-with-the-imagenet-policy",
            "Under AutoAugment's policy for ImageNet, too, ResNet-18 reaches the test accuracy of the best LeNet.",
            "note B, 8, told apart",
            arms=("8-resnet18-imagenet-policy", f"{BEST_LENET}-imagenet-policy"),
            expected="equal",
            margin=0.01,
        ),
        Claim(
            "resnet18-is-smaller",
            "ResNet-18 has fewer parameters than the best LeNet.",
            "note B, 8",
            arms=(scratch.arm, BEST_LENET),
            quantity="parameters",
            expected="less",
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 40, "test_images": 50},
)
