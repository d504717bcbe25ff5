"""torchvision's data sets are read by their names."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from tests.trainables.data.pictures_on_disk import write_photos
from trainables.data import torchvision_sets
from trainables.data.datasets import DataError, load
from trainables.data.torchvision_sets import class_names


def test_a_set_of_pictures_in_folders_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    write_photos(tmp_path / "eurosat" / "2750", (64, 64), 10)
    data = load("EuroSAT", tmp_path, tmp_path / "cache")
    assert (data.name, data.class_names, data.channels, data.size) == ("EuroSAT", ("china", "flower"), 3, 64)
    assert (len(data.train_labels), len(data.test_labels)) == (16, 4)
    theirs = [np.asarray(image).transpose(2, 0, 1) for image, _ in torchvision.datasets.EuroSAT(str(tmp_path))]
    every = np.concatenate([data.train_images, data.test_images])
    assert sorted(map(bytes, every)) == sorted(map(bytes, theirs))
    first = next((tmp_path / "eurosat" / "2750" / "china").iterdir())
    first.unlink()
    assert load("EuroSAT", tmp_path, tmp_path / "cache").fingerprint != data.fingerprint


@pytest.mark.parametrize("kept", [0, 200, 1500])
def test_a_damaged_picture_is_refused_by_its_place_and_file(tmp_path: Path, kept: int) -> None:
    write_photos(tmp_path / "eurosat" / "2750", (64, 64), 10)
    damaged = sorted((tmp_path / "eurosat" / "2750" / "flower").iterdir())[3]
    damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"EuroSAT in .*, train picture 13 \({damaged}\): an intact picture") as caught:
        load("EuroSAT", tmp_path, tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["EuroSAT", "FashionMNIST", "SVHN", "Food101"])
def test_a_set_that_is_not_there_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name} required in") as caught:
        load(name, tmp_path, tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["EuroSAT", "FashionMNIST"])
def test_without_a_network_the_download_is_refused_in_one_line(tmp_path: Path, name: str, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DataError, match=f"{name} is not in .* and torchvision cannot download it .*--data") as caught:
        load(name, None, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert socket.getdefaulttimeout() is None


def test_every_name_is_torchvisions_and_an_unknown_one_is_refused_with_all(tmp_path: Path) -> None:
    assert all(hasattr(torchvision.datasets, name) for name in torchvision_sets.NAMES)
    with pytest.raises(DataError, match=r"must be one of cifar10, .*FashionMNIST, .*folder:PATH, got 'Fashion'"):
        load("Fashion", tmp_path)


def test_names_that_do_not_match_the_labels_are_not_used() -> None:
    assert class_names(["a", "b"], 2) == ("a", "b")
    assert class_names(["a", "b"], 3) == ("0", "1", "2")
    assert class_names(None, 2) == ("0", "1")


def test_of_several_names_of_a_class_the_first_is_used() -> None:
    assert class_names([("tench", "Tinca tinca"), ("cassette player",)], 2) == ("tench", "cassette player")
