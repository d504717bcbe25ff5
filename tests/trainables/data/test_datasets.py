import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import shutil
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision import datasets

from trainables.data.datasets import (
    DataError,
    ImageData,
    channel_statistics,
    load,
)
from trainables.data.splits import split

ROOT = Path(__file__).parents[3]
CIFAR = Path(os.environ.get("CIFAR_DATA", ROOT / "../shared/data"))
TEN = [f"class {label}" for label in range(10)]


def pixels(n: int, seed: int = 0) -> np.ndarray:
    """Random images as Pillow takes them, [n, 32, 32, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def encode(image: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


def write_shard(path: Path, images: list[bytes | None], labels: list[Any], column: str = "label", **features):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "img": pa.array([{"bytes": image, "path": None} for image in images], kind),
            column: pa.array(labels, pa.int64()),
        }
    )
    if features:
        info = {"info": {"features": {column: {"_type": "ClassLabel", **features}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """CIFAR-10 in two train shards of 12 images and one test shard of 10."""
    root = tmp_path / "data"
    for name, seed, n in (
        ("train-00000-of-00002", 0, 12),
        ("train-00001-of-00002", 1, 12),
        ("test-00000-of-00001", 2, 10),
    ):
        images = [encode(image) for image in pixels(n, seed)]
        labels = [i % 10 for i in range(n)]
        write_shard(root / "cifar10" / f"{name}.parquet", images, labels, names=TEN)
    return root


def refusal(call: Callable[[], object], *parts: str) -> None:
    """The call raises DataError whose message is one line that holds every part."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def same(a: ImageData, b: ImageData) -> bool:
    arrays = ("train_images", "train_labels", "test_images", "test_labels")
    return a.class_names == b.class_names and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


# Parquet.


