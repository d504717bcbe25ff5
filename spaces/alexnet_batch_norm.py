"""Do BatchNorm and normalised inputs help a compressed AlexNet on CIFAR-100?

Question   the test accuracy that BatchNorm and the normalisation of pixels add, together and each alone
Source     note A, section 4.1
Cost       48 trials, 960 epochs, about 443 with early stopping: 27.9 h on two loaded cores
           (--plan, 2026-11-22, before conv1 was folded)
Command    python -m search.run spaces/alexnet_batch_norm.py --data DIR [--replay]

The note's two runs also differ in members and decay; the clean arms turn each switch on the note's single model. The
arms "clean-loss-in-" test on that model whether the note trained on its loss in bits, the unit that it prints.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet

bagging, single = reported("a-4.1-bagging-no-bn", "a-4.1-single-bn")

study = Study(
    name="alexnet_batch_norm",
    question="Do BatchNorm and normalised inputs help a compressed AlexNet?",
    source="note A, section 4.1",
    trainable=BaggedAlexNet,
    dataset="cifar100",
    epochs=20,
    samples=48,
    param_space={
        "batch_norm": tune.choice([False, True]),
        "normalize": tune.choice([False, True]),
        "lr": tune.loguniform(0.01, 0.1),
        "decay": tune.choice(["exponential", "cosine"]),
    },
    arms={
        bagging.arm: replay(bagging),
        single.arm: replay(single),
        "clean-no-batch-norm": replay(single, batch_norm=False),
        "clean-not-normalized": replay(single, normalize=False),
        "clean-neither": replay(single, batch_norm=False, normalize=False),
        # One of these two arms trains like the single model, which then answers that arm.
        "clean-loss-in-nats": replay(single, loss_unit="nats"),
        "clean-loss-in-bits": replay(single, loss_unit="bits"),
    },
    reported=(bagging, single),
    claims=(
        Claim(
            "batch-norm-and-normalization-help",
            "With BatchNorm and normalised inputs the test accuracy is higher.",
            "note A, 4.1, from its figures",
            arms=(single.arm, bagging.arm),
            printed=("53 %", "47.2 %"),
            confounded_by=("members", "decay"),
            clean_arms=(single.arm, "clean-neither"),
        ),
        Claim(
            "batch-norm-helps",
            "Of the two, BatchNorm alone raises the test accuracy.",
            "note A, 4.1, told apart",
            arms=(single.arm, "clean-no-batch-norm"),
        ),
        Claim(
            "normalization-helps",
            "Of the two, normalisation alone raises the test accuracy.",
            "note A, 4.1, told apart",
            arms=(single.arm, "clean-not-normalized"),
        ),
        *(
            Claim(
                f"4.1-was-trained-on-its-loss-in-{unit}",
                f"Trained on its loss in {unit}, 4.1's single model has after epoch 7 the loss that the note prints, "
                "3.3854 bits or 2.347 nats, within .05.",
                "note A, 4.1, told apart",
                arms=(f"clean-loss-in-{unit}",),
                quantity="train_loss@7",
                kind="level",
                low=2.297,
                high=2.397,
                printed=("2.347",),
            )
            for unit in ("nats", "bits")
        ),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200},
)
