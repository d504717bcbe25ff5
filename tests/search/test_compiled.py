"""Code that a script hands over is described by what it does, the same in each process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ray import cloudpickle

from search.compiled import compiled

ROOT = Path(__file__).parents[2]
HANDED = """
import enum, functools, math
from torch import nn

class Mode(enum.Enum):
    FAST = 1

class Base(nn.Module):
    def forward(self, x):
        return x in {"relu", "tanh", "gelu", "elu"}

class Net(Base):
    @property
    def width(self):
        return 4
    @staticmethod
    def still(x):
        return x + 5
    @classmethod
    def known(cls):
        return 6
    def kept(self):
        return 7

def twice(function):
    @functools.wraps(function)
    def run(*args):
        return 8 * function(*args)
    return run

def relu(x):
    return max(x, 9)

def table():
    return 10

@twice
def tanh(x):
    return math.tanh(x)

def silent(x):
    x.append(11)

KINDS = {"relu": [relu, 12], "tanh": (tanh, math.exp), "module": nn}
KINDS["itself"] = KINDS
NAMES = {relu, tanh, table, "a", "b", "c"}
PART = functools.partial(relu, 13)

def made(kind, act=relu, *, also=tanh, made=nn.ReLU()):
    class Inner:
        size = 14
    try:
        return Net(), Inner, KINDS[kind], NAMES, PART, silent, table(), Mode.FAST
    except KeyError:
        return 15
"""


def handed(text: str) -> str:
    """Describe `made` of a script as a process does to which it is handed over."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), names)
    return compiled(cloudpickle.loads(cloudpickle.dumps(names["made"])))


def test_handed_over_code_is_the_same_in_each_process_wherever_it_stands_and_without_its_docstrings() -> None:
    again = HANDED
    for line in ("def silent(x):\n", "class Net(Base):\n", "    def width(self):\n", "    class Inner:\n"):
        assert line in again
        again = again.replace(line, f"{line}{' ' * (len(line) - len(line.lstrip()) + 4)}'''A docstring.'''\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    found = []
    for seed, text in enumerate((HANDED, "\n\n" + again)):
        command = [sys.executable, "-c", f"import test_compiled; print(test_compiled.handed({text!r}))"]
        environment |= {"PYTHONHASHSEED": str(seed + 1)}
        found.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert found[0] == found[1]
    assert " at 0x" not in found[0]


def test_each_change_of_handed_over_code_is_told() -> None:
    changes = {
        '"elu"': '"silu"',
        "math.exp": "math.log",
        "nn.ReLU()": "nn.Tanh()",
        "FAST = 1": "FAST = 2",
        "also=tanh": "also=relu",
        "def relu(x)": "def relu(*x)",
        "NAMES = {relu, tanh,": "NAMES = {relu,",
        **{rf"\b{number}\b": "99" for number in range(4, 16)},
    }
    found = [handed(HANDED)]
    for old, new in changes.items():
        changed = re.sub(old if "\\b" in old else re.escape(old), new, HANDED)
        assert changed != HANDED
        found.append(handed(changed))
    assert len(set(found)) == len(found)