def test_parquet_is_read_shard_by_shard_in_order(folder: Path, cache: Path) -> None:
    data = load("cifar10", folder, cache)
    expected = np.concatenate([pixels(12, 0), pixels(12, 1)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.train_images, expected)
    np.testing.assert_array_equal(data.test_images, pixels(10, 2).transpose(0, 3, 1, 2))
    assert data.train_labels.tolist() == [i % 10 for i in range(12)] * 2
    assert data.test_labels.tolist() == list(range(10))
    assert (data.name, data.classes, data.class_names) == ("cifar10", 10, tuple(TEN))
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert labels.dtype == np.int64
    content = b"".join(
        (folder / "cifar10" / f"{name}.parquet").read_bytes()
        for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")
    )
    assert data.fingerprint == hashlib.sha256(content).hexdigest()
    assert data.source == f"Parquet files in {folder / 'cifar10'}"


def test_the_data_folder_may_be_the_sets_own(folder: Path, cache: Path) -> None:
    assert same(load("cifar10", folder, cache), load("cifar10", folder / "cifar10", cache / "another"))


@pytest.mark.parametrize(("form", "tolerance"), [("PNG", 0), ("WEBP", 0), ("JPEG", 12)])
def test_png_webp_and_jpeg_are_decoded_alike(tmp_path: Path, cache: Path, form: str, tolerance: int) -> None:
    x, y = np.meshgrid(np.arange(32), np.arange(32))
    smooth = np.stack([x * 8, y * 8, 255 - x * 4], axis=-1).astype(np.uint8)  # red grows along a row
    for part in ("train", "test"):
        write_shard(tmp_path / f"{part}-00000-of-00001.parquet", [encode(smooth, form)], [0])
    image = load("cifar10", tmp_path, cache).train_images[0]
    difference = np.abs(image.astype(int) - smooth.transpose(2, 0, 1))
    assert difference.max() <= tolerance


def test_cifar100_takes_fine_labels_and_numbers_classes_without_names(tmp_path: Path, cache: Path) -> None:
    image = encode(pixels(1)[0])
    write_shard(tmp_path / "train-00000-of-00001.parquet", [image] * 2, [99, 0], "fine_label")
    write_shard(tmp_path / "test-00000-of-00001.parquet", [image], [7], "fine_label")
    data = load("cifar100", tmp_path, cache)
    assert data.train_labels.tolist() == [99, 0]
    assert data.class_names == tuple(str(label) for label in range(100))


def test_unknown_data_set(cache: Path) -> None:
    refusal(lambda: load("imagenet", None, cache), "cifar10, cifar100, digits", "'imagenet'")


def test_missing_data_folder(tmp_path: Path, cache: Path) -> None:
    missing = tmp_path / "missing"
    refusal(lambda: load("cifar10", missing, cache), str(missing), "nothing there")
    missing.write_text("")
    refusal(lambda: load("cifar10", missing, cache), str(missing), "a file")


def test_folder_without_the_set_says_what_was_looked_for(tmp_path: Path, cache: Path) -> None:
    refusal(
        lambda: load("cifar100", tmp_path, cache),
        "CIFAR-100",
        str(tmp_path),
        "train-00000-of-0000n.parquet",
        "cifar-100-python.tar.gz",
        "found none",
    )


def test_missing_shard(folder: Path, cache: Path) -> None:
    (folder / "cifar10" / "train-00000-of-00002.parquet").unlink()
    refusal(
        lambda: load("cifar10", folder, cache),
        "2 train shards required",
        "found 1",
        "train-00000-of-00002.parquet missing",
    )


@pytest.mark.parametrize("part", ["train", "test"])
def test_missing_part(folder: Path, cache: Path, part: str) -> None:
    for path in (folder / "cifar10").glob(f"{part}-*"):
        path.unlink()
    refusal(lambda: load("cifar10", folder, cache), f"{part}-00000-of-0000n.parquet", "found none")


def test_shards_of_two_sets_are_not_mixed(folder: Path, cache: Path) -> None:
    write_shard(folder / "cifar10" / "train-00000-of-00001.parquet", [], [])
    refusal(lambda: load("cifar10", folder, cache), "one set", "sets of 1 and 2 files")


def test_shard_beyond_the_last(folder: Path, cache: Path) -> None:
    write_shard(folder / "cifar10" / "train-00002-of-00002.parquet", [], [])
    refusal(lambda: load("cifar10", folder, cache), "2 train shards", "also train-00002-of-00002.parquet")


def test_shards_without_a_row(folder: Path, cache: Path) -> None:
    write_shard(folder / "cifar10" / "test-00000-of-00001.parquet", [], [])
    refusal(lambda: load("cifar10", folder, cache), "test images required", "found none")


@pytest.mark.parametrize("length", [0, 3, 700])
def test_truncated_parquet(folder: Path, cache: Path, length: int) -> None:
    path = folder / "cifar10" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:length])
    refusal(lambda: load("cifar10", folder, cache), str(path), "intact Parquet")


def test_parquet_with_a_damaged_page(folder: Path, cache: Path) -> None:
    path = folder / "cifar10" / "train-00001-of-00002.parquet"
    pq.write_table(pq.read_table(path), path, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 400] ^= 1
    path.write_bytes(content)
    refusal(lambda: load("cifar10", folder, cache), str(path), "intact Parquet", "CRC")


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (b"not an image", "12 bytes that do not decode"),
        (encode(pixels(1)[0])[:900], "900 bytes that do not decode"),
        (encode(pixels(1)[0], "WEBP")[:900], "900 bytes that do not decode"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x01IHDR" + bytes(40), "56 bytes"),  # Pillow: ValueError
        (encode(pixels(1)[0][:, :31]), "got 31 x 32"),
        (None, "null"),
    ],
)
def test_image_that_does_not_decode_names_file_and_row(
    folder: Path, cache: Path, image: bytes | None, found: str
) -> None:
    path = folder / "cifar10" / "train-00001-of-00002.parquet"
    good = encode(pixels(1)[0])
    write_shard(path, [good] * 1207 + [image] + [good] * 600 + [image], [0] * 1809)
    refusal(lambda: load("cifar10", folder, cache), f"{path}: row 1207:", found)


