"""A Ray Tune function or class that somebody already has runs in a study as it is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray import cloudpickle, tune

from search.definition import SPACE_CODE, code
from search.economy import answered
from search.events import TrialLog
from search.foreign import ForeignError, Reports, adapted, own_columns, unpack
from search.prepare import prepare
from search.provenance import new_record
from search.records import StudyRecord
from search.request import Request
from search.results import schema_of, trial_row
from search.run import main
from search.study import Study, StudyError, load, when
from search.warm_start import observed
from tests.records import make_record

ROOT = Path(__file__).parents[2]

FUNCTION = """
import json, os, tempfile, time
from ray import tune
from search.study import Study

def train(config):
    start, value = 0, 1.0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start, value = json.load(open(os.path.join(folder, "state.json")))
    for epoch in range(start, 5):
        time.sleep(config["wait"])
        value *= 1 - config["rate"]
        with tempfile.TemporaryDirectory() as folder:
            json.dump([epoch + 1, value], open(os.path.join(folder, "state.json"), "w"))
            saved = tune.Checkpoint.from_directory(folder)
            tune.report({"score": 1 - value, "note": "mine", "pid_of": float(os.getpid())}, checkpoint=saved)

study = Study(name="mine", question="Which rate?", source="mine", trainable=train, epochs=8, samples=4, seedless=0,
              metric="score", reports={"score": "max"}, scheduler="asha",
              param_space={"rate": tune.uniform(0.01, 0.5), "kind": tune.choice(["a", "b"]), "wait": 0.0})
""".replace(" seedless=0,", "")

CLASS = """
import json, os
from ray import tune
from search.study import Study

class Mine(tune.Trainable):
    def setup(self, config):
        assert set(config) == {"rate", "kind", "epochs", "seed"}, config
        self.value, self.rate = 1.0, self.config["rate"]
    def step(self):
        self.value *= 1 - self.rate
        return {"val_loss": self.value, "deep": {"er": 1}}
    def save_checkpoint(self, folder):
        return {"value": self.value}
    def load_checkpoint(self, state):
        self.value = state["value"]

study = Study(name="mine", question="Which rate?", source="mine", trainable=Mine, epochs=4, samples=4,
              metric="val_loss", param_space={"rate": tune.uniform(0.01, 0.5), "kind": tune.choice(["a", "b"])})
"""


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


class Plain(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.rate, self.value = config["rate"], 1.0

    def step(self) -> dict[str, Any]:
        self.value *= 1 - self.rate
        return {"score": 1 - self.value, "done": self.value < 0.1}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "value").write_text(str(self.value))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.value = float(Path(checkpoint_dir, "value").read_text())


def made(trainable: Any, goals: tuple[str, ...] = ("score",), epochs: int = 4) -> Any:
    reports = Reports(goals, own_columns({"score": "max"}, trainable), epochs)
    return adapted(trainable, reports, {"rate": 0.5})


def started(trainable: Any, restore: str | None = None, rate: float = 0.5) -> Any:
    trial = trainable.__new__(trainable)
    trial.setup({"rate": rate, "seed": 0, "epochs": 4, "trial": 3, "restore": restore}, data=None)
    return trial


# What a run is held to.


@pytest.mark.parametrize(
    "given",
    [
        "train",
        "functools.partial(train, data=1)",
        "tune.with_parameters(train, data=[1])",
        "tune.with_parameters(functools.partial(train, more=1), data=[1])",
        "functools.wraps(train)(lambda config: train(config, 1))",
        "Called()",
        "tune.with_parameters(Wrapped, data=[1])",
    ],
)
def test_a_wrapped_trainable_is_held_to_the_code_in_the_wrapper(given: str, tmp_path: Path) -> None:
    text = f"""
import functools
from ray import tune
from search.study import Study

def train(config, data=None, more=None):
    tune.report({{"score": 1.0}})

class Called:
    def __call__(self, config):
        tune.report({{"score": 1.0}})

class Wrapped(tune.Trainable):
    def setup(self, config, data): pass
    def step(self):
        return {{"score": 1.0}}

study = Study(name="mine", question="?", source="me", trainable={given}, epochs=2, samples=2, metric="score",
              reports={{"score": "max"}}, param_space={{"rate": tune.uniform(0, 1)}})
