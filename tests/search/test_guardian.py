"""A search that ends without a word: somebody says so, the exit status is the one declared, and nothing lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
# A search with a child, and a grandchild in a session of its own, whose parent has ended.
SEARCH = """
import os, signal, subprocess, sys, time
from pathlib import Path
from search import guardian
guardian.stand_guard()
guardian.tell(Path(sys.argv[1]), "go on      so and so")
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
nested = f"import subprocess; print(subprocess.Popen({sleep!r}, start_new_session=True, stdout=2).pid, flush=True)"
child = subprocess.Popen(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
orphan = subprocess.run([sys.executable, "-c", nested], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
print(os.getpid(), child, int(orphan), flush=True)
sys.stdin.readline()
"""
Start = Callable[..., tuple[subprocess.Popen[str], list[psutil.Process]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study" / "run").mkdir(parents=True)
    (tmp_path / "study" / "run" / "journal.jsonl").touch()
    return tmp_path / "study" / "run"


@pytest.fixture
def start_command(folder: Path) -> Iterator[Start]:
    """Return a function that starts the command, and returns it with the search, its child and its orphan."""
    begun: list[psutil.Process] = []

    def start(ending: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        process = subprocess.Popen(
            [sys.executable, "-c", SEARCH + ending, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        begun.extend(psutil.Process(int(number)) for number in process.stdout.readline().split())
        process.stdin.write("\n")
        process.stdin.flush()
        return process, begun

    yield start
    for one in begun:
        if one.is_running():
            one.kill()


def gone(processes: list[psutil.Process]) -> bool:
    return not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("os.kill(os.getpid(), 9)", "it was killed (SIGKILL)"),
        ("os.abort()", "it was killed (SIGABRT)"),
        ("os._exit(1)", "Ray ended it, since a process of Ray's had died"),
        ("os._exit(0)", "Ray ended it"),
    ],
)
def test_a_search_that_ends_without_a_word_is_reported_and_leaves_no_process(
    start_command: Start, folder: Path, ending: str, why: str
) -> None:
    (folder / "study.json").touch()
    process, started = start_command(ending)
    words = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 3
    assert gone(started)
    (line,) = (line for line in words if line.startswith("search.run: "))
    assert line.startswith("search.run: halted: the search's process ended without a word: " + why)
    assert line.endswith("; all that was known is saved")
    assert words[-1] == "go on      so and so"
    assert folder.exists()


def test_a_run_that_was_killed_before_it_started_leaves_no_folder(start_command: Start, folder: Path) -> None:
    process, started = start_command("os._exit(1)")
    words = process.communicate(timeout=60)[1]
    assert process.returncode == 3
    assert gone(started)
    assert words.strip().endswith("nothing had begun")
    assert not folder.parent.exists()


def test_what_is_gone_is_not_said_to_be_saved(start_command: Start, folder: Path) -> None:
    process, _ = start_command("import shutil; shutil.rmtree(sys.argv[1]); os._exit(1)")
    words = process.communicate(timeout=60)[1]
    assert f"{folder} is gone, and what was known with it" in words
    assert "go on" not in words


@pytest.mark.parametrize("ending", ["sys.exit(3)", "guardian.say(3); os._exit(1)", "guardian.say(3); os.abort()"])
def test_a_search_that_was_halted_and_said_so_leaves_no_process(start_command: Start, ending: str) -> None:
    process, started = start_command(ending)
    assert "without a word" not in process.communicate(timeout=60)[1]
    assert process.returncode == 3
    assert gone(started)


@pytest.mark.parametrize(("ending", "status"), [("", 0), ("sys.exit(130)", 130), ("1 / 0", 1)])
def test_a_search_that_ends_in_order_has_its_own_status_and_ends_its_own_processes(
    start_command: Start, ending: str, status: int
) -> None:
    process, (search, *others) = start_command(ending)
    words = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert "search.run" not in words
    assert gone([search])
    assert all(one.is_running() for one in others)


def test_a_refused_command_leaves_nothing_of_a_ray_that_had_begun(start_command: Start) -> None:
    process, started = start_command("sys.exit(2)")
    process.communicate(timeout=60)
    assert process.returncode == 2
    assert gone(started)


def test_a_caller_gets_the_folder_and_no_other_process_has_its_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    search = """
import subprocess, sys
from pathlib import Path
from search import guardian
guardian.stand_guard()
look = "import os, sys; print('SEARCH_CALLER' in os.environ, os.path.exists('/proc/self/fd/' + sys.argv[1]))"
subprocess.run([sys.executable, "-c", look, sys.argv[1]], close_fds=False)
guardian.hand_over(Path("run"))
"""
    done = subprocess.run(
        [sys.executable, "-c", search, str(writing)],
        env={**os.environ, "SEARCH_CALLER": str(writing), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        pass_fds=[writing],
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(writing)
    assert done.stdout.split() == ["False", "False"]
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "run"


COUNTS = """
heard = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: heard.append(number))
print("ready", flush=True)
while not heard:
    time.sleep(.01)
time.sleep(.5)
print(heard, flush=True)
os.kill(child, signal.SIGKILL)
os.kill(int(orphan), signal.SIGKILL)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whom", ["process", "group"])
def test_a_signal_reaches_the_search_once(start_command: Start, number: signal.Signals, whom: str) -> None:
    """Of a person to the command, or of a terminal to its whole group."""
    process, _ = start_command(COUNTS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (os.killpg if whom == "group" else os.kill)(process.pid, number)
    assert process.communicate(timeout=60)[0] == f"[{int(number)}]\n"
    assert process.returncode == 0


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_command_that_is_stopped_and_goes_on_takes_the_search_with_it(start_command: Start) -> None:
    process, (search, *_) = start_command("time.sleep(600)")
    both = [psutil.Process(process.pid), search]
    os.kill(process.pid, signal.SIGTSTP)
    wait(lambda: all(one.status() == psutil.STATUS_STOPPED for one in both))
    os.kill(process.pid, signal.SIGCONT)
    wait(lambda: all(one.status() == psutil.STATUS_SLEEPING for one in both))
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    process.communicate()


def test_the_search_ends_with_a_guardian_that_is_killed(start_command: Start) -> None:
    process, (search, *_) = start_command("time.sleep(600)")
    process.kill()
    process.wait(60)
    wait(lambda: gone([search]))
