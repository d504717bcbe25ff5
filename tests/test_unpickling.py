"""To read a pickle is to run it: the sources read none that others could have written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path for room in ("analysis", "search", "spaces", "trainables") for path in sorted((ROOT / room).rglob("*.py"))
]
# Modules whose files are programs.
PICKLING = {"cloudpickle", "dill", "joblib", "marshal", "shelve", "ray.cloudpickle", "cPickle", "_pickle"}
# What may be read only with this said in the call.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "get_state_dict": ("weights_only", True),
    "load_state_dict_from_url": ("weights_only", True),
}
# What reads a pickle, or runs text, whatever is said: pandas, Ray's own restorers, PyTorch's hub and others.
REFUSED = {
    *("read_pickle", "get_pickled_error", "can_restore", "ExperimentAnalysis", "torch.hub.load", "torch.jit.load"),
    *("Tuner.restore", "tune.Tuner.restore", "yaml.load", "yaml.unsafe_load", "extractall"),
}
BUILTINS = {"eval", "exec"}
# A child of the run reads what the run wrote for it in a temporary folder, which only its user can open; a search that
# a Python process started reads that process's study from its standard input. A dict that a user's own Ray Tune class
# saves is read from a run's folder that is the user's own (`search.doors.require_own`); the filter "data" of archives
# leads nowhere else.
OWN = {
    "search/packing.py": {"pickle.loads", "pickle.dumps"},
    "search/hosted.py": {"pickle.loads"},
    "search/foreign.py": {"pickle.loads", "pickle.dumps", "archive.extractall"},
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def matches(name: str, known: str) -> bool:
    return name == known or name.endswith("." + known)


def findings(source: str) -> list[str]:
    """What in a source would unpickle, a line each."""
    tree = ast.parse(source)
    found = []
    # A class that derives from pickle.Unpickler and says itself what may be looked up.
    restricted = {
        base
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(getattr(item, "name", "") == "find_class" for item in node.body)
        for base in node.bases
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: import {alias.name}" for alias in node.names if alias.name in PICKLING]
        elif isinstance(node, ast.ImportFrom) and node.module in PICKLING | {"pickle"}:
            found.append(f"{node.lineno}: from {node.module} import")
        elif isinstance(node, ast.Attribute) and dotted(node.value) == "pickle":
            if node not in restricted and node.attr != "UnpicklingError":
                found.append(f"{node.lineno}: {dotted(node)}")
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in BUILTINS or any(matches(name, refused) for refused in REFUSED):
                found.append(f"{node.lineno}: {name}")
            for guarded, (keyword, value) in GUARDED.items():
                if matches(name, guarded) and not any(
                    given.arg == keyword and isinstance(given.value, ast.Constant) and given.value.value is value
                    for given in node.keywords
                ):
                    found.append(f"{node.lineno}: {name} without {keyword}={value}")
    return found


def test_nothing_is_unpickled() -> None:
    found = []
    for path in FILES:
        name = str(path.relative_to(ROOT))
        lines = findings(path.read_text("utf-8"))
        found += [f"{name}:{line}" for line in lines if line.partition(": ")[2] not in OWN.get(name, ())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import cloudpickle",
        "from pickle import load",
        "import pickle\npickle.load(file)",
        "import pickle\nclass Any(pickle.Unpickler): ...",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, **options)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import pandas as pd\npd.read_pickle(path)",
        "from ray import tune\ntune.Tuner.restore(path, trainable)",
        "archive.extractall(folder)",
        "eval(text)",
    ],
)
def test_what_would_be_found(source: str) -> None:
    assert len(findings(source)) == 1
