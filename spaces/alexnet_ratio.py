"""How small can AlexNet be on CIFAR-100, and at what accuracy?

Question   validation accuracy against parameters, with the compression ratio as the size axis
Source     note A, section 2: the ratio is .6 throughout, and 4.8 asks for another
Cost       64 trials, 1,280 epochs, about 736 with early stopping: 3.7 days on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_ratio.py --data DIR [--searcher tpe]

The study has two objectives. A trial is stopped early only against trials no larger than itself, so that small
networks are not stopped for being small. A trial that was stopped stands on no front.
"""

from ray import tune

from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet

(single,) = reported("a-4.1-single-bn")

study = Study(
    name="alexnet_ratio",
    question="How small can AlexNet be, and at what accuracy?",
    source="note A, section 2",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=20,
    samples=64,
    objectives={"parameters": "min"},
    searcher="nsga2",
    param_space={
        "ratio": tune.uniform(0.2, 1.0),
        "dropout": tune.uniform(0.05, 0.6),
        "lr": tune.loguniform(0.01, 0.1),
    },
    arms={single.arm: replay(single)},
    reported=(single,),
    smoke={"samples": 8, "epochs": 4, "train_images": 200, "ratio": tune.uniform(0.5, 0.9)},
)
