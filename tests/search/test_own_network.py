"""A question about a network of one's own is a short file, checked, defined, run and resumed as any other."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from ray import cloudpickle

from search.definition import SPACE_CODE, define, differences
from search.prepare import prepare
from search.records import StudyRecord
from search.request import Request
from search.run import main, plan
from search.study import Study, StudyError, load

ROOT = Path(__file__).parents[2]

SPACE = '''"""How wide should my network be?"""
from ray import tune
from torch import nn
from search.study import Study
from trainables.image_trainable import image_trainable

HIDDEN = 32

def net(classes, channels, size, width: int = 8, drop: float = 0.0):
    head = [nn.Flatten(), nn.LazyLinear(HIDDEN), nn.ReLU(), nn.Dropout(drop), nn.Linear(HIDDEN, classes)]
    return nn.Sequential(nn.Conv2d(channels, width, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), *head)

study = Study(name="own", question="How wide?", source="mine", trainable=image_trainable(net), dataset="digits",
              metric="val_loss", epochs=2, samples=3, param_space={"width": tune.choice([4, 8]), "members": 2,
              "optimizer": tune.choice(["SGD", "AdamW"]), "lr": tune.loguniform(1e-3, 1e-1), "momentum": 0.9})
'''


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SPACE)
    return path


def changed(space: Path, old: str, new: str) -> Study:
    """The study of the file with one text replaced; the file keeps its name."""
    assert old in SPACE
    space.write_text(SPACE.replace(old, new))
    return load(space)


def test_a_question_of_ones_own_takes_fifteen_lines(space: Path) -> None:
    statements = [line for line in SPACE.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(statements) <= 15
    study = load(space)
    assert (study.mode, study.rank_by) == ("min", "val_loss")
    assert study.trainable.__name__ == "net"


def test_its_plan_is_measured(space: Path) -> None:
    told = plan(prepare(Request.parse([str(space), "--plan", "--engine", "plain"])))
    assert "own on digits" in told
    assert "width=" in told


def test_a_run_is_held_to_the_functions_code_and_not_to_the_question(space: Path) -> None:
    def definition(study: Study) -> dict:
        return define(study, space, samples=3, seed=0)

    first = definition(load(space))
    assert SPACE_CODE in first["code"]
    assert "trainables/image_trainable.py" in first["code"]
    for old, new in (("stride=2", "stride=3"), ("HIDDEN = 32", "HIDDEN = 31")):
        (difference,) = differences(first, definition(changed(space, old, new)))
        assert difference == "the code of the space file is another"
    for old, new in (('question="How wide?"', 'question="Wide?"'), ("HIDDEN = 32\n", "HIDDEN = 32  # nodes\n")):
        assert list(differences(first, definition(changed(space, old, new)))) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("width: int = 8", "width: int = 'x'", "line 13: ValueError: net: a default is wrong: width must be a whole"),
        ("tune.choice([4, 8])", "tune.choice([4, 8.5])", "width must be a whole number, got 8.5"),
        ('"SGD", "AdamW"', '"SGD", "adamw"', "optimizer must be one of 'SGD'"),
        (
            "5, stride=2",
            "50, stride=2",
            "net(classes=10, channels=3, size=32, width=4, drop=0.0) cannot take images of 3",
        ),
        ("(net)", "('timm:none')", "timm"),
        ("return nn.Seq", "return 1 or nn.Seq", "it must return a torch.nn.Module, got int"),
        ('"val_loss"', '"loss"', "did you mean 'val_loss'?"),
        ('"val_loss"', '"test_loss"', "its counterpart is 'val_loss'"),
        ('metric="val_loss"', 'mode="min"', "to minimise the validation loss, write metric='val_loss'"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_starts(
    space: Path, tmp_path: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space.write_text(SPACE.replace(old, new))
    assert main([str(space), "--results", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "results").exists()


LOSS = "def loss(logits, labels):\n    return nn.functional.cross_entropy(logits, labels, label_smoothing=.1)\n\n"


@pytest.mark.parametrize("options", [["--plan"], []])
@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [
        (LOSS, "loss=loss", "ValueError: loss must return a loss for each image"),
        ("def augment(images):\n    return images\n\n", "augment=augment", "TypeError: augment() takes 1 positional"),
    ],
)
def test_a_step_that_raises_is_one_line_before_anything_starts(
    space: Path,
    tmp_path: Path,
    function: str,
    argument: str,
    words: str,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    space.write_text(SPACE.replace("def net", f"{function}def net").replace("(net)", f"(net, {argument})"))
    asked = [str(space), "--results", str(tmp_path / "results"), "--engine", "plain", *options]
    assert main(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "results").exists()


def test_a_plan_measures_a_network_that_diverges_at_its_own_rate(space: Path) -> None:
    rate = changed(space, "tune.loguniform(1e-3, 1e-1)", "1e30")
    told = plan(prepare(Request.parse([str(space), "--plan", "--engine", "plain"]), rate))
    assert "images/s training" in told


def test_a_metric_of_ones_own_may_be_the_goal(space: Path) -> None:
    function = "def right(probabilities, labels):\n    return (probabilities.argmax(1) == labels).double().mean()\n\n"
    text = SPACE.replace("def net", f"{function}def net").replace("(net)", "(net, metrics={'right': right})")
    space.write_text(text.replace('"val_loss"', '"val_right"'))
    assert load(space).mode == "max"
    space.write_text(text.replace('"val_loss"', '"test_right"'))
    with pytest.raises(StudyError, match=r"measured on test images.*its counterpart is 'val_right'"):
        load(space)


def test_it_reaches_workers_that_have_not_imported_what_this_process_has(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here_only = types.ModuleType("here_only")
    here_only.torch = torch  # type: ignore[attr-defined]
    trainable = load(space).trainable
    with monkeypatch.context() as patch:
        patch.setattr(sys, "modules", {"here_only": here_only, **sys.modules})
        pickled = cloudpickle.dumps(trainable)
    assert cloudpickle.loads(pickled).recipe.memory_format is trainable.recipe.memory_format


@pytest.mark.long
def test_it_runs_on_ray_and_goes_on(space: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "search.run", str(space), "--results", str(results), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)

    first = run()
    assert first.returncode == 0, first.stderr + first.stdout
    more = run("--extend", "1")
    assert more.returncode == 0, more.stderr + more.stdout
    (record_file,) = results.rglob("study.json")
    record = StudyRecord.from_json(record_file.read_text())
    assert (record.trainable, record.metric, record.finished) == ("net", "val_loss", True)
    trials = pq.read_table(record_file.parent / "trials.parquet").to_pylist()
    assert len(trials) == 4
    assert {trial["status"] for trial in trials} <= {"completed", "stopped"}
    assert {trial["config/width"] for trial in trials} <= {4, 8}
    best = min((trial for trial in trials if trial["status"] == "completed"), key=lambda trial: trial["val_loss"])
    config = {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    weights = record_file.parent / "best.pt"
    predictor = load(space).trainable.load_network(weights, config, record.images, record.class_names)
    assert len(predictor.networks) == 2
