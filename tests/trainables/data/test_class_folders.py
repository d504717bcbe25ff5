"""A folder with one folder a class is a data set: parts, split, sizes, channels, names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.data.pictures_on_disk import crops, digits, png, write_digits, write_photos
from trainables.data.datasets import DataError, load, substitute
from trainables.data.image_data import ImageData
from trainables.data.splits import SPLIT_SEED, split
from trainables.data.task import DeviceData, Task
from trainables.training.settings import Settings

Read = Callable[..., ImageData]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(folder): the folder's data set, with a cache of its own; what was told lands in read.told."""

    def read(folder: Path, **wanted: int) -> ImageData:
        read.told = []
        return load(f"folder:{folder}", None, tmp_path / "cache", read.told.append, **wanted)

    return read


def test_gray_digits_stay_gray_and_small_and_a_fifth_is_drawn_as_the_test_set(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "digits", 60)
    data = read(folder)
    assert (data.name, data.class_names, data.channels, data.size) == ("folder:digits", ("0", "1", "2"), 1, 8)
    images, labels = digits(60)
    order = np.argsort(labels, kind="stable")  # folder by folder
    train, test = split(labels[order], 12)
    np.testing.assert_array_equal(data.train_images[:, 0], images[order][train])
    np.testing.assert_array_equal(data.test_images[:, 0], images[order][test])
    assert data.test_labels.tolist() == labels[order][test].tolist()
    assert data.prepared == f"test set: 12 of 60 pictures, drawn class by class with seed {SPLIT_SEED}"
    assert data.described()["mean"] == pytest.approx([data.train_images.mean() / 255])


def test_own_parts_are_kept_and_the_validation_part_is_what_a_trial_is_chosen_by(tmp_path: Path, read: Read) -> None:
    for part, n in (("train", 30), ("val", 9), ("test", 12)):
        write_digits(tmp_path / "set" / part, n)
    data = read(tmp_path / "set")
    assert (len(data.train_labels), data.validation_images, len(data.test_labels)) == (39, 9, 12)
    assert data.prepared == ""
    task = Task.of(DeviceData(data), Settings())
    assert task.validation.tolist() == list(range(30, 39))
    assert len(task.train) == 30
    assert len(Task.of(DeviceData(data), Settings(validation=False)).train) == 39
    shutil.rmtree(tmp_path / "set" / "test")
    data = read(tmp_path / "set")
    assert (len(data.train_labels), data.validation_images, len(data.test_labels)) == (30, 0, 9)


def test_test_images_that_are_training_images_too_are_counted_and_kept(tmp_path: Path, read: Read) -> None:
    write_digits(tmp_path / "set" / "train", 30)
    write_digits(tmp_path / "set" / "test", 60)
    data = read(tmp_path / "set")
    assert (len(data.train_labels), len(data.test_labels)) == (30, 60)
    assert f"30 of 60 test images in {tmp_path / 'set'} equal a training image, pixel by pixel" in read.told
    other = write_digits(tmp_path / "other", 30)
    read(other)
    assert not any("equal a training image" in line for line in read.told)


