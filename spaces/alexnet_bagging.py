"""Which rate, dropout, batch size, momentum, decay and ensemble size suit a bagged AlexNet on CIFAR-100?

Question   dropout's effect on the train-test gap, and how robust Bagging is to rate, members, batch size
           and decay
Source     note A, sections 4.6 and 4.7
Command    python -m search.run spaces/alexnet_bagging.py --data DIR
"""

from ray import tune

from search.study import Study
from trainables.alexnet import BaggedAlexNet

study = Study(
    name="alexnet_bagging",
    question="Which rate, dropout, batch size, momentum, decay and ensemble size suit a bagged AlexNet?",
    source="note A, sections 4.6 and 4.7",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=20,
    samples=64,
    param_space={
        "lr": tune.loguniform(0.03, 0.1),
        "dropout": tune.uniform(0.1, 0.9),
        "batch_size": tune.choice([16, 32, 64, 128]),
        "momentum": tune.choice([0.0, 0.9]),
        "members": tune.choice([1, 3, 6, 9, 12]),
        "decay": tune.choice(["exponential", "cosine"]),
        "augmentation": tune.choice(["none", "real-time"]),
        # 4.7 leaves the random crop out of its augmentation.
        "random_crop": False,
    },
    smoke={
        "samples": 10,
        "epochs": 4,
        "train_images": 300,
        "members": tune.choice([1, 2, 3]),
        "batch_size": tune.choice([16, 32]),
    },
)
