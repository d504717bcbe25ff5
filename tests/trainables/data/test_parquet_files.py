"""Parquet files as people have them: found under every name of the Hub's, or refused with what was found."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image

from trainables.data import parquet_files
from trainables.data.datasets import DataError, ImageData, load

TEN = [f"class {label}" for label in range(10)]
HASH = "1234567890abcdef"


def encoded(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(path: Path, seeds: range, image: str = "img", label: str = "label", **features: Any) -> Path:
    """One file whose images and labels follow from `seeds`; `features` are its metadata for the label column."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.array([{"bytes": encoded(seed), "path": None} for seed in seeds], kind)
    table = pa.table({image: pictures, label: pa.array([seed % 10 for seed in seeds], pa.int64())})
    if features:
        info = {"info": {"features": {image: {"_type": "Image"}, label: features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def read(folder: Path, name: str = "cifar10", lines: list[str] | None = None) -> ImageData:
    return load(name, folder, folder.parent / "cache", (lines if lines is not None else []).append)


def refused(folder: Path, *parts: str, name: str = "cifar10") -> None:
    with pytest.raises(DataError) as caught:
        read(folder, name)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


# Names.

LAYOUTS = {
    "the Hub's today": ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
    "the Hub's for most": ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    "hashes": (f"data/train-00000-of-00001-{HASH}.parquet", f"data/test-00000-of-00001-{HASH[::-1]}.parquet"),
    "converted": ("default/train/0000.parquet", "default/test/0000.parquet"),
    "converted, in the set's own folder": (
        "cifar10/plain_text/train/0000.parquet",
        "cifar10/plain_text/test/0000.parquet",
    ),
    "a file a part": ("train.parquet", "test.parquet"),
    "a file a part, in a folder each": ("train/train.parquet", "test/test.parquet"),
    "a file a part, any name": ("train/images.parquet", "test/others.parquet"),
    "counted": ("train-0.parquet", "test-0.parquet"),
    "counted from one": ("train_1.parquet", "test_1.parquet"),
    "named after the set": ("cifar10-train.parquet", "cifar10-test.parquet"),
    "dotted": ("cifar10.train.parquet", "cifar10.test.parquet"),
    "spelled otherwise": ("Training.parquet", "Testing.parquet"),
    "evaluated": ("train.parquet", "eval.parquet"),
    "a folder a part, named after the set": ("cifar10_train/0000.parquet", "cifar10_test/0000.parquet"),
    "Spark's": (
        f"train/part-00000-{HASH}-c000.snappy.parquet",
        f"test/part-00000-{HASH[::-1]}-c000.snappy.parquet",
    ),
    "the Hub's cache": (
        f"datasets--uoft-cs--cifar10/snapshots/{HASH}/plain_text/train-00000-of-00001.parquet",
        f"datasets--uoft-cs--cifar10/snapshots/{HASH}/plain_text/test-00000-of-00001.parquet",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(folder: Path, layout: str) -> None:
    train, test = LAYOUTS[layout]
    write(folder / train, range(12))
    write(folder / test, range(20, 30))
    data = read(folder)
    assert data.train_labels.tolist() == [seed % 10 for seed in range(12)]
    assert data.test_labels.tolist() == list(range(10))
    np.testing.assert_array_equal(data.test_images[3].transpose(1, 2, 0), Image.open(io.BytesIO(encoded(23))))


@pytest.mark.parametrize("name", ["train-{:05}-of-00011.parquet", "train/{:04}.parquet", "train_{}.parquet"])
def test_shards_come_in_the_order_of_their_numbers(folder: Path, name: str) -> None:
    for shard in reversed(range(11)):
        write(folder / name.format(shard), range(shard, shard + 1))
    write(folder / name.replace("train", "test").replace("00011", "00001").format(0), range(1))
    assert read(folder).train_labels.tolist() == [shard % 10 for shard in range(11)]


@pytest.mark.parametrize("name", ["train/{:04}.parquet", "train_{}.parquet", "train-{:05}-of-00003.parquet"])
def test_a_shard_that_lacks_is_named(folder: Path, name: str) -> None:
    for shard in (0, 2):
        write(folder / name.format(shard), range(2))
    write(folder / name.replace("train", "test").replace("00003", "00001").format(0), range(2))
    refused(folder, "3 train shards required", "found 2", f"{Path(name).name.format(1)} missing")


def test_a_part_that_lacks_says_what_there_is(folder: Path) -> None:
    write(folder / "cifar10" / "data" / "train.parquet", range(2))
    refused(folder, "test-00000-of-0000n.parquet", "found none, only train.parquet", "cifar10/data")


def test_two_whole_sets_are_not_chosen_between(folder: Path) -> None:
    for config in ("plain_text", "augmented"):
        for part in ("train", "test"):
            write(folder / "cifar10" / config / f"{part}.parquet", range(2))
    refused(folder, "one set of Parquet files required", "found 2", "plain_text/", "augmented/", "name one")
    assert len(read(folder / "cifar10" / "augmented").train_labels) == 2


def test_one_file_under_two_names_is_one(folder: Path) -> None:
    for part in ("train", "test"):
        blob = write(folder / "blobs" / part[::-1], range(2))
        for snapshot in ("old", "new"):
            link = folder / "snapshots" / snapshot / "data" / f"{part}.parquet"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    assert len(read(folder).train_labels) == 2


def test_a_folder_of_many_sets_gives_the_one_whose_columns_fit(folder: Path) -> None:
    for part in ("train", "test"):
        write(folder / "speech" / f"{part}.parquet", range(3), label="text")
        write(folder / "cifar" / f"{part}.parquet", range(2))
        write(folder / "fine" / f"{part}.parquet", range(4), label="fine_label")
    lines: list[str] = []
    assert len(read(folder, lines=lines).train_labels) == 2
    assert len(read(folder, "cifar100").train_labels) == 4


def test_parts_of_something_else_are_left_out_aloud(folder: Path) -> None:
    for name in ("train", "test", "validation", "copy-train"):
        write(folder / f"{name}.parquet", range(2))
    lines: list[str] = []
    assert len(read(folder, lines=lines).train_labels) == 2
    assert [line for line in lines if "not read" in line and "copy-train.parquet" in line]
    assert [line for line in lines if "not read" in line and "validation.parquet" in line]


def test_half_of_a_part_is_no_part(folder: Path) -> None:
    write(folder / "default" / "partial-train" / "0000.parquet", range(2))
    write(folder / "default" / "test" / "0000.parquet", range(2))
    refused(folder, "required", "found none")


def test_links_that_go_round_end(folder: Path) -> None:
    write(folder / "data" / "train.parquet", range(2))
    write(folder / "data" / "test.parquet", range(2))
    (folder / "data" / "again").symlink_to(folder)
    assert len(read(folder).train_labels) == 2


def test_a_home_folder_is_not_searched_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "MOST_ENTRIES", 10)
    for number in range(11):
        (folder / str(number)).mkdir(parents=True)
    refused(folder, "more than 10 files", "name the data set's own folder")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images.parquet", "images.parquet"),
        ("train.arrow", "train.arrow"),
        ("dataset_dict.json", "saved by save_to_disk"),
        ("airplane/0.png", "airplane/"),
        (None, "nothing at all"),
    ],
)
def test_none_found_says_what_was(folder: Path, name: str | None, found: str) -> None:
    folder.mkdir()
    if name:
        write(folder / name, range(2))
    refused(folder, "CIFAR-10 required", "found none of them", found)


def test_many_names_are_counted(folder: Path) -> None:
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.txt").touch()
    refused(folder, "00.txt, 01.txt", "and 24 more")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>Error</title>", "an HTML page"),
        (b'{"error": "Repository not found"}', "JSON text"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"", "an empty file"),
    ],
)
def test_what_lies_in_the_place_of_a_file_is_named(folder: Path, content: bytes, found: str) -> None:
    for part in ("train", "test"):
        path = write(folder / "data" / f"{part}-00000-of-00001.parquet", range(1))
        path.write_bytes(content)
    refused(folder, "train-00000-of-00001.parquet", found)


