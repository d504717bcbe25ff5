"""Which ratio and dropout suit a compressed AlexNet on CIFAR-10?

Question   whether CIFAR-10 ends like CIFAR-100, and what a lower ratio (a larger network) and less dropout gain
Source     note A, section 4.8
Cost       48 trials, 1,440 epochs, about 312 with early stopping: 2.0 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_cifar10.py --data DIR [--replay]

The note compares with its CIFAR-100 run of 4.1, which is trained for 20 epochs without augmentation, and whose
network, at the same ratio, is four times as wide. At ratio .3 ten classes get the widths of a hundred at .6:
the clean comparison is that arm with section 4.8's run on CIFAR-100, in alexnet_augmentation.py.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet

(single,) = reported("a-4.8-single-cifar10")
ON_CIFAR100 = "alexnet_batch_norm/4.1-single-bn"
CLEAN_ON_CIFAR100 = "alexnet_augmentation/clean-4.8-on-cifar100"

study = Study(
    name="alexnet_cifar10",
    question="Which ratio and dropout suit a compressed AlexNet on CIFAR-10?",
    source="note A, section 4.8",
    trainable=BaggedAlexNet,
    dataset="cifar10",
    epochs=30,
    samples=48,
    param_space={
        "ratio": tune.uniform(0.2, 0.8),
        "dropout": tune.uniform(0.0, 0.6),
        "lr": tune.loguniform(0.01, 0.1),
        "augmentation": "real-time",
    },
    arms={
        single.arm: replay(single),
        "clean-dropout.1": replay(single, dropout=0.1),
        "clean-ratio.3": replay(single, ratio=0.3),
    },
    reported=(single,),
    claims=(
        Claim(
            "cifar10-ends-like-cifar100",
            "CIFAR-10 and CIFAR-100 both end at 53 % on test.",
            "note A, 4.8",
            arms=(single.arm, ON_CIFAR100),
            expected="equal",
            margin=0.02,
            effect=0.0,
            confounded_by=("epochs", "augmentation", "random_crop", "width"),
            clean_arms=("clean-ratio.3", CLEAN_ON_CIFAR100),
        ),
        Claim(
            "cifar10-has-the-smaller-gap",
            "The gap of training over test accuracy is 0 on CIFAR-10 and 10 points on CIFAR-100.",
            "note A, 4.8",
            arms=(single.arm, ON_CIFAR100),
            quantity="gap",
            expected="less",
            effect=-0.1,
            confounded_by=("epochs", "augmentation", "random_crop", "width"),
            clean_arms=("clean-ratio.3", CLEAN_ON_CIFAR100),
        ),
        Claim(
            "less-dropout-helps-on-cifar10",
            "Less dropout raises the test accuracy on CIFAR-10.",
            "note A, 4.8",
            arms=("clean-dropout.1", single.arm),
        ),
        Claim(
            "a-lower-ratio-helps-on-cifar10",
            "A lower ratio, a larger network, raises the test accuracy on CIFAR-10.",
            "note A, 4.8",
            arms=("clean-ratio.3", single.arm),
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200, "ratio": tune.uniform(0.5, 0.8)},
)
