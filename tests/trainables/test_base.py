"""Through Ray's own Trainable: train, save, restore and reset are the calls that Ray Tune makes."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.data.task import DeviceData
from trainables.training.checkpoint import CHECKPOINT_FILE
from trainables.training.settings import SettingError

ROOT = Path(__file__).parents[2]
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
def start_trial(digits):
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
def uninterrupted(start_trial):
    return [ours(metrics) for metrics in rest(start_trial())]


def test_a_step_is_an_epoch_and_the_last_is_done(start_trial):
    metrics = rest(start_trial(epochs=2, members=1))
    assert [(m["epoch"], m["training_iteration"], m["done"]) for m in metrics] == [(1, 1, False), (2, 2, True)]
    assert all(m["total_epochs"] == 2 and m["peak_memory_bytes"] > 0 for m in metrics)


def test_a_saved_trial_goes_on_in_another_actor_as_if_uninterrupted(start_trial, uninterrupted, tmp_path):
    trial = start_trial()
    trial.train()
    trial.save(str(tmp_path))
    other = start_trial()
    other.restore(str(tmp_path))
    assert [ours(m) for m in rest(other)] == uninterrupted[1:]


def test_a_resumed_study_starts_a_trial_from_its_checkpoint_folder(start_trial, uninterrupted, tmp_path):
    trial = start_trial()
    trial.train()
    trial.train()
    trial.save_checkpoint(str(tmp_path))
    resumed = start_trial(trial=5, restore=str(tmp_path))
    assert [ours(m) for m in rest(resumed)] == uninterrupted[2:]


def test_a_checkpoint_holds_tensors_and_numbers_only(start_trial, tmp_path):
    trial = start_trial()
    trial.train()
    trial.save_checkpoint(str(tmp_path))
    state = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    assert state["epoch"] == 1
    assert len(state["members"]) == 2


def test_a_reused_actor_trains_as_a_fresh_one(start_trial, uninterrupted):
    trial = start_trial(seed=9, members=1, lr=0.2, ratio=0.8, augmentation="none", gray=True)
    trial.train()
    data = trial.data
    assert trial.reset(dict(CONFIG))
    assert trial.data is data  # uploaded once
    assert [ours(m) for m in rest(trial)] == uninterrupted


def test_the_first_members_of_a_trial_are_a_smaller_trial(start_trial, uninterrupted):
    alone = rest(start_trial(members=1))
    assert alone[-1]["each_test_accuracy"] == uninterrupted[-1]["each_test_accuracy"][:1]


def test_a_trial_that_diverges_ends_with_nan_and_says_why(start_trial):
    metrics = start_trial(lr=1e30, epochs=5).train()
    assert metrics["done"] is True
    assert metrics["diverged"] == "training loss is nan in epoch 1 of member 1"
    assert (metrics["epoch"], metrics["total_epochs"]) == (1, 5)
    assert math.isnan(metrics["val_accuracy"])
    assert math.isnan(metrics["member_val_accuracy"])
    assert metrics["parameters"] > 0
    assert "test_accuracy" not in metrics


def test_an_actor_of_a_diverged_trial_trains_the_next(start_trial, uninterrupted):
    trial = start_trial(lr=1e30)
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


def test_without_ray_every_family_imports_and_a_trial_trains(tmp_path):
    """Where Ray is not installed, the training core still runs: the Ray class becomes a plain one."""
    script = """
import importlib, sys
from pathlib import Path
sys.modules["ray"] = None  # importing it fails as if it were not there
for path in sorted(Path("trainables").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))
from trainables.data.datasets import load
from trainables.lenet import LeNetTrainable
trial = LeNetTrainable()
trial.setup({"trial": 0, "epochs": 1, "train_images": 40, "test_images": 20, "validation": False}, load("digits", None))
result = trial.step()
trial.save_checkpoint(sys.argv[1])
print(result["epoch"], result["done"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["1", "True"], done.stderr


def test_a_trial_knows_which_gpus_ray_gave_it(tmp_path):
    """Ray hides no GPU from a trial that it gave none: with `--gpus-per-trial 0` all would train on the first."""
    script = """
import json, sys
from search import environment
import ray
from ray import tune
from trainables.base import gpus_of_trial

class Trial(tune.Trainable):
    def step(self):
        return {"gpus": gpus_of_trial(), "done": True}

ray.init(num_cpus=1, num_gpus=1, include_dashboard=False, logging_level="ERROR")  # told, not there
found = [gpus_of_trial()]
for gpus in (0, 0.25, 1):
    trial = tune.with_resources(Trial, {"cpu": 1, "gpu": gpus})
    found += [result.metrics["gpus"] for result in tune.Tuner(
        trial, run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0)).fit()]
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[null, 0, 1, 1]"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process cannot be forgotten elsewhere")
def test_a_small_trial_after_a_large_one_has_a_peak_of_its_own(start_trial):
    small = start_trial(epochs=1)
    before = small.train()["peak_memory_bytes"]
    held = torch.ones(2**28)  # 1 GiB, as of a larger trial in the same worker
    del held
    assert small.reset(CONFIG | {"epochs": 1})
    assert small.train()["peak_memory_bytes"] < before + 2**29