def test_a_link_to_nothing_is_named(folder: Path) -> None:
    write(folder / "test.parquet", range(1))
    (folder / "train.parquet").symlink_to(folder / "gone")
    refused(folder, "train.parquet", "No such file")


# Columns.


@pytest.mark.parametrize("image", ["img", "image", "picture"])
@pytest.mark.parametrize("label", ["label", "labels", "target"])
def test_usual_names_of_columns(folder: Path, image: str, label: str) -> None:
    for part in ("train", "test"):
        write(folder / f"{part}.parquet", range(10), image, label)
    assert read(folder).test_labels.tolist() == list(range(10))


def test_a_label_is_fine_only_if_a_hundred_classes_are_named(folder: Path) -> None:
    hundred = [f"class {label}" for label in range(100)]
    for part in ("train", "test"):
        write(folder / "named" / f"{part}.parquet", range(10), names=hundred)
        write(folder / "unnamed" / f"{part}.parquet", range(10))
    assert read(folder / "named", "cifar100").class_names == tuple(hundred)
    refused(folder / "unnamed", "column fine_label", "found img, label", name="cifar100")


def test_two_columns_of_images(folder: Path) -> None:
    table = pq.read_table(write(folder / "train.parquet", range(2)))
    pq.write_table(table.append_column("image", table.column("img")), folder / "train.parquet")
    pq.write_table(table, folder / "test.parquet")
    refused(folder, "one column img or image", "found img, label, image")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"info": {}}, {"info": {"features": {}}}, {"info": None}, {"info": {"features": {"label": "int"}}}],
)
def test_metadata_that_do_not_describe_the_label_are_no_hindrance(folder: Path, metadata: Any) -> None:
    for part in ("train", "test"):
        table = pq.read_table(write(folder / f"{part}.parquet", range(10)))
        told = None if metadata is None else {"huggingface": json.dumps(metadata)}
        pq.write_table(table.replace_schema_metadata(told), folder / f"{part}.parquet")
    assert read(folder).class_names == tuple("0123456789")


