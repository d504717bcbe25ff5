"""Searches from Python: what `run` starts, what it refuses, and what `Results` reads."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from ray import cloudpickle, tune
from torch import nn

from search import definition
from search.api import SearchError, plan, run
from search.failures import UsageError
from search.finished import Results, ResultsError
from search.journal import Journal, JournalError
from search.predict import main as predict
from search.request import DEFAULTS, Request
from search.study import Study

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from ray import tune
from torch import nn
from search.api import Results, run
from search.study import Study
from trainables.image_trainable import image_trainable

WIDTHS = [2, 4]

def small(classes, channels, size, width: int = 4):
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                         nn.Linear(16 * width, classes))

study = Study(
    name="mine", question="Which width?", source="me", trainable=image_trainable(small), dataset="digits", epochs=2,
    samples=3, scheduler="none", searcher="random", param_space={"width": tune.choice(WIDTHS), "lr": 0.05},
)
"""


# What `run` is given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": 4}, "--samples 4"),
        ({"set": {"lr": 0.1, "members": 3, "nesterov": True, "decay": "step"}}, None),
        ({"arms": ["a", "b"], "replay": True}, "--replay --arm a --arm b"),
        ({"time_budget": "30m"}, "--time-budget 30m"),
        ({"arms": None, "log": None, "warm_start": None, "known": None, "set": None}, ""),
        (
            {"set": {"a": None, "weights": Path("/w"), "b": np.float64(0.5), "c": "1", "d": np.bool_(True)}},
            "--set a=none --set weights=/w --set b=0.5 --set c=1 --set d=true",
        ),
        (
            {"results": "/somewhere", "yes": True, "gpus_per_trial": 0.5},
            "--results /somewhere --yes --gpus-per-trial 0.5",
        ),
    ],
)
def test_arguments_are_the_command_lines_options(
    given: dict[str, Any], words: str | None, toy_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    monkeypatch.setattr("search.api._Call.results", lambda call: asked.append(call.request))
    run(toy_space, **given)
    words = words if words is not None else "--set lr=0.1 --set members=3 --set nesterov=true --set decay=step"
    assert asked == [Request.parse([str(toy_space), *words.split()])]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"samples": 0}, "--samples: must be a whole number of at least 1, got '0'"),
        ({"scheduler": "fast"}, "--scheduler"),
        ({"arms": "a", "replay": True}, "arms must be a list, got 'a'"),
        ({"smoke": "yes"}, "smoke must be True or False, got 'yes'"),
        ({"repeats": 2}, "--repeats needs --replay"),
        ({"set": {"x": tune.uniform(0, 1)}}, "set must map x to a number, text, True, False or None, got <"),
        ({"set": {"x": np.arange(2)}}, "set must map x to a number, text, True, False or None, got [0, 1]"),
        ({"set": ["x=1"]}, "set must map hyperparameters to values, got ['x=1']"),
        ({"warm_start": Path("r")}, "warm_start must be a list, got "),
        ({"warm_start": "r"}, "warm_start must be a list, got 'r'"),
        ({"known": 3}, "known must be a list, got 3"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(given: dict[str, Any], told: str, toy_space: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run(toy_space, **given)
    assert told in str(caught.value)


def test_run_takes_every_option_of_the_command_line() -> None:
    taken = {{"arms": "arm"}.get(name, name) for name in inspect.signature(run).parameters} - {"study"}
    assert taken == DEFAULTS.keys() - {"space", "plan", "address_from", "hosted"}
    with pytest.raises(UsageError, match="no argument 'sample'"):
        plan(ROOT / "spaces" / "lenet_flip.py", sample=4)


def test_a_refusal_is_told_and_not_the_progress_printed_after_it(
    toy_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = tmp_path / "search"
    search.write_text("#!/bin/sh\necho 'search.run: no such folder' >&2\nsleep 0.5\necho 'reading the data'\nexit 2\n")
    search.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(search))
    with pytest.raises(SearchError, match=r"^no such folder$"):
        run(toy_space)


# How a study of a script or notebook is recognised


def made(source: str, lines: int = 0) -> Any:
    """Return a study as another process gets it from a script of this source."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n" * lines + source, "<cell>", "exec"), names)
    return cloudpickle.loads(cloudpickle.dumps(names["study"]))


def described(study: Study) -> str:
    return definition.code(study.trainable, Path("notebook"))[definition.CALLER_CODE]


def test_a_study_of_a_script_is_the_same_wherever_its_code_stands() -> None:
    commented = SCRIPT.replace("    return nn", '    """Return a net."""  # small\n    return nn')
    assert described(made(SCRIPT)) == described(made(commented, lines=7))


@pytest.mark.parametrize(
    "change",
    [
        ("nn.ReLU()", "nn.Tanh()"),
        ("channels, width, 3)", "channels, width, 5)"),
        ("16 * width", "16 * twice(width) // 2"),
    ],
)
def test_another_network_is_another_study(change: tuple[str, str]) -> None:
    helper = "def twice(n):\n    return 2 * n\n\n"
    assert described(made(SCRIPT)) != described(made(helper + SCRIPT.replace(*change)))


def test_a_function_that_the_network_uses_counts() -> None:
    script = "def twice(n):\n    return 2 * n\n\n" + SCRIPT.replace("16 * width", "8 * twice(width)")
    assert described(made(script)) != described(made(script.replace("2 * n", "n + n")))


# What comes of a run


def search_that(monkeypatch: pytest.MonkeyPatch, folder: Path, ends: str) -> None:
    """Let every search be a process that runs these lines."""
    program = folder / "python"
    program.write_text(f"#!{sys.executable}\nimport os, sys\n{ends}\n")
    program.chmod(0o755)
    monkeypatch.setattr("search.api.sys.executable", str(program))
    monkeypatch.setattr("search.api.Results", lambda folder, study: folder)


HANDED_OVER = "os.write(int(os.environ['SEARCH_CALLER']), b'/the/run')"


@pytest.mark.parametrize("ends", [HANDED_OVER, HANDED_OVER + "; sys.exit(1)"])
def test_the_results_are_those_of_the_run_that_ran(
    toy_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Whatever other runs the study has, and also if some trials failed."""
    search_that(monkeypatch, tmp_path, ends)
    assert run(toy_space, results=tmp_path) == "/the/run"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("print('looking')", "nothing to run: every trial is known, in "),
        ("raise ZeroDivisionError('half-way')", "the search failed: .*; ZeroDivisionError: half-way"),
        ("sys.exit(1)", "the search failed: without a word"),
        ("sys.exit('search.run: no')", "the search failed: search.run: no"),
    ],
)
def test_a_search_without_a_run_is_an_error_of_one_line(
    toy_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, told: str
) -> None:
    search_that(monkeypatch, tmp_path, ends)
    with pytest.raises(SearchError, match=told) as caught:
        run(toy_space, results=tmp_path)
    assert "\n" not in str(caught.value)


