"""Does Kaiming initialisation help a small LeNet on CIFAR-10?

Question   Kaiming-uniform weights (fan in, ReLU gain) against PyTorch's own, which are narrower by a factor of root 6
Source     note B, question 5
Cost       16 trials, 192 epochs, about 94 with early stopping: 8 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_initialization.py --data DIR [--replay]
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

plain, kaiming = reported("b-0-batch-64", "b-5-kaiming")

study = Study(
    name="lenet_initialization",
    question="Does Kaiming initialisation help a small LeNet?",
    source="note B, question 5",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=16,
    param_space={"initialization": tune.choice(["default", "kaiming"]), "lr": tune.loguniform(3e-4, 3e-2)},
    arms={plain.arm: replay(plain), kaiming.arm: replay(kaiming)},
    reported=(plain, kaiming),
    claims=(
        Claim(
            "kaiming-helps",
            "With Kaiming initialisation the test accuracy is 1 point higher: 57 against 56 %.",
            "note B, 5",
            arms=(kaiming.arm, plain.arm),
            effect=0.01,
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
