"""A page that fails costs a search nothing but a line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from search.failures import UsageError
from search.live_report import LiveReport, check_report


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveReport(tmp_path / "no-run", tmp_path / "page.html")
    live.end()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no report: python -m analysis.live: ")


def test_a_process_that_died_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveReport(tmp_path, tmp_path / "page.html")
    assert live.process is not None
    live.process.kill()
    time.sleep(0.1)
    live.end()
    live.end()
    assert capsys.readouterr().out == "no report: its process ended with -9\n"


def test_without_a_file_there_is_no_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveReport(tmp_path, None)
    assert live.process is None
    live.end()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", ["", "nowhere/page.html"])
def test_a_file_that_cannot_be_written_is_refused_before_the_start(tmp_path: Path, file: str) -> None:
    with pytest.raises(UsageError, match="--report must be a file in a folder that can be written"):
        check_report(tmp_path / file)
