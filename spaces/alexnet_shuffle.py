"""What does AdaBoost of compressed AlexNets lose on CIFAR-100 when batches never change?

Question   training images shuffled each epoch or not, and whether dropout or augmentation stops the overfitting
Source     note A, section 4.4
Cost       16 trials, 1,920 epochs, about 1,004 with early stopping: 2.4 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_shuffle.py --data DIR [--replay]

The note's shuffled run (4.2) also differs in augmentation, rate, decay, epochs and vote; the clean arm is the
unshuffled run, shuffled.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BoostedAlexNet

unshuffled, shuffled = reported("a-4.4-adaboost-unshuffled", "a-4.2-adaboost-rgb")

study = Study(
    name="alexnet_shuffle",
    question="What does AdaBoost lose when batches never change?",
    source="note A, section 4.4",
    trainable=BoostedAlexNet,
    dataset="cifar100",
    epochs=20,  # epochs of one round
    samples=16,
    param_space={
        "shuffle": tune.choice([False, True]),
        "augmentation": tune.choice(["none", "cached", "real-time"]),
        "dropout": tune.uniform(0.1, 0.9),
        "lr": 0.04,
        "decay": "cosine",
        "vote": "logits",
        "members": 6,
    },
    arms={
        unshuffled.arm: replay(unshuffled),
        shuffled.arm: replay(shuffled),
        "clean-shuffled": replay(unshuffled, shuffle=True),
        "clean-more-dropout": replay(unshuffled, dropout=0.7),
        "clean-real-time": replay(unshuffled, augmentation="real-time"),
        "clean-shuffled-more-dropout": replay(unshuffled, shuffle=True, dropout=0.7),
        "clean-shuffled-real-time": replay(unshuffled, shuffle=True, augmentation="real-time"),
    },
    reported=(unshuffled, shuffled),
    claims=(
        Claim(
            "no-shuffling-costs-test-accuracy",
            "Without shuffling the test accuracy is 13.6 points lower.",
            "note A, 4.4",
            arms=(shuffled.arm, unshuffled.arm),
            printed=("52.7 %", "39.1 %"),
            confounded_by=("augmentation", "lr", "decay", "epochs", "vote"),
            clean_arms=("clean-shuffled", unshuffled.arm),
        ),
        Claim(
            "no-shuffling-overfits",
            "Without shuffling the model overfits: the gap of training over test accuracy is larger.",
            "note A, 4.4",
            arms=(unshuffled.arm, shuffled.arm),
            quantity="gap",
            printed=("30.7 points", "-8.3 points"),
            confounded_by=("augmentation", "lr", "decay", "epochs", "vote"),
            clean_arms=(unshuffled.arm, "clean-shuffled"),
        ),
        # "Cannot be suppressed": what is not is the overfitting, which the note sees in the gap.
        Claim(
            "more-dropout-does-not-stop-the-overfitting",
            "With more dropout, too, missing shuffles widen the gap of training over test accuracy.",
            "note A, 4.4",
            arms=("clean-more-dropout", "clean-shuffled-more-dropout"),
            quantity="gap",
        ),
        Claim(
            "augmentation-does-not-stop-the-overfitting",
            "With random augmentation, too, missing shuffles widen the gap of training over test accuracy.",
            "note A, 4.4",
            arms=("clean-real-time", "clean-shuffled-real-time"),
            quantity="gap",
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 2, "train_images": 200},
)
