"""How deep and how wide should a residual network for CIFAR-100 be, given its number of parameters?

Question   validation accuracy against parameters over depth and width; wide and shallow against deep and thin
Source     note C, model; Zagoruyko and Komodakis, BMVC 2016
Cost       see --plan
Command    python -m search.run spaces/wide_resnet_size.py --data DIR [--replay]

The arms are the plain ResNet (width 1) of 100 layers with 1,542,196 parameters, and WRN-28-2 with 1,479,220, both
trained by the note's recipe.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.wide_resnet import WideResNetTrial

(sam,) = reported("c-wide-resnet-sam")

study = Study(
    name="wide_resnet_size",
    question="How deep and how wide should a residual network be, given its number of parameters?",
    source="note C, model",
    trainable=WideResNetTrial,
    dataset="cifar100",
    epochs=30,
    samples=48,
    objectives={"parameters": "min"},
    param_space={
        "depth": tune.choice([10, 16, 22, 28, 34, 40]),
        "width": tune.choice([1, 2, 3, 4, 6, 8, 10]),
    },
    arms={
        "deep-and-thin": replay(sam, depth=100, width=1),
        "shallow-and-wide": replay(sam, depth=28, width=2),
    },
    claims=(
        Claim(
            "wider-is-as-good",
            "Widened, a ResNet of as many parameters is as good or better: less than a point worse.",
            "note C, model",
            arms=("shallow-and-wide", "deep-and-thin"),
            kind="no_worse",
            margin=0.01,
        ),
        Claim(
            "wider-is-faster",
            "Widened, a ResNet of as many parameters trains faster.",
            "note C, model",
            arms=("shallow-and-wide", "deep-and-thin"),
            quantity="seconds_per_epoch",
            kind="ratio",
            expected="less",
        ),
    ),
    smoke={
        "samples": 6,
        "epochs": 2,
        "train_images": 200,
        "batch_size": 32,
        "depth": 10,
        "width": tune.choice([1, 2]),
    },
)
