"""The toy study: the search room's own small path, without torch and without images."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.study import Study, load


@pytest.fixture(scope="session")
def toy_space() -> Path:
    return Path(__file__).with_name("toy_space.py")


@pytest.fixture(scope="session")
def toy(toy_space: Path) -> Study:
    return load(toy_space)
