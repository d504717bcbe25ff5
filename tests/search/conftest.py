"""The toy study: the search room's own small path, without torch and without images."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from search.study import Study, load
from trainables.data.datasets import ImageData


@pytest.fixture(scope="session")
def toy_space() -> Path:
    return Path(__file__).with_name("toy_space.py")


@pytest.fixture(scope="session")
def toy(toy_space: Path) -> Study:
    return load(toy_space)


@pytest.fixture(scope="session")
def tiny_data() -> ImageData:
    """Random images: 60 to train on, 20 to test on, of 10 classes in turn."""
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for n in (60, 20))
    return ImageData(
        name="digits",
        train_images=train,
        train_labels=np.arange(60) % 10,
        test_images=test,
        test_labels=np.arange(20) % 10,
        class_names=tuple("abcdefghij"),
        fingerprint="0",
        source="made up",
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, of which the file "ballast" takes 2."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    (disk / "ballast").write_bytes(bytes(2 << 20))
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
