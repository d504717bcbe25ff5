"""MNIST-like files are a data set: plain or gzipped, by torchvision's name or in a folder of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.pictures_on_disk import write_digits, write_fashion, write_idx
from trainables.data.datasets import DataError, load


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("inside", ["FashionMNIST/raw", "", "raw"])
def test_fashion_mnist_is_read_where_it_is(tmp_path: Path, inside: str, ending: str) -> None:
    arrays = write_fashion(tmp_path / "data" / inside, ending)
    data = load("FashionMNIST", tmp_path / "data", tmp_path / "cache")
    assert (data.name, data.channels, data.size, data.classes) == ("FashionMNIST", 1, 28, 10)
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[9] == "Ankle boot"
    np.testing.assert_array_equal(data.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert load("FashionMNIST", tmp_path / "data", tmp_path / "cache").fingerprint == data.fingerprint


def test_a_folder_of_such_files_needs_no_name_and_has_numbered_classes(tmp_path: Path) -> None:
    write_fashion(tmp_path / "data")
    data = load("folder", tmp_path / "data", tmp_path / "cache", size=32, channels=3)
    assert data.class_names == tuple("0123456789")
    assert data.train_images.shape[1:] == (3, 32, 32)
    assert data.prepared == (
        "pictures of 28 x 28 pixels: the middle square resized to 32 x 32; gray as three equal channels"
    )


def test_mnists_classes_are_ten_whatever_torchvision_lists(tmp_path: Path) -> None:
    write_fashion(tmp_path / "data" / "MNIST" / "raw")
    assert load("MNIST", tmp_path / "data", tmp_path / "cache").class_names[8:] == ("8 - eight", "9 - nine")


def test_labels_from_1_make_no_class_0(tmp_path: Path) -> None:
    arrays = write_fashion(tmp_path / "data")
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        write_idx(tmp_path / "data" / name, arrays[name] + 1)
    data = load("folder", tmp_path / "data", tmp_path / "cache")
    assert data.class_names == tuple(map(str, range(1, 11)))
    np.testing.assert_array_equal(data.train_labels, arrays["train-labels-idx1-ubyte"])
    assert data.prepared == "classes without images left out: 0"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: (raw / "t10k-labels-idx1-ubyte").unlink(), "missing those of test labels"),
        (lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(b""), "found an empty file"),
        (lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(b"<html>"), "found an HTML page"),
        (lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(b"\x1f\x8bxx"), "cannot read"),
        (lambda raw: write_idx(raw / "train-labels-idx1-ubyte", np.zeros(7)), "a label for each of the 40 images"),
        (lambda raw: write_idx(raw / "train-labels-idx1-ubyte", np.zeros((7, 2))), "in 1 dimensions required"),
        (
            lambda raw: (raw / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x28" + b"\1" * 9),
            "40 bytes required after the header, got 9",
        ),
        (lambda raw: write_fashion(raw / "more"), "one set of IDX files required"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, spoil, words: str) -> None:
    write_fashion(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(DataError, match=words) as caught:
        load("KMNIST", tmp_path / "data", tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_class_folders_beside_idx_files_are_two_data_sets(tmp_path: Path) -> None:
    write_fashion(tmp_path / "raw")
    write_digits(tmp_path, 30)
    with pytest.raises(DataError, match=r"found class folders \(.*\) and IDX files: name one's folder"):
        load("folder", tmp_path, tmp_path / "cache")
