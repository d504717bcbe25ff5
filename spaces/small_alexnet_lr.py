"""Which learning rate and decay suit the reduced AlexNet on CIFAR-10, and does the rate matter most?

Question   test accuracy over rates and decays; the note's rule (.01, divided by 10 when validation stalls)
Source     note E, experiment 1 and summary
Cost       64 trials, 1,920 epochs, about 859 with early stopping: 36.0 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_lr.py --data DIR [--replay]

The search also varies the hyperparameters of the note's other experiments, so that the importance of the rate can be
compared with theirs. The note does not say when the rate of 1.2 falls: these arms take half of the epochs.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.small_alexnet import SmallAlexNetTrial

constant, step, exponential = reported("e-1-1", "e-1-2", "e-1-3")
PLAIN = {"subtract_mean": False, "random_crop": False, "flip": False, "brightness": 0.0, "contrast": 0.0}

study = Study(
    name="small_alexnet_lr",
    question="Which learning rate and decay suit the reduced AlexNet, and does the rate matter most?",
    source="note E, experiment 1 and summary",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=64,
    param_space={
        "lr": tune.loguniform(0.0001, 0.3),
        "decay": tune.choice(["constant", "exponential", "cosine", "plateau"]),
        "momentum": tune.choice([0.0, 0.9]),
        "lrn": tune.choice([False, True]),
        "dropout": tune.choice([0.1, 0.5]),
        "initialization": tune.choice(["he", "default"]),
        "random_crop": tune.choice([False, True]),
    },
    arms={
        constant.arm: replay(constant, **PLAIN),
        step.arm: replay(step, step_epochs=30, **PLAIN),
        exponential.arm: replay(exponential, **PLAIN),
        "too-large": replay(constant, lr=0.1, **PLAIN),
        "rate-.01": replay(constant, lr=0.01, **PLAIN),
        "too-small": replay(constant, lr=0.0001, **PLAIN),
        "rule": replay(constant, lr=0.01, decay="plateau", **PLAIN),
    },
    reported=(constant, step, exponential),
    claims=(
        Claim(
            "the-rule-is-best",
            "Starting at .01 and dividing by 10 whenever validation stalls, to 1e-5, beats a constant .001.",
            "note E, summary",
            arms=("rule", constant.arm),
        ),
        Claim(
            "too-large-a-rate-is-bad",
            "Too large a rate trains badly.",
            "note E, summary",
            arms=("too-large", constant.arm),
            expected="less",
        ),
        Claim(
            "too-small-a-rate-is-bad",
            "Too small a rate ends in a poor minimum.",
            "note E, summary",
            arms=("too-small", constant.arm),
            expected="less",
        ),
        Claim(
            "decay-from-.001-does-not-help",
            "At epoch 60 the rate decayed from .001 to .0001 is behind the constant .001.",
            "note E, 1.1 and 1.3",
            arms=(exponential.arm, constant.arm),
            quantity="test_accuracy@60",
            expected="less",
            printed=("60.42 %", "62.5 %"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
