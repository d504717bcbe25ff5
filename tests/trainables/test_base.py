"""Through Ray's own Trainable: train, save, restore and reset are the calls that Ray Tune makes."""

import math

import pytest
import torch

from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.checkpoint import CHECKPOINT_FILE
from trainables.settings import SettingError
from trainables.task import DeviceData

CONFIG = {
    "trial": 0,
    "ratio": 0.9,
    "epochs": 3,
    "train_images": 20,
    "test_images": 20,
    "batch_size": 10,
    "members": 2,
    "lr": 0.05,
    "momentum": 0.9,
    "dropout": 0.5,
    "augmentation": "cached",
}
OURS = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "each_test_accuracy"}


@pytest.fixture(scope="module")
def start(digits):
    class Trial(BaggedAlexNet):
        def setup(self, config):
            super().setup(config, digits)

    trials = []

    def make(**change):
        trials.append(Trial(CONFIG | change))
        return trials[-1]

    with pytest.MonkeyPatch.context() as patch:
        # Sums on a GPU come in no fixed order, and what is tested is bit for bit.
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield make
    for trial in trials:
        trial.stop()


def ours(metrics):
    return {name: metrics[name] for name in OURS & metrics.keys()}


def rest(trial):
    """The metrics of the epochs up to the one that says it is the last."""
    found = []
    while not found or not found[-1]["done"]:
        found.append(trial.train())
    return found


@pytest.fixture(scope="module")
def uninterrupted(start):
    return [ours(metrics) for metrics in rest(start())]


def test_a_step_is_an_epoch_and_the_last_is_done(start):
    metrics = rest(start(epochs=2, members=1))
    assert [(m["epoch"], m["training_iteration"], m["done"]) for m in metrics] == [(1, 1, False), (2, 2, True)]
    assert all(m["total_epochs"] == 2 and m["peak_memory_bytes"] > 0 for m in metrics)


def test_a_saved_trial_goes_on_in_another_actor_as_if_uninterrupted(start, uninterrupted, tmp_path):
    trial = start()
    trial.train()
    trial.save(str(tmp_path))
    other = start()
    other.restore(str(tmp_path))
    assert [ours(m) for m in rest(other)] == uninterrupted[1:]


def test_a_resumed_study_starts_a_trial_from_its_checkpoint_folder(start, uninterrupted, tmp_path):
    trial = start()
    trial.train()
    trial.train()
    trial.save_checkpoint(str(tmp_path))
    resumed = start(trial=5, restore=str(tmp_path))
    assert [ours(m) for m in rest(resumed)] == uninterrupted[2:]


def test_a_checkpoint_holds_tensors_and_numbers_only(start, tmp_path):
    trial = start()
    trial.train()
    trial.save_checkpoint(str(tmp_path))
    state = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    assert state["epoch"] == 1
    assert len(state["members"]) == 2


def test_a_reused_actor_trains_as_a_fresh_one(start, uninterrupted):
    trial = start(seed=9, members=1, lr=0.2, ratio=0.8, augmentation="none", gray=True)
    trial.train()
    data = trial.data
    assert trial.reset(dict(CONFIG))
    assert trial.data is data  # uploaded once
    assert [ours(m) for m in rest(trial)] == uninterrupted


def test_the_first_members_of_a_trial_are_a_smaller_trial(start, uninterrupted):
    alone = rest(start(members=1))
    assert alone[-1]["each_test_accuracy"] == uninterrupted[-1]["each_test_accuracy"][:1]


def test_a_trial_that_diverges_ends_with_nan_and_says_why(start):
    metrics = start(lr=1e30, epochs=5).train()
    assert metrics["done"] is True
    assert metrics["diverged"] == "training loss is nan in epoch 1 of member 1"
    assert (metrics["epoch"], metrics["total_epochs"]) == (1, 5)
    assert math.isnan(metrics["val_accuracy"])
    assert math.isnan(metrics["member_val_accuracy"])
    assert metrics["parameters"] > 0
    assert "test_accuracy" not in metrics


def test_an_actor_of_a_diverged_trial_trains_the_next(start, uninterrupted):
    trial = start(lr=1e30)
    trial.train()
    assert trial.reset(dict(CONFIG))
    assert ours(trial.train()) == uninterrupted[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.1}, r"^unknown hyperparameter 'learning_rate'; this trainable takes augmentation, "),
        ({"dropout": 1.5}, r"^dropout must be a number from 0 to 0.99, got 1.5$"),
        ({"train_images": 5}, r"^train_images: 10 \(one a class\) to 270 \(all\) images required of a subset, got 5$"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(digits, change, message):
    with pytest.raises(SettingError, match=message):
        build(BaggedAlexNet, CONFIG | change, DeviceData(digits))


def test_a_training_without_ray_is_the_same(digits, uninterrupted):
    training = build(BaggedAlexNet, CONFIG | {"restore": None}, DeviceData(digits))
    assert ours(training.run_epoch()) == uninterrupted[0]
