"""A trainable that Ray could not send to its workers is refused before anything starts, and the value is named."""

from __future__ import annotations

import functools
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import cloudpickle, tune

from search.api import run
from search.failures import UsageError
from search.run import main
from search.sendable import require_sendable
from search.study import Study, StudyError

MIB = 1 << 20
LOCK, MANY, DATABASE = threading.Lock(), {"inner": [threading.Lock()]}, sqlite3.connect(":memory:")
LARGE, FITS = np.zeros(120 * MIB, np.uint8), np.zeros(90 * MIB, np.uint8)


def locks(config: dict[str, Any]) -> None:
    with LOCK:
        tune.report({"score": 1.0})


def nested(config: dict[str, Any]) -> None:
    tune.report({"score": len(MANY)})


def large(config: dict[str, Any]) -> None:
    tune.report({"score": LARGE.mean()})


def fits(config: dict[str, Any]) -> None:
    tune.report({"score": FITS.mean()})


def given(config: dict[str, Any], my_data: Any = None) -> None:
    tune.report({"score": 1.0})


class Connected(tune.Trainable):
    def step(self) -> dict[str, float]:
        DATABASE.commit()
        return {"score": 1.0}


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    """Pickle this file's functions as a space file's are."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def study(trainable: Any) -> Study:
    space = {"x": tune.uniform(0, 1)}
    options: dict[str, Any] = {"metric": "score", "reports": {"score": "max"}, "param_space": space, "samples": 2}
    return Study(name="own", question="?", source="me", trainable=trainable, **options)


@pytest.mark.parametrize(
    ("trainable", "told"),
    [
        (locks, "got LOCK in locks, of type lock "),
        (nested, "got [0] in ['inner'], of type lock "),
        (Connected, "got DATABASE in step, of type Connection "),
        (functools.partial(given, my_data=LOCK), "got my_data in partial, of type lock "),
        (large, "must take at most 95 MiB with the values that it uses, got 120 MiB: load the data inside it, or "),
        (functools.partial(given, my_data=LARGE), "got 120 MiB"),
    ],
)
def test_what_a_worker_could_not_get_is_named(trainable: Any, told: str) -> None:
    with pytest.raises(StudyError) as caught:
        require_sendable(study(trainable))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("trainable", [fits, given])
def test_what_ray_takes_is_taken(trainable: Any) -> None:
    require_sendable(study(trainable))


def test_the_values_of_with_parameters_go_to_the_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their size, if they can be pickled."""
    monkeypatch.setattr(ray._private.worker, "_post_init_hooks", [])  # by which the process's next Ray would take them
    require_sendable(study(tune.with_parameters(given, my_data=LARGE)))
    with pytest.raises(StudyError, match=r"got my_data in its tune\.with_parameters, of type lock "):
        require_sendable(study(tune.with_parameters(given, my_data=LOCK)))


def test_a_run_is_refused_with_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
import threading
from ray import tune
from search.study import Study
LOCK = threading.Lock()
def train(config):
    with LOCK:
        tune.report({"score": 1.0})
study = Study(name="own", question="?", source="me", trainable=train, metric="score", reports={"score": "max"},
              param_space={"x": tune.uniform(0, 1)})
"""
    (tmp_path / "space.py").write_text(text)
    assert main([str(tmp_path / "space.py"), "--results", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "trainable train must hold only what can be pickled" in line
    assert "got LOCK in train" in line
    with pytest.raises(UsageError, match="got LOCK in locks"):
        run(study(locks), results=tmp_path / "results")
    assert not (tmp_path / "results").exists()
