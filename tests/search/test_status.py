"""A run seen from elsewhere while it goes on: the picture fits a terminal, and nothing is written."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.journal import Journal
from search.live_table import BARS
from search.results import write_record
from search.status import curve, find, load, main, render
from tests.records import make_record

ROOT = Path(__file__).parents[2]


def begin(folder: Path, **changes: Any) -> Journal:
    folder.mkdir(parents=True)
    write_record(folder, make_record(**{"run": folder.name, **changes}))
    return Journal(folder)


def suggest(journal: Journal, name: str) -> int:
    number = len(journal.trials)
    journal.append("suggest", number, name=f"{number:04d}-{name}", config={}, arm=None, state={})
    return number


def report(journal: Journal, number: int, accuracies: list[float], status: str | None = None) -> None:
    done = len(journal.trials[number].results)
    for epoch, accuracy in enumerate(accuracies, done + 1):
        journal.append("result", number, result={"epoch": epoch, "total_epochs": 50, "val_accuracy": accuracy})
    if status:
        journal.append("end", number, status=status)


def drawn(folder: Path, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, highlight=False, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(load(folder), width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(
    ("trials", "width", "height"), [(0, 80, 24), (3, 80, 24), (60, 80, 24), (60, 200, 50), (9, 40, 24)]
)
def test_the_picture_fits_and_keeps_every_trials_figures(tmp_path: Path, trials: int, width: int, height: int) -> None:
    name = "learning_rate=0.0123,momentum=0.9,weight_decay=0.0005,dropout=0.25,batch_size=128,members=12"
    journal = begin(tmp_path / "run", question="Why? " * 60, samples=100)
    for _ in range(trials):
        number = suggest(journal, name)
        report(journal, number, [0.01 * number + 0.001 * epoch for epoch in range(50)])
        if number % 2:
            report(journal, number, [], "completed")
    journal.close()
    lines = drawn(tmp_path / "run", width, height)
    assert len(lines) <= height - 1  # a line is left for the prompt
    assert max(map(len, lines)) <= width
    if trials:
        best = next(line for line in lines if line.startswith(f"{trials - 1 - trials % 2:04d}-"))
        assert f"{0.01 * (trials - 1 - trials % 2) + 0.049:.1%}" in best
        assert "50/50" in best
        assert f"{trials // 2}/100 trials ended" in "\n".join(lines)


def test_running_trials_come_first_and_the_best_of_the_completed_after(tmp_path: Path) -> None:
    journal = begin(tmp_path / "run")
    for name, accuracy, status in (
        ("good", 0.9, "completed"),
        ("stopped", 0.95, "stopped"),
        ("worse", 0.8, "completed"),
    ):
        report(journal, suggest(journal, name), [0.1, accuracy], status)
    report(journal, suggest(journal, "live"), [0.2])
    suggest(journal, "waits")
    lines = [line.split() for line in drawn(tmp_path / "run")]
    shown = [line[0] for line in lines if re.match(r"\d{4}-", (line or [""])[0])]
    assert shown == ["0003-live", "0004-waits", "0000-good", "0002-worse"]


def test_a_loss_is_better_the_lower_it_is_and_no_percentage(tmp_path: Path) -> None:
    journal = begin(tmp_path / "run", metric="val_loss", mode="min", objectives={"val_loss": "min"})
    for loss in (2.5, 1.25):
        number = suggest(journal, "lr")
        journal.append("result", number, result={"epoch": 1, "total_epochs": 1, "val_loss": loss, "done": True})
        journal.append("end", number, status="completed")
    text = "\n".join(drawn(tmp_path / "run"))
    assert text.index("1.25") < text.index("2.5")


def test_the_run_that_wrote_last_is_shown(tmp_path: Path) -> None:
    for study, run in (("a", "one"), ("a", "two"), ("b", "three")):
        begin(tmp_path / study / run).close()
    os.utime(tmp_path / "a" / "two" / "journal.jsonl", (time.time() + 60,) * 2)
    assert find(tmp_path).name == "two"
    assert find(tmp_path / "b").name == "three"
    assert find(tmp_path / "a" / "one").name == "one"


def test_nothing_to_show_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("search.status: RESULTS must be a run")
    begin(tmp_path / "run").close()
    (tmp_path / "run" / "journal.jsonl").write_text("{}\n")
    assert main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "line 1" in line


def test_a_curve_lies_between_its_own_values() -> None:
    assert curve([0.2, 0.4]) == BARS[0] + BARS[-1]
    assert curve([None, float("nan"), 1.0, 1.0]) == "  " + BARS[0] * 2
    assert curve([]) == ""


def test_it_follows_a_run_that_goes_on_until_its_end_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "run"
    journal = begin(folder)
    live = suggest(journal, "live")
    report(journal, live, [0.111])
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "search.status", str(tmp_path)]
    shown = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    seen = ""

    def until(pattern: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen
            seen += os.read(terminal, 65536).decode(errors="replace")

    until("0000-live.*11.1%")
    report(journal, live, [0.222], "completed")
    until("0000-live.*22.2%")
    journal.append("best", live, sha256="0" * 64)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    write_record(folder, make_record(run="run", finished=True))
    assert shown.wait(60) == 0
    os.close(terminal)
    journal.close()