"""
    found = []
    for changed in (text, text.replace("1.0", "2.0"), text.replace("?", "Which?")):
        path = write(tmp_path, changed)
        found.append(code(load(path).trainable, path)[SPACE_CODE])
    assert found[0] == found[2] != found[1]


def test_a_wrapper_of_ray_that_hides_its_function_is_refused() -> None:
    def hidden(config: dict[str, Any]) -> None: ...

    hidden.__module__ = tune.with_parameters.__module__
    with pytest.raises(ForeignError, match=r"hidden: .* write a function that gives it its data"):
        made(hidden)


# A class.


def test_a_class_is_numbered_timed_saved_and_restored(tmp_path: Path) -> None:
    trial = started(made(Plain))
    first = [trial.step() for _ in range(2)]
    assert [(r["epoch"], r["total_epochs"], r["score"], r["done"]) for r in first] == [
        (1, 4, 0.5, False),
        (2, 4, 0.75, False),
    ]
    trial.save_checkpoint(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial.pt", "trial.pt.sha256"]
    again = started(made(Plain), str(tmp_path))
    assert again.step()["epoch"] == 3
    last = again.step()
    assert (last["epoch"], last["score"], last["done"], last["should_checkpoint"]) == (4, 0.9375, True, True)
    (tmp_path / "files").mkdir()
    unpack((tmp_path / "trial.pt").read_bytes(), tmp_path / "files")  # as best.pt is
    assert (tmp_path / "files" / "value").read_text() == "0.25"


def test_a_class_that_ends_earlier_is_complete() -> None:
    result = started(made(Plain), rate=0.95).step()
    assert (result["epoch"], result["total_epochs"], result["done"]) == (1, 1, True)


def test_what_is_no_number_or_missing_fails_with_the_reason() -> None:
    with pytest.raises(ValueError, match="Plain must report loss, got done, score"):
        started(made(Plain, ("loss",))).step()

    class Text(Plain):
        def step(self) -> dict[str, Any]:
            return {"score": "good"}

    with pytest.raises(ValueError, match="score must be reported as a number, got 'good'"):
        started(made(Text)).step()

    class Nan(Plain):
        def step(self) -> dict[str, Any]:
            return {"score": math.nan}

    result = started(made(Nan)).step()
    assert result["diverged"] == "score is nan in epoch 1"
    assert result["done"]


@pytest.mark.parametrize("name", ["accuracy", "top5_accuracy", "train_accuracy_of_mine", "val_accuracy"])
def test_an_accuracy_is_a_fraction_since_readers_see_it_in_percent(name: str) -> None:
    class Percent(Plain):
        def step(self) -> dict[str, Any]:
            return {name: 93.1 * self.rate}

    declared = {} if name == "val_accuracy" else {name: "max"}
    trainable = adapted(Percent, Reports((name,), own_columns(declared, Percent), 4), {"rate": 0.5})
    assert started(trainable, rate=0.01).step()[name] == pytest.approx(0.931)
    if name == "train_accuracy_of_mine":  # shown as the number that it is
        assert started(trainable, rate=1.0).step()[name] == 93.1
    else:
        for rate, got in ((1.0, "93.1"), (-1.0, "-93.1")):
            with pytest.raises(ForeignError, match=f"Percent must report {name} from 0 to 1, got {got}"):
                started(trainable, rate=rate).step()


# A function.


def counted(config: dict[str, Any]) -> None:
    """Reports value, halved each time, and saves it; goes on from a checkpoint."""
    start, value = 0, 1.0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            start, value = json.loads(Path(folder, "state.json").read_text())
    for epoch in range(start, config.get("reports", 3)):
        value *= config["rate"]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps([epoch + 1, value]))
            tune.report({"score": value, "note": "mine"}, checkpoint=tune.Checkpoint.from_directory(folder))


def yields(config: dict[str, Any]) -> Any:
    for value in (0.1, 0.2):
        yield {"score": value}


def returns(config: dict[str, Any]) -> dict[str, float]:
    return {"score": 0.7}


def breaks(config: dict[str, Any]) -> None:
    tune.report({"score": 0.5})
    raise RuntimeError("broken")


def silent(config: dict[str, Any]) -> None: ...


@pytest.fixture
def run_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """run_function(function, restore, ...) starts a trial of it, as Ray would in a worker."""
    monkeypatch.chdir(tmp_path)  # the session goes to the trial's folder
    storage = SimpleNamespace(
        trial_working_directory=str(tmp_path / "trial"),
        experiment_dir_name="trials",
        sync_config=SimpleNamespace(sync_artifacts_on_checkpoint=False),
    )
    begun = []

    def start(function: Any, restore: str | None = None, **config: Any) -> Any:
        kind = made(function)
        trial = kind.__new__(kind)
        trial._storage, trial._trial_info = storage, None
        trial.setup({"rate": 0.5, "trial": 0, "restore": restore, **config}, data=None)
        begun.append(trial)
        return trial

    yield start
    for trial in begun:
        trial.cleanup()


def numbered(trial: Any, most: int = 9) -> list[tuple[Any, ...]]:
    found = []
    for _ in range(most):
        result = trial.step()
        found.append((result["epoch"], result["total_epochs"], result["score"], result["done"]))
        if result["done"]:
            break
    return found


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (counted, [(1, 4, 0.5, False), (2, 4, 0.25, False), (3, 3, 0.125, True)]),
        (yields, [(1, 4, 0.1, False), (2, 2, 0.2, True)]),
        (returns, [(1, 1, 0.7, True)]),
    ],
)
def test_a_functions_results_are_numbered_and_the_last_is_known(run_function, function, expected) -> None:
    assert numbered(run_function(function)) == expected


def test_a_function_that_reports_on_is_ended_at_the_studys_epochs(run_function) -> None:
    assert numbered(run_function(counted, reports=99))[-1] == (4, 4, 0.0625, True)


def test_a_function_goes_on_from_its_own_checkpoint(run_function, tmp_path: Path) -> None:
    trial = run_function(counted)
    trial.step()
    trial.step()  # one ahead: the function has reported three times
    (tmp_path / "saved").mkdir()
    trial.save_checkpoint(str(tmp_path / "saved"))
    trial.cleanup()
    again = run_function(counted, str(tmp_path / "saved"))
    assert numbered(again) == [(3, 3, 0.125, True)]
    (tmp_path / "best").mkdir()
    again.save_checkpoint(str(tmp_path / "best"))
    unpack((tmp_path / "best" / "trial.pt").read_bytes(), tmp_path / "best")
    assert json.loads((tmp_path / "best" / "state.json").read_text()) == [3, 0.125]


def test_an_actor_takes_the_next_trial_wherever_its_function_stands(run_function) -> None:
    trial = run_function(counted, reports=99)
    trial.step()
    assert trial.reset_config({"rate": 0.1, "trial": 1, "restore": None, "reports": 1})
    assert numbered(trial) == [(1, 1, 0.1, True)]


def test_what_a_function_raises_comes_after_the_results_before_it(run_function) -> None:
    trial = run_function(breaks)
    assert trial.step()["score"] == 0.5
    with pytest.raises(Exception, match=r"broken|^$") as caught:  # Ray shortens its traceback
        trial.step()
    assert "broken" in "".join(traceback.format_exception(caught.value))


def test_a_function_that_reports_nothing_fails_with_the_reason(run_function) -> None:
    with pytest.raises(ValueError, match=r"silent must report results by tune.report, got none"):
        run_function(silent).step()


# A study.


def test_a_study_takes_a_function_or_class_as_it_is(tmp_path: Path) -> None:
    function, of_class = load(write(tmp_path, FUNCTION)), load(write(tmp_path, CLASS))
    assert (function.foreign, function.dataset, function.trainable.__name__) == (True, "none", "train")
    assert function.hyperparameter_types() == {
        "seed": "int64",
        "epochs": "int64",
        "rate": "float64",
        "kind": "string",
        "wait": "float64",
    }
    assert (of_class.mode, of_class.rank_by, of_class.trial_epochs) == ("min", "val_loss", 4)
    assert function.with_set(["wait=0.5", "kind=a"]).fixed() == {"wait": 0.5, "kind": "a"}
    assert function.as_smoke().dataset == "none"
    for assignment, words in (("depth=3", "unknown hyperparameter 'depth'"), ("epochs=0", "at least 1, got 0")):
        with pytest.raises(StudyError, match=words):
            function.with_set([assignment])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "val_acc"}, "metric must be a metric that the trainable reports, got 'val_acc'"),
        ({"reports": {"score": "up"}}, "must have 'max' or 'min' as better, got 'up'"),
        ({"reports": {"seed": "max"}}, "a name of its own, got 'seed'"),
        ({"reports": {"eval/x": "max"}}, "letters, digits and '_'"),
        ({"metric": "test_score", "reports": {"test_score": "max"}}, "measured on test images"),
        ({"trainable": lambda config: None}, "must be written with def, so that a run knows when it changes"),
        ({"trainable": tune.with_resources(Plain, {"CPU": 2})}, "trainable must be without tune.with_resources"),
        ({"param_space": {"rate": tune.choice([1, [2]])}}, "rate must be a finite number, text"),
        ({"param_space": {"restore": tune.uniform(0, 1)}}, "own: restore belongs to the search"),
        ({"arms": {"a": {"rate": 0.2, "trial": 1}}}, "own: trial belongs to the search"),
        (
            {"arms": {"a": {"rate": 0.2, "tier": 1}}},
            "arm 'a': unknown hyperparameter 'tier'; this study has epochs, rate",
        ),
        (
            {"smoke": {"samples": 2, "rat": 0.1}},
            "smoke: unknown hyperparameter 'rat'; this study has epochs, rate, seed",
        ),
        (
            {"param_space": {"a=b": tune.uniform(0, 1)}},
            "name must be text without '=' and control characters, got 'a=b'",
        ),
        ({"param_space": {"n": tune.choice([1, 2**63])}}, "n must be a whole number of at most 64 bits, got 92233"),
        ({"param_space": {"n": tune.randint(0, 2**70)}}, "n must be a whole number of at most 64 bits"),
        ({"param_space": {"n": tune.choice(["a", "\ud800"])}}, r"n must be text without surrogates, got '\\ud800'"),
        ({"arms": {"a": {"members": 0}}, "param_space": {"members": 2, "rate": tune.uniform(0, 1)}}, "got 0"),
        (
            {"param_space": {"members": tune.choice(["all", "some"])}},
            "got 'all': tables and analysis take epochs, members, seed for what they are in every study, so give "
            "another meaning another name",
        ),
        ({"resize": 32}, "own: resize needs an image trainable"),
    ],
)
def test_what_a_study_cannot_take_is_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    fields: dict[str, Any] = {
        "name": "own",
        "question": "?",
        "source": "me",
        "trainable": Plain,
        "metric": "score",
        "reports": {"score": "max"},
        "epochs": 4,
        "param_space": {"rate": tune.uniform(0.1, 0.5)},
    }
    Study(**fields)
    with pytest.raises(StudyError, match=words) as caught:
        Study(**{**fields, **changes})
    assert "\n" not in str(caught.value)


def study_of(space: dict[str, Any], **changes: Any) -> Study:
    given: dict[str, Any] = {"metric": "score", "reports": {"score": "max"}, "param_space": space, **changes}
    return Study(name="own", question="?", source="me", trainable=Plain, epochs=4, **given)


NAMES = ["lambda", "weight-decay", "optim/lr", "from_config", "checked", "kinds", "items", "self", "µ", "two words"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hyperparameter_may_have_any_name_of_ray_tunes(name: str) -> None:
    study = study_of({name: tune.uniform(0, 1), "rate": 0.5})
    (config,) = (given for given in study.sample(1))
    assert study.configured(config) == {"seed": 0, **config}
    assert study.hyperparameter_types()[name] == "float64"
    fixed = study.with_set([f"{name}=.5", "rate=1"])
    assert fixed.fixed() == {name: 0.5, "rate": 1}
    assert pickle.loads(cloudpickle.dumps(fixed.trainable)).recipe.settings_type.checked(name, 0.25) == 0.25


WHOLE, TEXT, REAL = tune.randint(1, 9), tune.choice(["a", "1"]), tune.uniform(0, 1)


@pytest.mark.parametrize(
    ("domain", "text", "value"),
    [
        (REAL, ".5", 0.5),
        (REAL, "1e-3", 0.001),
        (REAL, "1", 1.0),
        (WHOLE, "3", 3),
        (0.5, "5.", 5.0),
        (1, "0.5", 0.5),  # a 1 that is written for a number
        (TEXT, "1", "1"),
        (TEXT, "none", "none"),
        (TEXT, "true", "true"),
        (tune.choice([None, "a"]), "none", None),
        (tune.choice([None, 2]), "null", None),
        (tune.choice([True, False]), "TRUE", True),
        (tune.choice(["auto", 0.5]), "1e5", 1e5),
        (tune.choice(["auto", 0.5]), "fast", "fast"),
        (None, "7", 7),
        (None, "fast", "fast"),
    ],
)
def test_a_set_value_is_of_the_spaces_kind(domain: Any, text: str, value: Any) -> None:
    found = study_of({"x": domain, "rate": tune.uniform(0, 1)}).with_set([f"x={text}"]).fixed()["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("domain", "texts", "words"),
    [
        (REAL, ["abc", "", "1_000", "0x10", "yes", "nan", "1,5", "none"], "x must be a number, got"),
        (WHOLE, ["1.5", "abc", "1_0"], "x must be a whole number, got"),
        (REAL, ["1e999"], "x must be a finite number"),
        (tune.choice([True, None]), ["1", "yes"], "x must be true or false or none, got"),
        (WHOLE, ["99999999999999999999"], "x must be a whole number of at most 64 bits"),
    ],
)
def test_a_set_value_of_another_kind_is_refused(domain: Any, texts: list[str], words: str) -> None:
    study = study_of({"x": domain, "rate": tune.uniform(0, 1)})
    for text in texts:
        with pytest.raises(StudyError, match=words):
            study.with_set([f"x={text}"])


def test_what_would_have_no_effect_is_refused() -> None:
    study = study_of({"rate": tune.uniform(0, 1)}, smoke={"samples": 2})
    assert "samples" not in study.hyperparameter_types()
    for assignments, words in (
        (["resize=32"], "unknown hyperparameter 'resize'"),
        (["samples=3"], "unknown hyperparameter 'samples'"),
    ):
        with pytest.raises(StudyError, match=words):
            study.with_set(assignments)


@pytest.mark.parametrize("option", [["--plan"], ["--engine", "bf16"], ["--cpus-per-trial", "auto"], ["--data", "/tmp"]])
def test_options_that_need_an_image_trainable_are_refused(tmp_path: Path, option: list[str], capsys) -> None:
    assert main([str(write(tmp_path, CLASS)), "--results", str(tmp_path / "results"), *option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{' '.join(option[:1] if option[1:] != ['auto'] else option)} needs an image trainable" in line


# Hyperparameters under names of ours.


def named(space: dict[str, Any], **arms: dict[str, Any]) -> Study:
    def train(config: dict[str, Any]) -> None: ...

    return Study(
        name="named",
        question="?",
        source="mine",
        trainable=train,
        epochs=4,
        metric="score",
        reports={"score": "max"},
        param_space=space,
        arms=arms,
    )


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("members", 3, 9), ("vote", "hard", "soft"), ("test_images", 10, 20), ("engine", "fuse", "plain")],
)
def test_arms_that_differ_in_a_hyperparameter_of_the_users_own_all_run(name: str, one: Any, other: Any) -> None:
    study = named({"lr": 0.1, name: one}, one={name: one}, other={name: other}, again={name: other})
    assert answered(study) == {"again": "other"}
    record = make_record(dataset="none", dataset_fingerprint="none", arms=study.arms)
    record.declared = {arm: study.configured(study.completed(config)) for arm, config in study.arms.items()}
    one_of, other_of, again = (record.training_of(arm) for arm in study.arms)
    assert one_of != other_of == again


def test_a_hyperparameter_called_engine_chooses_no_engine_of_ours(tmp_path: Path) -> None:
    text = CLASS.replace('"kind": tune', '"engine": "xgboost", "kind": tune')
    asked = [str(write(tmp_path, text)), "--results", str(tmp_path)]
    ready = prepare(Request.parse(asked))
    assert ready.request.engine == "plain"
    assert ready.study.fixed() == {"engine": "xgboost"}
    made = new_record(ready.study, ready.request, ready.data, tmp_path, ready.proposals, ready.space)
    for stored in ("plain", "xgboost"):  # as an earlier version stored it
        record = dataclasses.replace(made, options=made.options | {"engine": stored})
        assert Request.parse([*asked, "--resume"]).restored(tmp_path, record).engine == "plain"
    sometimes = named({"kind": tune.choice(["a", "b"]), "engine": when("kind", "a", "xgboost")})
    assert sometimes.space.sometimes == {"engine": "xgboost"}


def test_a_hyperparameter_called_validation_makes_no_other_protocol(tmp_path: Path) -> None:
    text = CLASS.replace('"kind": tune', '"validation": 0, "kind": tune')
    ready = prepare(Request.parse([str(write(tmp_path, text)), "--results", str(tmp_path)]))
    record = new_record(ready.study, ready.request, ready.data, tmp_path, ready.proposals, ready.space)
    config = {"validation": 0, "rate": 0.1, "kind": "a", "seed": 0, "epochs": 4}
    row = trial_row(TrialLog(number=0, name="0000", config=config), schema_of(ready.study), ready.study.protocol)
    assert record.protocol == row["protocol"] == "search"


@pytest.mark.parametrize("name", ["vote", "engine", "test_images"])
def test_a_search_learns_nothing_of_a_run_with_another_value_of_the_users_own(name: str, tmp_path: Path) -> None:
    told = {"trainable": "train", "dataset": "none", "dataset_fingerprint": "none", "metric": "score", "epochs": 4}
    record = make_record(**told, objectives={"score": "max"}, space={"rate": "..."}, fixed={name: "mine"})
    (tmp_path / "study.json").write_text(record.to_json())
    row = {
        "trial_id": 0,
        "arm": None,
        "status": "completed",
        "score": 0.5,
        "config/rate": 0.2,
        f"config/{name}": "mine",
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "trials.parquet")
    space = {"rate": tune.uniform(0.1, 0.5)}
    assert len(observed(named({**space, name: "mine"}), [str(tmp_path)], "none")[0]) == 1
    with pytest.raises(StudyError, match=f"ran with {name} mine, this study with other"):
        observed(named({**space, name: "other"}), [str(tmp_path)], "none")


# On Ray.


def run(space: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "search.run", str(space), "--results", str(space.parent / "results"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.long
@pytest.mark.parametrize("text", [FUNCTION, CLASS], ids=["function", "class"])
def test_it_is_searched_stopped_early_recorded_and_goes_on(tmp_path: Path, text: str) -> None:
    space = write(tmp_path, text)
    first = run(space)
    assert first.returncode == 0, first.stdout + first.stderr
    more = run(space, "--extend", "2")
    assert more.returncode == 0, more.stdout + more.stderr
    (record_file,) = (tmp_path / "results").rglob("study.json")
    folder = record_file.parent
    record = StudyRecord.from_json(record_file.read_text())
    assert (record.dataset, record.finished, record.samples) == ("none", True, 6)
    trials = pq.read_table(folder / "trials.parquet").to_pylist()
    assert len(trials) == 6
    assert {trial["status"] for trial in trials} == {"completed", "stopped"}
    for trial in trials:
        full = 5 if text == FUNCTION else 4  # the function ends after 5 of at most 8 reports
        assert trial["epochs"] == full or trial["status"] == "stopped"
        value = (1 - trial["config/rate"]) ** trial["epochs"]
        assert trial[record.metric] == pytest.approx(1 - value if text == FUNCTION else value)
        assert trial["config/kind"] in ("a", "b")
    (tmp_path / "best").mkdir()
    unpack((folder / "best.pt").read_bytes(), tmp_path / "best")
    if text == FUNCTION:
        best = max((t for t in trials if t["status"] == "completed"), key=lambda t: t["score"])
        epochs, value = json.loads((tmp_path / "best" / "state.json").read_text())
        assert (epochs, 1 - value) == (5, pytest.approx(best["score"]))
    report = subprocess.run(
        [sys.executable, "-m", "analysis.report", str(folder), "-o", str(tmp_path / "page.html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stderr
    assert "Which rate?" in (tmp_path / "page.html").read_text()


@pytest.mark.long
def test_a_killed_search_of_a_function_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    text = FUNCTION.replace('"wait": 0.0', '"wait": 4.0').replace("samples=4", "samples=1").replace("asha", "none")
    space = write(tmp_path, text)
    command = [sys.executable, "-m", "search.run", str(space), "--results", str(tmp_path / "results")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout is not None
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not list((tmp_path / "results").rglob("checkpoint_*/trial.pt.sha256")):
            time.sleep(0.2)
        time.sleep(1)
        os.kill(search.pid, signal.SIGTERM)
        search.communicate(timeout=120)
    (journal,) = (tmp_path / "results").rglob("journal.jsonl")
    assert '"event":"checkpoint"' in journal.read_text().replace(" ", "")
    more = run(space, "--resume")
    assert more.returncode == 0, more.stdout + more.stderr
    assert "from epoch" in more.stdout
    (epochs,) = (tmp_path / "results").rglob("epochs.parquet")
    rows = pq.read_table(epochs).to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
