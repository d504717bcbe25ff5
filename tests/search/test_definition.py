"""A run's definition: every change that could change a result is named, and no other."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from search.definition import ROOT, SPACE_CODE, code, define, differences, domain_text
from search.study import load
from trainables.lenet import LeNetTrainable

SPACE = '''"""What is it?

Question   a toy's
"""

import math
from pathlib import Path

from ray import tune

import helper
from search.study import Study, load
from search.records import Claim

TOY = load(Path("{toy}"))
FACTOR = 2  # unused by the trainable below
SCALE = 3.0


class Own(TOY.trainable):
    """A toy of one's own."""

    def step(self):
        # a comment
        result = super().step()
        result["train_loss"] *= SCALE * helper.half(1)
        return result


study = Study(
    name="own",
    question="What is it?",
    source="none",
    trainable=Own,
    dataset="digits",
    epochs=3,
    samples=8,
    param_space={{"quality": tune.uniform(0.1, 0.9), "members": tune.choice([1, 2]), "wait": 0.0, "lr": 0.1}},
    arms={{"one": {{"members": 1}}, "two": {{"members": 2}}}},
    claims=(Claim("c", "one is better", "none", ("one", "two")),),
)
'''
HELPER = '''def half(x):
    """Halve."""
    return x / 2
'''


@pytest.fixture
def space(tmp_path: Path, toy_space: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    (tmp_path / "helper.py").write_text(HELPER)
    path = tmp_path / "own.py"
    path.write_text(SPACE.format(toy=toy_space))
    return path


def defined(space: Path) -> dict[str, Any]:
    return define(load(space), space, samples=8, seed=0)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("uniform(0.1, 0.9)", "uniform(0.2, 0.9)", "space/quality was float from 0.1 to 0.9 and is float from 0.2"),
        ("uniform(0.1, 0.9)", "loguniform(0.1, 0.9)", "space/quality was .* and is .*, logarithmic"),
        ("choice([1, 2])", "choice([1, 2, 3])", r"space/members was choice\(1, 2\) and is choice\(1, 2, 3\)"),
        ("choice([1, 2])", "choice([2, 1])", "space/members was"),
        ('"members": tune.choice([1, 2]), ', "", "space/members was .* and is gone"),
        ('"lr": 0.1', '"lr": 0.2', "constants/lr was 0.1 and is 0.2"),
        ('"lr": 0.1', '"lr": 0.1, "switch": None', "constants/switch is new, None"),
        ('"lr": 0.1', '"lr": tune.uniform(0.1, 0.2)', "space/lr is new"),
        ("epochs=3", "epochs=4", "epochs was 3 and is 4"),
        ("epochs=3", 'epochs=3, metric="val_loss"', "metric was val_accuracy and is val_loss"),
        ("epochs=3", 'epochs=3, rank_by="val_accuracy"', "rank_by was member_val_accuracy and is val_accuracy"),
        ("epochs=3", 'epochs=3, scheduler="median"', "scheduler was asha and is median"),
        ("epochs=3", "epochs=3, grace_epochs=2", "grace_epochs was 1 and is 2"),
        ('"two": {"members": 2}}', '"two": {"members": 3}}', "arms/two/members was 2 and is 3"),
        ('"two": {"members": 2}}', '"two": {"members": 2}, "three": {}}', "arms/three is new"),
        ("SCALE = 3.0", "SCALE = 4.0", "the code of the space file is another"),
        ("*= SCALE", "+= SCALE", "the code of the space file is another"),
    ],
)
def test_a_change_that_may_change_a_result_is_named(space: Path, old: str, new: str, told: str) -> None:
    before = defined(space)
    text = space.read_text()
    assert old in text
    space.write_text(text.replace(old, new))
    found = list(differences(before, defined(space)))
    assert found
    assert any(re.search(told, each) for each in found), found


def test_a_file_that_the_trainable_uses_belongs_to_the_definition(space: Path) -> None:
    before = defined(space)
    space.with_name("helper.py").write_text(HELPER.replace("x / 2", "x / 3"))
    assert list(differences(before, defined(space))) == ["the code of helper.py is another"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What is it?\n', '"""What is it, really?\n'),
        ('    """A toy of one\'s own."""\n', ""),
        ("        # a comment\n", ""),
        ('question="What is it?"', 'question="What is it, really?"'),
        ("one is better", "one is much better"),
        ("    claims=", "    # none\n    claims="),
        ("FACTOR = 2", "FACTOR = 3"),
        ('{"one": {"members": 1}, "two": {"members": 2}}', '{"two": {"members": 2}, "one": {"members": 1}}'),
    ],
)
def test_words_and_what_no_trial_sees_may_change(space: Path, old: str, new: str) -> None:
    before = defined(space)
    text = space.read_text()
    assert old in text
    space.write_text(text.replace(old, new))
    assert list(differences(before, defined(space))) == []
    helper = space.with_name("helper.py")
    helper.write_text(helper.read_text().replace('    """Halve."""\n', "    # by two\n"))
    assert list(differences(before, defined(space))) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tune.uniform(0, 1), tune.uniform(0, 1 + 1e-12)),
        (tune.uniform(1, 2), tune.loguniform(1, 2)),
        (tune.uniform(0, 1), tune.quniform(0, 1, 0.1)),
        (tune.quniform(0, 1, 0.2), tune.quniform(0, 1, 0.1)),
        (tune.randint(1, 2), tune.uniform(1, 2)),
        (tune.randn(0, 1), tune.randn(0, 2)),
        (tune.choice([1, 2]), tune.choice([1.0, 2.0])),
        (tune.choice([1, 2]), tune.choice(["1", "2"])),
        (tune.choice([True]), tune.choice([1])),
    ],
)
def test_two_domains_have_the_same_words_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert domain_text(one) == domain_text(one)
    assert domain_text(one) != domain_text(other)


def test_of_a_space_in_the_clones_folder_the_project_is_no_more_a_part_than_elsewhere(tmp_path: Path) -> None:
    found = code(LeNetTrainable, ROOT / "mine.py")
    assert found == code(LeNetTrainable, tmp_path / "mine.py")
    assert found == code(LeNetTrainable, ROOT / "spaces" / "lenet_flip.py")
    assert {name.partition("/")[0] for name in found} == {"trainables"}


PACKAGE = {
    "mypkg/__init__.py": "from . import late\nCONSTANT = 1\n",
    "mypkg/late.py": "",
    "mypkg/net.py": "from .blocks import Block\nfrom .deep import inner\n",
    "mypkg/blocks.py": "from . import CONSTANT\nclass Block: pass\n",
    "mypkg/deep/__init__.py": "from .named import inner\n",
    "mypkg/deep/named.py": "from ..apart import apart\ndef inner(): pass\n",
    "mypkg/apart.py": "def apart(): pass\n",
    "mypkg/unused.py": "",
}


def counted(folder: Path, text: str, files: Mapping[str, str]) -> set[str]:
    """Return which files count for a space of this text, which defines Net, in a folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "own.py").write_text(text)
    return set(code(type("Net", (), {"__module__": "space_own"}), folder / "own.py"))


@pytest.mark.parametrize("within_the_clone", [False, True])
def test_what_a_package_beside_the_space_imports_from_itself_counts(
    within_the_clone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if within_the_clone:
        monkeypatch.setattr("search.definition.ROOT", tmp_path)
    folder = tmp_path / "mine"
    found = counted(folder, "from mypkg.net import Block\nclass Net(Block): pass\n", PACKAGE)
    prefix = "mine/" if within_the_clone else ""
    assert found == {SPACE_CODE, *(prefix + name for name in PACKAGE if "unused" not in name)}


def test_of_a_space_above_its_python_neither_the_standard_library_nor_packages_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import mine, part, known\nclass Net: used = mine, part, known\n"
    names = ("mine.py", "python/lib/part.py", "other/lib/site-packages/known.py")
    for name in names[1:]:
        # As Python itself imports it.
        monkeypatch.setitem(sys.modules, Path(name).stem, SimpleNamespace(__file__=str(tmp_path / name)))
    files = dict.fromkeys(names, "")
    assert counted(tmp_path, text, files) == {SPACE_CODE, *names[:2]}
    monkeypatch.setattr("search.definition.INSTALLED", {tmp_path / "python"})
    assert counted(tmp_path, text, files) == {SPACE_CODE, "mine.py"}
    # But a space that lies there itself, as in an image whose Python is in /usr/local, has files of its own.
    monkeypatch.setattr("search.definition.INSTALLED", {tmp_path})
    assert counted(tmp_path / "python/lib", "import part\nclass Net: used = part\n", {}) == {SPACE_CODE, "part.py"}


@pytest.mark.parametrize(
    "text",
    [
        "from blocks import *\nclass Net(Block): pass\n",
        "try:\n    from no import Block\nexcept ImportError:\n    from blocks import Block\nclass Net(Block): pass\n",
        "if True:\n    import blocks as b\n    class Net(b.Block): pass\n",
        "with open(__file__):\n    def block():\n        import blocks\nclass Net: make = block\n",
        "for _ in range(1):\n    if _:\n        import blocks\nclass Net(blocks.Block): pass\n",
    ],
)
def test_an_import_counts_also_by_a_star_and_within_a_block(text: str, tmp_path: Path) -> None:
    assert counted(tmp_path, text, {"blocks.py": "class Block: pass\n"}) == {SPACE_CODE, "blocks.py"}


def test_what_a_function_of_a_block_binds_is_its_own(tmp_path: Path) -> None:
    text = "if True:\n    def other():\n        import blocks\n        SIZE = 1\n{}class Net: size = SIZE, blocks\n"
    assert counted(tmp_path, text.format("blocks = SIZE = 2\n"), {"blocks.py": ""}) == {SPACE_CODE}
