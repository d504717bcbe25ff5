"""Does a falling rate help a small LeNet on CIFAR-10?

Question   a constant rate against one halved every 5 epochs (and a cosine), under SGD and under Adam
Source     note B, question 3
Cost       32 trials, 384 epochs, about 174 with early stopping: 13 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_scheduler.py --data DIR [--replay]

The note's decayed runs start at .002, its constant runs at a rate that it does not print, .001 in these arms. So the
clean arms hold .002 constant.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

sgd, sgd_step, adam, adam_step = reported("b-3-sgd-constant", "b-3-sgd-step", "b-2-adam", "b-3-adam-step")
CLEAN_SGD, CLEAN_ADAM = "clean-sgd-constant-.002", "clean-adam-constant-.002"

study = Study(
    name="lenet_scheduler",
    question="Does a falling rate help a small LeNet?",
    source="note B, question 3",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=32,
    param_space={
        "decay": tune.choice(["constant", "step", "cosine"]),
        "optimizer": tune.choice(["sgd", "adam"]),
        "lr": tune.loguniform(3e-4, 3e-2),
    },
    arms={run.arm: replay(run) for run in (sgd, sgd_step, adam, adam_step)}
    | {CLEAN_SGD: replay(sgd, lr=0.002), CLEAN_ADAM: replay(adam, lr=0.002)},
    reported=(sgd, sgd_step, adam, adam_step),
    claims=(
        Claim(
            "step-decay-helps-sgd",
            "Under SGD step decay raises the test accuracy: 60 against 56 %.",
            "note B, 3",
            arms=(sgd_step.arm, sgd.arm),
            effect=0.04,
            confounded_by=("lr",),
            clean_arms=(sgd_step.arm, CLEAN_SGD),
        ),
        Claim(
            "step-decay-lowers-the-loss-of-sgd",
            "Under SGD step decay lowers the training loss: 1.068 against 1.211.",
            "note B, 3",
            arms=(sgd_step.arm, sgd.arm),
            quantity="train_loss",
            expected="less",
            effect=-0.143,
            confounded_by=("lr",),
            clean_arms=(sgd_step.arm, CLEAN_SGD),
        ),
        Claim(
            "step-decay-changes-little-under-adam",
            "Under Adam step decay changes the test accuracy little: 65 % with and without.",
            "note B, 3",
            arms=(adam_step.arm, adam.arm),
            expected="equal",
            margin=0.015,
            effect=0.0,
            confounded_by=("lr",),
            clean_arms=(adam_step.arm, CLEAN_ADAM),
        ),
        Claim(
            "step-decay-lowers-the-loss-of-adam",
            "Under Adam step decay lowers the training loss: .668 against .779.",
            "note B, 3",
            arms=(adam_step.arm, adam.arm),
            quantity="train_loss",
            expected="less",
            effect=-0.111,
            confounded_by=("lr",),
            clean_arms=(adam_step.arm, CLEAN_ADAM),
        ),
        Claim(
            "step-decay-overfits-adam",
            "Under Adam step decay widens the gap of training over test accuracy.",
            "note B, 3, its guess why Adam does not gain",
            arms=(adam_step.arm, adam.arm),
            quantity="gap",
            confounded_by=("lr",),
            clean_arms=(adam_step.arm, CLEAN_ADAM),
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
