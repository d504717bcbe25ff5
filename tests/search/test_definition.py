"""A run's definition: every change that could change a result is named, and no other."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from search.definition import BOUND, CALLER_CODE, ROOT, SPACE_CODE, code, define, differences, domain_text
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


USER = {
    "spaces/x.py": """
from ray import tune
{how}
from search.study import Study
from trainables.image_trainable import image_trainable
import losses

def accuracy(probabilities, labels):
    from late import middle  # imported when it is called
    return middle(probabilities)

study = Study(
    name="x", question="q", source="none", trainable={trainable}, dataset="digits", epochs=1, samples=4,
    param_space={{"lr": tune.loguniform(1e-3, 1e-1)}},
)
""",
    "models/__init__.py": "SCALE = 1\n",
    "models/net.py": "from torch import nn\nfrom models.blocks import Block\n"
    "def net(classes, channels, size):\n    return Block(nn.Flatten(), nn.Linear(channels * size * size, classes))\n",
    "models/blocks.py": "from torch import nn\nfrom models import base\nclass Block(base.Base): pass\n",
    "models/base.py": "from torch import nn\nclass Base(nn.Sequential): pass\n",
    "losses.py": "def loss(logits, labels):\n    return (logits.sum(1) - labels) ** 2\n",
    "late.py": "def middle(x):\n    return float(x.mean())\n",
    "other.py": "",
}
IMAGE = "image_trainable(net, loss=losses.loss, metrics=dict(m=accuracy))"


MODULES = ("models", "models.net", "models.blocks", "models.base", "losses", "late")


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Return a function after which Python imports the user's modules anew."""

    def forget() -> None:
        for name in MODULES:
            sys.modules.pop(name, None)

    yield forget
    forget()


class Editable:
    """Where Python finds what was installed to be edited."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return PathFinder.find_spec(name, [str(self.place)]) if name in MODULES else None


@pytest.mark.parametrize("found_by", ["PYTHONPATH", "the space", "an editable install"])
def test_code_outside_of_the_space_files_folder_counts(
    found_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    """In the layout of most repositories: spaces/, and beside that folder the packages with the networks."""
    repo = tmp_path / "repo"
    how = f"import sys; sys.path.insert(0, {str(repo)!r})" if found_by == "the space" else ""
    for name, text in USER.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text.format(how=f"{how}\nfrom models.net import net", trainable=IMAGE))
    monkeypatch.setattr(sys, "path", [*[str(repo)] * (found_by == "PYTHONPATH"), *sys.path])
    if found_by == "an editable install":
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable(repo)])
    before = defined(repo / "spaces/x.py")
    own = {name for name in before["code"] if not name.startswith("trainables/")}
    names = {"models/__init__.py", "models/net.py", "models/blocks.py", "models/base.py", "losses.py", "late.py"}
    assert names <= own <= {*names, SPACE_CODE, BOUND}
    for name in sorted(names):
        text = (repo / name).read_text()
        (repo / name).write_text(f"{text}MORE = 1\n")
        assert list(differences(before, defined(repo / "spaces/x.py"))) == [f"the code of {name} is another"]
        (repo / name).write_text(text)
    forget()
    moved = repo.rename(tmp_path / "moved")
    monkeypatch.setattr(sys, "path", [str(moved), *sys.path])
    assert list(differences(before, defined(moved / "spaces/x.py"))) == []


def test_what_a_script_uses_of_other_files_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/late.py").write_text(USER["late.py"])
    (tmp_path / "losses.py").write_text(USER["losses.py"])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib"), str(tmp_path), *sys.path])
    script = (
        "import losses\nclass Net:\n    def go(self):\n        import late\n        return losses.loss, late.middle\n"
    )
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script, "<cell>", "exec"), names)
    assert set(code(names["Net"], tmp_path / "notebook")) == {CALLER_CODE, "lib/late.py", "losses.py"}


def test_two_files_of_one_name_both_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without __init__.py are packages too, and say nothing of where they end."""
    files = {"lib/one/net.py": "A = 1\n", "lib/two/net.py": "A = 2\n"}
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    text = "import one.net, two.net\nclass Net: used = one, two\n"
    space = tmp_path / "spaces"
    assert counted(space, text, {f"../{name}": content for name, content in files.items()}) == {SPACE_CODE, "net.py"}
    kind = type("Net", (), {"__module__": "space_own"})
    found = {code(kind, space / "own.py")["net.py"]}
    for name, content in files.items():
        (tmp_path / name).write_text("A = 3\n")
        found.add(code(kind, space / "own.py")["net.py"])
        (tmp_path / name).write_text(content)
    assert len(found) == 3


def test_what_changes_an_object_that_the_trainable_uses_belongs_to_the_definition(tmp_path: Path) -> None:
    path = tmp_path / "f.py"
    text = """
from ray import tune
from search.study import Study
CFG = {{}}
CFG["sign"] = {sign}
def train(config):
    tune.report({{"score": CFG["sign"] * config["x"]}})
print(CFG)
study = Study(
    name="f", question="{question}", source="s", trainable=train, epochs=1, samples=8, metric="score",
    reports={{"score": "max"}}, param_space={{"x": tune.uniform(0, 1)}},
)
study.check_search()
"""
    found = []
    for sign, question in ((1, "q"), (1, "another"), (-1, "q")):
        path.write_text(text.format(sign=sign, question=question))
        found.append(defined(path))
    assert list(differences(found[0], found[1])) == []
    assert list(differences(found[0], found[2])) == ["the code of the space file is another"]


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
