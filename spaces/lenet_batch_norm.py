"""What do three BatchNorms give a small LeNet on CIFAR-10?

Question   test accuracy with BatchNorm after both pooled convolutions and the first linear, and without
Source     note B, question 4
Cost       16 trials, 192 epochs, about 94 with early stopping: 14 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_batch_norm.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

plain, normalized = reported("b-0-batch-64", "b-4-batch-norm")

study = Study(
    name="lenet_batch_norm",
    question="What do three BatchNorms give a small LeNet?",
    source="note B, question 4",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=16,
    param_space={"batch_norm": tune.choice([False, True]), "lr": tune.loguniform(3e-4, 1e-1)},
    arms={plain.arm: replay(plain), normalized.arm: replay(normalized)},
    reported=(plain, normalized),
    claims=(
        Claim(
            "batch-norm-helps-lenet",
            "With three BatchNorms the test accuracy is 9 points higher: 65 against 56 %.",
            "note B, 4",
            arms=(normalized.arm, plain.arm),
            effect=0.09,
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
