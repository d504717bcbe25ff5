"""Which optimizer suits a small LeNet on CIFAR-10?

Question   SGD against Adam, after 12 epochs and after the first, at one rate for both and at a rate of its own for each
Source     note B, question 2
Cost       32 trials, 384 epochs, about 174 with early stopping: 17 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_optimizer.py --data DIR [--replay]

The note gives both optimizers the same, unprinted rate, which may suit one of them better: the search chooses a rate
for each, and "sgd-lr-.01" is SGD at ten times the inferred rate.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

sgd, adam = reported("b-0-batch-64", "b-2-adam")

study = Study(
    name="lenet_optimizer",
    question="Which optimizer suits a small LeNet?",
    source="note B, question 2",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=32,
    param_space={
        "optimizer": tune.choice(["sgd", "adam"]),
        "lr": tune.loguniform(1e-4, 1e-1),
        "momentum": tune.choice([0.0, 0.9]),
    },
    arms={sgd.arm: replay(sgd), adam.arm: replay(adam), "sgd-lr-.01": replay(sgd, lr=0.01)},
    reported=(sgd, adam),
    claims=(
        Claim(
            "adam-ends-higher",
            "After 12 epochs Adam has the higher test accuracy: 65 against 56 %.",
            "note B, 2",
            arms=(adam.arm, sgd.arm),
            effect=0.09,
        ),
        Claim(
            "adam-starts-faster",
            "After the first epoch Adam has the higher test accuracy: 48 against 16 %.",
            "note B, 2",
            arms=(adam.arm, sgd.arm),
            quantity="test_accuracy@1",
            effect=0.32,
        ),
        Claim(
            "adam-ends-higher-than-sgd-at-ten-times-the-rate",
            "Also where SGD has ten times Adam's rate, Adam ends with the higher test accuracy.",
            "note B, 2, told apart",
            arms=(adam.arm, "sgd-lr-.01"),
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
