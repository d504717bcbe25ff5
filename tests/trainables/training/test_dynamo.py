"""Workers import TorchDynamo only if they compile."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from trainables.training import dynamo
from trainables.training.engine import COMPILE, compiled

EPOCH = """
import sys
from trainables.base import build
from trainables.data.datasets import load
from trainables.data.task import DeviceData
from trainables.training.steps import prepare_process
from {module} import {name}

prepare_process(1)
data = DeviceData(load("digits", None), "cpu")
training = build({name}, dict(epochs=2, train_images=64, test_images=64, **{settings}), data)
training.run_epoch()
state = training.state_dict()
training.load_state_dict(state)
training.run_epoch()
assert "torch._dynamo" not in sys.modules
"""


def left_out() -> list[str]:
    """Return the methods of an optimizer that run as they are."""
    return [method.__name__ for method in dynamo._methods() if vars(method).get("__dynamo_disable") is method]


@pytest.mark.parametrize(
    ("module", "name", "settings"),
    [
        ("trainables.lenet", "LeNetTrainable", {"optimizer": "adam"}),
        ("trainables.lenet", "LeNetTrainable", {"momentum": 0.9, "engine": "bf16"}),
        ("trainables.wide_resnet", "WideResNetTrial", {"depth": 10, "width": 1, "rho": 0.1}),
    ],
    ids=["adam", "momentum on bf16", "sam"],
)
def test_an_epoch_without_compiling_imports_no_compiler(module: str, name: str, settings: dict[str, object]) -> None:
    script = EPOCH.format(module=module, name=name, settings=settings)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_that_has_imported_the_compiler_keeps_it() -> None:
    compiled(torch.nn.Linear(2, 2), frozenset({COMPILE}), torch.device("cpu"))  # imports the compiler
    dynamo.leave_out()
    assert not left_out()


def test_leaving_the_compiler_out_is_undone_before_anything_is_compiled() -> None:
    script = """
from tests.trainables.training.test_dynamo import *
dynamo.leave_out()
assert len(left_out()) >= 3
compiled(torch.nn.Linear(2, 2), frozenset({COMPILE}), torch.device("cpu"))
assert not left_out()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
