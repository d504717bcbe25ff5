"""The engine that a study takes is the fastest one that agrees with the plain one here, or the one that is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

from search import fastest
from search.execution import engine_of, routed
from search.failures import UsageError
from search.fastest import Agreement, EngineError, Measured, candidates, check, choose, middle, typical
from search.plan import make_plan
from search.records import StudyRecord
from search.request import Request
from search.resources import Resources
from search.study import Study
from tests.records import make_record
from trainables.base import ImageTrainable
from trainables.data.datasets import ImageData, load
from trainables.lenet import LeNetRecipe, LeNetTrainable

ROOT = Path(__file__).parents[2]
ONE = Resources(1, 0)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class WrongRecipe(LeNetRecipe):
    """Trains on something else wherever it may."""

    def forward(self, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        logits = super().forward(network, inputs)
        return logits * 1.5 if self.features else logits


class HastyRecipe(LeNetRecipe):
    """Computes the same gradients and steps ten times as far by them, wherever it may."""

    def lr(self, epoch: int) -> float:
        return super().lr(epoch) * (10 if self.features else 1)


class HastyTrainable(ImageTrainable):
    recipe = HastyRecipe


class WrongTrainable(ImageTrainable):
    recipe = WrongRecipe


def study(trainable: Any = LeNetTrainable, **changes: Any) -> Study:
    options: dict[str, Any] = {
        "name": "engines",
        "question": "?",
        "source": "none",
        "trainable": trainable,
        "dataset": "digits",
        "epochs": 2,
        "samples": 2,
        "param_space": {"lr": tune.loguniform(1e-3, 1e-1), "batch_size": tune.choice([8, 16, 24])},
    }
    return Study(**{**options, **changes})


def choice(
    monkeypatch: pytest.MonkeyPatch, data: ImageData, found: dict[str, Any], one: Study | None = None
) -> tuple[str, list[str]]:
    """What is chosen and said where the candidates are those in `found`, each measured so, None, or an error."""

    def measured(_study: Study, _config: Any, engine: str, *_: Any) -> Measured | None:
        if isinstance(found[engine], Exception):
            raise found[engine]
        return found[engine]

    monkeypatch.setattr(fastest, "candidates", lambda *_: list(found))
    monkeypatch.setattr(fastest, "_measure", measured)
    said: list[str] = []
    return choose(one or study(), data, ONE, None, said.append), said


def taking(share: float, preparation: float = 0.0) -> Measured:
    return Measured(Agreement(0.003, 0.021, 1.4), preparation, share / 251, 1 / 251, share)


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor has instructions for bfloat16, as far as a choice goes."""
    monkeypatch.setattr(fastest, "emulates_bf16", lambda device: False)


# The choice


def test_the_fastest_engine_is_chosen_and_told_with_its_figures(
    monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData
) -> None:
    engine, said = choice(monkeypatch, tiny_data, {"bf16": taking(0.61), "fuse": taking(0.8), "fuse+bf16": None})
    assert engine == "bf16"
    agreed = "loss within 0.3 %, gradient within 2.1 % (another batch's: 140 %)"
    assert said[0] == f"engine     bf16: 411 images per core second, plain 251; {agreed}"
    assert said[-1].startswith("engine     bf16")


def test_what_is_hardly_faster_is_not_taken(monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData) -> None:
    engine, said = choice(monkeypatch, tiny_data, {"bf16": taking(0.93)})
    assert (engine, said[-1]) == ("plain", "engine     plain")


def test_a_compilation_counts(monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData) -> None:
    found = {"bf16": taking(0.7), "compile": taking(0.1, preparation=1000.0)}
    assert choice(monkeypatch, tiny_data, found)[0] == "bf16"
    # A trial of as many images that it pays.
    long = study(epochs=10**6)
    assert choice(monkeypatch, tiny_data, found, long)[0] == "compile"


def test_what_fails_is_left_out_with_its_cause_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData
) -> None:
    found = {"compile": RuntimeError("no compiler\n  found " + "x" * 500), "bf16": taking(0.5)}
    engine, said = choice(monkeypatch, tiny_data, found)
    assert engine == "bf16"
    assert said[0].startswith("engine     compile left out: no compiler found")
    assert max(map(len, said)) < 250


def test_an_engine_that_agrees_is_measured_beside_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData
) -> None:
    monkeypatch.setattr(fastest, "SECONDS", 0.2)
    said: list[str] = []
    assert choose(study(), tiny_data, ONE, None, said.append) in ("plain", "bf16")
    assert len(said) == 2
    assert "images per core second, plain" in said[0]
    assert "left out" not in said[0]


