"""The README's own example does what the README says."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest

from search.study import load
from trainables.base import build
from trainables.data import load as load_data
from trainables.task import DeviceData

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_an_own_model_trains(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "width.py").write_text(example, encoding="utf-8")
    study = load(tmp_path / "width.py").as_smoke()
    config = {**study.fixed(), "epochs": 1, "width": 16, "train_images": 100}
    training = build(study.trainable, config, DeviceData(load_data("digits")))
    result = training.run_epoch()
    assert math.isfinite(result["train_loss"])
    # Three members of a convolution, its BatchNorm and a linear layer, each.
    assert result["prefix_parameters"][-1] == 3 * (16 * 3 * 9 + 16 + 2 * 16 + 16 * 16 * 10 + 10)


def test_the_claims_are_counted_as_the_spaces_hold_them() -> None:
    files = [path for path in (README.parent / "spaces").glob("*.py") if path.stem not in ("__init__", "notes")]
    sources = [claim.source for path in files for claim in load(path).claims]
    notes = Counter(source.removeprefix("note ")[0] for source in sources)
    told = ", ".join(f"{note} {count}" for note, count in sorted(notes.items()))
    assert f"{len(sources)} claims of the notes" in README.read_text(encoding="utf-8")
    assert f"({told})" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["search", "trainables", "spaces", "analysis", "tests"])
def test_the_map_names_every_room(word: str) -> None:
    assert f"`{word}/`" in README.read_text(encoding="utf-8")
