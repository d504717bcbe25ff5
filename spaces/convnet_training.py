"""Does a plain convolutional network for CIFAR-100 gain from the training that note D asks for next?

Question   more epochs, ended early by validation; label smoothing; SGD; warm-up and cosine decay
Source     note D, 5 (outlook)
Cost       48 trials, 960 epochs, about 443 with early stopping: 4.6 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/convnet_training.py --data DIR [--replay]

The note reports none of these, and hopes that each helps: the arms change one setting of CNN_5 at a time, under the
search's own protocol, and the claims are those hopes.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from trainables.convnet import ConvNetTrainable

CNN5 = {"depth": 5}
LONG = {**CNN5, "epochs": 20}
BASE = "cnn5-20-epochs"


def hope(name: str, statement: str, arm: str) -> Claim:
    """Return the claim that an arm's one change raises the test accuracy."""
    return Claim(name, statement, "note D, 5", arms=(arm, BASE))


study = Study(
    name="convnet_training",
    question="Does a plain convolutional network gain from the training that note D asks for next?",
    source="note D, 5",
    trainable=ConvNetTrainable,
    dataset="cifar100",
    epochs=20,
    samples=48,
    param_space={
        **CNN5,
        "optimizer": tune.choice(["sgd", "adam"]),
        "lr": tune.loguniform(1e-4, 1e-1),
        "momentum": 0.9,
        "weight_decay": tune.choice([0.0, 1e-5, 1e-4, 1e-3]),
        "label_smoothing": tune.choice([0.0, 0.05, 0.1, 0.2]),
        "warmup_epochs": tune.choice([0, 1, 3]),
        "decay": tune.choice(["constant", "cosine"]),
        "patience": tune.choice([None, 2, 4]),
    },
    arms={
        "cnn5-5-epochs": {**CNN5, "epochs": 5},
        BASE: LONG,
        "cnn5-20-epochs-patience-2": {**LONG, "patience": 2},
        "cnn5-20-epochs-label-smoothing-.1": {**LONG, "label_smoothing": 0.1},
        "cnn5-20-epochs-sgd": {**LONG, "optimizer": "sgd", "lr": 0.01},
        "cnn5-20-epochs-warmup-3": {**LONG, "warmup_epochs": 3},
        "cnn5-20-epochs-cosine": {**LONG, "decay": "cosine"},
    },
    claims=(
        Claim(
            "more-epochs-help-cnn5",
            "20 epochs in place of 5 raise CNN_5's test accuracy.",
            "note D, 5",
            arms=(BASE, "cnn5-5-epochs"),
        ),
        Claim(
            "early-stopping-prevents-overfitting",
            "Ended once validation accuracy has not risen for 2 epochs, CNN_5's gap is smaller than after 20 epochs.",
            "note D, 5",
            arms=("cnn5-20-epochs-patience-2", BASE),
            quantity="gap",
            expected="less",
        ),
        hope(
            "early-stopping-helps-cnn5",
            "Ended once validation accuracy has not risen for 2 epochs, CNN_5 tests better than after 20 epochs.",
            "cnn5-20-epochs-patience-2",
        ),
        hope(
            "label-smoothing-helps-cnn5",
            "Another loss, with labels smoothed by .1, raises CNN_5's test accuracy.",
            "cnn5-20-epochs-label-smoothing-.1",
        ),
        hope(
            "sgd-helps-cnn5",
            "Another optimizer, SGD at .01 in place of Adam at .001, raises CNN_5's test accuracy.",
            "cnn5-20-epochs-sgd",
        ),
        hope(
            "warm-up-helps-cnn5",
            "A warm-up of 3 epochs raises CNN_5's test accuracy.",
            "cnn5-20-epochs-warmup-3",
        ),
        hope(
            "cosine-decay-helps-cnn5",
            "Cosine decay of the rate raises CNN_5's test accuracy.",
            "cnn5-20-epochs-cosine",
        ),
    ),
    smoke={"samples": 4, "epochs": 3, "train_images": 200},
)