def test_an_engine_that_computes_something_else_is_left_out(tiny_data: ImageData) -> None:
    said: list[str] = []
    assert choose(study(WrongTrainable), tiny_data, ONE, None, said.append) == "plain"
    assert said[0].startswith("engine     bf16 left out: disagrees with plain: loss within")
    with pytest.raises(
        EngineError, match=r"^engine bf16: disagrees with plain: loss within .* gradient within .* allowed"
    ):
        check(study(WrongTrainable), tiny_data, ONE, None, "bf16")
    check(study(), tiny_data, ONE, None, "bf16")
    check(study(WrongTrainable), tiny_data, ONE, None, "plain")


@pytest.mark.parametrize("engine", ["bf16", "fuse"])
def test_an_engine_whose_first_step_agrees_and_whose_training_does_not_is_left_out(engine: str) -> None:
    changes = {"members": 2, "batch_size": 32, "lr": 0.02, "momentum": 0.9}
    digits = load("digits")
    check(study().with_fixed(changes), digits, ONE, None, engine)
    with pytest.raises(
        EngineError, match=f"^engine {engine}: disagrees with plain after its first step: losses of 20 steps"
    ):
        check(study(HastyTrainable).with_fixed(changes), digits, ONE, None, engine)


@pytest.mark.parametrize("engine", ["fuse", "fuse+bf16"])
def test_fused_members_agree_with_one_alone(tiny_data: ImageData, engine: str) -> None:
    several = study().with_fixed({"members": 3, "batch_norm": True})
    check(several, tiny_data, ONE, None, engine)
    wrong = study(WrongTrainable).with_fixed({"members": 3})
    with pytest.raises(EngineError, match="disagrees"):
        check(wrong, tiny_data, ONE, None, engine)


@pytest.mark.parametrize(
    ("engine", "instead"), [("compile", "plain"), ("bf16+compile", "bf16"), ("fuse+bf16+compile", "fuse+bf16")]
)
def test_compiling_on_a_cpu_is_refused_wherever_it_is_named(tiny_data: ImageData, engine: str, instead: str) -> None:
    message = rf"^engine {re.escape(engine)}: compile needs a GPU, .*; use {re.escape(instead)}$"
    searched = study().with_fixed({"engine": tune.choice(["plain", engine])})
    for one, configs, named in (
        (study(), None, engine),
        (searched, None, "plain"),
        (study(), [{"engine": engine}], "plain"),
    ):
        with pytest.raises(EngineError, match=message):
            check(one, tiny_data, ONE, configs, named)


@pytest.mark.parametrize("emulated", [True, False])
def test_a_named_engine_that_is_emulated_here_is_told(
    emulated: bool, tiny_data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "emulates_bf16", lambda device: emulated)
    said: list[str] = []
    check(study(), tiny_data, ONE, None, "bf16", said.append)
    told = "engine     bf16: no bfloat16 instructions here: about 10 times slower than plain"
    assert said == ([told] if emulated else [])
    check(study(), tiny_data, ONE, None, "plain", said.append)
    assert len(said) == emulated


def test_what_is_emulated_here_is_not_measured(tiny_data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "emulates_bf16", lambda device: True)
    monkeypatch.setattr(fastest, "_measure", lambda *_: pytest.fail("measured"))
    said: list[str] = []
    assert choose(study(), tiny_data, ONE, None, said.append) == "plain"
    assert said == ["engine     bf16 left out: no bfloat16 instructions here", "engine     plain"]


def test_dropout_and_a_wild_rate_disturb_no_comparison(tiny_data: ImageData) -> None:
    check(study().with_fixed({"dropout": 0.9, "lr": 1e9}), tiny_data, ONE, None, "bf16")


def test_only_what_may_pay_is_tried() -> None:
    assert candidates("cpu", 6, 1e9) == ["bf16"]
    assert candidates("cuda", 1, 10) == ["bf16"]
    assert candidates("cuda", 1, 1e4) == ["bf16", "compile", "bf16+compile"]
    assert candidates("cuda", 6, 10) == ["bf16", "fuse", "fuse+bf16"]
    assert len(candidates("cuda", 6, 1e4)) == 7


def test_the_middle_of_a_study_is_typical() -> None:
    found = typical(study(), None)
    assert found == {"epochs": 2, "lr": pytest.approx(0.01), "batch_size": 16}
    assert typical(study(), [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3, "epochs": 9}])["lr"] == 0.2
    assert [middle(domain) for domain in (tune.uniform(0, 3), tune.randint(1, 6), tune.choice([False, True]))] == [
        1.5,
        3,
        True,
    ]


