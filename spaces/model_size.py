"""How much accuracy on CIFAR-100 does a larger model buy?

Question   accuracy against parameters, over plain networks of any depth and width and over pretrained networks
Source     note D, 4 (its table of seven models)
Cost       see --plan (needs a GPU)
Command    python -m search.run spaces/model_size.py --data DIR --weights DIR [--replay]

Parameters compare across models, and so does `one_image_memory_bytes`, computed in one way for all models
(trainables/network_memory.py). The note's column "total size" does not compare across rows: its own networks are
measured at batch 64, VGG19 and ResNet101 at batch 1, the two transformers by another tool that leaves attention
weights out. --smoke uses random weights and images of 32 pixels.
"""

from ray import tune

from search.records import Claim
from search.study import Study
from spaces.notes import replay, reported
from trainables.by_model import ConvNetOrPretrained

own = cnn2, cnn3, cnn5 = reported("d-cnn2", "d-cnn3", "d-cnn5")
pretrained = vgg, resnet, vit, swin = reported("d-vgg19", "d-resnet101", "d-vit-b-32", "d-swin-b")

study = Study(
    name="model_size",
    question="How much accuracy does a larger model buy?",
    source="note D, 4",
    trainable=ConvNetOrPretrained,
    dataset="cifar100",
    epochs=5,
    samples=48,
    objectives={"parameters": "min"},
    param_space={
        "model": tune.choice(["convnet", "resnet18", "resnet101", "vgg19", "vit_b_32", "swin_b"]),
        # Depth and width apply to convnet alone; the other models keep their published size.
        "depth": tune.choice([1, 2, 3, 4, 5]),
        "width": tune.choice([8, 16, 32, 64]),
        "optimizer": tune.choice(["sgd", "adam"]),
        "lr": tune.loguniform(1e-5, 1e-2),
    },
    arms={run.arm: replay(run, model="convnet", depth=depth) for run, depth in zip(own, (2, 3, 5), strict=True)}
    | {run.arm: replay(run) for run in pretrained}
    | {"clean-vgg19": replay(cnn5, model="vgg19", weights="random", image_size=32)},
    reported=(*own, *pretrained),
    claims=(
        Claim(
            "vgg19-beats-cnn5",
            "More width and depth help: VGG19 tests higher than the note's own five layers.",
            "note D, 4 and 5",
            arms=(vgg.arm, cnn5.arm),
            printed=("71.61 %", "44.20 %"),
            confounded_by=("optimizer", "weights", "image_size"),
            clean_arms=("clean-vgg19", cnn5.arm),
        ),
        Claim(
            "vgg19-is-the-largest",
            "VGG19 has the most parameters of the seven models: more than ViT, the next.",
            "note D, 4",
            arms=(vgg.arm, vit.arm),
            quantity="parameters",
            printed=("139,979,940", "87,532,132"),
        ),
        Claim(
            "vit-and-swin-are-as-large",
            "ViT and Swin have about as many parameters, within 5 %.",
            "note D, 4",
            arms=(vit.arm, swin.arm),
            quantity="parameters",
            kind="ratio",
            expected="equal",
            margin=0.05,
            printed=("87,532,132", "86,845,724"),
        ),
        Claim(
            "swin-takes-more-memory",
            "Swin takes more memory in training than ViT, which has as many parameters.",
            "note D, 4",
            arms=(swin.arm, vit.arm),
            quantity="one_image_memory_bytes",
        ),
    ),
    smoke={
        "samples": 6,
        "epochs": 2,
        "train_images": 20,
        "test_images": 20,
        "model": tune.choice(["convnet", "resnet18"]),
        "weights": "random",
        "image_size": 32,
    },
)
