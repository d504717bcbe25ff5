"""What the READMEs say is so: their examples run, their options, files and counts are the project's."""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from search.options import parser
from search.study import load
from trainables.base import build
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    ROOT / folder / "README.md"
    for folder in ("", "search", "trainables", "spaces", "analysis/evidence", "tests", "tests/benchmarks")
]
ROOMS = ("search", "trainables", "spaces", "analysis", "tests")
NOT_OURS = ("width.py", "rates.py")  # what a user makes


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def trained(page: Path, name: str, folder: Path, **config: Any) -> dict[str, Any]:
    """Save a page's Python example as `name`, and train its smoke study for one epoch."""
    (example,) = re.findall(r"```python\n(.*?)```", text(page), re.DOTALL)
    (folder / name).write_text(example, encoding="utf-8")
    assert f"`{name}`" in text(page)
    study = load(folder / name).as_smoke()
    config = {**study.fixed(), "epochs": 1, "train_images": 100, **config}
    return build(study.trainable, config, DeviceData(load_data("digits"))).run_epoch()


def test_the_main_page_is_two_pages_and_starts_with_a_command() -> None:
    lines = text(README).splitlines()
    assert len(lines) <= 230
    assert len(text(README).encode()) <= 12_000
    assert any(line.startswith("pip install uv && uv run") for line in lines[:30])


def test_the_question_of_ones_own_trains(tmp_path: Path) -> None:
    assert math.isfinite(trained(README, "rates.py", tmp_path, lr=0.01, momentum=0.9)["train_loss"])


def test_the_model_of_ones_own_trains(tmp_path: Path) -> None:
    result = trained(ROOT / "spaces" / "README.md", "width.py", tmp_path, width=16)
    assert math.isfinite(result["train_loss"])
    # Three members of a convolution, its BatchNorm and a linear layer, each.
    assert result["prefix_parameters"][-1] == 3 * (16 * 3 * 9 + 16 + 2 * 16 + 16 * 16 * 10 + 10)


def test_the_claims_are_counted_as_the_spaces_hold_them() -> None:
    files = [path for path in (ROOT / "spaces").glob("*.py") if path.stem not in ("__init__", "notes")]
    sources = [claim.source for path in files for claim in load(path).claims]
    notes = Counter(source.removeprefix("note ")[0] for source in sources)
    told = ", ".join(f"{note} {count}" for note, count in sorted(notes.items()))
    assert f"{len(sources)} claims" in text(README)
    assert f"({told})" in text(README)


@pytest.mark.parametrize("word", ["search", "trainables", "spaces", "analysis", "tests"])
def test_the_map_names_every_room(word: str) -> None:
    assert f"`{word}/`" in text(README)


def test_the_table_of_options_has_every_option() -> None:
    table = text(ROOT / "search" / "README.md").partition("| option |")[2].partition("\n\n")[0]
    told = set(re.findall(r"--[a-z][a-z-]*", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    options = {
        name
        for action in parser()._actions
        for name in action.option_strings
        if name.startswith("--") and action.help is not argparse.SUPPRESS
    }
    assert told == options - {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_every_file_that_a_page_names_is_there(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|md|txt|csv|toml|yaml))`", text(page))
    ours = [path for room in ROOMS for path in (ROOT / room).rglob("*")]
    there = {path.relative_to(ROOT).as_posix() for path in ours} | {path.name for path in (*ours, *ROOT.iterdir())}
    lost = {name for name in named if name not in there and not (page.parent / name).exists()}
    assert {name for name in lost if not name.startswith(NOT_OURS)} == set()
    for module in re.findall(r"python -m ((?:search|analysis|tests)(?:\.\w+)*)", text(page)):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