@pytest.mark.parametrize("label", [10, -1, None])
def test_label_out_of_range(folder: Path, cache: Path, label: int | None) -> None:
    path = folder / "cifar10" / "test-00000-of-00001.parquet"
    write_shard(path, [encode(image) for image in pixels(4)], [0, 1, label, 11])
    refusal(lambda: load("cifar10", folder, cache), f"{path}: row 2:", "0 to 9", f"got {label}")


def test_missing_column(folder: Path, cache: Path) -> None:
    # The other CIFAR's folder: its labels would pass as the first ten of a hundred.
    refusal(lambda: load("cifar100", folder / "cifar10", cache), "train-00000", "fine_label", "img, label")


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"img": [b"1"], "label": [1]}, "img must be struct<bytes: binary, path: string>, got binary"),
        ({"img": [{"bytes": "1"}], "label": [1]}, "got struct<bytes: string>"),
        ({"img": [{"bytes": b"1"}], "label": ["cat"]}, "label must hold integers, got string"),
    ],
)
def test_column_of_another_type(folder: Path, cache: Path, table: dict[str, list[Any]], found: str) -> None:
    path = folder / "cifar10" / "test-00000-of-00001.parquet"
    pq.write_table(pa.table(table), path)
    refusal(lambda: load("cifar10", folder, cache), str(path), found)


def test_wrong_number_of_class_names(folder: Path, cache: Path) -> None:
    path = folder / "cifar10" / "train-00000-of-00002.parquet"
    write_shard(path, [encode(pixels(1)[0])], [0], names=TEN[:9])
    refusal(lambda: load("cifar10", folder, cache), str(path), "10 class names", "9 of them")


def test_malformed_class_name_metadata(folder: Path, cache: Path) -> None:
    path = folder / "cifar10" / "train-00000-of-00002.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": "{"}), path)
    refusal(lambda: load("cifar10", folder, cache), str(path), "huggingface")


# The cache.


def test_second_load_comes_from_the_cache(folder: Path, cache: Path) -> None:
    first_lines: list[str] = []
    second_lines: list[str] = []
    first = load("cifar10", folder, cache, first_lines.append)
    second = load("cifar10", folder, cache, second_lines.append)
    assert len(first_lines) == 3  # one a shard
    assert second_lines == []
    assert same(first, second)
    assert second.fingerprint == first.fingerprint
    assert [path.name for path in cache.iterdir()] == [f"cifar10-{first.fingerprint}"]


