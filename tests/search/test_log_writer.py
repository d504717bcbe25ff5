"""Logs kept elsewhere show every trial once, with the epochs of epochs.parquet, however often the study was killed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from search.events import TrialLog
from search.failures import UsageError
from search.log_writer import FOLDER, KINDS, LogWriter, require_installed
from search.results import Schema
from search.run import main

ROOT = Path(__file__).parents[2]
LIMIT = 600

Curves = dict[str, dict[str, dict[int, float]]]  # trial -> metric -> epoch -> value


class Repeated(AssertionError):
    """A trial that a log shows twice, or an epoch that a curve has twice."""


def put(curve: dict[int, float], epoch: int, value: float) -> None:
    if epoch in curve:
        raise Repeated(f"epoch {epoch}")
    curve[epoch] = value


def read_mlflow(folder: Path, study: str) -> tuple[Curves, dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}", registry_uri="http://127.0.0.1")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    curves: Curves = {}
    states = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.run_name is not None
        if run.info.run_name in curves:
            raise Repeated(run.info.run_name)
        curve = curves[run.info.run_name] = {name: {} for name in run.data.metrics}
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                put(curve[name], metric.step, metric.value)
        states[run.info.run_name] = run.data.tags["status"]
    return curves, states


def wandb_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a W&B file: LevelDB's log format, after seven bytes of its own."""
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def read_wandb(folder: Path, study: str) -> tuple[Curves, dict[str, str]]:
    from wandb.proto import wandb_internal_pb2

    curves: Curves = {}
    states = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        records = [wandb_internal_pb2.Record.FromString(record) for record in wandb_records(path)]
        (name,) = {record.run.display_name for record in records if record.WhichOneof("record_type") == "run"}
        if name in curves:
            raise Repeated(name)
        curve = curves[name] = {}
        for record in records:
            kind = record.WhichOneof("record_type")
            if kind == "history":
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                for metric, value in items.items():
                    if not metric.startswith("_"):
                        put(curve.setdefault(metric, {}), items["_step"], value)
            elif kind == "summary":
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update}
                states[name] = items.get("status", states.get(name, "running"))
    return curves, states


def read_trackio(folder: Path, study: str) -> tuple[Curves, dict[str, str]]:
    code = (
        "import json, sys; from trackio import SQLiteStorage as store\n"
        "runs = store.get_run_records(sys.argv[1])\n"
        "read = lambda run: [run['name'], store.get_logs(sys.argv[1], run['name'], run_id=run['id']),\n"
        "    store.get_run_config(sys.argv[1], run['name'], run_id=run['id'])]\n"
        "print(json.dumps([read(run) for run in runs]))"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(folder)}  # read once in a process
    done = subprocess.run(
        [sys.executable, "-c", code, study], env=environment, capture_output=True, text=True, check=True
    )
    curves: Curves = {}
    states = {}
    for name, rows, config in json.loads(done.stdout.splitlines()[-1]):
        if name in curves:
            raise Repeated(name)
        curve = curves[name] = {}
        for row in rows:
            for metric in row.keys() - {"step", "timestamp"}:
                put(curve.setdefault(metric, {}), row["step"], row[metric])
        states[name] = config["status"]
    return curves, states


def read_tensorboard(folder: Path, study: str) -> tuple[Curves, dict[str, str]]:
    from tensorboardX.proto import event_pb2

    curves: Curves = {}
    states = {}
    for place in folder.glob(f"{study}/*/*"):
        curve = curves[place.name] = {}
        for path in place.iterdir():
            content, at = path.read_bytes(), 0
            while at < len(content):
                (length,) = struct.unpack_from("<Q", content, at)
                event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
                at += 16 + length
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        put(curve.setdefault(value.tag, {}), event.step, value.simple_value)
                    else:
                        states[place.name] = value.tensor.string_val[0].decode().partition(":")[0]
    return curves, states


READ: dict[str, Callable[[Path, str], tuple[Curves, dict[str, str]]]] = {
    "mlflow": read_mlflow,
    "wandb": read_wandb,
    "trackio": read_trackio,
    "tensorboard": read_tensorboard,
}
SLOW = {"mlflow": pytest.mark.long, "wandb": pytest.mark.long}  # to import, and to begin runs
EACH = pytest.mark.parametrize("kind", [pytest.param(kind, marks=SLOW.get(kind, ())) for kind in KINDS])


def equal(found: dict[str, dict[int, float]], expected: dict[str, dict[int, float]]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].keys() == expected[name].keys()
        and all(math.isclose(found[name][e], value, rel_tol=1e-6, abs_tol=1e-9) for e, value in expected[name].items())
        for name in expected
    )


def trial(number: int, epochs: int, status: str | None = None) -> TrialLog:
    results = {
        epoch: {"epoch": epoch, "total_epochs": 9, "val_accuracy": 0.1 * epoch + number, "seconds": 1.0, "lr": None}
        for epoch in range(1, epochs + 1)
    }
    return TrialLog(number, f"{number:04d}-lr=0.{number}", {"lr": 0.1, "trial": number}, results=results, status=status)


