"""Who may import whom: the rooms meet in files and in search.records, and the training core runs without Ray."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("search", "trainables", "spaces", "analysis")
VOCABULARY = {"search.records", "search.columns"}
# Of search, what meets the trainables: to build, measure or describe their training.
MEET_TRAINABLES = (
    *("request", "prepare", "run", "tuner", "plan", "packing", "fastest", "device", "execution"),
    "provenance",
    "gallery",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def modules(*rooms: str) -> list[str]:
    return [module for module in FILES if room_of(module) in rooms]


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that a file imports anywhere in it; `from a import b` is a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
    return frozenset(found)


@cache
def reached(module: str) -> frozenset[str]:
    """What importing a file brings in, through our own files."""
    seen, ahead = set[str](), [module]
    while ahead:
        for name in imports(ahead.pop()) - seen:
            seen.add(name)
            if name in FILES:
                ahead.append(name)
    return frozenset(seen)


def packages(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def foreign(module: str) -> set[str]:
    """Modules of other rooms that a file imports, less the shared vocabulary."""
    return {
        name for name in imports(module) if room_of(name) in ROOMS and room_of(name) != room_of(module)
    } - VOCABULARY


def test_the_walk_sees_the_rooms() -> None:
    assert {room_of(module) for module in FILES} == set(ROOMS)
    assert "ray" in reached("search.run")
    assert "torch" in reached("trainables.base")
    assert imports("search.study") >= VOCABULARY


@pytest.mark.parametrize("module", modules(*ROOMS))
def test_every_import_of_our_own_is_of_a_file_that_is_there(module: str) -> None:
    assert {name for name in imports(module) if room_of(name) in ROOMS} <= FILES.keys()


@pytest.mark.parametrize("module", sorted(VOCABULARY))
def test_the_vocabulary_needs_the_standard_library_only(module: str) -> None:
    assert packages(imports(module) - VOCABULARY) <= sys.stdlib_module_names
    assert FILES["search"].read_text() == ""  # or importing the vocabulary would import more


@pytest.mark.parametrize("module", modules("trainables", "analysis"))
def test_trainables_and_analysis_know_no_other_room(module: str) -> None:
    assert foreign(module) == set()


@pytest.mark.parametrize("module", modules("analysis"))
def test_analysis_needs_neither_ray_nor_torch(module: str) -> None:
    assert packages(reached(module)) & {"ray", "torch", "torchvision"} == set()


@pytest.mark.parametrize("module", modules("spaces"))
def test_spaces_know_the_study_the_vocabulary_and_the_trainables(module: str) -> None:
    assert {name for name in foreign(module) if room_of(name) != "trainables"} <= {"search.study"}


@pytest.mark.parametrize("module", modules("search"))
def test_search_knows_no_space_no_analysis_and_of_trainables_no_family(module: str) -> None:
    if module == "search.checkpoints":
        assert foreign(module) == {"trainables.training.checkpoint"}  # whether one is whole
        return
    if module == "search.finished":  # where a run's tables and its best model meet, for Python
        rooms = {name for name in foreign(module) if room_of(name) == "analysis"}
        assert foreign(module) - rooms == {"trainables.predictor"}
        return
    if module == "search.flops":
        assert foreign(module) == {"trainables.training.dynamo"}  # which counting would import
        return
    # How a step is executed: measured before a study.
    how = {"trainables.training.engine", "trainables.training.steps"}
    assert foreign(module) <= {"trainables.base", "trainables.data.datasets", "trainables.data.task"} | how
    if module == "search.options":
        assert foreign(module) == {"trainables.training.engine"}  # their names
    elif module.partition(".")[2] not in MEET_TRAINABLES:
        assert foreign(module) == set()


@pytest.mark.parametrize("module", modules("trainables"))
def test_of_the_trainables_base_alone_imports_ray(module: str) -> None:
    assert ("ray" in packages(imports(module))) == (module == "trainables.base")


@pytest.mark.parametrize("room", ["training", "ensembles", "data"])
def test_networks_engine_and_data_know_no_family_and_no_ray(room: str) -> None:
    for module in modules("trainables"):
        if module.startswith(f"trainables.{room}"):
            assert "ray" not in packages(reached(module)), module


def test_every_module_has_a_name_of_its_own() -> None:
    """No two modules of the rooms share a name, and none bears one of the standard library's."""
    names = Counter(
        module.rpartition(".")[2] for module in FILES if FILES[module].name not in ("__init__.py", "__main__.py")
    )
    assert {name for name, count in names.items() if count > 1} == set()
    assert names.keys() & sys.stdlib_module_names == set()


def test_rays_settings_come_before_ray() -> None:
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.parse(FILES["search.run"].read_text()).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    first = next(n for n, name in enumerate(imported) if name in ("search", "search.environment"))
    assert all(packages(frozenset([name])) <= sys.stdlib_module_names for name in imported[:first] if name)
    assert not packages(reached("search.environment")) - sys.stdlib_module_names
