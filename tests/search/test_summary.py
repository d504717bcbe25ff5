"""What a finished run prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.summary import show_pareto


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