@pytest.mark.parametrize(
    "parts",
    [
        ("training_set", "test_set"),
        ("train_data", "test_data"),
        ("Training Data", "Testing Data"),
        ("train1", "test1"),
        ("TrainImages", "TestImages"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/archive/train", "archive/archive/test"),
    ],
)
def test_parts_are_known_by_a_word_of_their_names(tmp_path: Path, read: Read, parts: tuple[str, str]) -> None:
    for part, n in zip(parts, (30, 12), strict=True):
        write_digits(tmp_path / "set" / part, n)
    (tmp_path / "set" / "seg_pred" / "seg_pred").mkdir(parents=True)
    (tmp_path / "set" / "seg_pred" / "seg_pred" / "1.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    if parts[0].startswith("archive"):
        shutil.rmtree(tmp_path / "set" / "seg_pred")
    data = read(tmp_path / "set")
    assert (data.class_names, len(data.train_labels), len(data.test_labels)) == (("0", "1", "2"), 30, 12)


def test_a_part_named_whole_goes_before_a_folder_that_has_its_word(tmp_path: Path, read: Read) -> None:
    for part, n in (("train", 30), ("train_masks", 30), ("test", 12)):
        write_digits(tmp_path / "set" / part, n)
    assert len(read(tmp_path / "set").train_labels) == 30


def test_what_a_mac_adds_to_an_archive_and_hidden_folders_do_not_count(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "set" / "digits", 30)
    before = read(folder)
    for extra in ("__MACOSX/digits/0", ".thumbnails/0", "digits/.ipynb_checkpoints", "digits/__MACOSX"):
        (tmp_path / "set" / extra).mkdir(parents=True)
        (tmp_path / "set" / extra / "1.png").write_bytes(b"no picture")
    data = read(tmp_path / "set")
    assert data.class_names == ("0", "1", "2")
    assert data.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("val", "test"), "found test/ and val/, named as parts are: give train/ one folder of pictures a class"),
        (("trainset", "testset"), "whether testset/ and trainset/ are classes or parts, since both hold 0/ and 1/"),
        (("fold1", "fold2", "fold3"), "name parts train/ and test/"),
        (("train_images", "masks"), "whether train_images/ holds the training pictures or is a class beside masks/"),
    ],
)
def test_folders_that_may_be_parts_or_classes_are_refused(tmp_path: Path, read: Read, parts, words: str) -> None:
    for part in parts:
        write_digits(tmp_path / "set" / part)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_flat_parts_are_not_two_classes(tmp_path: Path, read: Read) -> None:
    write_photos(tmp_path / "set", (40, 40), 6)
    (tmp_path / "set" / "china").rename(tmp_path / "set" / "train")
    (tmp_path / "set" / "flower").rename(tmp_path / "set" / "test")
    with pytest.raises(DataError, match="found test/ and train/, named as parts are"):
        read(tmp_path / "set")


def test_classes_may_have_folders_of_their_own(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "digits", 30)
    for name in "012":  # as Tiny ImageNet has them
        (folder / name).rename(folder / "images")
        (folder / name).mkdir()
        (folder / "images").rename(folder / name / "images")
    assert read(folder).class_names == ("0", "1", "2")


