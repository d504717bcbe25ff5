"""Members trained in one step are what they would be alone."""

import copy
import math

import pytest
import torch
from torch import nn

from trainables.alexnet import AlexNet, AlexNetRecipe
from trainables.base import build
from trainables.data.task import DeviceData, Task
from trainables.ensembles.bagging import Bagging
from trainables.ensembles.fused import FusedNetwork, can_fuse
from trainables.image_trainable import image_trainable
from trainables.training.loop import Diverged

# 60 images of batch 16: three full batches and a short one.
EVERYTHING = {"members": 3, "dropout": 0.0, "bootstrap": True, "augmentation": "real-time", "weight_decay": 1e-3}


class DoubleRecipe(AlexNetRecipe):
    """In float64, where rounding does not hide a difference; with what the families have in their layers."""

    def network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(3),
            nn.Flatten(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(6 * 7 * 7, self.task.data.classes),
        ).double()

    def _prepared(self, images: torch.Tensor) -> torch.Tensor:
        return super()._prepared(images).double()


@pytest.fixture
def make_training(make_recipe):
    def build(**config) -> Bagging:
        made = make_recipe(**EVERYTHING | config)
        return Bagging(DoubleRecipe(made.settings, Task.of(made.task.data, made.settings)))

    return build


def states(training: Bagging) -> list[torch.Tensor]:
    """All weights, running statistics and optimizer state of all members."""
    found = []
    for member in training.members:
        state = member.state_dict()
        found += list(state["network"].values())
        found += [value for each in state["optimizer"]["state"].values() for value in each.values()]
    return found


def close(one: Bagging, other: Bagging) -> None:
    pairs = list(zip(states(one), states(other), strict=True))
    assert len(pairs) >= 3 * 9
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize(
    "config",
    [
        {"momentum": 0.9},
        {"optimizer": "adam", "lr": 0.01},
        {"label_smoothing": 0.1, "decay": "cosine", "loss_unit": "bits"},
    ],
)
def test_fused_members_are_separate_members_step_for_step(make_training, config):
    fused, separate = make_training(engine="fuse", **config), make_training(**config)
    for _ in range(2):
        together, alone = fused.run_epoch(), separate.run_epoch()
        close(fused, separate)
        for name in ("train_loss", "train_accuracy", "each_val_accuracy", "lr"):
            assert together[name] == pytest.approx(alone[name], rel=1e-9)
    assert fused.fused is not None
    assert separate.fused is None


@pytest.mark.parametrize(("first", "then"), [("fuse", "plain"), ("plain", "fuse")])
def test_a_checkpoint_of_one_engine_goes_on_under_the_other(make_training, first, then):
    config = {"momentum": 0.9, "epochs": 3}
    begun, expected = make_training(engine=first, **config), make_training(**config)
    begun.run_epoch()
    resumed = make_training(engine=then, **config)
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    for _ in range(2):
        resumed.run_epoch()
    for _ in range(3):
        expected.run_epoch()
    close(resumed, expected)


def test_each_member_drops_out_what_it_likes(make_training):
    fused = make_training(engine="fuse", dropout=0.5, bootstrap=False)
    first, again = (
        fused.run_epoch()["train_loss"],
        make_training(engine="fuse", dropout=0.5, bootstrap=False).run_epoch(),
    )
    assert again["train_loss"] == first
    network = FusedNetwork([fused.members[0].network] * 2).train()
    alike = network(torch.rand(4, 3, 32, 32, dtype=torch.float64).expand(2, -1, -1, -1, -1))
    assert not torch.equal(alike[0], alike[1])


@pytest.mark.parametrize("optimizer", ["AdamW", "NAdam", "ASGD"])
def test_a_weight_that_is_one_number_is_fused_too(digits, optimizer):
    """What an optimizer derives from its count of steps has its shape."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.linear = nn.Linear(digits.channels * digits.size**2, digits.classes)

        def forward(self, images):
            return self.linear(images.flatten(1)) * self.scale

    def scaled(classes):
        return Scaled()

    def scales(engine):
        config = {"members": 2, "epochs": 2, "engine": engine, "optimizer": optimizer, "lr": 0.01}
        training = build(image_trainable(scaled), config, DeviceData(digits))
        for _ in range(2):
            training.run_epoch()
        return [member.network.scale.item() for member in training.members]

    assert scales("fuse") == pytest.approx(scales("plain"), rel=1e-4)


def test_a_diverged_member_is_named(make_training):
    with pytest.raises(Diverged, match=r"^training loss is nan in epoch 1 of member 1$"):
        make_training(engine="fuse", lr=1e200).run_epoch()


def test_one_member_and_an_update_of_its_own_train_as_ever(make_recipe):
    class OwnUpdate(DoubleRecipe):
        def update(self, *arguments):
            return super().update(*arguments)

    several = make_recipe(**EVERYTHING | {"engine": "fuse+bf16"})
    assert can_fuse(several)
    assert not can_fuse(make_recipe(**EVERYTHING))
    assert not can_fuse(make_recipe(engine="fuse"))
    own = OwnUpdate(several.settings, several.task)
    assert not can_fuse(own)
    training = Bagging(own)
    assert math.isfinite(training.run_epoch()["train_loss"])
    assert training.fused is None


def test_the_enlarged_convolution_of_alexnet_is_fused_too():
    torch.manual_seed(0)
    networks = [AlexNet(10, ratio=0.9, dropout=0.0).double().train() for _ in range(2)]
    images = torch.rand(2, 3, 3, 32, 32, dtype=torch.float64)
    fused = FusedNetwork(networks)(images)
    for network, own, found in zip(networks, images, fused, strict=True):
        torch.testing.assert_close(found, network(own), atol=1e-10, rtol=1e-8)
