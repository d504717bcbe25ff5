"""Does sharpness-aware minimisation help a wide ResNet on CIFAR-100, at which rho, and what does the rest add?

Question   the test accuracy that SAM, its adaptive form, label smoothing and Cutout add
Source     note C, optimisation and results; Foret et al., ICLR 2021; Kwon et al., ICML 2021
Cost       48 trials, 1,440 epochs, about 665 with early stopping: 11.1 days on two loaded cores
           (--plan, 2026-11-22)
Command    python -m search.run spaces/wide_resnet_sam.py --data DIR [--replay]

The search trains WRN-16-4 for 30 epochs. The arms train the note's WRN-34-10 for 200 epochs; the "thin-" arms train
WRN-16-2 by the note's recipe for 30 epochs, with a rate that falls after 6, 15, 21 and 26. A step of SAM takes two
passes and a step of plain SGD one, so there is also an arm of SGD with as many passes. The note prints the best of 200
epochs on the test set, the loss and each accuracy at an epoch of its own; the note's loss is `test_kl_loss` here. Its
statements on curves compare epochs of one run: "arm@45" is that arm after epoch 45.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.wide_resnet import WideResNetTrial

(sam,) = reported("c-wide-resnet-sam")

THIN = {"depth": 16, "width": 2, "epochs": 30}
FALLS = (40, 100, 140, 170)  # epochs after which the note's rate falls
THIN_FALLS = (6, 15, 21, 26)


def steps(name: str, arm: str, falls: tuple[int, ...], after: int, source: str) -> tuple[Claim, ...]:
    """Return the claims on what is other `after` epochs after each fall of the rate than at the fall.

    The note says of all falls that the test loss is lower and both accuracies are higher, of the first two that the
    training loss is lower, and of the third that the test loss falls less than at the second. It says that the gap of
    the accuracies grows after the first two and hardly changes after the last two.
    """
    losses = (("train_loss", "training", falls[:2]), ("test_kl_loss", "test", falls))
    accuracies = (("train_accuracy", "training"), ("test_accuracy", "test"))
    lower = (
        Claim(
            f"{name}-{quantity.removesuffix('_loss').removesuffix('_kl')}-loss-falls-after-epoch-{epoch}",
            f"The {words} loss is lower {after} epochs after the rate falls, after epoch {epoch}.",
            source,
            arms=(f"{arm}@{epoch + after}", f"{arm}@{epoch}"),
            quantity=quantity,
            expected="less",
        )
        for quantity, words, epochs in losses
        for epoch in epochs
    )
    higher = (
        Claim(
            f"{name}-{words}-accuracy-rises-after-epoch-{epoch}",
            f"The {words} accuracy is higher {after} epochs after the rate falls, after epoch {epoch}.",
            source,
            arms=(f"{arm}@{epoch + after}", f"{arm}@{epoch}"),
            quantity=quantity,
        )
        for quantity, words in accuracies
        for epoch in falls
    )
    first, second, third, fourth = falls
    gaps = (
        Claim(
            f"{name}-gap-grows-after-epoch-{start}",
            f"Between the falls of the rate after epochs {start} and {end} the gap grows.",
            source,
            arms=(f"{arm}@{end}", f"{arm}@{start}"),
            quantity="gap",
        )
        for start, end in ((first, second), (second, third))
    )
    return (
        *lower,
        *higher,
        *gaps,
        Claim(
            f"{name}-gap-is-steady-after-epoch-{third}",
            f"Between the falls of the rate after epochs {third} and {fourth} the gap changes by less than a point.",
            source,
            arms=(f"{arm}@{fourth}", f"{arm}@{third}"),
            quantity="gap",
            expected="equal",
            margin=0.01,
        ),
        Claim(
            f"{name}-test-loss-falls-less-after-epoch-{third}",
            f"The test loss changes less at the fall of the rate after epoch {third} than at that after {second}.",
            source,
            arms=(f"{arm}@{third + after}", f"{arm}@{third}", f"{arm}@{second + after}", f"{arm}@{second}"),
            quantity="test_kl_loss",
            kind="contrast",
            expected="less",
        ),
    )


study = Study(
    name="wide_resnet_sam",
    question="Does sharpness-aware minimisation help a wide ResNet, and at which rho?",
    source="note C, optimisation and results",
    trainable=WideResNetTrial,
    dataset="cifar100",
    epochs=30,
    samples=48,
    param_space={
        # Adaptive SAM's rho is some ten times larger for the same distance; 0 is plain SGD.
        "rho": tune.choice([0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]),
        "adaptive": tune.choice([False, True]),
        "freeze_batch_norm": tune.choice([False, True]),
        "label_smoothing": tune.choice([0.0, 0.05, 0.1, 0.2]),
        "cutout": tune.choice([0, 8, 16, 20]),
        "depth": 16,
        "width": 4,
    },
    arms={
        sam.arm: replay(sam),
        "sgd": replay(sam, rho=0.0),
        "sgd-as-many-passes": replay(sam, rho=0.0, epochs=400),
        "frozen-batch-norm": replay(sam, freeze_batch_norm=True),
        "no-cutout": replay(sam, cutout=0),
        "no-smoothing": replay(sam, label_smoothing=0.0),
        "thin-sam": replay(sam, **THIN),
        "thin-adaptive": replay(sam, **THIN, adaptive=True, rho=1.0),
        "thin-sgd": replay(sam, **THIN, rho=0.0),
        "thin-no-cutout": replay(sam, **THIN, cutout=0),
        "thin-sgd-no-cutout": replay(sam, **THIN, rho=0.0, cutout=0),
    },
    reported=(sam,),
    claims=(
        Claim(
            "sam-generalises-better",
            "SAM's flat minima generalise better than those of SGD alone: the reason the note gives for it.",
            "note C, optimisation",
            arms=(sam.arm, "sgd"),
        ),
        Claim(
            "sam-is-worth-its-passes",
            "SAM is better than SGD with twice the epochs, which takes as many passes.",
            "note C, optimisation, at equal cost",
            arms=(sam.arm, "sgd-as-many-passes"),
        ),
        Claim(
            "cutout-generalises-better",
            "Cutout improves generalisation: the reason the note gives for it.",
            "note C, data",
            arms=(sam.arm, "no-cutout"),
        ),
        Claim(
            "frozen-batch-norm-tests-better",
            "BatchNorm's statistics of the second pass spoil the test: why the note means to freeze them.",
            "note C, training",
            arms=("frozen-batch-norm", sam.arm),
        ),
        Claim(
            "sam-generalises-better-on-a-thin-network",
            "SAM's flat minima generalise better than those of SGD alone, on WRN-16-2 after 30 epochs, too.",
            "note C, optimisation, told apart",
            arms=("thin-sam", "thin-sgd"),
        ),
        Claim(
            "adaptive-sam-generalises-better-on-a-thin-network",
            "Adaptive SAM's minima generalise better than those of SGD alone, on WRN-16-2 after 30 epochs.",
            "note C, optimisation, told apart",
            arms=("thin-adaptive", "thin-sgd"),
        ),
        Claim(
            "cutout-generalises-better-on-a-thin-network",
            "Cutout improves generalisation on WRN-16-2 after 30 epochs, too.",
            "note C, data, told apart",
            arms=("thin-sam", "thin-no-cutout"),
        ),
        *steps("the", sam.arm, FALLS, 5, "note C, results"),
        *steps("a-thin-networks", "thin-sam", THIN_FALLS, 1, "note C, results, told apart"),
    ),
    smoke={"samples": 6, "epochs": 2, "train_images": 200, "batch_size": 32, "depth": 10, "width": 1},
)