def test_a_class_of_one_picture_trains_with_it(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "digits", 30)
    for name in ("8", "9", "a0", "a1"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    data = read(folder)
    assert np.unique(data.train_labels).tolist() == list(range(7))
    task = Task.of(DeviceData(data), Settings())
    assert np.unique(data.train_labels[task.train]).tolist() == list(range(7))


def test_photographs_of_several_sizes_get_the_middle_square_of_one_size(tmp_path: Path, read: Read) -> None:
    folder = write_photos(tmp_path / "photos", (60, 100), 6)
    Image.fromarray(crops((90, 70), 1)["china"][0]).save(folder / "china" / "other.jpg")
    data = read(folder)
    assert (data.class_names, data.channels, data.size) == (("china", "flower"), 3, 64)
    assert data.prepared.startswith(
        "pictures of 2 sizes from 100 x 60 to 70 x 90 pixels: the middle square resized to 64 x 64"
    )
    small = read(folder, size=32, channels=1)
    assert (small.channels, small.size) == (1, 32)
    assert "resized to 32 x 32; colours as gray (luma)" in small.prepared
    assert small.fingerprint != data.fingerprint
    first = crops((60, 100), 6)["china"][0][:, 20:80]  # the middle square
    expected = np.asarray(Image.fromarray(first).resize((32, 32), Image.Resampling.BILINEAR).convert("L"))
    assert any(np.array_equal(image[0], expected) for image in (*small.train_images, *small.test_images))


def test_one_size_that_is_not_square_keeps_its_pixels_in_the_middle(tmp_path: Path, read: Read) -> None:
    data = read(write_photos(tmp_path / "photos", (48, 80), 6))
    assert data.size == 48
    assert data.prepared.startswith("pictures of 80 x 48 pixels: the middle square, 48 x 48; test set")
    every = np.concatenate([data.train_images, data.test_images])
    assert any(np.array_equal(image, crops((48, 80), 6)["flower"][0][:, 16:64].transpose(2, 0, 1)) for image in every)


def test_the_fingerprint_is_the_contents_and_not_the_place(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "digits")
    before = read(folder)
    shutil.move(folder, tmp_path / "moved")
    assert read(tmp_path / "moved").fingerprint == before.fingerprint
    assert not any("reading" in line for line in read.told)  # from the cache
    first = next((tmp_path / "moved" / "0").iterdir())
    first.rename(tmp_path / "moved" / "1" / first.name)  # another label
    assert read(tmp_path / "moved").fingerprint != before.fingerprint


def test_what_is_no_picture_is_told_and_left_out(tmp_path: Path, read: Read) -> None:
    folder = write_digits(tmp_path / "archive" / "digits", 60)
    (folder / "0" / "notes.txt").write_text("mine")
    (folder / "0" / ".DS_Store").write_bytes(b"hidden")
    (folder / "empty").mkdir()
    data = read(tmp_path / "archive")  # the folder around it is an archive's
    assert data.class_names == ("0", "1", "2")
    assert sum("no pictures of a class: 2 files or folders" in line for line in read.told) == 1


def spoil_picture(folder: Path) -> None:
    (folder / "0" / "000.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 1")


def add_class_to_test(folder: Path) -> None:
    inner = list(folder.iterdir())
    for part in ("train", "test"):
        for path in inner:
            shutil.copytree(path, folder / part / path.name)
    for path in inner:
        shutil.rmtree(path)
    shutil.copytree(folder / "test" / "0", folder / "test" / "zebra")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_picture, "000.png: a PNG, WebP or JPEG image required, got a Git LFS pointer"),
        (add_class_to_test, "every class of the test pictures must be a folder of train/, found zebra"),
        (lambda folder: [shutil.rmtree(folder / name) for name in "12"], "at least 2 classes required"),
        (lambda folder: shutil.rmtree(folder), "data folder required"),
        (
            lambda folder: [path.rename(path.with_suffix(".txt")) for path in folder.rglob("*.png")],
            "found none of them",
        ),
        (
            lambda folder: (folder / "0" / "x.png").write_bytes(png(np.zeros((8, 8, 4), np.uint8))),
            "x.png: an opaque picture required",
        ),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_in_one_line(tmp_path: Path, read: Read, spoil, words: str) -> None:
    folder = write_digits(tmp_path / "digits")
    spoil(folder)
    with pytest.raises(DataError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("wanted", "words"), [({"size": 1024}, "8 to 512"), ({"channels": 4}, "1 (gray) or 3 (RGB)")])
def test_a_form_that_no_image_has_is_refused(tmp_path: Path, read: Read, wanted, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write_digits(tmp_path / "digits"), **wanted)
    assert words in str(caught.value)


def test_class_folders_are_found_where_cifar_was_asked_for(tmp_path: Path) -> None:
    folder = write_digits(tmp_path / "digits")
    assert substitute("cifar10", folder) == "folder"
    assert substitute("digits", folder) == "digits"
    assert substitute("cifar10", None) == "cifar10"
    assert substitute("cifar10", tmp_path) == "folder"
    empty = tmp_path / "digits" / "0" / "none"
    empty.mkdir()
    assert substitute("cifar10", empty) == "cifar10"


def test_scikit_learns_digits_and_cifar_take_a_form_too() -> None:
    plain, gray = load("digits"), load("digits", size=16, channels=1)
    assert (gray.size, gray.channels, gray.classes) == (16, 1, 10)
    assert gray.fingerprint != plain.fingerprint
    assert load("digits", size=32, channels=3).fingerprint == plain.fingerprint
    assert DeviceData(gray).mean.shape == torch.Size([1, 1, 1])
