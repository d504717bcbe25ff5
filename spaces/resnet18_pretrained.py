"""What do ImageNet weights give ResNet-18 on CIFAR-10?

Question   frozen layers under a trained head, layers freed stage by stage, or all tuned; at 32 and at 224 pixels
Source     note B, question 8 (a branch of its code, for which it reports no figure)
Cost       see --plan (needs a GPU at 224 pixels)
Command    python -m search.run spaces/resnet18_pretrained.py --data DIR --weights DIR [--replay]

Without --weights the file comes from torchvision's cache or server. The first arm is the note's branch:
the note's recipe for ResNet-18, at 32 pixels and without the normalisation that the weights were trained with.
--smoke uses random weights.
"""

from ray import tune

from search.study import Study
from spaces.notes import replay, reported
from trainables.pretrained import PretrainedTrainable

(scratch,) = reported("b-8-resnet18")
AS_SCRATCH = {"image_size": 32, "normalization": "half"}

study = Study(
    name="resnet18_pretrained",
    question="What do ImageNet weights give ResNet-18?",
    source="note B, question 8",
    trainable=PretrainedTrainable,
    dataset="cifar10",
    epochs=12,
    samples=24,
    param_space={
        "model": "resnet18",
        "optimizer": "adam",
        "decay": "cosine",
        "flip": True,
        "tuned": tune.choice(["head", "staged", "all"]),
        "image_size": tune.choice([32, None]),
        "lr": tune.loguniform(1e-4, 1e-2),
    },
    arms={
        "8-frozen": replay(scratch, **AS_SCRATCH, tuned="head"),
        "8-frozen-as-the-weights-want": replay(scratch, tuned="head", center_crop=True),
        "8-tuned": replay(scratch, **AS_SCRATCH),
    },
    smoke={"samples": 4, "epochs": 2, "train_images": 20, "test_images": 20, "weights": "random", "image_size": 32},
)
