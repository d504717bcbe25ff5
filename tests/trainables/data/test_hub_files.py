"""Parquet files in the Hub's image schema are a data set, whatever their classes, sizes and channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainables.data.pictures_on_disk import crops, digits, png, write_digits
from trainables.data.datasets import DataError, load

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, pictures: list[bytes | None], labels: list[Any], names: list[str] | None = None, **columns: Any):
    label, image = columns.pop("label", "label"), columns.pop("image", "image")
    kind = columns.pop("kind", IMAGE)
    values = pictures if kind != IMAGE else [{"bytes": each, "path": None} for each in pictures]
    table = pa.table({image: pa.array(values, kind), label: pa.array(labels), **columns})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def gray(n: int = 30) -> tuple[list[bytes], list[int]]:
    images, labels = digits(n)
    return [png(image) for image in images], labels.tolist()


def test_named_classes_in_shards_with_a_validation_part(tmp_path: Path) -> None:
    pictures, labels = gray(60)
    names = ["zero", "one", "two"]
    for name, start, end in (
        ("train-00000-of-00002", 0, 20),
        ("train-00001-of-00002", 20, 40),
        ("validation-00000-of-00001", 40, 50),
        ("test-00000-of-00001", 50, 60),
    ):
        write(tmp_path / "data" / f"{name}.parquet", pictures[start:end], labels[start:end], names)
    data = load(f"folder:{tmp_path}", None, tmp_path / "cache")
    assert (data.class_names, data.channels, data.size, data.validation_images) == (("zero", "one", "two"), 1, 8, 10)
    np.testing.assert_array_equal(np.concatenate([data.train_images, data.test_images])[:, 0], digits(60)[0])
    assert data.train_labels.tolist() + data.test_labels.tolist() == labels
    again = load("folder", tmp_path, tmp_path / "cache")
    assert again.fingerprint == data.fingerprint
    np.testing.assert_array_equal(again.train_images, data.train_images)
    assert again.validation_images == 10


def test_one_file_with_names_as_text_is_split_and_photographs_keep_their_colours(tmp_path: Path) -> None:
    photos = crops((40, 40), 8)
    pictures = [png(picture) for name in photos for picture in photos[name]]
    write(tmp_path / "photos.parquet", pictures, [name for name in photos for _ in photos[name]], width=[40] * 16)
    data = load("folder", tmp_path, tmp_path / "cache")
    assert (data.class_names, data.channels, data.size) == (("china", "flower"), 3, 40)
    assert (len(data.train_labels), len(data.test_labels)) == (13, 3)
    assert data.prepared.startswith("test set: 3 of 16 pictures")


def test_numbers_without_names_and_bytes_alone_are_read(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    write(tmp_path / "train.parquet", pictures, [3 + 4 * label for label in labels], kind=pa.binary(), label="target")
    write(tmp_path / "test.parquet", pictures[:5], [7] * 5, kind=pa.binary(), label="target")
    data = load("folder", tmp_path, tmp_path / "cache")
    assert data.class_names == ("3", "7", "11")
    assert data.test_labels.tolist() == [1] * 5


@pytest.mark.parametrize(
    ("columns", "labels", "names", "words"),
    [
        ({}, [0, 1, 9], ["a", "b", "c"], "row 2: a label must be 0 to 2, got 9"),
        ({}, [0, 1, None], None, "row 2: a label required in label, got null"),
        ({"label": "mood", "other": [1, 2, 3]}, [0, 1, 2], None, "a column of labels required"),
        ({"image": "a", "kind": pa.string()}, [0, 1, 2], None, "one column of pictures required"),
        ({}, [0, 0, 0], None, "at least 2 classes required, got 0"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused_in_one_line(tmp_path, columns, labels, names, words) -> None:
    pictures: list[Any] = gray(3)[0] if columns.get("kind") is None else ["x"] * 3
    write(tmp_path / "train.parquet", pictures, labels, names, **columns)
    with pytest.raises(DataError) as caught:
        load("folder", tmp_path, tmp_path / "cache")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_that_does_not_decode_is_named_by_file_and_row(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    for spoilt, words in ((b"<html>", "an HTML page"), (None, "got null")):
        write(tmp_path / "train.parquet", [*pictures[:4], spoilt, *pictures[5:]], labels)
        with pytest.raises(DataError, match="row 4") as caught:
            load("folder", tmp_path, tmp_path / "cache")
        assert words in str(caught.value)


def test_two_data_sets_in_one_folder_are_named(tmp_path: Path) -> None:
    pictures, labels = gray(12)
    for name in ("cats", "dogs"):
        write(tmp_path / name / "train.parquet", pictures, labels)
    with pytest.raises(DataError, match=r"one set of Parquet files .* found cats/train.parquet, dogs/train.parquet"):
        load("folder", tmp_path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_v2.parquet", "test.parquet"),
        ("data_train.parquet", "test.parquet"),
        ("clean/train.parquet", "test.parquet"),
    ],
)
def test_a_test_file_of_another_name_is_not_passed_over(tmp_path: Path, train: str, test: str) -> None:
    pictures, labels = gray(30)
    write(tmp_path / train, pictures, labels)
    write(tmp_path / test, pictures, labels)
    words = rf"found {train} without test images and {test}, whose .*: name them train.parquet and test.parquet in one "
    with pytest.raises(DataError, match=words):
        load("folder", tmp_path, tmp_path / "cache")


def test_parquet_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", pictures, labels)
    write(tmp_path / "old" / "test.parquet", pictures, labels)
    write(tmp_path / "captions_validation.parquet", ["x"] * 30, labels, image="caption", kind=pa.string())
    told: list[str] = []
    data = load("folder", tmp_path, tmp_path / "cache", told.append)
    assert (len(data.train_labels), data.validation_images) == (30, 0)
    assert [line for line in told if line.startswith("not read, since its name does not belong")] == [
        f"not read, since its name does not belong to the set in {tmp_path}: {tmp_path}/captions_validation.parquet "
        "and 1 more"
    ]


def test_pictures_that_illustrate_a_data_set_are_not_read_in_its_place(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    write(tmp_path / "data" / "train.parquet", pictures, labels)
    alone = load("folder", tmp_path, tmp_path / "cache")
    for place, folder in enumerate(("assets", "figures")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plot.png").write_bytes(pictures[place])
        if folder == "assets":
            assert load("folder", tmp_path, tmp_path / "cache").fingerprint == alone.fingerprint
    words = r"one data set required in .*, found class folders \(assets, figures\) and Parquet files: name one's folder"
    with pytest.raises(DataError, match=words):
        load("folder", tmp_path, tmp_path / "cache")


def test_class_folders_are_read_beside_a_parquet_file_without_pictures(tmp_path: Path) -> None:
    write_digits(tmp_path, 30)
    alone = load("folder", tmp_path, tmp_path / "cache")
    pq.write_table(pa.table({"file_name": ["0/000.png"], "age": [3]}), tmp_path / "metadata.parquet")
    assert load("folder", tmp_path, tmp_path / "cache").fingerprint == alone.fingerprint


@pytest.mark.parametrize("names", [["a", "b", "c"], None])
@pytest.mark.parametrize("missing", [-1, None])
def test_a_part_without_labels_is_refused_with_what_to_do(tmp_path: Path, names, missing) -> None:
    pictures, labels = gray(30)
    write(tmp_path / "train.parquet", pictures, labels, names)
    write(tmp_path / "test.parquet", pictures, [missing] * 30, names)
    with pytest.raises(DataError, match=r"^the test part has no labels: take its files out .* \(test.parquet\)$"):
        load("folder", tmp_path, tmp_path / "cache")


def test_a_class_minus_one_is_read_and_told(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    write(tmp_path / "train.parquet", pictures, [label - 1 for label in labels])
    write(tmp_path / "test.parquet", pictures[:5], [-1] * 5)
    told: list[str] = []
    data = load("folder", tmp_path, tmp_path / "cache", told.append)
    assert (data.class_names, data.test_labels.tolist()) == (("-1", "0", "1"), [0] * 5)
    count = labels.count(0)
    assert f"label -1 of {count} training images is read as a class: if it means none, take these rows out" in told


def test_numbers_of_pictures_are_no_labels(tmp_path: Path) -> None:
    pictures, _ = gray(30)
    write(tmp_path / "images.parquet", pictures, list(range(1000, 1030)), label="image_id")
    with pytest.raises(DataError, match=r"a column of labels required .* found image_id, in which no value of 30 rep"):
        load(f"folder:{tmp_path}", None, tmp_path / "cache")


@pytest.mark.parametrize(("values", "kind"), [([0.0, 1.0, 2.0], "double"), ([True, False, True], "bool")])
def test_a_label_column_that_holds_no_labels_is_not_replaced_by_another(tmp_path: Path, values, kind: str) -> None:
    pictures, labels = gray(30)
    write(tmp_path / "images.parquet", pictures, values * 10, source=["a", "b"] * 15)
    with pytest.raises(DataError, match=rf"column label must hold whole numbers or text, got {kind}$"):
        load("folder", tmp_path, tmp_path / "cache")
    # A further column beside good labels is none of the reader's business.
    write(tmp_path / "images.parquet", pictures, labels, target=values * 10)
    assert load("folder", tmp_path, tmp_path / "cache").class_names == ("0", "1", "2")


def test_of_several_possible_label_columns_one_must_be_named_and_a_choice_is_told(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    told: list[str] = []
    write(tmp_path / "images.parquet", pictures, labels, target=["a", "b"] * 15)
    assert load("folder", tmp_path, tmp_path / "cache", told.append).class_names == ("0", "1", "2")
    assert "labels are those of column label, not read: target" in told
    classes = {name: {"names": ["a", "b", "c"], "_type": "ClassLabel"} for name in ("artist", "style")}
    table = pa.table({"image": [{"bytes": p, "path": None} for p in pictures], "artist": labels, "style": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": classes}})})
    pq.write_table(table, tmp_path / "images.parquet")
    with pytest.raises(DataError, match=r"one column of labels required, found artist, style: name the one to use lab"):
        load("folder", tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_is_refused_by_its_name(tmp_path: Path, part: str) -> None:
    pictures, labels = gray(30)
    for each in ("train", "test"):
        n = 0 if each == part else 30
        write(tmp_path / f"{each}.parquet", pictures[:n], np.array(labels[:n], np.int64), ["a", "b", "c"])
    with pytest.raises(DataError, match=rf"^{part} images required in .*, found none: {part}.parquet is empty$"):
        load(f"folder:{tmp_path}", None, tmp_path / "cache")


def test_named_classes_without_pictures_are_left_out_unless_the_test_has_some(tmp_path: Path) -> None:
    pictures, labels = gray(30)
    names = ["none", "zero", "one", "nothing", "two"]
    shifted = [{0: 1, 1: 2, 2: 4}[label] for label in labels]
    write(tmp_path / "train.parquet", pictures, shifted, names)
    write(tmp_path / "test.parquet", pictures, shifted, names)
    data = load(f"folder:{tmp_path}", None, tmp_path / "cache")
    assert data.class_names == ("zero", "one", "two")
    assert data.prepared == "classes without images left out: none, nothing"
    assert data.train_labels.tolist() == data.test_labels.tolist() == labels
    write(tmp_path / "test.parquet", pictures, [3, *shifted[1:]], names)
    with pytest.raises(DataError, match="a training image of each class required, found none of nothing, which has te"):
        load(f"folder:{tmp_path}", None, tmp_path / "cache")
