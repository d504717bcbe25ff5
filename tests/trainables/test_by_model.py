"""Notes B's and D's families through Ray's own Trainable: learn, save and restore, say what they are."""

import pytest
import torch

from trainables.base import build
from trainables.by_model import ConvNetOrPretrained
from trainables.convnet import ConvNet, ConvNetTrainable
from trainables.data.task import DeviceData
from trainables.image_trainable import image_trainable
from trainables.lenet import LeNet, LeNetTrainable
from trainables.network_memory import one_image_memory
from trainables.pretrained import PretrainedTrainable

SMALL = {"trial": 0, "epochs": 3, "train_images": 20, "test_images": 20, "batch_size": 10, "validation": False}
RESNET = {"model": "resnet18", "weights": "random", "image_size": 32}
FAMILIES = {
    "lenet": (
        LeNetTrainable,
        {"policy": "augmix", "flip": True, "crop_padding": 2, "dropout": 0.1, "initialization": "kaiming"},
    ),
    "lenet-adam": (LeNetTrainable, {"optimizer": "adam", "batch_norm": True, "decay": "cosine"}),
    "convnet": (ConvNetTrainable, {"depth": 2, "width": 4, "label_smoothing": 0.1}),
    "resnet18-staged": (PretrainedTrainable, RESNET | {"tuned": "staged", "warmup_epochs": 1}),
    "either": (ConvNetOrPretrained, {"model": "convnet", "depth": 2, "width": 4, "optimizer": "adam"}),
}


@pytest.fixture
def start_trial(digits, monkeypatch):
    # Sums on a GPU come in no fixed order, and what is tested is bit for bit.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trials = []

    def make(trainable, **config):
        class Trial(trainable):
            def setup(self, config):
                super().setup(config, digits)

        trials.append(Trial(SMALL | config))
        return trials[-1]

    yield make
    for trial in trials:
        trial.stop()


def figures(metrics):
    return {name: metrics.get(name) for name in ("epoch", "lr", "train_loss", "test_loss", "test_accuracy")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_trial_goes_on_elsewhere_as_if_uninterrupted(start_trial, family, tmp_path):
    trainable, config = FAMILIES[family]
    trial = start_trial(trainable, **config)
    whole = [figures(trial.train())]
    trial.save(str(tmp_path))
    whole += [figures(trial.train()), figures(trial.train())]
    other = start_trial(trainable, **config)
    other.restore(str(tmp_path))
    assert [figures(other.train()), figures(other.train())] == whole[1:]
    assert whole[-1]["test_accuracy"] is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_on_a_few_images_lower_their_loss(digits, family):
    trainable, config = FAMILIES[family]
    training = build(trainable, SMALL | {"lr": 0.005, **config, "epochs": 8}, DeviceData(digits))
    losses = [training.members[0].train_epoch(epoch).loss for epoch in range(1, 9)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("family", "network"),
    [("lenet", LeNet(10)), ("convnet", ConvNet(2, width=4, classes=10))],
    ids=["lenet", "convnet"],
)
def test_a_trial_reports_the_memory_of_one_image(start_trial, family, network):
    trainable, config = FAMILIES[family]
    trial = start_trial(trainable, **config | {"dropout": 0.0} if family == "lenet" else config)
    known = [trial.train()["one_image_memory_bytes"] for _ in range(2)]
    # Not with the first epoch: that would take a worker's first report some seconds.
    assert known == [None, one_image_memory(network, (3, 32, 32))]
    alone = start_trial(trainable, **config | {"epochs": 1})
    assert alone.train()["one_image_memory_bytes"] is not None


def test_the_memory_of_one_image_is_that_of_all_stages_a_trial_will_free(start_trial, tmp_path):
    whole, staged = RESNET | {"tuned": "all", "epochs": 7}, RESNET | {"tuned": "staged", "epochs": 7}
    known = []
    for config in (whole, staged):
        trial = start_trial(PretrainedTrainable, **config)
        trial.train()
        known.append(trial.train()["one_image_memory_bytes"])
    assert known[0] == known[1]
    trial.train()
    trial.save_checkpoint(str(tmp_path))
    restored = start_trial(PretrainedTrainable, **staged, restore=str(tmp_path))
    assert restored.train()["one_image_memory_bytes"] == known[0]
    few = start_trial(PretrainedTrainable, **staged | {"epochs": 2})
    assert [few.train(), few.train()][-1]["one_image_memory_bytes"] < known[0]


class Strict(torch.nn.Module):
    """A network whose forward pass needs its images' values, as a tutorial may write it."""

    def __init__(self, classes: int, channels: int, size: int, fails: str = "assert") -> None:
        super().__init__()
        self.fails, self.layer = fails, torch.nn.Linear(channels * size * size, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fails == "assert":
            assert x.device.type in ("cpu", "cuda")
        else:
            assert float(x.detach().numpy().max()) < 1e9
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("fails", ["assert", "numpy"])
def test_a_network_that_cannot_be_measured_without_values_trains_without_the_figure(start_trial, fails):
    trial = start_trial(image_trainable(Strict), fails=fails)
    last = [trial.train() for _ in range(3)][-1]
    assert (last["done"], last["one_image_memory_bytes"]) == (True, None)
    assert trial.training.members[0].network.layer.weight.device.type == "cpu"


def test_one_study_can_hold_both_groups_of_note_d(digits):
    data = DeviceData(digits)
    own = build(ConvNetOrPretrained, SMALL | {"model": "convnet", "depth": 3, "width": 16}, data)
    stock = build(ConvNetOrPretrained, SMALL | RESNET, data)
    assert own.parameters == sum(p.numel() for p in ConvNet(3, classes=10).parameters())
    assert type(stock.members[0].network).__name__ == "ResNet"
    assert stock.settings.momentum == 0.9
