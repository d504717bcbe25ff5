"""Printing on a standard output that is closed, ASCII only, full, or a pipe that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.output import fitted

ROOT = Path(__file__).parents[2]
PRINTS = """
from search import environment
import os, subprocess, sys
from search.output import guard
guard()
first = open(sys.argv[1], "w")
for line in range(200):
    print(f"{line} µ ≥ \\udc80 " + "x" * 1000)
subprocess.run([sys.executable, "-c", "print('a child')"])
print("to stderr µ", file=sys.stderr)
first.write("whole")
first.close()
"""


def run(tmp_path: Path, prefix: str = "", suffix: str = "", **environment: str) -> tuple[int, str, str]:
    """What a shell sees of the printing program: status, standard output, standard error."""
    program = tmp_path / "prints.py"
    program.write_text(PRINTS)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {prefix} '{sys.executable}' '{program}' '{tmp_path}/kept' {suffix}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )
    assert (tmp_path / "kept").read_text() == "whole"  # nothing that was printed got into a file
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")


def test_what_an_encoding_lacks_is_written_by_its_number(tmp_path: Path) -> None:
    status, output, errors = run(tmp_path, PYTHONIOENCODING="ascii")
    assert status == 0
    assert output.startswith("0 \\xb5 \\u2265 \\udc80 x")
    assert "199 \\xb5" in output
    assert errors == "to stderr \\xb5\n"


@pytest.mark.parametrize(
    ("suffix", "reason"), [("| head -2", "Broken pipe"), ("> /dev/full", "No space left on device")]
)
def test_a_lost_output_is_told_once_and_costs_nothing(tmp_path: Path, suffix: str, reason: str) -> None:
    status, output, errors = run(tmp_path, suffix=suffix)
    assert status == 0
    assert len(output.splitlines()) == (2 if "head" in suffix else 0)
    lost, last = errors.splitlines()
    assert lost == f"search.run: standard output cannot be written any more ({reason}): the command goes on without it"
    assert last.startswith("to stderr")


@pytest.mark.parametrize("suffix", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&- | head -1", "> /dev/full 2>&1", "<&-"])
def test_streams_that_are_not_there_cost_nothing(tmp_path: Path, suffix: str) -> None:
    assert run(tmp_path, suffix=suffix)[0] == 0


def test_what_can_be_written_is_written_as_ever(tmp_path: Path) -> None:
    status, output, errors = run(tmp_path, PYTHONIOENCODING="utf-8")
    lines = output.splitlines()
    assert (status, len(lines), errors) == (0, 201, "to stderr µ\n")
    assert lines[7].startswith("7 µ ≥ ")
    assert lines[-1] == "a child"


def test_an_output_looks_like_its_stream() -> None:
    from search.output import Output

    class Stream:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    stream: Any = Output(Stream(), "standard output")
    assert stream.isatty()
    assert stream.encoding == "utf-8"


def test_a_line_is_broken_between_words_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "metrics    http://127.0.0.1:42079/metrics  (for Prometheus and Grafana: results/of-a-long-name/.monitoring)"
    assert fitted(line) == line
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    lines = fitted(line).splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert lines[1].startswith("           ")
    assert "results/of-a-long-name/.monitoring)" in lines[1]
