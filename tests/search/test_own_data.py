"""A study runs on pictures of the user's own: checked before the start, recorded, resumed."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from search.definition import define, differences
from search.prepare import prepare
from search.records import StudyRecord
from search.request import Request
from search.run import main, plan
from search.study import StudyError, load
from tests.trainables.data.pictures_on_disk import write_digits, write_fashion, write_photos
from trainables.base import build
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData

ROOT = Path(__file__).parents[2]

SPACE = """
from ray import tune
from search.study import Study
from trainables.{module} import {trainable}

study = Study(name="own", question="Which rate?", source="my own", trainable={trainable}, dataset={dataset!r},
              epochs=2, samples=2, param_space={{"lr": tune.loguniform(1e-3, 1e-1)}}, {more})
"""
MODULES = {
    "LeNetTrainable": "lenet",
    "SmallAlexNetTrial": "small_alexnet",
    "ConvNetTrainable": "convnet",
    "BaggedAlexNet": "alexnet",
    "PretrainedTrainable": "pretrained",
    "WideResNetTrial": "wide_resnet",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """write(dataset, trainable, more) writes a space file; data sets are cached in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(dataset: str, trainable: str = "LeNetTrainable", more: str = "") -> Path:
        path = tmp_path / "own.py"
        text = SPACE.format(module=MODULES[trainable], trainable=trainable, dataset=dataset, more=more)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def ready(space: Path, *arguments: str) -> Any:
    return prepare(Request.parse([str(space), "--engine", "plain", *arguments]))


