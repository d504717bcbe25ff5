import pytest
import torch.nn.functional as F
from torch import nn

from trainables.base import build
from trainables.convnet import ConvNetTrainable
from trainables.data.task import DeviceData
from trainables.ensembles.bagging import Bagging
from trainables.ensembles.patience import PatienceSettings, PatientBagging
from trainables.image_trainable import image_trainable
from trainables.training.settings import SettingError

EPOCHS = 8


def history(training):
    found = []
    while training.epoch < training.total_epochs:
        found.append(training.run_epoch())
    return found


@pytest.fixture(scope="module")
def make_training(digits):
    data = DeviceData(digits)
    small = {"epochs": EPOCHS, "depth": 2, "width": 4, "train_images": 60, "batch_size": 20, "optimizer": "sgd"}
    return lambda patience=None, **config: build(ConvNetTrainable, small | {"patience": patience} | config, data)


def test_without_patience_it_is_bagging(make_training):
    training = make_training()
    assert type(training) is PatientBagging
    plain, found = history(Bagging(training.recipe)), history(training)
    assert [m["val_accuracy"] for m in found] == [m["val_accuracy"] for m in plain]
    assert len(found) == EPOCHS


@pytest.mark.parametrize("patience", [1, 2])
def test_ends_after_so_many_epochs_without_a_better_accuracy(make_training, patience):
    # At this rate the accuracy soon falls back.
    accuracies = [m["val_accuracy"] for m in history(make_training(lr=0.5))]
    best, waited, expected = -1.0, 0, EPOCHS
    for epoch, accuracy in enumerate(accuracies, 1):
        waited = 0 if accuracy > best else waited + 1
        best = max(best, accuracy)
        if waited == patience:
            expected = epoch
            break
    assert expected < EPOCHS
    found = history(make_training(patience, lr=0.5))
    assert len(found) == expected
    assert [m["val_accuracy"] for m in found] == accuracies[:expected]
    # Complete: its own length is what it ran, and it was tested.
    assert [m["total_epochs"] for m in found] == [EPOCHS] * (expected - 1) + [expected]
    assert [("test_accuracy" in m, "predicted" in m) for m in found] == [(False, False)] * (expected - 1) + [
        (True, True)
    ]


def test_a_trial_restored_after_any_epoch_ends_at_the_same_one(make_training):
    whole = [m["val_accuracy"] for m in history(make_training(2, lr=0.5))]
    training = make_training(2, lr=0.5)
    for epoch in range(1, len(whole) + 1):
        training.run_epoch()
        resumed = make_training(2, lr=0.5)
        resumed.load_state_dict(training.state_dict())
        assert [m["val_accuracy"] for m in history(resumed)] == whole[epoch:]


def test_a_trial_that_ends_early_has_the_votes_training_accuracy_of_its_last_epoch(make_training):
    found = history(make_training(2, lr=0.5, train_measure="after", train_measure_every=EPOCHS))
    assert 2 < len(found) < EPOCHS
    assert [m["train_accuracy"] is None for m in found] == [False, *[True] * (len(found) - 2), False]
    whole = history(make_training(lr=0.5, train_measure="after"))
    assert found[-1]["train_accuracy"] == whole[len(found) - 1]["train_accuracy"]


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)  # in evaluation, too


def noisy(classes: int, channels: int, size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), Noisy(), nn.Linear(channels * size * size, classes))


def test_a_trial_that_ends_early_reports_the_accuracy_that_ended_it(digits):
    """A network that draws in evaluation draws the same for an epoch, however often it is measured."""
    small = {"epochs": EPOCHS, "train_images": 60, "batch_size": 20, "lr": 0.5, "patience": 1}
    training = build(image_trainable(noisy), small, DeviceData(digits))
    found = history(training)
    assert 1 < len(found) < EPOCHS
    assert [m["val_accuracy"] for m in found] == training.members[0].val_accuracies


def test_patience_needs_a_validation_set():
    with pytest.raises(SettingError, match="patience must be None if validation is false, got 2"):
        PatienceSettings(patience=2, validation=False)
