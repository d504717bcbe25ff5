"""Whatever is asked for, and whatever a space file or an unfinished run holds: it starts, or one line says why not."""

from __future__ import annotations

import functools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from search import prepare, run
from search.failures import ClusterError
from search.journal import Journal
from search.options import STORED
from search.prepare import adapt
from search.provenance import new_record
from search.request import Request
from search.results import write_record
from search.searchers import make_proposals
from search.study import load

ROOT = Path(__file__).parents[2]
STARTED = "Ray would start now"

Command = Callable[..., str]


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Return a function that runs a command until it would start Ray, and returns the line with which it ended."""

    def connect(*arguments: object, **options: object) -> None:
        raise ClusterError(STARTED)

    monkeypatch.setattr(run, "connect", connect)
    monkeypatch.setattr(prepare, "load_data", lambda name, folder, **_: load_data(name))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    results = tmp_path / "results"

    def command(*arguments: str) -> str:
        before = sorted(results.rglob("*.*"))
        capsys.readouterr()
        assert run.main([*arguments, "--results", str(results)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("search.run: ")
        assert sorted(results.rglob("*.*")) == before  # nothing is left behind
        return line.removeprefix("search.run: ")

    yield command
    signal.signal(signal.SIGTERM, handler)


load_data = functools.cache(prepare.load_data)  # the digits are decoded once

VALUES = st.one_of(
    st.sampled_from(["", "none", "NaN", "-inf", "1e999", "1_0", "٣", "9" * 5000, "true", "0x1", "[1]", "sgd", "\n"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
)
NAMES = st.one_of(
    st.sampled_from(["lr", "members", "epochs", "seed", "optimizer", "train_images", "dropout", "trial", "restore"]),
    st.text(max_size=12),
)


@pytest.mark.parametrize("space", ["tests/search/toy_space.py", "spaces/alexnet_bagging.py"])
def test_any_set(examine: Callable[..., None], run_command: Command, space: str) -> None:
    def check(name: str, value: str) -> None:
        run_command(str(ROOT / space), "--smoke", f"--set={name}={value}")

    examine(check, share=2, name=NAMES, value=VALUES)


OPTIONS = st.sampled_from(
    ["--samples", "--seed", "--repeats", "--time-budget", "--cpus-per-trial", "--gpus-per-trial", "--searcher",
     "--scheduler", "--weights", "--listen", "--extend", "--data", "--warm-start"]
)  # fmt: skip


def test_any_option(examine: Callable[..., None], run_command: Command, toy_space: Path) -> None:
    def check(option: str, value: str) -> None:
        run_command(str(toy_space), "--smoke", f"{option}={value}")

    examine(check, share=2, option=OPTIONS, value=VALUES)


# Python that a user may have written in a space file.
DOMAINS = (
    *("tune.uniform(0.1, 0.9)", "tune.uniform(0.9, 0.1)", "tune.uniform(float('nan'), 1)", "tune.uniform(0, 1)"),
    *("tune.loguniform(0.01, 1)", "tune.loguniform(1, 0.5)", "tune.quniform(0, 1, 0.25)", "tune.randn(0, 1)"),
    *("tune.choice([1, 2])", "tune.choice([])", "tune.choice([[1], [2]])", "tune.choice([None, {}])", "tune.choice(3)"),
    *("tune.randint(1, 4)", "tune.randint(4, 4)", "tune.qrandint(1, 4, 2)", "tune.lograndint(1, 9)"),
    *(
        "tune.choice(np.geomspace(1e-3, 1, 5))",
        "tune.choice(np.arange(3))",
        "np.float64(0.5)",
        "np.int64(2)",
        "np.eye(2)",
    ),
    *(
        "tune.qrandint(10, 128, 8)",
        "tune.qrandint(1, 4, 0)",
        "tune.quniform(0, 1, np.float64(0.1))",
        "np.array(np.nan)",
    ),
    *("when('members', 2, tune.uniform(0.1, 0.9))", "when('members', [1, 2], 0.5)", "when('speed', 1, 0.5)"),
    *("when('members', tune.choice([1]), 0.5)", "when('switch', None, when('members', 1, 0.5))", "when([], {}, when)"),
    *("when('quality', 0.5, tune.choice([1, 2]))", "tune.choice([{'a': tune.uniform(0, 1)}])", "{'a': 1}"),
    *("tune.grid_search([1, 2])", "tune.sample_from(lambda spec: 1)", "tune.choice", "lambda: 1", "None", "True"),
    *("0.5", "-1", "10**400", "float('nan')", "'sgd'", "['sgd']", "{}", "b''", "object()", "study"),
)
FIELDS = {
    "name": ("'other'", "''", "'a/b'", "'../up'", "None", "3", "'\\n'", "'x' * 300"),
    "question": ("None", "'\\udfff'", "'\\0'", "''", "3"),
    "trainable": ("None", "int", "toy.trainable()", "'Toy'"),
    "dataset": ("'cifar10'", "'digits'", "'mnist'", "None", "[]"),
    "epochs": ("1", "0", "True", "2.0", "'3'", "None", "10**9"),
    "samples": ("1", "-1", "1.5", "None"),
    "metric": ("'val_accuracy'", "'test_accuracy'", "'no_such'", "None", "3", "''"),
    "mode": ("'max'", "'min'", "'up'", "None"),
    "rank_by": ("'val_loss'", "'test_loss'", "None", "3"),
    "protocol": ("'recovery'", "'search'", "None"),
    "objectives": ("{'parameters': 'min'}", "{'parameters': 'down'}", "{'test_accuracy': 'max'}", "[]", "{1: 2}"),
    "searcher": ("'tpe'", "'grid'", "'nsga2'", "'bayes'", "None", "[]"),
    "scheduler": ("'asha'", "'median'", "'hyperband'", "'none'", "'pbt'", "None", "{}"),
    "grace_epochs": ("1", "0", "99", "None"),
    "reduction_factor": ("2", "1", "2.5", "None"),
    "initial_design": ("'random'", "'lhs'", "3", "[]"),
    "first": ("[{'quality': 0.5}]", "[]", "[{'quality': 7}]", "[{'no_such': 1}]", "[{3: 1}]", "3",
              "[None]", "{'a': 1}"),
    "arms": ("{'a': {'quality': 0.5}}", "{'a': {'quality': 7}}", "{'a': None}", "{3: {}}", "[1]", "{'a/b': {}}",
             "{'a' * 300: {}}", "{'a\\0b': {}}", "{'\\ud800': {}}", "{'\\x1b[0m': {}}"),
    "reported": ("(3,)", "None", "'abc'"),
    "claims": ("(None,)", "{}", "'abc'"),
    "smoke": ("{'samples': 2}", "{'samples': 'two'}", "{'no_such': 1}", "{'epochs': 0}", "[1]", "{'members': {}}"),
}  # fmt: skip
SPACE = """
import dataclasses
from pathlib import Path
import numpy as np
from ray import tune
from search.study import Study, load, when

