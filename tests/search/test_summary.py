"""What a finished run prints."""

from __future__ import annotations

import ast
import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from search.cluster import Cluster
from search.economy import Economy
from search.prepare import check_foreign
from search.request import Request
from search.searchers import Listed
from search.study import Study
from search.summary import announce, how_to_go_on, show_pareto, summarise
from search.tuner import Outcome


@pytest.mark.parametrize(("out_of_time", "status"), [(True, 0), (False, 130)])
def test_an_interrupt_has_its_status_also_with_a_time_budget(
    toy: Study, toy_space: Path, tmp_path: Path, out_of_time: bool, status: int
) -> None:
    request = Request.parse([str(toy_space), "--time-budget", "30m"])
    outcome = Outcome({}, None, interrupted=True, out_of_time=out_of_time, seconds=1.0)
    assert summarise(toy, request, tmp_path, outcome) == status


def test_the_commands_that_a_run_ends_with_are_ones_that_a_shell_takes(
    toy: Study, toy_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my results" / "toy" / "1"
    for options, status in (([], 0), (["--replay"], 0), ([], 130)):
        request = Request.parse([str(toy_space), "--results", str(tmp_path / "my results"), *options])
        outcome = Outcome({}, None, interrupted=status == 130, out_of_time=False, seconds=1.0)
        assert summarise(toy, request, folder, outcome) == status
        words = shlex.split(capsys.readouterr().out.splitlines()[-1])
        assert str(folder if status == 0 else request.results) in words


@pytest.mark.parametrize("options", [[], ["--smoke"], ["--listen", "10.0.0.3"], ["--smoke", "--listen", "10.0.0.3"]])
def test_a_run_goes_on_as_the_run_that_it_is(toy_space: Path, options: list[str]) -> None:
    """Without --smoke a whole run would go on instead of a smoke run, without --listen no other machine would join."""
    asked = Request.parse([str(toy_space), *options])
    again = Request.parse(shlex.split(how_to_go_on(asked))[5:])
    assert again == dataclasses.replace(asked, resume=True)
    given = {"resume": True, "results": "results", "smoke": asked.smoke, "listen": asked.listen}
    told = how_to_go_on(dataclasses.replace(asked, hosted=True)).partition("run(study, ")[2].removesuffix(")")
    assert ast.literal_eval("{'" + told.replace("=", "': ").replace(", ", ", '") + "}") == {
        name: value for name, value in given.items() if value
    }


def test_the_length_that_is_announced_is_that_of_the_longest_trial_to_run(
    toy: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"long": {"epochs": 7}, "short": {"epochs": 2}}
    study = dataclasses.replace(toy, param_space={"lr": 0.1}, scheduler="none", arms=arms)
    cluster = Cluster((), None, "127.0.0.1:1")
    for configs, told in (
        (study.replay_configs(2, 0), "4 trials of up to 7 epochs"),
        (study.replay_configs(1, 0, ["short"]), "1 trials of up to 2 epochs"),
    ):
        announce(study, Listed(configs), Path("results/toy/1"), cluster, Economy())
        assert told in capsys.readouterr().out


def test_a_smoke_run_of_a_ray_tune_trainable_names_a_next_command_that_it_takes(
    toy_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: dict[str, Any]) -> None: ...

    told = {"name": "mine", "question": "?", "source": "mine", "metric": "score", "reports": {"score": "max"}}
    study = Study(**told, trainable=train, param_space={"lr": tune.uniform(0.0, 1.0)})
    request = Request.parse([str(toy_space), "--smoke"])
    summarise(study, request, tmp_path, Outcome({}, None, interrupted=False, out_of_time=False, seconds=1.0))
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    check_foreign(study, Request.parse(words[4:]))


def test_a_pareto_table_that_cannot_be_made_is_one_line_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the command is found from anywhere
    show_pareto(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no Pareto table: python -m analysis.pareto: ")
    assert str(tmp_path) in line
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    show_pareto(tmp_path)
    assert capsys.readouterr().out.startswith("no Pareto table: [Errno 2]")
