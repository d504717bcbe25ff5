"""A finished trial's best.pt labels images as the trial did."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.alexnet import BoostedAlexNetRecipe
from trainables.base import ImageTrainable, build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData
from trainables.ensembles.adaboost import AdaBoost
from trainables.image_trainable import image_trainable
from trainables.lenet import LeNetTrainable
from trainables.predictor import PredictorError
from trainables.training import checkpoint
from trainables.training.settings import SettingError


class TinyBoostedRecipe(BoostedAlexNetRecipe):
    def network(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(600, 10)
        )


class TinyBoosted(ImageTrainable):
    recipe = TinyBoostedRecipe
    strategy = AdaBoost


TINY = {"train_images": 60, "batch_size": 16, "lr": 0.05, "members": 3, "trial": 4, "restore": None}


def trained(trainable: type[ImageTrainable], config: dict, data: ImageData) -> tuple[bytes, dict]:
    """Weights as best.pt holds them, and the last epoch's result."""
    training = build(trainable, config, DeviceData(data))
    while training.epoch < training.total_epochs:
        result = training.run_epoch()
    return bytes(checkpoint.dump(training.state_dict())), result


@pytest.mark.parametrize(
    ("trainable", "config"),
    [
        (LeNetTrainable, {"epochs": 2}),
        (LeNetTrainable, {"epochs": 2, "vote": "soft", "batch_norm": True}),
        (TinyBoosted, {"epochs": 1}),
        (TinyBoosted, {"epochs": 1, "vote": "hard"}),
        (TinyBoosted, {"epochs": 1, "vote": "logits", "boosting": "samme"}),
    ],
)
def test_the_predictor_labels_every_test_image_as_the_trial_did(trainable, config, digits) -> None:
    weights, result = trained(trainable, TINY | config, digits)
    predictor = trainable.load_network(weights, TINY | config, digits.described(), digits.class_names)
    assert not predictor.training
    images = torch.from_numpy(digits.test_images)
    assert predictor.labels(images).tolist() == result["predicted"].tolist()
    probabilities = predictor(images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))
    if config.get("vote", "hard") != "hard":
        assert probabilities.argmax(1).tolist() == result["predicted"].tolist()
    loss = torch.nn.functional.nll_loss(probabilities.log(), torch.from_numpy(digits.test_labels)).item()
    assert loss == pytest.approx(result["test_loss"], rel=1e-4)


def test_a_picture_of_another_size_is_prepared_as_the_data_set_was(digits) -> None:
    weights, _ = trained(LeNetTrainable, TINY | {"epochs": 1}, digits)
    predictor = LeNetTrainable.load_network(weights, TINY | {"epochs": 1}, digits.described(), digits.class_names)
    assert predictor.class_names == tuple("0123456789")
    wide = np.zeros((40, 60), np.uint8)
    wide[:, 10:50] = 200  # the middle square
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    for picture in (file.getvalue(), Image.fromarray(wide)):
        prepared = predictor.prepare(picture)
        assert prepared.shape == (3, 32, 32)
        assert prepared.unique().tolist() == [200]
    with pytest.raises(ValueError, match=r"uint8 images \[n, 3, h, w\] required, got torch.float32"):
        predictor(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"uint8 images \[n, 3, 32, 32\] required, got \[1, 3, 28, 28\]: prepare"):
        predictor(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize("evaluation", ["float32", "bf16"])
def test_outputs_have_the_precision_of_the_trials_evaluation(digits, evaluation: str) -> None:
    config = TINY | {"epochs": 1, "evaluation": evaluation}
    training = build(LeNetTrainable, config, DeviceData(digits))
    training.run_epoch()
    weights = bytes(checkpoint.dump(training.state_dict()))
    predictor = LeNetTrainable.load_network(weights, config, digits.described(), digits.class_names)
    images = torch.from_numpy(digits.test_images)
    outputs = torch.stack([member.logits(images, torch.arange(len(images))) for member in training.members])
    assert predictor.logits(images).tolist() == outputs.tolist()


def test_images_are_prepared_one_batch_at_a_time(digits, monkeypatch) -> None:
    weights, _ = trained(LeNetTrainable, TINY | {"epochs": 1}, digits)
    predictor = LeNetTrainable.load_network(weights, TINY | {"epochs": 1}, digits.described(), digits.class_names)
    images = torch.from_numpy(digits.train_images[:260])
    order: list[str] = []
    prepare = predictor.recipe.test_inputs
    monkeypatch.setattr(predictor.recipe, "test_inputs", lambda batch: order.append("prepared") or prepare(batch))
    for network in predictor.networks:
        network.register_forward_hook(lambda *_: order.append("predicted"))
    with torch.no_grad():
        assert predictor.logits(images).shape == (3, 260, 10)
    assert order == ["prepared", *["predicted"] * 3] * 3
    assert predictor.logits(images[:0]).shape == (3, 0, 10)


def weighted(classes: int, channels: int, size: int, weights: str = "wide") -> torch.nn.Module:
    width = {"wide": 8, "narrow": 2}[weights]
    layers = torch.nn.Linear(channels * size * size, width), torch.nn.Linear(width, classes)
    return torch.nn.Sequential(torch.nn.Flatten(), *layers)


def test_a_hyperparameter_of_ones_own_may_be_called_weights(digits) -> None:
    trainable, config = image_trainable(weighted), TINY | {"epochs": 1, "weights": "narrow"}
    weights, metrics = trained(trainable, config, digits)
    predictor = trainable.load_network(weights, config, digits.described(), digits.class_names)
    assert predictor.labels(torch.from_numpy(digits.test_images)).tolist() == metrics["predicted"].tolist()


def test_weights_that_make_no_predictor_are_refused_in_one_line(digits) -> None:
    weights, _ = trained(LeNetTrainable, TINY | {"epochs": 1}, digits)
    like = (digits.described(), digits.class_names)
    for spoilt, config, words in (
        (weights[:100], {}, "damaged"),
        (weights, {"conv1": 7}, "does not fit the network"),
        (bytes(checkpoint.dump({"runs": {}})), {}, "must hold the members"),
        (bytes(checkpoint.dump({"members": [np.float64(1)]})), {}, "must hold tensors, numbers and text, got numpy"),
    ):
        with pytest.raises(PredictorError, match=words) as caught:
            LeNetTrainable.load_network(spoilt, config, *like)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="unknown hyperparameter 'color'"):
        LeNetTrainable.load_network(weights, {"color": 1}, *like)