def test_default_cache_is_the_users(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load("cifar10", folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load("cifar10", folder)
    for parent in (tmp_path / "xdg", tmp_path / "home" / ".cache"):
        assert len(list((parent / "hyperparameter-verdicts").iterdir())) == 1


@pytest.mark.parametrize("place", ["/dev/null", "/proc", "/proc/1/nowhere"])
def test_a_cache_that_cannot_be_written_is_gone_without(
    folder: Path, cache: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    lines: list[str] = []
    for _ in range(2):
        assert same(load("cifar10", folder, progress=lines.append), load("cifar10", folder, cache))
    told = [line for line in lines if "not kept" in line]
    assert len(told) == 2
    assert told[0].startswith(
        f"the decoded images are not kept for the next time: {place}/hyperparameter-verdicts cannot be written"
    )


def test_a_user_without_a_home_has_no_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # as a container may be run
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    lines: list[str] = []
    load("cifar10", folder, progress=lines.append)
    assert "not kept" in lines[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_changed_source_is_noticed(folder: Path, cache: Path) -> None:
    before = load("cifar10", folder, cache)
    path = folder / "cifar10" / "test-00000-of-00001.parquet"
    write_shard(path, [encode(image) for image in pixels(10, seed=9)], list(range(10)), names=TEN)
    after = load("cifar10", folder, cache)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.test_images, pixels(10, seed=9).transpose(0, 3, 1, 2))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def pickled(path: Path) -> None:
    """Puts a pickled array in the entry, and its right sha256 in meta.json."""
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    meta = json.loads((path.parent / "meta.json").read_text())
    meta["sha256"][path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("train_images.npy", flip),
        ("test_labels.npy", flip),
        ("test_images.npy", Path.unlink),
        ("train_labels.npy", pickled),
        ("meta.json", Path.unlink),
        ("meta.json", lambda path: path.write_text("{")),
        ("meta.json", lambda path: path.write_text("[]")),
        ("meta.json", lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 0'))),
    ],
)
def test_damaged_entry_is_decoded_again_and_replaced(
    folder: Path, cache: Path, file: str, damage: Callable[[Path], object]
) -> None:
    first = load("cifar10", folder, cache)
    (entry,) = cache.iterdir()
    damage(entry / file)
    lines: list[str] = []
    assert same(load("cifar10", folder, cache, lines.append), first)
    assert "is not usable" in lines[0]
    assert str(entry) in lines[0]
    assert len(lines) == 4
    lines.clear()
    assert same(load("cifar10", folder, cache, lines.append), first)
    assert lines == []
    assert list(cache.iterdir()) == [entry]


@pytest.mark.parametrize("damaged", [False, True])
def test_loads_that_race_leave_one_good_entry(folder: Path, cache: Path, damaged: bool) -> None:
    first = load("cifar10", folder, cache / "reference")
    if damaged:
        load("cifar10", folder, cache / "raced")
        (entry,) = (cache / "raced").iterdir()
        flip(entry / "train_images.npy")
    barrier = threading.Barrier(4)
    results: list[ImageData] = []

    def race() -> None:
        # All wait until all have missed the cache; then all decode and write.
        waits = iter([barrier.wait])
        results.append(load("cifar10", folder, cache / "raced", lambda line: next(waits, int)()))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [same(result, first) for result in results] == [True] * 4
    assert [path.name for path in (cache / "raced").iterdir()] == [f"cifar10-{first.fingerprint}"]
    lines: list[str] = []
    load("cifar10", folder, cache / "raced", lines.append)
    assert lines == []


def test_damaged_entry_that_another_process_removed(folder: Path, cache: Path) -> None:
    first = load("cifar10", folder, cache)
    (entry,) = cache.iterdir()
    flip(entry / "train_images.npy")
    lines: list[str] = []

    def remove(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:  # after "is not usable", as the first shard is decoded
            shutil.rmtree(entry)

    assert same(load("cifar10", folder, cache, remove), first)
    assert list(cache.iterdir()) == [entry]


def test_interrupted_write_leaves_no_entry(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = np.save

    def full(file: Path, array: np.ndarray, **options: bool) -> None:
        if "test" in str(file.name):
            raise OSError(28, "No space left on device")
        save(file, array, **options)

    monkeypatch.setattr(np, "save", full)
    lines: list[str] = []
    load("cifar10", folder, cache, lines.append)
    assert str(cache) in lines[-1]
    assert "No space left on device" in lines[-1]
    assert list(cache.iterdir()) == []


# The archives as published.


class Python2Pickler(pickle._Pickler):  # the pure Python one: only its methods can be replaced
    """Writes protocol 2 as Python 2 did, which pickled the published batches: byte strings, not text."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        value = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, value: Any, name: str | None = None) -> None:
        names = {"_reconstruct": "numpy.core.multiarray", "ndarray": "numpy", "dtype": "numpy"}
        if value.__name__ not in names:
            return super().save_global(value, name)
        self.write(f"c{names[value.__name__]}\n{value.__name__}\n".encode())
        self.memoize(value)
        return None

    dispatch[type(lambda: 0)] = dispatch[type(len)] = dispatch[type] = save_global

    def reducer_override(self, value: object) -> object:
        if isinstance(value, np.dtype):
            kind, arguments, state = value.__reduce__()
            return kind, (arguments[0], 0, 1), state
        return NotImplemented


def pickle2(value: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def publish(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], extra: str | None = None) -> bytes:
    """CIFAR-100's archive of `files`, whose MD5 sums torchvision is made to know."""
    published = datasets.CIFAR100

    def md5(content: bytes) -> str:
        return hashlib.md5(content).hexdigest()

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        folder = tarfile.TarInfo("cifar-100-python")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if extra:
            member = tarfile.TarInfo(extra)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    monkeypatch.setattr(published, "train_list", [["train", md5(files["train"])]])
    monkeypatch.setattr(published, "test_list", [["test", md5(files["test"])]])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5(files["meta"])})
    monkeypatch.setattr(published, "tgz_md5", md5(content.getvalue()))
    return content.getvalue()


def batch(seed: int, labels: list[int]) -> bytes:
    data = pixels(len(labels), seed).transpose(0, 3, 1, 2).reshape(len(labels), 3072)
    return pickle2(
        {
            "filenames": [f"{label}.png" for label in labels],
            "batch_label": "a batch",
            "fine_labels": labels,
            "coarse_labels": [0] * len(labels),
            "data": np.ascontiguousarray(data),
        }
    )


@pytest.fixture
def files() -> dict[str, bytes]:
    names = [f"fine {label}" for label in range(100)]
    meta = pickle2({"fine_label_names": names, "coarse_label_names": ["coarse"]})
    return {"train": batch(0, [99, 0, 5]), "test": batch(1, [7, 8]), "meta": meta, "file.txt~": b""}


def require_published(data: ImageData) -> None:
    np.testing.assert_array_equal(data.train_images, pixels(3, 0).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.test_images, pixels(2, 1).transpose(0, 3, 1, 2))
    assert data.train_labels.tolist() == [99, 0, 5]
    assert data.test_labels.tolist() == [7, 8]
    assert data.train_labels.dtype == np.int64
    assert data.train_images.flags.c_contiguous
    assert data.class_names[99] == "fine 99"
    assert data.classes == 100


@pytest.mark.filterwarnings("error")
def test_published_archive(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(publish(monkeypatch, files))
    data = load("cifar100", tmp_path, cache)
    require_published(data)
    assert data.fingerprint == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert data.source == str(archive)
    assert same(load("cifar100", tmp_path, cache), data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("subfolder", ["", "cifar100"])
def test_extracted_folder(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, subfolder: str
) -> None:
    publish(monkeypatch, files)
    folder = tmp_path / subfolder / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    require_published(load("cifar100", tmp_path, cache))
    (folder / "test").unlink()
    refusal(lambda: load("cifar100", tmp_path, cache), str(folder), "missing test")


def test_archive_with_the_wrong_md5_is_refused(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "cifar-100-python.tar.gz"
    real = datasets.CIFAR100.tgz_md5
    content = publish(monkeypatch, files)
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", real)
    archive.write_bytes(content)
    found = hashlib.md5(content).hexdigest()
    refusal(lambda: load("cifar100", tmp_path, cache), str(archive), real, found)


def test_batch_with_the_wrong_md5_is_never_unpickled(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, files)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "train").write_bytes(b"not the published batch")
    refusal(lambda: load("cifar100", tmp_path, cache), f"{folder}: train", "MD5")


def test_pickle_that_asks_for_code_is_refused(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    files["meta"] = pickle.dumps({"fine_label_names": os.getcwd}, protocol=2)
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(publish(monkeypatch, files))
    refusal(lambda: load("cifar100", tmp_path, cache), "posix.getcwd")


@pytest.mark.parametrize("member", ["../evil", "/evil", "cifar-100-python/../../evil", "evil"])
def test_archive_that_leaves_its_folder_is_refused(
    tmp_path: Path, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    archive = folder / "cifar-100-python.tar.gz"
    archive.write_bytes(publish(monkeypatch, files, extra=member))
    refusal(lambda: load("cifar100", folder, cache), str(archive), "cifar-100-python/", repr(member))
    assert not any(path.name == "evil" for path in tmp_path.rglob("*"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_download_happens_once(
    cache: Path, files: dict[str, bytes], server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    archive = folder / "cifar-100-python.tar.gz"
    archive.write_bytes(publish(monkeypatch, files))
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}/{archive.name}")
    lines: list[str] = []
    data = load("cifar100", None, cache, lines.append)
    require_published(data)
    assert lines[0].startswith("downloading http")
    archive.unlink()
    assert same(load("cifar100", None, cache), data)
    assert {path.name for path in cache.iterdir()} == {archive.name, f"cifar100-{data.fingerprint}"}


def test_download_of_another_file_is_refused(
    cache: Path, files: dict[str, bytes], server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    (folder / "cifar-100-python.tar.gz").write_bytes(publish(monkeypatch, files)[:-9])
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}/cifar-100-python.tar.gz")
    refusal(lambda: load("cifar100", None, cache), "CIFAR-100", address, "corrupted", "--data", "--smoke")
    assert list(cache.iterdir()) == []


def test_no_network_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/cifar-10-python.tar.gz"  # the discard port: nobody listens
    monkeypatch.setattr(datasets.CIFAR10, "url", url)
    refusal(lambda: load("cifar10", None, cache), "CIFAR-10", str(cache), url, "refused", "--data", "--smoke")


# The digits.


def test_digits_are_scaled_and_split_evenly(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    assert data.train_images.shape == (1437, 3, 32, 32)
    assert data.test_images.shape == (360, 3, 32, 32)
    assert (data.name, data.classes, data.class_names[9]) == ("digits", 10, "9")
    for images in (data.train_images, data.test_images):
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert (images == images[:, :1]).all()  # gray
    assert data.train_images.max() == 255
    assert data.train_images.min() == 0
    counts = np.bincount(np.concatenate([data.train_labels, data.test_labels]), minlength=10)
    assert np.abs(np.bincount(data.test_labels, minlength=10) - counts * 360 / 1797).max() < 1
    assert re.fullmatch("[0-9a-f]{64}", data.fingerprint)
    # The mean of the four pixels at the middle of each of the 8 x 8 cells is near the original's.
    _, test = split(load_digits().target, 360)
    original = load_digits().images[test] * 255 / 16
    scaled = data.test_images[:, 0].reshape(360, 8, 4, 8, 4)[:, :, 1:3, :, 1:3].mean(axis=(2, 4))
    assert np.corrcoef(original.ravel(), scaled.ravel())[0, 1] > 0.99
    assert same(load("digits"), data)


# Its statistics.


def test_channel_statistics_are_those_of_the_floats() -> None:
    images = pixels(1_300).transpose(0, 3, 1, 2).copy()
    images[:, 1] //= 2
    images[:, 2] = 7
    mean, std = channel_statistics(images)
    floats = images.astype(np.float64) / 255
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, floats.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, floats.std(axis=(0, 2, 3)), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match=r"uint8 images .* got float64"):
        channel_statistics(floats)


def test_statistics_are_taken_once_and_go_along_to_a_worker(folder: Path, cache: Path, monkeypatch) -> None:
    data = load("cifar10", folder, cache)
    mean, std = data.statistics
    np.testing.assert_array_equal((mean, std), channel_statistics(data.train_images))
    monkeypatch.setattr("trainables.data.image_data.channel_statistics", lambda images: pytest.fail("taken again"))
    assert data.statistics[0] is mean
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).statistics, (mean, std))


# The real set.


def test_real_cifar100(cache: Path) -> None:
    if not (CIFAR / "cifar100").is_dir():
        pytest.skip(f"CIFAR-100 is not in {CIFAR}: name its folder with CIFAR_DATA")
    data = load("cifar100", CIFAR, cache)
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    assert (np.bincount(data.train_labels) == 500).all()
    assert (np.bincount(data.test_labels) == 100).all()
    assert len(set(data.class_names)) == 100
    mean, std = channel_statistics(data.train_images)
    # The figures in common use for CIFAR-100: channels in their order, pixels as published.
    np.testing.assert_allclose(mean, [0.5071, 0.4865, 0.4409], atol=5e-5)
    np.testing.assert_allclose(std, [0.2673, 0.2564, 0.2762], atol=5e-5)
    lines: list[str] = []
    again = load("cifar100", CIFAR, cache, lines.append)
    assert lines == []
    assert same(again, data)