def curves_of(logs: dict[int, TrialLog]) -> Curves:
    names = ("epoch", "val_accuracy", "seconds")
    return {
        log.name: {name: {e: row[name] for e, row in log.results.items()} for name in names} for log in logs.values()
    }


@EACH
def test_three_processes_write_each_trial_once(kind: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(KINDS[kind][0]) is None:  # Trackio must not be imported before its folder is known
        pytest.skip(f"needs {KINDS[kind][0]}: uv sync --extra {kind}")
    about = {"study": "toy", "run": "20261125-000000", "question": "Which?"}
    said: list[str] = []
    steps = (
        {0: trial(0, 2), 1: trial(1, 1)},
        {0: trial(0, 3, "completed"), 1: trial(1, 2), 2: trial(2, 1)},
        {0: trial(0, 3, "completed"), 1: trial(1, 4, "stopped"), 2: trial(2, 5, "completed"), 3: trial(3, 1, "failed")},
    )
    for logs in steps:
        schema = Schema(settings={"lr": "float64"}, configured=lambda config: {"lr": config["lr"]})
        writer = LogWriter([kind], tmp_path, about, logs, schema, 1.7e9, said.append)
        writer.start()
        writer.stop()
        assert not [text for text in said if "not written" in text]
        curves, states = READ[kind](tmp_path / FOLDER / kind, "toy")
        assert curves.keys() == {log.name for log in logs.values()}
        for name, expected in curves_of(logs).items():
            assert equal(curves[name], expected), name
        for log in logs.values():
            if log.status:
                assert states[log.name] == log.status


def test_a_log_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    logs = {0: trial(0, 2, "completed")}
    about = {"study": "toy", "run": "r", "question": "Which?"}
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "trackio").write_text("no folder")
    writer = LogWriter(["trackio", "tensorboard"], tmp_path, about, logs, Schema(), 0.0, said.append)
    writer.start()
    writer.stop()
    assert len([text for text in said if text.startswith("log trackio is not written any more: ")]) == 1
    assert read_tensorboard(tmp_path / FOLDER / "tensorboard", "toy")[1] == {logs[0].name: "completed"}


def test_a_package_that_is_not_there_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, toy_space: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--log wandb needs the package wandb, which is not installed: `uv sync --ex"):
        require_installed(["wandb"])
    assert main([str(toy_space), "--smoke", "--log", "mlflow", "--results", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install mlflow" in line
    assert not list(tmp_path.iterdir())


def test_an_unknown_log_is_refused(toy_space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(toy_space), "--smoke", "--log", "paper"]) == 2
    assert "mlflow" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_each_writer_is_short(kind: str) -> None:
    assert len((ROOT / "search" / f"{KINDS[kind][2]}.py").read_text(encoding="utf-8").splitlines()) <= 40


SPACE = """
import dataclasses
from ray import tune
from tests.search.toy_space import study as toy

fates = tune.choice(["well", "well", "well", "diverges", "raises"])
space = {"quality": tune.uniform(0.1, 0.9), "wait": 0.7, "fate": fates}
study = dataclasses.replace(toy, name="logged", epochs=6, samples=8, dataset="digits", param_space=space)
"""


@pytest.mark.long
def test_a_study_killed_twice_is_logged_everywhere_as_in_its_tables(tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if importlib.util.find_spec(KINDS[kind][0])]
    space, output = tmp_path / "logged.py", tmp_path / "output"
    space.write_text(SPACE)
    elsewhere = ("RAY_", "WANDB_", "MLFLOW_", "TRACKIO_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    command = [sys.executable, "-m", "search.run", str(space), "--smoke", "--results", str(tmp_path / "results")]
    arguments = [f"--log={kind}" for kind in kinds]
    for signs in (r"0001 epoch 2/", r"000[3-7] epoch 2/", None):
        with output.open("wb") as file:
            run = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        arguments = ["--resume"]
        until = time.monotonic() + LIMIT
        while run.poll() is None and not (signs and re.search(signs, output.read_text())):
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.2)
        if signs:
            for process in [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]:
                process.kill()
        run.wait(60)
    printed = output.read_text()
    assert "trials completed" in printed, printed
    assert "not written" not in printed
    (folder,) = (tmp_path / "results" / "logged").iterdir()
    trials = {row["trial_id"]: row for row in pq.read_table(folder / "trials.parquet").to_pylist()}
    expected: Curves = {row["name"]: {} for row in trials.values()}
    for row in pq.read_table(folder / "epochs.parquet").to_pylist():
        curve = expected[trials[row["trial_id"]]["name"]]
        for name, value in row.items():
            if isinstance(value, int | float) and math.isfinite(value) and name != "trial_id":
                put(curve.setdefault(name, {}), row["epoch"], float(value))
    for kind in kinds:
        curves, states = READ[kind](tmp_path / "results" / FOLDER / kind, "logged")
        assert curves.keys() == expected.keys(), kind
        for name, curve in expected.items():
            assert equal(curves[name], curve), (kind, name)
        assert states == {row["name"]: row["status"] for row in trials.values()}, kind