@pytest.mark.parametrize(
    ("trainable", "kind", "words"),
    [
        (
            "LeNetTrainable",
            "digits",
            "LeNet needs images of at least 16 x 16 pixels, got 1 channel",
        ),
        ("SmallAlexNetTrial", "fashion", "of 3 channels and 32 x 32 pixels, got 1 channel and 28 x 28 pixels"),
        (
            "SmallAlexNetTrial",
            "photos",
            "48 x 48 pixels: write resize=32 in the study, or --set",
        ),
        (
            "PretrainedTrainable",
            "fashion",
            "resnet101 needs images of 3 channels, got 1 channel",
        ),
        (
            "ConvNetTrainable",
            "digits",
            "a ConvNet of depth 4 needs images of at least 16 x 16",
        ),
        ("BaggedAlexNet", "digits", "ratio must leave conv1 at least one channel for 3 classes, got 0.9"),
    ],
)
def test_what_a_model_needs_is_checked_before_the_start(
    tmp_path: Path, write: Write, trainable: str, kind: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make = {
        "digits": write_digits,
        "fashion": write_fashion,
        "photos": lambda folder: write_photos(folder, (48, 48), 12),
    }
    make[kind](tmp_path / "data")
    fixed = {"PretrainedTrainable": 'weights="random"', "ConvNetTrainable": "depth=4", "BaggedAlexNet": "ratio=0.9"}
    space = write(f"folder:{tmp_path / 'data'}", trainable)
    options = [f"--set={fixed[trainable].replace(chr(34), '')}"] if trainable in fixed else []
    assert main([str(space), "--results", str(tmp_path / "results"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "results").exists()


def test_gray_pictures_of_28_pixels_train_a_lenet_and_its_plan_is_measured(tmp_path: Path, write: Write) -> None:
    write_fashion(tmp_path / "data" / "FashionMNIST" / "raw", n=200)
    own = ready(write("FashionMNIST"), "--data", str(tmp_path / "data"), "--plan")
    assert (own.data.name, own.data.channels, own.data.size) == ("FashionMNIST", 1, 28)
    assert "own on FashionMNIST" in plan(own)


@pytest.mark.parametrize("trainable", ["LeNetTrainable", "ConvNetTrainable", "BaggedAlexNet", "WideResNetTrial"])
def test_the_families_that_can_train_on_gray_pictures_of_any_size_do(tmp_path: Path, trainable: str) -> None:
    write_fashion(tmp_path / "data")
    data = load_data("folder", tmp_path / "data", tmp_path / "cache", size=20)
    config = {"epochs": 1, "batch_size": 20, "members": 2}
    if trainable == "WideResNetTrial":
        config |= {"depth": 10, "width": 1}
    kind = getattr(importlib.import_module(f"trainables.{MODULES[trainable]}"), trainable)
    result = build(kind, config, DeviceData(data)).run_epoch()
    assert np.isfinite(result["train_loss"])
    assert len(result["predicted"]) == 20


def test_a_space_asked_of_ones_own_folder_leaves_the_notes_claims_out(tmp_path: Path, capsys) -> None:
    folder = write_digits(tmp_path / "mine", 120)
    space = ROOT / "spaces" / "lenet_batch_size.py"
    options = ["--set", "resize=32", "--set", "train_images=none", "--set", "test_images=none"]
    own = prepare(Request.parse([str(space), "--data", str(folder), "--engine", "plain", *options]))
    assert "replace cifar10: a note's claims are left out" in capsys.readouterr().out
    assert own.space.claims
    assert (own.study.claims, own.study.reported, own.study.dataset) == ((), (), "folder")
    assert (own.data.size, own.data.channels, own.data.classes) == (32, 1, 3)


def test_the_form_of_the_images_defines_a_run(tmp_path: Path, write: Write) -> None:
    space = write(f"folder:{tmp_path}")
    plain, small = load(space), load(space).with_set(["resize=24", "channels=3"])
    assert (small.resize, small.channels) == (24, 3)
    then, now = (define(each, space, samples=2, seed=0) for each in (plain, small))
    assert "resize" not in then  # so that runs of earlier versions go on
    assert list(differences(then, now)) == ["resize is new, 24", "channels is new, 3"]
    for wrong, words in (("resize=7", "8 to 512"), ("resize=x", "got 'x'"), ("channels=2", "one of None, 1, 3")):
        with pytest.raises(StudyError, match="|".join(("resize", "channels"))) as caught:
            load(space).with_set([wrong])
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["folder", "folder:a/b c", "FashionMNIST", "cifar100", "digits"])
def test_data_sets_have_names(write: Write, name: str) -> None:
    assert load(write(name)).dataset == name


@pytest.mark.parametrize("name", ["imagenet", "folder:", "folders:x", "", "Fashion MNIST", "../x", "folder:a\0"])
def test_what_is_no_data_sets_name_is_refused(write: Write, name: str) -> None:
    with pytest.raises(StudyError, match="dataset must be one of cifar10, cifar100, digits, a torchvision data set"):
        load(write(name))


@pytest.mark.long
def test_a_search_on_class_folders_names_the_classes_and_goes_on_where_the_folder_was_moved(
    tmp_path: Path, write: Write
) -> None:
    folder = write_digits(tmp_path / "data", 150, classes=4)
    space = write(f"folder:{folder}", more="resize=16, objectives={'parameters': 'min'}")
    results = tmp_path / "results"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "search.run", str(space), "--results", str(results), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)

    first = run("--seed", "1")
    assert first.returncode == 0, first.stderr + first.stdout
    assert "test set: 30 of 150 pictures" in first.stdout
    (record_file,) = results.rglob("study.json")
    record = StudyRecord.from_json(record_file.read_text())
    assert record.class_names == ["0", "1", "2", "3"]
    assert (record.dataset, record.images["size"], record.images["channels"]) == ("folder:data", 16, 1)
    assert "test set: 30 of 150" in record.images["prepared"]
    shutil.move(folder, tmp_path / "moved")
    more = run("--extend", "1", "--data", str(tmp_path / "moved"))
    assert more.returncode == 0, more.stderr + more.stdout
    assert pq.read_table(record_file.parent / "trials.parquet").num_rows == 3
    # Other pictures are refused.
    next((tmp_path / "moved" / "0").iterdir()).unlink()
    other = run("--extend", "1", "--data", str(tmp_path / "moved"))
    assert other.returncode == 2
    assert "needs the data that it began with" in other.stderr
    # The best weights label the test images as the trial did.
    best = torch.load(record_file.parent / "best.pt", weights_only=True)
    assert len(best["members"]) == 1
