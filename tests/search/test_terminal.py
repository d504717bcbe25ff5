"""What a person sees on a terminal of 80 columns and 24 lines, by a real pseudo-terminal and a real smoke run."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[2]
COLUMNS, LINES = 80, 24
LIMIT = 600.0


@dataclass
class Seen:
    """The screen after each piece of output, and the seconds at which it came."""

    status: int = -1
    times: list[float] = field(default_factory=list)
    screens: list[list[str]] = field(default_factory=list)
    raw: bytes = b""


def watch(command: list[str], **environment: str) -> Seen:
    """Run a command on a terminal of its own and read all that it shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000)
    stream = pyte.ByteStream(screen)
    seen, started = Seen(), time.monotonic()
    told = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **environment}
    told = {name: value for name, value in told.items() if value}
    process = subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=told)
    os.close(slave)
    try:
        while time.monotonic() - started < LIMIT:
            ready, _, _ = select.select([master], [], [], 1)
            if not ready:
                continue
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # the other end has closed
                break
            if not piece:
                break
            seen.raw += piece
            stream.feed(piece)
            seen.times.append(time.monotonic() - started)
            seen.screens.append(list(screen.display))
        seen.status = process.wait(30)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        os.close(master)
    return seen


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    results = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "search.run", "spaces/alexnet_bagging.py", "--smoke", "--results", str(results)]
    return watch([*command, "--report", str(results / "page.html")])


@pytest.mark.long
def test_the_first_line_comes_within_a_second_and_no_silence_is_longer_than_five(smoke: Seen) -> None:
    assert smoke.status == 0, smoke.raw.decode(errors="replace")
    assert smoke.times[0] < 1
    assert "starting" in "".join(smoke.screens[0])
    gaps = [later - before for before, later in zip(smoke.times, smoke.times[1:], strict=False)]
    assert max(gaps) < 5, smoke.screens[gaps.index(max(gaps))]


@pytest.mark.long
def test_the_live_table_shows_running_trials_and_the_best_finished_with_their_curves(smoke: Seen) -> None:
    tables = [screen for screen in smoke.screens if any("best finished" in line for line in screen)]
    assert tables
    assert any(re.search(r"^alexnet_bagging: \d+/\d+ trials", line) for screen in tables for line in screen)
    rows = [line for screen in tables for line in screen if re.match(r"  \d{4}-", line)]
    assert any(re.search(r"\d/\d +\d+\.\d%.*[▁▂▃▄▅▆▇█]", row) for row in rows)
    assert any("running" in line for screen in tables for line in screen)


@pytest.mark.long
def test_the_ending_is_a_drawn_table_that_fits(smoke: Seen) -> None:
    text = smoke.raw.decode()
    assert "| trial |" not in text  # Markdown is for pipes
    ending = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).rpartition("best by val_accuracy")[2].splitlines()
    place = next(n for n, line in enumerate(ending) if "validation %" in line)
    assert "settings" in ending[place]
    assert max(len(line.rstrip()) for line in ending[place : place + 4]) <= COLUMNS


@pytest.mark.long
def test_the_screen_is_left_in_order(smoke: Seen) -> None:
    assert smoke.raw.count(b"\x1b[?25l") == smoke.raw.count(b"\x1b[?25h")  # the cursor is shown again
    last = [line.rstrip() for line in smoke.screens[-1] if line.strip()]
    assert any(line.startswith("next       python -m search.run") for line in last)
    assert not any("..." in line for line in last)  # no stage is left standing
    assert last[-1].startswith("report ")


def test_a_refusal_on_a_terminal_is_one_line_below_nothing() -> None:
    seen = watch([sys.executable, "-m", "search.run", "no_space.py"])
    assert seen.status == 2
    assert seen.times[0] < 5
    assert "starting" in "".join(seen.screens[0])
    assert [line.rstrip() for line in seen.screens[-1] if line.strip()] == [
        "search.run: no such space file: no_space.py"
    ]


def test_a_terminal_that_cannot_go_back_is_given_lines() -> None:
    seen = watch([sys.executable, "-m", "search.run", "no_space.py"], TERM="dumb")
    assert seen.status == 2
    assert b"\x1b" not in seen.raw
    assert seen.raw.replace(b"\r", b"").splitlines()[-1] == b"search.run: no such space file: no_space.py"
