"""A space imports files beside it, here and in workers that do not find them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from search.study import StudyError, load

ROOT = Path(__file__).parents[2]

LAYERS = """
from dataclasses import dataclass

from scale import SCALE
from trainables.training.settings import Settings, number


@dataclass(frozen=True, kw_only=True)
class MySettings(Settings):
    width: int = number(SCALE, low=1)


def width(settings: MySettings) -> int:
    return SCALE * settings.width
"""
SPACE = """
from __future__ import annotations

{imports}
from ray import tune
from torch import nn

from search.study import Study
from trainables.base import ImageTrainable
from trainables.training.recipe import Recipe


class MyRecipe(Recipe):
    settings_type = {layers}.MySettings

    def network(self):
        return nn.Linear({layers}.width(self.settings), 1)


class Mine(ImageTrainable):
    recipe = MyRecipe


study = Study(name="mine", question="?", source="me", trainable=Mine, param_space={{"width": tune.choice([8, 16])}})
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


LAYOUTS = {
    "a file": ("import layers", "layers", "layers.py", "scale.py"),
    "a package": ("from models import layers", "layers", "models/layers.py", "scale.py"),
    "a package with its own name": ("import models.layers", "models.layers", "models/layers.py", "scale.py"),
}


def test_what_stands_beside_a_space_reaches_a_worker_by_value(tmp_path: Path) -> None:
    pickles = tmp_path / "pickles"
    pickles.mkdir()
    for package in ("", "models/__init__.py"):
        for layout, (imports, name, layers, scale) in LAYOUTS.items():
            folder = tmp_path / f"{layout}{bool(package)}"
            if package:
                write(folder, package, "")
            write(folder, layers, LAYERS)
            write(folder, scale, "SCALE = 3\n")
            mine = load(write(folder, "space.py", SPACE.format(imports=imports, layers=name))).trainable
            assert not {"layers", "models", "scale"} & {module.partition(".")[0] for module in sys.modules}
            (pickles / f"{layout}{bool(package)}").write_bytes(ray.cloudpickle.dumps(mine))
    code = (
        "import pickle, pathlib\n"
        f"for path in sorted(pathlib.Path({str(pickles)!r}).iterdir()):\n"
        "    mine = pickle.loads(path.read_bytes())\n"
        "    settings = mine.recipe.settings_type.from_config({'width': 5})\n"
        "    recipe = object.__new__(mine.recipe); recipe.settings = settings\n"
        "    try: mine.recipe.settings_type.from_config({'width': 0})\n"
        "    except ValueError as error: print(recipe.network().in_features, settings.width, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout == 6 * "15 5 width must be a whole number of at least 1, got 0\n", ran.stderr


def test_two_spaces_have_each_its_own_file_of_one_name(tmp_path: Path, toy_space: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name, "named.py", f"NAME = {name!r}\n")
        text = toy_space.read_text().replace('name="toy"', "name=NAME")
        write(tmp_path / name, "space.py", f"from named import NAME\n{text}")
    assert [load(tmp_path / name / "space.py").name for name in ("first", "second")] == ["first", "second"]


def test_an_edit_within_a_second_is_run(tmp_path: Path, toy_space: Path) -> None:
    """Bytecode that Python keeps is told from its file by size and second alone."""
    text = toy_space.read_text().replace('name="toy"', "name=NAME + '-a'")
    names = []
    for name, own in (("first", "-a"), ("other", "-a"), ("other", "-b")):
        for path in (
            write(tmp_path, "named.py", f"NAME = {name!r}\n"),
            write(tmp_path, "space.py", f"from named import NAME\n{text}".replace("-a", own)),
        ):
            os.utime(path, (1e9, 1e9))
        names.append(load(tmp_path / "space.py").name)
    assert names == ["first-a", "other-a", "other-b"]
    assert not (tmp_path / "__pycache__").exists()


def test_the_project_is_not_taken_for_a_file_beside_a_space_in_its_folder(tmp_path: Path) -> None:
    before = sys.modules.get("spaces.notes")
    load(ROOT / "spaces" / "lenet_flip.py")
    assert "spaces.notes" in sys.modules
    assert before in (None, sys.modules["spaces.notes"])


@pytest.mark.parametrize("room", ["analysis", "spaces", "search"])
def test_a_package_that_hides_one_of_ours_is_refused(tmp_path: Path, toy_space: Path, room: str) -> None:
    """A worker finds ours under that name: each trial would fail there, for want of a module."""
    write(tmp_path, f"{room}/__init__.py", "")
    write(tmp_path, f"{room}/mine.py", "NAME = 'mine'\n")
    path = write(tmp_path, "space.py", f"from {room}.mine import NAME\n{toy_space.read_text()}")
    before = {name for name in sys.modules if name.partition(".")[0] == room}
    with pytest.raises(StudyError, match=rf"ImportError: '{room}' beside the space has the name .* rename it"):
        load(path)
    assert {name for name in sys.modules if name.partition(".")[0] == room} == before
    write(tmp_path, "space.py", toy_space.read_text())
    assert load(path).name == "toy"  # not imported, it hides nothing


def test_a_fault_beside_a_space_names_both_lines(tmp_path: Path) -> None:
    write(tmp_path, "helper.py", "x = 1\n\n1 / 0\n")
    path = write(tmp_path, "space.py", "import helper\n")
    with pytest.raises(StudyError, match=r"space\.py, line 1, which runs helper\.py, line 3: ZeroDivisionError"):
        load(path)
    write(tmp_path, "helper.py", "x = = 1\n")
    with pytest.raises(StudyError, match=r"helper\.py, line 1: invalid syntax"):
        load(path)