toy = load(Path({toy!r}))
study = None
study = dataclasses.replace(toy, {fields})
"""


def test_any_study(examine: Callable[..., None], run_command: Command, toy_space: Path, tmp_path: Path) -> None:
    def check(fields: dict[str, str], space: dict[str, str], smoke: bool) -> None:
        given = {**fields, "param_space": "{" + ", ".join(f"{name!r}: {text}" for name, text in space.items()) + "}"}
        text = ", ".join(f"{name}={text}" for name, text in given.items())
        path = tmp_path / "space.py"
        path.write_text(SPACE.format(toy=str(toy_space), fields=text))
        run_command(str(path), "--smoke" if smoke else "--yes")

    some_fields = st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(FIELDS[name]) for name in names})
    )
    names = st.sampled_from(["quality", "members", "switch", "lr", "optimizer", "epochs", "seed", "speed", "trial"])
    spaces = st.dictionaries(names, st.sampled_from(DOMAINS), max_size=3)
    examine(check, share=2, fields=some_fields, space=spaces, smoke=st.booleans())


@pytest.fixture
def begun(tmp_path: Path, toy_space: Path) -> Path:
    """The folder of a smoke run with a trial finished and another begun."""
    folder = tmp_path / "results" / "toy" / "20260101-100000-smoke"
    folder.mkdir(parents=True)
    request = Request.parse([str(toy_space), "--smoke"])
    study = adapt(load(toy_space), request)
    proposals = make_proposals(study, study.searcher, study.samples, request.seed)
    write_record(folder, new_record(study, request, load_data("digits"), folder, proposals, load(toy_space)))
    journal = Journal(folder)
    for number in range(2):
        config, arm, state = proposals.propose(number)
        config |= {"epochs": 3, "seed": number}
        journal.append("suggest", number, name=f"{number:04d}-toy", config=config, arm=arm, state=state)
        result = {"epoch": 1, "total_epochs": 3, "val_accuracy": 0.5, "member_val_accuracy": 0.5, "seconds": 1.0}
        journal.append("result", number, result=result)
    journal.append("end", 0, status="stopped", error=None)
    journal.close()
    return folder


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("value", [float("inf"), -1.5, {}, [1]])
def test_a_stored_option_of_another_type(
    run_command: Command, begun: Path, toy_space: Path, name: str, value: object
) -> None:
    record = json.loads((begun / "study.json").read_text())
    record["options"][name] = value
    (begun / "study.json").write_text(json.dumps(record))
    assert f"study.json must hold what --{name.replace('_', '-')} takes" in run_command(str(toy_space), "--resume")


def test_any_unfinished_run(examine: Callable[..., None], run_command: Command, begun: Path, toy_space: Path) -> None:
    kept = {name: (begun / name).read_bytes() for name in ("study.json", "journal.jsonl")}

    def check(name: str, at: int, bytes_: bytes, cut: bool) -> None:
        for each, content in kept.items():
            (begun / each).write_bytes(content)
        content = kept[name]
        at %= len(content)
        (begun / name).write_bytes(content[:at] + bytes_ + (b"" if cut else content[at + len(bytes_) :]))
        run_command(str(toy_space), "--resume")

    examine(
        check,
        share=2,
        name=st.sampled_from(sorted(kept)),
        at=st.integers(0, 10**6),
        bytes_=st.one_of(
            st.binary(max_size=3), st.sampled_from([b"null", b"-1", b"[]", b'""', b"{}", b"NaN", b"1e999"])
        ),
        cut=st.booleans(),
    )
