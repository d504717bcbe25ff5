"""Does a plain convolutional network for CIFAR-100 gain from the training that note D asks for next?

Question   more epochs, ended early by validation; label smoothing; SGD; warm-up and cosine decay
Source     note D, 5 (outlook)
Cost       48 trials, 960 epochs, about 233 with early stopping: 2.4 h on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/convnet_training.py --data DIR [--replay]

The note reports none of this: the arms change CNN_5 one thing at a time, under the search's own protocol.
"""

from ray import tune

from search.study import Study
from trainables.convnet import ConvNetTrainable

CNN5 = {"depth": 5}
LONG = {**CNN5, "epochs": 20}

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
        "cnn5-20-epochs": LONG,
        "cnn5-20-epochs-patience-2": {**LONG, "patience": 2},
        "cnn5-20-epochs-label-smoothing-.1": {**LONG, "label_smoothing": 0.1},
        "cnn5-20-epochs-sgd": {**LONG, "optimizer": "sgd", "lr": 0.01},
        "cnn5-20-epochs-warmup-3": {**LONG, "warmup_epochs": 3},
        "cnn5-20-epochs-cosine": {**LONG, "decay": "cosine"},
    },
    smoke={"samples": 4, "epochs": 3, "train_images": 200},
)
