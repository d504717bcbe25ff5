"""Real-time, cached or no augmentation of CIFAR-100: what is gained and what does it cost?

Question   the time of an epoch, and the test accuracy, if every image is augmented anew each epoch, once
           for all epochs, or not at all
Source     note A, section 4.3
Cost       48 trials, 1,440 epochs, about 665 with early stopping: 3.6 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_augmentation.py --data DIR [--replay]

The note's cached runs see 30,000 training and 2,000 test images, its real-time run all 50,000 and 10,000, at another
rate and without the random crop; the clean arm changes the augmentation alone. The replay tests on all 10,000
images, since 2,000 can decide nothing within 2 points; the figures that the note prints are those on its 2,000. The
26 and 5 seconds that the note prints (section 1) are for one epoch of a single model. So the arms of that claim train
single models, for 3 epochs, the first of which also warms up.
The note does not say whether the crop was cached too: one arm leaves the crop out. It prints neither the crop's scale
nor the strength of the jitter: the search varies both. The last two arms are section 4.8's run on these images, for
alexnet_cifar10.py.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import VOTED_EVERY, about, replay, reported
from trainables.alexnet import BaggedAlexNet

single, cached, real_time = reported("a-4.3-single-cached", "a-4.3-bagging-cached", "a-4.3-bagging-real-time")
(on_cifar10,) = reported("a-4.8-single-cifar10")

# Measured like the Bagging runs, whose first members then answer the single model's arm.
AS_BAGGING = {"train_measure": "augmented", "train_measure_every": VOTED_EVERY}

study = Study(
    name="alexnet_augmentation",
    question="Real-time, cached or no augmentation: what is gained and what does it cost?",
    source="note A, section 4.3",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=30,
    samples=48,
    param_space={
        "augmentation": tune.choice(["none", "cached", "real-time"]),
        "random_crop": tune.choice([False, True]),
        "crop_scale": tune.uniform(0.08, 0.8),
        "jitter": tune.uniform(0.0, 0.6),
        "lr": tune.loguniform(0.03, 0.12),
        "dropout": tune.uniform(0.1, 0.6),
        "batch_size": 64,
        "members": 3,
    },
    arms={
        single.arm: replay(single, test_images=None),
        cached.arm: replay(cached, test_images=None),
        real_time.arm: replay(real_time),
        "clean-bagging-real-time": replay(cached, test_images=None, augmentation="real-time"),
        "clean-seconds-real-time": replay(single, test_images=None, augmentation="real-time", epochs=3),
        "clean-seconds-cached": replay(single, test_images=None, epochs=3),
        "clean-single-measured-after": replay(single, test_images=None, **AS_BAGGING),
        "clean-cached-without-crop": replay(cached, test_images=None, random_crop=False),
        "clean-4.8-on-cifar100": replay(on_cifar10),
        "clean-4.8-on-cifar100-test-augmented": replay(on_cifar10, test_augmented=True),
    },
    reported=(single, cached, real_time),
    claims=(
        Claim(
            "cached-augmentation-is-faster",
            "With cached augmentation an epoch of a single model is about 5 times as fast: 5 s for 26 s.",
            "note A, 1 and 4.3",
            arms=("clean-seconds-real-time", "clean-seconds-cached"),
            quantity="seconds_per_epoch",
            kind="ratio",
            **about(5),
            printed=("26", "5"),
        ),
        Claim(
            "cached-augmentation-costs-test-accuracy",
            "Real-time augmentation gains at least 21 points of test accuracy over cached.",
            "note A, 4.3",
            arms=(real_time.arm, cached.arm),
            low=0.21,
            printed=("58.3 %", "36.0 %"),
            confounded_by=("lr", "train_images", "random_crop"),
            clean_arms=("clean-bagging-real-time", cached.arm),
        ),
        Claim(
            "real-time-augmentation-tests-better",
            "Real-time augmentation tests better than cached.",
            "note A, 4.3, told apart",
            arms=("clean-bagging-real-time", cached.arm),
        ),
        Claim(
            "real-time-augmentation-overfits-less",
            "The gap of training over test accuracy is smaller with real-time augmentation than with cached.",
            "note A, 4.3",
            arms=("clean-bagging-real-time", cached.arm),
            quantity="gap",
            expected="less",
        ),
        Claim(
            "bagging-adds-nothing-to-cached-training",
            "With cached augmentation a single model tests less than 2 points worse than nine in Bagging.",
            "note A, 4.3",
            arms=(single.arm, cached.arm),
            kind="no_worse",
            margin=0.02,
            printed=("37 %", "36.0 %"),
        ),
        Claim(
            "bagging-adds-training-accuracy-to-cached-training",
            "With cached augmentation Bagging adds about 12 points of training accuracy.",
            "note A, 4.3",
            arms=(cached.arm, single.arm),
            quantity="train_accuracy",
            **about(0.12),
            printed=("49.6 %", "37 %"),
            confounded_by=("train_measure",),
            clean_arms=(cached.arm, "clean-single-measured-after"),
        ),
        Claim(
            "the-crop-is-what-caching-loses-by",
            "Cached augmentation tests better without the random crop than with it.",
            "note A, 4.3 and 4.7, told apart",
            arms=("clean-cached-without-crop", cached.arm),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "members": 3, "batch_size": 32, "train_images": 200, "test_images": 100},
)
