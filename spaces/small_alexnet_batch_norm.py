"""Is BatchNorm worse for the reduced AlexNet on CIFAR-10, as the note's author found and doubted?

Question   test accuracy with BatchNorm before every ReLU and without
Source     note E, experiment 7
Cost       32 trials, 960 epochs, about 473 with early stopping: 8.8 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_batch_norm.py --data DIR [--replay]

The note's code evaluates with a second set of BatchNorm's scales and shifts, which are never trained, and with the
statistics of the test batch: the mistake that its author suspects. These arms use PyTorch's BatchNorm. The code's
commits with BatchNorm also have no dropout, no weight decay, and a rate that decays by .9997 instead of .9995: the arm
"7-batch-norm-coded-steps"; "7-batch-norm-alone-coded-steps" keeps the dropout, weight decay and rate of the commits
before. The arm "-as-coded" also has the code's pools of stride 1, with 16 times the arithmetic.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import AS_CODED, CODED_STEPS, SmallAlexNetTrial

without, batch_norm = reported("e-4-no-lrn", "e-7-batch-norm")

CODED = {"linear_weight_decay": 0.0, "dropout": 0.0, "step_factor": 0.9997}  # the code with BatchNorm

study = Study(
    name="small_alexnet_batch_norm",
    question="Is BatchNorm worse for the reduced AlexNet, as the note found?",
    source="note E, experiment 7",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=32,
    param_space={
        "batch_norm": tune.choice([False, True]),
        "momentum": tune.choice([0.0, 0.9]),
        "dropout": tune.choice([0.0, 0.1, 0.5]),
        "lr": tune.loguniform(0.003, 0.3),
    },
    arms={
        without.arm: replay(without),
        batch_norm.arm: replay(batch_norm),
        f"{without.arm}-coded-steps": replay(without, **CODED_STEPS),
        f"{batch_norm.arm}-coded-steps": replay(batch_norm, **CODED_STEPS | CODED),
        f"{batch_norm.arm}-alone-coded-steps": replay(batch_norm, **CODED_STEPS),
        f"{batch_norm.arm}-as-coded": replay(batch_norm, **AS_CODED | CODED),
    },
    reported=(without, batch_norm),
    claims=(
        Claim(
            "batch-norm-is-worse",
            "BatchNorm makes the network worse.",
            "note E, 7, from its figures",
            arms=(batch_norm.arm, without.arm),
            expected="less",
        ),
        Claim(
            "batch-norm-is-worse-as-coded",
            "BatchNorm makes the network worse, trained as in the linked code's commits with it and before it.",
            "note E, 7, told apart",
            arms=(f"{batch_norm.arm}-coded-steps", f"{without.arm}-coded-steps"),
            expected="less",
            confounded_by=("dropout", "step_factor", "linear_weight_decay"),
            clean_arms=(f"{batch_norm.arm}-alone-coded-steps", f"{without.arm}-coded-steps"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
