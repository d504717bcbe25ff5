"""Whatever is in the Parquet files and in the cache: the data set, or one line that says what is wrong."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image

from trainables.data.datasets import DataError, load

SHARDS = ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet")


def encoded() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


IMAGE = encoded()
GOOD = pa.table(
    {
        "img": pa.array(
            [{"bytes": IMAGE, "path": None}] * 10, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        ),
        "label": pa.array(range(10), pa.int64()),
    }
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for name in SHARDS:
        pq.write_table(GOOD, folder / name)
    return folder


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "bad")


def read(folder: Path, cache: Path) -> None:
    """Loads, or is refused in one line; nothing half-written stays behind either way."""
    shutil.rmtree(cache, ignore_errors=True)
    refusal = ""
    try:
        data = load("cifar10", folder, cache)
    except DataError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
        assert not list(cache.rglob("*"))
        return
    assert len(data.train_images) == len(data.train_labels)
    assert data.train_images.dtype == np.uint8
    assert {path.name for path in cache.iterdir()} == {f"cifar10-{data.fingerprint}"}


def test_any_bytes(examine: Callable[..., None], good: Path, bad: Path, tmp_path: Path) -> None:
    content = (good / SHARDS[0]).read_bytes()

    def check(at: int, bytes_: bytes, cut: bool) -> None:
        at %= len(content)
        spoilt = content[:at] + bytes_ + (b"" if cut else content[at + len(bytes_) :])
        (bad / SHARDS[0]).write_bytes(spoilt)
        read(bad, tmp_path / "cache")

    # The second half of the file is its schema and what it says about its pages.
    places = st.one_of(st.integers(0, len(content)), st.integers(-2000, -1))
    examine(check, share=3, at=places, bytes_=st.binary(max_size=4), cut=st.booleans())


KINDS = (
    *(pa.int8(), pa.uint64(), pa.float64(), pa.string(), pa.bool_(), pa.null(), pa.binary(), pa.date32()),
    pa.list_(pa.int8()),
)


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.nulls(len(values), kind)


def test_any_columns(examine: Callable[..., None], bad: Path, tmp_path: Path) -> None:
    def check(name: str, kind: pa.DataType, values: list[Any], inside: str, metadata: bytes) -> None:
        labels = column(kind, values)
        images = pa.StructArray.from_arrays([column(pa.binary(), [IMAGE] * len(labels))], [inside])
        table = pa.table({"img": images, name: labels}).replace_schema_metadata({b"huggingface": metadata})
        pq.write_table(table, bad / SHARDS[0])
        read(bad, tmp_path / "cache")

    examine(
        check,
        share=3,
        name=st.sampled_from(["label", "label", "img2", "fine_label"]),
        kind=st.sampled_from(KINDS),
        values=st.lists(st.one_of(st.integers(-2, 11), st.none()), max_size=4),
        inside=st.sampled_from(["bytes", "bytes", "path"]),
        metadata=st.sampled_from([b"{}", b"[1]", b"\xff", b'{"info": {"features": {"label": {"names": [1]}}}}']),
    )


def test_any_images(examine: Callable[..., None], bad: Path, tmp_path: Path) -> None:
    def check(image: bytes | None, at: int, bytes_: bytes) -> None:
        spoilt = None if image is None else image[:at] + bytes_ + image[at + len(bytes_) :]
        pq.write_table(
            pa.table({"img": pa.array([{"bytes": spoilt, "path": None}], GOOD.schema.field("img").type), "label": [0]}),
            bad / SHARDS[0],
        )
        read(bad, tmp_path / "cache")

    examine(
        check,
        share=3,
        image=st.sampled_from([IMAGE, IMAGE, b"", b"GIF89a", b"\xff\xd8\xff", None]),
        at=st.integers(0, len(IMAGE)),
        bytes_=st.binary(max_size=8),
    )


def test_any_cache(examine: Callable[..., None], good: Path, tmp_path: Path) -> None:
    whole = load("cifar10", good, tmp_path / "cache")
    entry = tmp_path / "cache" / f"cifar10-{whole.fingerprint}"
    kept = {path.name: path.read_bytes() for path in entry.iterdir()}

    def check(name: str, at: int, bytes_: bytes, cut: bool) -> None:
        content = kept[name]
        at %= len(content)
        (entry / name).write_bytes(content[:at] + bytes_ + (b"" if cut else content[at + len(bytes_) :]))
        again = load("cifar10", good, tmp_path / "cache")
        np.testing.assert_array_equal(again.train_images, whole.train_images)
        np.testing.assert_array_equal(again.test_labels, whole.test_labels)

    examine(
        check,
        name=st.sampled_from(sorted(kept)),
        at=st.integers(0, 10**6),
        bytes_=st.binary(max_size=4),
        cut=st.booleans(),
    )
