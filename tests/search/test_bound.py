"""What is bound into a trainable belongs to a run's definition, and is described the same in each process."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import cloudpickle, tune
from torch import nn

from search.bound import INSTALLED, described
from search.definition import BOUND, code, define, differences
from search.finished import Results, ResultsError
from search.records import Training
from search.results import ResultsWriter, write_record
from search.study import Study, load
from tests.records import make_record

ROOT = Path(__file__).parents[2]

IMAGES = """
import collections, functools, enum, random, threading
import numpy as np
import torch
import torch.nn.functional as F
from pathlib import Path
from dataclasses import dataclass
from torch import nn
from ray import tune
from search.study import Study
from trainables.image_trainable import Metric, image_trainable

def net(classes, channels, size, width: int = 8, drop: float = 0.0):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(classes))

class Maker:
    def __init__(self, depth):
        self._depth = depth
    def __call__(self, classes, width: int = 8):
        return nn.Sequential(*[nn.LazyLinear(width)] * self._depth, nn.LazyLinear(classes))
    def make(self, classes, width: int = 8):
        return self(classes, width)

def weighted(logits, labels, gamma=1.0, weights=None):
    return F.cross_entropy(logits, labels, reduction="none") ** gamma

def weighed(gamma):
    def loss(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") ** gamma
    return loss

def default(gamma):
    def loss(logits, labels, gamma=gamma):
        return F.cross_entropy(logits, labels, reduction="none") ** gamma
    return loss

def classed(gamma):
    class Loss:
        power = gamma
        def __call__(self, logits, labels):
            return F.cross_entropy(logits, labels, reduction="none") ** self.power
    return Loss()

def scaled(factor):
    def wrap(function):
        @functools.wraps(function)
        def run(*args):
            return factor * function(*args)
        return run
    return wrap

@scaled(2)
def decorated(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")

@dataclass
class Focal:
    gamma: float
    def __call__(self, logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") ** self.gamma

class Slotted:
    __slots__ = ("gamma",)
    def __init__(self, gamma):
        self.gamma = gamma
    def __call__(self, logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") ** self.gamma

class Power(nn.Module):
    def __init__(self, gamma):
        super().__init__()
        self._gamma = gamma
        self.layer = nn.Linear(2, 2).requires_grad_(False)
    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") ** self._gamma

class Aug:
    def __init__(self, p):
        self.p, self.lock, self.random = p, threading.Lock(), random.Random()
        self.itself, self.kinds = self, {"relu", "gelu", "silu"}
    def __call__(self, images, generator):
        return images

def one(probabilities, labels):
    return 1.0

def two(probabilities, labels):
    return 2.0

class Share:
    def __init__(self, top):
        self.top = top
    def __call__(self, probabilities, labels):
        return float(self.top)

study = Study(name="own", question="?", source="me", trainable=image_trainable(net), dataset="digits", epochs=2,
              samples=2, param_space={"lr": tune.uniform(0.1, 0.2)})
"""

FOREIGN = """
import functools
import numpy as np
from ray import tune
from search.study import Study

def train(config, scale=1, data=None, act=None):
    tune.report({"score": 1.0 * scale})

class Called:
    def __init__(self, scale):
        self.scale = scale
    def __call__(self, config):
        tune.report({"score": 1.0 * self.scale})
    def train(self, config):
        self(config)

class Plain(tune.Trainable):
    def setup(self, config, scale=1):
        self.scale = scale
    def step(self):
        return {"score": 1.0 * self.scale}

def inner(scale):
    def train(config):
        tune.report({"score": 1.0 * scale})
    return train

def made(scale):
    class Made(Plain):
        factor = scale
    return Made

def square(x):
    return x * x

def cube(x):
    return x * x * x

class Rows:
    def __init__(self, values):
        self.values = values

study = Study(name="mine", question="?", source="me", trainable=train, epochs=2, samples=2, metric="score",
              reports={"score": "max"}, param_space={"rate": tune.uniform(0, 1)})
"""

NETWORKS = [  # arguments of image_trainable that train another way
    ("net", "net, normalize=False"),
    ("net", "net, channels_last=True"),
    ("functools.partial(net, width=4)", "functools.partial(net, width=64)"),
    ("functools.partial(functools.partial(net, width=4), drop=0.1)", "functools.partial(net, width=4, drop=0.2)"),
    ("Maker(1)", "Maker(2)"),
    ("Maker(1).make", "Maker(2).make"),
    ("net, loss=functools.partial(weighted, gamma=1)", "net, loss=functools.partial(weighted, gamma=3)"),
    (
        "net, loss=functools.partial(weighted, weights=np.arange(3))",
        "net, loss=functools.partial(weighted, weights=np.arange(3) + 1)",
    ),
    (
        "net, loss=functools.partial(weighted, weights=torch.ones(3))",
        "net, loss=functools.partial(weighted, weights=torch.zeros(3))",
    ),
    ("net, loss=F.cross_entropy", "net, loss=F.nll_loss"),
    ("net, loss=weighed(1)", "net, loss=weighed(2)"),
    ("net, loss=default(1)", "net, loss=default(2)"),
    ("net, loss=classed(1)", "net, loss=classed(2)"),
    ("net, loss=scaled(2)(weighted)", "net, loss=scaled(3)(weighted)"),
    ("net, loss=Focal(1)", "net, loss=Focal(2)"),
    ("net, loss=Slotted(1)", "net, loss=Slotted(2)"),
    ("net, loss=Power(1)", "net, loss=Power(2)"),
    (
        "net, loss=nn.CrossEntropyLoss(reduction='none')",
        "net, loss=nn.CrossEntropyLoss(reduction='none', label_smoothing=0.1)",
    ),
    (
        "net, loss=nn.CrossEntropyLoss(torch.ones(10), reduction='none')",
        "net, loss=nn.CrossEntropyLoss(torch.arange(10.0), reduction='none')",
    ),
    ("net, augment=Aug(0.3)", "net, augment=Aug(0.4)"),
    ("net, metrics={'m': Share(1)}", "net, metrics={'m': Metric(Share(2))}"),
    ("net, metrics={'a': one, 'b': two}", "net, metrics={'a': two, 'b': one}"),
]
FUNCTIONS = [  # Ray Tune trainables that train another way
    ("functools.partial(train, scale=1)", "functools.partial(train, scale=2)"),
    ("functools.partial(train, act=lambda x: x)", "functools.partial(train, act=lambda x: -x)"),
    ("tune.with_parameters(train, scale=1)", "tune.with_parameters(train, scale=2)"),
    ("tune.with_parameters(Plain, scale=1)", "tune.with_parameters(Plain, scale=2)"),
    ("tune.with_parameters(train, data=Rows(np.arange(9)))", "tune.with_parameters(train, data=Rows(np.ones(9)))"),
    (
        "tune.with_parameters(functools.partial(train, scale=1), data=[1])",
        "tune.with_parameters(functools.partial(train, scale=2), data=[1])",
    ),
    ("Called(1)", "Called(2)"),
    ("Called(1).train", "Called(2).train"),
    ("inner(1)", "inner(2)"),
    ("made(1)", "made(2)"),
]


def of_images(folder: Path, given: str) -> dict[str, Any]:
    """Return the definition of a study whose image_trainable has these arguments."""
    return defined(folder, IMAGES.replace("image_trainable(net)", f"image_trainable({given})"))


def of_function(folder: Path, given: str) -> dict[str, Any]:
    """Return the definition of a study with this Ray Tune trainable."""
    return defined(folder, FOREIGN.replace("trainable=train", f"trainable={given}"))


def defined(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "own.py"
    path.write_text(text)
    return define(load(path), path, samples=2, seed=0)


def training(definition: dict[str, Any]) -> str:
    return Training.of(definition["trainable"], "data", {"lr": 0.1}, definition["code"]).key


@pytest.mark.parametrize(("one", "other"), NETWORKS)
def test_another_network_loss_or_augmentation_is_another_study_and_another_training(
    tmp_path: Path, one: str, other: str
) -> None:
    first, again, changed = (of_images(tmp_path, given) for given in (one, one, other))
    assert list(differences(first, again)) == []
    assert list(differences(first, changed))
    assert training(first) == training(again) != training(changed)


@pytest.mark.parametrize(("one", "other"), FUNCTIONS)
def test_a_ray_function_or_class_that_is_given_another_value_is_another_study_and_another_training(
    tmp_path: Path, one: str, other: str
) -> None:
    first, again, changed = (of_function(tmp_path, given) for given in (one, one, other))
    assert list(differences(first, again)) == []
    assert list(differences(first, changed)) == [f"{BOUND} is another"]
    assert training(first) == training(again) != training(changed)


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (of_images, "net"),
        (of_images, "['squeezenet1_1', 'mobilenet_v3_small']"),
        (of_images, "net, normalize=True"),
        (of_function, "train"),
        (of_function, "Plain"),
    ],
)
def test_a_trainable_into_which_nothing_is_bound_is_defined_as_before_there_was_such_a_digest(
    tmp_path: Path, made: Callable[[Path, str], dict[str, Any]], given: str
) -> None:
    assert BOUND not in made(tmp_path, given)["code"]


@pytest.mark.long
def test_a_best_model_is_not_loaded_into_a_network_with_another_bound_value(tmp_path: Path) -> None:
    space = tmp_path / "own.py"
    text = IMAGES.replace("image_trainable(net)", "image_trainable(functools.partial(net, width=4))")
    space.write_text(text)
    command = [sys.executable, "-m", "search.run", space, "--results", tmp_path / "results", "--samples", "1"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert Results(tmp_path / "results").load_best().class_names == tuple("0123456789")
    space.write_text(text.replace("width=4", "width=5"))
    with pytest.raises(ResultsError, match=f"{BOUND} is not what .* was begun with: give the study as it was"):
        Results(tmp_path / "results").load_best()


def test_a_best_model_is_not_loaded_into_a_network_whose_file_beside_the_space_was_changed(tmp_path: Path) -> None:
    """The file is named, whether the study is looked for or given; a study that was only moved is taken."""
    text = IMAGES.replace("image_trainable(net)", "image_trainable(wide)")
    text = text.replace("study =", "from net import wide\nstudy =")
    beside = "from torch import nn\n\ndef wide(channels, classes):\n    return nn.Sequential(nn.Flatten(), nn.{})\n"
    run, space, net = tmp_path / "results", tmp_path / "own.py", tmp_path / "net.py"
    space.write_text(text)
    net.write_text(beside.format("LazyLinear(10)"))
    run.mkdir()
    definition = {"code": code(load(space).trainable, space)}
    command = f"python -m search.run {space}"
    record = make_record(trainable="wide", dataset="digits", command=command, definition=definition, images={"size": 8})
    write_record(run, record)
    ResultsWriter(run).refresh({}, force=True)
    moved = tmp_path / "elsewhere" / "another.py"
    shutil.copytree(tmp_path, moved.parent, ignore=shutil.ignore_patterns("results"))
    moved.with_name("own.py").rename(moved)

    def found() -> list[Any]:
        study = load(space)
        return [Results(run)._trainable(), Results(run, study)._trainable(), Results(run, study, space)._trainable()]

    assert [each.__name__ for each in found()] == ["wide"] * 3
    assert Results(run, load(moved), moved)._trainable().__name__ == "wide"
    net.write_text(beside.format("LazyLinear(20)"))
    for given in ((), (load(space),), (load(space), space)):
        with pytest.raises(
            ResultsError, match=r"net\.py is not what .*results was begun with: give the study as it was"
        ):
            Results(run, *given)._trainable()


def test_the_code_of_a_function_that_is_bound_counts(tmp_path: Path) -> None:
    text = FOREIGN.replace("trainable=train", "trainable=functools.partial(train, act=square)")
    first, changed = defined(tmp_path, text), defined(tmp_path, text.replace("x * x\n", "x + x\n", 1))
    assert list(differences(first, changed)) == ["the code of the space file is another"]


def bound_of_all() -> str:
    """Return all of the descriptions above, in a process that reads the source as a script."""
    images: dict[str, Any] = {"__name__": "__main__"}
    functions = dict(images)
    exec(IMAGES, images)
    exec(FOREIGN, functions)
    given = [eval(f"image_trainable({each})", images).bound for pair in NETWORKS for each in pair]
    given += [{"trainable": eval(each, functions)} for pair in FUNCTIONS for each in pair]
    return str([described(values, "none")[0] for values in given])


def test_it_is_described_the_same_in_each_process() -> None:
    """Objects among it hold locks, generators, random weights, sets and themselves."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "import test_bound; print(test_bound.bound_of_all())"],
            env=environment | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, other = (process.communicate()[0] for process in processes)
    assert "gamma" in one
    assert one == other


def told(value: Any) -> str:
    return described({"value": value}, "none")[0]["value"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (np.array(["a", None]), np.array(["a", "b"], object)),
        (np.datetime64("2026-01-01"), np.datetime64("2026-01-02")),
        (torch.zeros(2), torch.tensor([0.0, 1.0])),
        (torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(2.0, dtype=torch.bfloat16)),
        (torch.float16, torch.bfloat16),
        (b"a" * 9, b"b" * 9),
        ({"a": 1}, {"a": True}),
        ([1, [2]], [1, [3]]),
        (Path("a"), Path("b")),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ELU())),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (nn.BatchNorm1d(1).eval().running_mean, torch.ones(1)),
    ],
)
def test_values_that_differ_are_described_otherwise(one: Any, other: Any) -> None:
    assert told(one) == told(cloudpickle.loads(cloudpickle.dumps(one)))
    assert told(one) != told(other)
    assert len(told(one)) < 400


class Odd:
    """An object that has nothing to say of itself."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise OSError("no")
        return super().__getattribute__(name)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    "make",
    [
        object,
        Odd,
        threading.Lock,
        lambda: (each for each in [1]),
        lambda: np.random.default_rng(),
        lambda: torch.Generator(),
        lambda: nn.Linear(2, 3),
        lambda: torch.empty(2, device="meta"),
        lambda: torch.eye(2).to_sparse(),
        lambda: nested(300),
        lambda: functools.partial(print, end=threading.Lock()),
    ],
)
def test_what_cannot_be_described_is_the_same_each_time(make: Any) -> None:
    assert told(make()) == told(make())


def test_an_object_counts_as_it_was_before_it_was_used(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(FOREIGN)
    used = load(path)
    path.write_text(IMAGES.replace("image_trainable(net)", "image_trainable(net, augment=Aug(0.3))"))
    used, fresh = load(path), load(path)
    before = define(used, path, samples=2, seed=0)
    used.trainable.recipe.augment.calls = 3
    assert define(used, path, samples=2, seed=0) == before == define(fresh, path, samples=2, seed=0)


def test_a_study_that_a_script_hands_over_is_described_as_in_the_script(tmp_path: Path) -> None:
    study = load_as_script(FOREIGN.replace("trainable=train", "trainable=tune.with_parameters(train, data=[1])"))
    other = load_as_script(FOREIGN.replace("trainable=train", "trainable=tune.with_parameters(train, data=[2])"))
    one, again, changed = (
        define(each, tmp_path / "notebook", samples=2, seed=0)
        for each in (study, cloudpickle.loads(cloudpickle.dumps(study)), other)
    )
    assert one["code"][BOUND] == again["code"][BOUND] != changed["code"][BOUND]


def load_as_script(text: str) -> Study:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), names)
    study: Study = names["study"]
    return study


def test_where_this_python_lies_is_known() -> None:
    for module in (ast, sysconfig, tune):
        assert not INSTALLED.isdisjoint(Path(str(module.__file__)).resolve().parents)