def test_the_plan_measures_on_the_engine(monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData) -> None:
    seen = set()
    forward = LeNetRecipe.forward

    def watched(self: LeNetRecipe, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        seen.add((self.settings.engine, inputs.shape[:-3]))
        return forward(self, network, inputs)

    monkeypatch.setattr(LeNetRecipe, "forward", watched)
    fused = study().with_fixed({"engine": "fuse+bf16", "members": 2, "batch_size": 6})
    assert make_plan(fused, tiny_data, ONE, 1, None).cheapest.train_seconds > 0
    assert seen == {("fuse+bf16", (2, 6))}


# The command line


def request(*arguments: str) -> Request:
    return Request.parse(["space.py", *arguments])


def taken(data: ImageData, one: Study, *arguments: str, resumed: bool = False) -> tuple[Any, str]:
    """The engine that trials are given (None: the default), and the one on record."""
    engine = engine_of(one, request(*arguments), data, ONE, None, resumed=resumed)
    return routed(one, engine).fixed().get("engine"), engine


def test_a_named_engine_is_every_trials_and_on_record(tiny_data: ImageData) -> None:
    one = study(arms={"a": {"lr": 0.1}, "b": {}})
    assert routed(one, "bf16").arms == {"a": {"lr": 0.1, "engine": "bf16"}, "b": {"engine": "bf16"}}
    assert taken(tiny_data, one, "--engine", "bf16") == ("bf16", "bf16")
    assert taken(tiny_data, one, "--engine", "plain") == (None, "plain")


def test_nothing_is_measured_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData) -> None:
    monkeypatch.setattr("search.execution.choose_engine", lambda *_: pytest.fail("measured"))
    assert taken(tiny_data, study(), "--smoke") == (None, "plain")
    assert taken(tiny_data, study(), "--address", "10.0.0.1:6379") == (None, "plain")
    assert taken(tiny_data, study(arms={"a": {}}), "--replay") == (None, "plain")
    assert taken(tiny_data, study().with_fixed({"engine": "bf16"})) == ("bf16", "bf16")
    assert taken(tiny_data, study().with_fixed({"engine": tune.choice(["plain", "bf16"])}))[1] == "plain"
    assert taken(tiny_data, study(arms={"fast": {"engine": "bf16"}}))[1] == "plain"


def test_a_measured_engine_is_on_record_and_never_called_auto(
    monkeypatch: pytest.MonkeyPatch, tiny_data: ImageData
) -> None:
    for engine, given in (("bf16", "bf16"), ("plain", None)):
        monkeypatch.setattr("search.execution.choose_engine", lambda *_, engine=engine: engine)
        assert taken(tiny_data, study()) == (given, engine)
        assert taken(tiny_data, study(arms={"a": {}}), "--replay", "--engine", "auto") == (given, engine)
    with pytest.raises(UsageError, match=r"^--engine auto measures this machine, got --address 10.0.0.1:6379 too:"):
        taken(tiny_data, study(), "--engine", "auto", "--address", "10.0.0.1:6379")


def test_an_engine_of_the_studys_own_is_no_options_business(tiny_data: ImageData) -> None:
    own = study().with_fixed({"engine": "bf16"})
    with pytest.raises(UsageError, match=r"^the study or --set names the engine, got --engine plain too: leave"):
        taken(tiny_data, own, "--engine", "plain")
    assert taken(tiny_data, own, "--engine", "bf16") == ("bf16", "bf16")


def test_an_engine_that_disagrees_here_is_refused(tiny_data: ImageData) -> None:
    with pytest.raises(EngineError, match=r"^engine bf16: disagrees"):
        taken(tiny_data, study(WrongTrainable), "--engine", "bf16")
    # Where others train, it is theirs to find out.
    taken(tiny_data, study(WrongTrainable), "--engine", "bf16", "--address", "10.0.0.1:6379")


def record(**stored: Any) -> StudyRecord:
    return make_record(options=request("--smoke").stored() | stored)


def test_a_resumed_run_keeps_its_engine() -> None:
    assert request("--resume").restored(Path("run"), record(engine="bf16")).engine == "bf16"
    with pytest.raises(UsageError, match=r"ran with engine 'bf16', got --engine plain"):
        request("--resume", "--engine", "plain").restored(Path("run"), record(engine="bf16"))


def test_a_run_of_before_there_were_engines_goes_on_plain() -> None:
    before = record()
    del before.options["engine"]
    assert request("--resume").restored(Path("run"), before).engine == "plain"


@pytest.mark.long
def test_without_a_compiler_or_a_gpu_the_engine_is_refused_in_one_line(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CXX": "/nonexistent",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = ["spaces/lenet_batch_size.py", "--smoke", "--engine", "compile", "--results", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-m", "search.run", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("search.run: engine compile: ")
    assert ("/nonexistent" if torch.cuda.is_available() else "compile needs a GPU") in done.stderr
    assert not (tmp_path / "results").exists()
