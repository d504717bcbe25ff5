"""Does mirroring the training images help a small LeNet on CIFAR-10?

Question   what random horizontal flips change in the test accuracy and in the training loss
Source     note B, question 1
Cost       16 trials, 192 epochs, about 94 with early stopping: 10 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_flip.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

plain, flipped = reported("b-0-batch-64", "b-1-flip")

study = Study(
    name="lenet_flip",
    question="Does mirroring the training images help a small LeNet?",
    source="note B, question 1",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=16,
    param_space={"flip": tune.choice([False, True]), "lr": tune.loguniform(3e-4, 1e-2)},
    arms={plain.arm: replay(plain), flipped.arm: replay(flipped)},
    reported=(plain, flipped),
    claims=(
        Claim(
            "flip-changes-little",
            "With horizontal flips the test accuracy is about the same: 56 % with and without.",
            "note B, 1",
            arms=(flipped.arm, plain.arm),
            expected="equal",
            margin=0.015,
            effect=0.0,
        ),
        Claim(
            "flip-raises-the-training-loss",
            "With horizontal flips the last epoch's training loss is a little higher: 1.226 against 1.209.",
            "note B, 1",
            arms=(flipped.arm, plain.arm),
            quantity="train_loss",
            effect=0.017,
        ),
        Claim(
            "flip-overfits-less",
            "With horizontal flips the gap of training over test accuracy is smaller.",
            "note B, 1",
            arms=(flipped.arm, plain.arm),
            quantity="gap",
            expected="less",
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
