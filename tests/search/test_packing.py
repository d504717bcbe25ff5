"""--gpus-per-trial auto and --cpus-per-trial auto."""

from __future__ import annotations

import pytest
import torch
from ray import tune

from search import packing, run
from search.packing import Measured, Packing, PackingError, best, largest, measure, packings
from search.study import Study
from search.study import load as load_study
from trainables.convnet import ConvNetTrainable
from trainables.data.datasets import load
from trainables.lenet import LeNetTrainable

TWO_THREADS = Packing(1, 2.0, 0.0)
TWO_TRIALS = Packing(2, 1.0, 0.0)


def study(**changes) -> Study:
    options = {
        "name": "packing",
        "question": "How many trials share a device?",
        "source": "none",
        "trainable": LeNetTrainable,
        "dataset": "digits",
        "epochs": 2,
        "param_space": {"conv1": tune.choice([4, 12]), "batch_size": tune.choice([16, 64]), "momentum": 0.5},
    }
    return Study(**{**options, **changes})


def test_without_a_gpu_the_cores_are_shared_out_as_threads():
    assert packings(1, 0) == [Packing(1, 1.0, 0.0)]
    assert packings(2, 0) == [TWO_THREADS, TWO_TRIALS]
    assert [(p.trials, p.cpus_per_trial) for p in packings(6, 0)] == [(1, 4), (3, 2), (6, 1)]


@pytest.mark.parametrize("gpus", [1, 2])
def test_shares_of_a_gpu_fit_on_it_and_on_the_cores(gpus):
    found = packings(16, gpus, 2.0)
    assert [p.trials for p in found] == [1, 2, 3, 4, 6, 8][: 6 if gpus == 1 else 4]
    assert all(p.trials * p.gpus_per_trial <= 1 < (p.trials + 1) * p.gpus_per_trial for p in found)
    assert all(p.trials * gpus * p.cpus_per_trial <= 16 for p in found)


def test_one_trial_has_a_gpu_also_where_cores_are_few():
    assert packings(1, 4) == [Packing(1, 1.0, 1.0)]


@pytest.mark.parametrize(("threads", "trials", "chosen"), [(100, 150, TWO_TRIALS), (100, 102, TWO_THREADS)])
def test_more_trials_are_chosen_where_they_train_more_images_in_all(threads, trials, chosen):
    measured = [Measured(TWO_TRIALS, trials, 1), Measured(TWO_THREADS, threads, 1)]
    assert best(measured).packing == chosen


def test_the_largest_configuration_is_measured():
    found = largest(study(), load("digits"), None)
    assert (found["conv1"], found["batch_size"], found["momentum"], found["epochs"]) == (12, 64, 0.5, 2)
    listed = [{"conv1": 4, "epochs": 7}, {"conv1": 4, "members": 3}]
    assert largest(study(), load("digits"), listed) == {"epochs": 2, "conv1": 4, "members": 3}


def choices(monkeypatch, rates, memory=2**40) -> tuple[Packing, list[str]]:
    """What is chosen and said where each packing, by its number of trials, trains at the given rate."""

    def measured(packing, *_, **form):
        if packing.trials not in rates:
            raise PackingError("CUDA out of memory")
        return Measured(packing, rates[packing.trials], 2**30)

    monkeypatch.setattr(packing, "measure", measured)
    monkeypatch.setattr(packing, "device_memory", lambda: memory)
    monkeypatch.setattr(packing, "cpu_count", lambda: 8)
    said: list[str] = []
    chosen = packing.choose(study(), load("digits"), None, None, 1.0, said.append)
    return chosen, said


def test_the_choice_comes_with_the_figures_behind_it(monkeypatch):
    chosen, said = choices(monkeypatch, {1: 1000, 2: 1500, 4: 1800, 8: 1700})
    assert chosen == Packing(4, 2.0, 0.0)
    assert "  4 with 2 CPUs each: 1,800 images/s in all, peak memory of a trial 1.00 GiB" in said
    assert said[-1] == "chosen: 4 side by side"


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch):
    chosen, said = choices(monkeypatch, {1: 1000, 2: 1500, 4: 1800, 8: 9000}, memory=4 * 2**30)
    assert chosen.trials == 2
    assert "  8 with 1 CPUs each: left out, needs more than 90% of 4.0 GiB" in said


def test_what_fails_is_left_out_with_its_reason(monkeypatch):
    chosen, said = choices(monkeypatch, {1: 1000, 2: 1500})
    assert chosen.trials == 2
    assert "  4 with 2 CPUs each: left out, CUDA out of memory" in said
    with pytest.raises(PackingError, match=r"^packing: no way to share the device could be measured$"):
        choices(monkeypatch, {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_shares_of_a_gpu_are_refused_where_there_is_none(capsys, tmp_path):
    command = ["spaces/lenet_batch_size.py", "--smoke", "--gpus-per-trial", "auto", "--results", str(tmp_path)]
    assert run.main(command) == 2
    expected = "search.run: --gpus-per-trial auto needs a GPU that PyTorch sees, this machine has none: leave it out\n"
    assert capsys.readouterr().err == expected
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--cpus-per-trial", "--gpus-per-trial"])
def test_another_machine_is_not_measured(option, capsys):
    assert run.main(["spaces/lenet_batch_size.py", "--smoke", option, "auto", "--address", "10.0.0.1:6379"]) == 2
    expected = f"search.run: {option} auto measures this machine, got --address 10.0.0.1:6379 too: give a number\n"
    assert capsys.readouterr().err == expected


@pytest.mark.long
def test_trials_side_by_side_are_measured_in_processes_of_their_own(monkeypatch):
    found = measure(TWO_TRIALS, ConvNetTrainable, {"batch_size": 16}, "digits", None)
    assert found.packing == TWO_TRIALS
    assert found.images_per_second > 10
    assert 2**26 < found.peak_memory_bytes < 2**34


def test_a_network_may_import_files_beside_its_space_inside_its_function(tmp_path, monkeypatch):
    (tmp_path / "block_of_mine.py").write_text(
        "from torch import nn\ndef block(c, w): return nn.Conv2d(c, w, 3, stride=4)\n"
    )
    (tmp_path / "lazy.py").write_text(
        "from ray import tune\n"
        "from torch import nn\n"
        "from search.study import Study\n"
        "from trainables.image_trainable import image_trainable\n"
        "def small(classes, channels, size, width: int = 4):\n"
        "    from block_of_mine import block\n"
        "    layers = [block(channels, width), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes)]\n"
        "    return nn.Sequential(*layers)\n"
        "study = Study(name='lazy', question='?', source='me', trainable=image_trainable(small), dataset='digits',\n"
        "              epochs=1, param_space={'lr': tune.loguniform(0.001, 0.1)})\n"
    )
    monkeypatch.setattr(packing, "SECONDS", 0.1)
    lazy = load_study(tmp_path / "lazy.py")
    found = measure(Packing(1, 1.0, 0.0), lazy.trainable, {"batch_size": 16, "epochs": 1}, "digits", None)
    assert found.images_per_second > 0


@pytest.mark.long
def test_a_process_that_fails_says_why():
    with pytest.raises(PackingError, match="batch_size must be a whole number of at least 1, got 0"):
        measure(TWO_TRIALS, ConvNetTrainable, {"batch_size": 0}, "digits", None)
