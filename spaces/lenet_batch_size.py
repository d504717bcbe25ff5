"""Is a larger batch better for a small LeNet on CIFAR-10?

Question   test accuracy after 12 epochs by batch size, at one rate for all and at the rate that suits each
Source     note B, question 0
Cost       32 trials, 384 epochs, about 174 with early stopping: 29 min on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/lenet_batch_size.py --data DIR [--replay]

The note changes the batch size and keeps the rate and the epochs: a larger batch then makes fewer steps of the same
length. Further arms scale the rate with the batch size.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.lenet import LeNetTrainable

BATCHES = (16, 32, 64, 128)
runs = reported(*(f"b-0-batch-{size}" for size in BATCHES))
scaled = {
    run.arm if size == 64 else f"batch-{size}-scaled-lr": replay(run, lr=0.001 * size / 64)
    for size, run in zip(BATCHES, runs, strict=True)
}

study = Study(
    name="lenet_batch_size",
    question="Is a larger batch better for a small LeNet?",
    source="note B, question 0",
    trainable=LeNetTrainable,
    dataset="cifar10",
    epochs=12,
    samples=32,
    param_space={
        "batch_size": tune.choice([16, 32, 64, 128, 256]),
        "lr": tune.loguniform(1e-4, 3e-2),
    },
    arms={run.arm: replay(run) for run in runs} | scaled,
    reported=runs,
    claims=(
        Claim(
            "larger-batch-is-worse",
            "From batch 16 to 128 the test accuracy falls with every doubling: 65, 63, 56, 47 %.",
            "note B, 0",
            arms=tuple(run.arm for run in runs),
            kind="order",
            expected="decreasing",
            effect=0.02,
        ),
        Claim(
            "larger-batch-is-worse-at-a-scaled-rate",
            "Also with a rate in proportion to the batch the test accuracy falls from batch 16 to 128.",
            "note B, 0, told apart",
            arms=tuple(scaled),
            kind="order",
            expected="decreasing",
        ),
    ),
    smoke={"samples": 4, "epochs": 2, "train_images": 200},
)
