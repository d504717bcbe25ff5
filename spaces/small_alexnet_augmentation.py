"""How much do random crops, flips, brightness and contrast add to the reduced AlexNet on CIFAR-10?

Question   the test accuracy of the note's augmentation, whole and part by part
Source     note E, experiment 2 and summary
Cost       48 trials, 1,440 epochs, about 665 with early stopping: 23.4 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/small_alexnet_augmentation.py --data DIR [--replay]

The note's comparison also changes rate, decay, epochs and the subtracted mean. The note's experiment 2 keeps "the
other parameters", momentum .9 among them; its experiment 3 calls the earlier experiments plain gradient descent. Both
optimizers are arms, each with and without augmentation. The linked code has momentum .9 in every commit, and from
experiment 2 on weight decay of the linears: the arm "2-augmentation-coded-steps".
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import about, replay, reported
from trainables.small_alexnet import CODED_STEPS, SmallAlexNetTrial

before, augmented = reported("e-1-1", "e-2-augmentation")
NONE = {"random_crop": False, "flip": False, "brightness": 0.0, "contrast": 0.0}

study = Study(
    name="small_alexnet_augmentation",
    question="How much do random crops, flips, brightness and contrast add to the reduced AlexNet?",
    source="note E, experiment 2 and summary",
    trainable=SmallAlexNetTrial,
    dataset="cifar10",
    epochs=30,
    samples=48,
    param_space={
        "random_crop": tune.choice([False, True]),
        "flip": tune.choice([False, True]),
        "brightness": tune.choice([0.0, 0.1, 63 / 255, 0.4]),
        "contrast": tune.choice([0.0, 0.4, 0.8]),
        "lr": tune.loguniform(0.003, 0.1),
    },
    arms={
        before.arm: replay(before, subtract_mean=False, **NONE),
        augmented.arm: replay(augmented, momentum=0.9),
        "clean-no-augmentation": replay(augmented, momentum=0.9, **NONE),
        f"{augmented.arm}-coded-steps": replay(augmented, **CODED_STEPS),
        "plain-descent": replay(augmented, momentum=0.0),
        "plain-descent-no-augmentation": replay(augmented, momentum=0.0, **NONE),
    },
    reported=(before, augmented),
    claims=(
        Claim(
            "augmentation-lifts-65-to-80",
            "Augmentation lifts the test accuracy by about 15 points: from about 65 to about 80 %.",
            "note E, 2 and summary",
            arms=(augmented.arm, before.arm),
            **about(0.15),
            printed=("15 points",),
            confounded_by=("lr", "decay", "epochs", "subtract_mean"),
            clean_arms=(augmented.arm, "clean-no-augmentation"),
        ),
        Claim(
            "augmentation-raises-the-test-accuracy",
            "Augmentation alone raises the test accuracy.",
            "note E, 2, told apart",
            arms=(augmented.arm, "clean-no-augmentation"),
        ),
        Claim(
            "augmented-accuracy-passes-80",
            "With augmentation validation accuracy passes 80 % at some epoch.",
            "note E, 2",
            arms=(augmented.arm,),
            quantity="best_val_accuracy",
            kind="level",
            low=0.8,
        ),
        Claim(
            "augmented-accuracy-passes-80-as-coded",
            "With augmentation and the linked code's optimizer and weight decay validation accuracy passes 80 %, too.",
            "note E, 2, told apart",
            arms=(f"{augmented.arm}-coded-steps",),
            quantity="best_val_accuracy",
            kind="level",
            low=0.8,
        ),
        Claim(
            "augmentation-helps-plain-descent",
            "Without momentum, too, augmentation raises the test accuracy.",
            "note E, 2, with the optimizer that 3 names",
            arms=("plain-descent", "plain-descent-no-augmentation"),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