@pytest.mark.parametrize("odd", ["test.parquet", "train-1.parquet"])
def test_lists_of_classes_that_disagree_are_refused_with_what_differs(folder: Path, odd: str) -> None:
    for name in ("train-0.parquet", "train-1.parquet", "test.parquet"):
        write(folder / name, range(10), names=TEN if name != odd else [*TEN[:4], TEN[5], TEN[4], *TEN[6:]])
    (folder / "test.parquet").rename(folder / "test-0.parquet")
    odd = odd.replace("test.parquet", "test-0.parquet")
    refused(folder, odd, "class 4 is 'class 5'", "'class 4' in", "train-0.parquet")


def test_a_list_in_one_file_serves_all(folder: Path) -> None:
    write(folder / "train.parquet", range(10))
    write(folder / "test.parquet", range(10), names=TEN)
    assert read(folder).class_names == tuple(TEN)


def test_more_images_than_memory_holds_are_refused_by_the_footer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "test"):
        write(folder / f"{part}.parquet", range(10))
    monkeypatch.setattr(parquet_files, "memory", lambda: 20 * 3 * 32 * 32)
    read(folder)
    write(folder / "test.parquet", range(11))
    pq.write_table(pq.read_table(folder / "test.parquet").slice(0, 0), folder / "train.parquet")
    monkeypatch.setattr(parquet_files, "memory", lambda: 10 * 3 * 32 * 32)
    monkeypatch.setattr(parquet_files, "_read", lambda *_: pytest.fail("rows were read"))
    refused(folder, "11 images", "GiB of this machine")


# Anything.


def test_any_names(examine: Callable[..., None], folder: Path) -> None:
    """Whatever files are called: the images of the parts, or one line."""
    small = write(folder.parent / "small.parquet", range(2)).read_bytes()

    def check(names: list[str]) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(small)
        refusal = ""
        try:
            assert len(read(folder).train_labels) <= 2 * len(names)
        except DataError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) <= 1
        for name in names:
            (folder / name).unlink(missing_ok=True)

    folder.mkdir()
    word = st.sampled_from(["train", "test", "val", "data", "cifar10", "{0}", "%", "0000", "1-of-2", HASH, "é"])
    stem = st.lists(word, min_size=1, max_size=4).map("-".join)
    name = st.tuples(st.lists(stem, max_size=2), stem).map(lambda x: "/".join([*x[0], x[1] + ".parquet"]))
    examine(check, names=st.lists(name, min_size=1, max_size=5, unique=True))
