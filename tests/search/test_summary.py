"""What a finished run prints."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from search.request import Request
from search.study import Study
from search.summary import show_pareto, summarise
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