SMALLEST = """
import os
from ray import tune
from search.api import run
from search.study import Study

def train(config):
    tune.report({"score": config["x"]})

study = Study(name="mine", question="?", source="me", trainable=train, epochs=1, samples=2, metric="score",
              reports={"score": "max"}, param_space={"x": tune.uniform(0, 1)})
"""


def test_the_calling_process_may_be_the_first_of_its_container(tmp_path: Path) -> None:
    """As in `docker run IMAGE python script.py`."""
    contained = ["unshare", "--pid", "--fork", "--mount-proc"]
    try:
        subprocess.run([*contained, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a namespace of process ids")
    end = "\nassert os.getpid() == 1\nrun(study, results='found', samples=3, searcher='nsga2')\n"
    (tmp_path / "mine.py").write_text(SMALLEST + end)
    command = [*contained, sys.executable, "mine.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert "SearchError: " in done.stderr
    assert "nsga2 needs" in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "found").exists()


# Real runs


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a script ran a study of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "mine.py").write_text(SCRIPT + "\nif __name__ == '__main__':\n    print(run(study, results='found'))\n")
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    (folder / "told").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.long
def test_a_script_gets_its_searchs_progress_and_results(ran: Path) -> None:
    told = (ran / "told").read_text()
    assert "mine: Which width?" in told
    assert "0002 completed after epoch 2" in told
    assert "<mine: 3 completed; found/mine/" in told
    assert "python -m" not in told.partition("best trial")[2]  # the caller has the results in its hands


@pytest.mark.long
def test_results_hold_tables_figures_and_the_best_model(ran: Path) -> None:
    results = Results(ran / "found", made(SCRIPT))
    assert len(results.trials) == 3
    assert len(results.epochs) == 6
    best = results.best
    assert best["val_accuracy"] == results.trials["val_accuracy"].max()
    assert results.best_config["width"] == best["config/width"]
    assert list(results.pareto()["parameters"]) == sorted(results.pareto()["parameters"])
    assert len(results.plot().data) == 3
    assert results.plot("pareto").data
    predictor = results.load_best()
    assert isinstance(predictor, nn.Module)
    assert not predictor.training
    assert predictor.class_names == tuple("0123456789")
    with pytest.raises(ResultsError, match="'epochs' or 'pareto'"):
        results.plot("pie")


@pytest.mark.long
def test_the_best_model_labels_pictures_as_the_trial_did(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from trainables.data.datasets import load as load_data

    results = Results(ran / "found", made(SCRIPT))
    data = load_data("digits")
    predicted = results.predict(data.test_images)
    assert (predicted["label"].astype(int) == data.test_labels).mean() == pytest.approx(results.best["test_accuracy"])
    assert np.allclose(predicted[list("0123456789")].sum(axis=1), 1)
    picture = ran / "seven.png"
    Image.fromarray(data.test_images[3].transpose(1, 2, 0).squeeze()).save(picture)
    by_name = results.predict([picture])
    assert by_name.loc[str(picture), "label"] == predicted.loc[3, "label"]
    own_names = ("label", "crane", "crane", "probability", *"456789")
    results._predictor.class_names = own_names  # as of a data set of one's own; ImageNet's repeat "crane"
    renamed = results.predict([picture])
    assert list(renamed)[2:7] == ["label (0)", "crane (1)", "crane (2)", "probability (3)", "4"]
    assert renamed.iloc[0, 0] == list(renamed)[2 + int(predicted.loc[3, "label"])]
    (ran / "space.py").write_text(SCRIPT)
    assert predict([str(ran / "found"), str(picture), "--space", str(ran / "space.py")]) == 0
    assert predicted.loc[3, "label"] in capsys.readouterr().out
    assert predict([str(ran / "found"), str(ran / "told"), "--space", str(ran / "space.py")]) == 2
    assert "a PNG, WebP or JPEG image required" in capsys.readouterr().err
    assert predict([str(ran / "found"), str(picture)]) == 2
    assert "give the study" in capsys.readouterr().err


def in_use(folder: Path) -> bool:
    try:
        Journal(folder, begun=True).close()
    except JournalError as error:
        return "in use" in str(error)
    return False


@pytest.mark.long
def test_a_killed_script_goes_on_with_resume_and_another_study_does_not(ran: Path, tmp_path: Path) -> None:
    script = SCRIPT.replace("samples=3", "samples=6")
    (tmp_path / "mine.py").write_text(script + "\nrun(study, results='found')\n")
    process = subprocess.Popen(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if "0000 completed" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (folder,) = tmp_path.glob("found/mine/*")
    while in_use(folder):  # the search ends in order, since its caller has died
        time.sleep(0.2)
    newer = run(made(script), results=tmp_path / "found", samples=1)
    assert newer.path != folder
    results = run(made(script), results=tmp_path / "found", resume=True)
    assert results.path == folder
    assert (results.trials["status"] == "completed").sum() == 6
    with pytest.raises(SearchError, match="begun with another study"):
        run(made(script.replace("nn.ReLU()", "nn.Tanh()")), results=tmp_path / "found", extend=1)


@pytest.mark.long
def test_a_plan_is_text(toy_space: Path) -> None:
    assert "epoch" in plan(ROOT / "spaces" / "lenet_flip.py", smoke=True)


@pytest.mark.long
def test_a_notebook_shows_progress_and_has_the_results(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(SCRIPT),
            nbformat.v4.new_code_cell("results = run(study, results='found')"),
            nbformat.v4.new_code_cell("results.trials[['trial_id', 'status']]"),
            nbformat.v4.new_code_cell("model = results.load_best()\nprint(type(model).__mro__[1].__name__)"),
        ]
    )
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment())
    _, ran, shown, loaded = (cell["outputs"] for cell in notebook.cells)
    told = "".join(output["text"] for output in ran if output["output_type"] == "stream")
    assert "0000 epoch 1/2" in told
    assert "completed" in shown[0]["data"]["text/html"]
    assert "Module" in loaded[0]["text"]
