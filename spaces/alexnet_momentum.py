"""Does momentum harm AdaBoost of compressed AlexNets on CIFAR-100?

Question   momentum .9 against none for AdaBoost, and AdaBoost with momentum against its own first member
Source     note A, figure 4
Cost       24 trials, 4,320 epochs, about 2,230 with early stopping: 6.1 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_momentum.py --data DIR [--replay]

Figure 4 was not kept and its configuration is not printed: the clean arm is the note's best AdaBoost (4.5) with
momentum. The search also varies the rate, since momentum .9 makes each step about ten times as long.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BoostedAlexNet

(best,) = reported("a-4.5-adaboost-lr.03")

study = Study(
    name="alexnet_momentum",
    question="Does momentum harm AdaBoost?",
    source="note A, figure 4",
    trainable=BoostedAlexNet,
    dataset="cifar100",
    epochs=30,  # epochs of one round
    samples=24,
    param_space={
        "momentum": tune.choice([0.0, 0.9]),
        "lr": tune.loguniform(0.001, 0.1),
        "dropout": tune.uniform(0.05, 0.6),
        "members": 6,
        "augmentation": "real-time",
    },
    arms={
        best.arm: replay(best),
        "clean-momentum.9": replay(best, momentum=0.9),
    },
    reported=(best,),
    claims=(
        Claim(
            "momentum-makes-adaboost-worse-than-its-single-model",
            "With momentum .9 AdaBoost is worse than its single model.",
            "note A, figure 4",
            arms=("clean-momentum.9", "clean-momentum.9:1"),
            expected="less",
        ),
        Claim(
            "momentum-costs-test-accuracy",
            "The usual momentum lowers the test accuracy gravely.",
            "note A, 4",
            arms=("clean-momentum.9", best.arm),
            expected="less",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 2, "train_images": 200},
)
