"""Which pretrained network suits CIFAR-100 best?

Question   VGG19, ResNet101, ViT-B/32 and Swin-B after 5 epochs: tuned whole, by the head alone or stage by stage, and
           at which rate
Source     note D, 2, 3 and 4
Cost       see --plan (needs a GPU)
Command    python -m search.run spaces/pretrained_models.py --data DIR --weights DIR [--replay]

Without --weights the files come from torchvision's cache or server. The note prints no momentum for its SGD: these
arms take .9, the usual value; nor does it say which of ResNet101's two versions of weights it has: these arms have the
newer, torchvision's default. The note resizes the whole picture to the weights' size (Resize, ToTensor, Normalize);
arms that end in "-center-crop" resize and cut the picture like the weights' own transform. The note's losses are
those of single steps, ours the mean of an epoch, so they are not compared. --smoke uses random weights and images of
32 pixels: it tests the machinery and says nothing about these networks.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.pretrained import PretrainedTrainable

ALL = vgg, resnet, vit, swin = reported("d-vgg19", "d-resnet101", "d-vit-b-32", "d-swin-b")
CROPPED = "-center-crop"

study = Study(
    name="pretrained_models",
    question="Which pretrained network suits CIFAR-100 best?",
    source="note D, 2, 3 and 4",
    trainable=PretrainedTrainable,
    dataset="cifar100",
    epochs=5,
    samples=24,
    param_space={
        "model": tune.choice(["vgg19", "resnet101", "vit_b_32", "swin_b"]),
        "tuned": tune.choice(["all", "head", "staged"]),
        "lr": tune.loguniform(1e-4, 3e-2),
        "warmup_epochs": tune.choice([0, 1]),
        "decay": tune.choice(["constant", "cosine"]),
    },
    arms={run.arm: replay(run) for run in ALL} | {f"{run.arm}{CROPPED}": replay(run, center_crop=True) for run in ALL},
    reported=ALL,
    claims=(
        Claim(
            "three-pretrained-end-alike",
            "ResNet101, ViT-B/32 and Swin-B end within a point of each other: 83.92, 84.34, 83.53 %.",
            "note D, 4 and 5",
            arms=(resnet.arm, vit.arm, swin.arm),
            kind="within",
            margin=0.01,
            printed=("83.92 %", "84.34 %", "83.53 %"),
        ),
        Claim(
            "three-pretrained-end-alike-center-cropped",
            "Center-cropped, too, ResNet101, ViT-B/32 and Swin-B end within a point of each other.",
            "note D, 4 and 5, told apart",
            arms=tuple(f"{run.arm}{CROPPED}" for run in (resnet, vit, swin)),
            kind="within",
            margin=0.01,
        ),
        Claim(
            "resnet101-beats-vgg19",
            "ResNet101 has the higher test accuracy: 83.92 against VGG19's 71.61 %.",
            "note D, 4",
            arms=(resnet.arm, vgg.arm),
            printed=("83.92 %", "71.61 %"),
        ),
        Claim(
            "resnet101-is-smaller-than-vgg19",
            "ResNet101 has fewer parameters than VGG19.",
            "note D, 4",
            arms=(resnet.arm, vgg.arm),
            quantity="parameters",
            expected="less",
            printed=("42,705,060", "139,979,940"),
        ),
    ),
    smoke={
        "samples": 4,
        "epochs": 2,
        "train_images": 10,
        "test_images": 10,
        "batch_size": 10,
        "weights": "random",
        "image_size": 32,
    },
)
