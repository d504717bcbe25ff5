"""What a search stands on is taken away under it: one sentence names it, the status is 3, and no process is left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from search import journal
from search.journal import JOURNAL_FILE
from search.records import STUDY_FILE

ROOT = Path(__file__).parents[2]
SPACE = "tests/search/toy_space.py"
PATIENCE = 240.0  # seconds, on a machine that does other things too


class Search:
    """A real one, on the way through its first trials."""

    def __init__(self, results: Path, temporary: Path) -> None:
        self.results = results
        self.log = results.parent / "output.txt"
        self.temporary = temporary
        self.family: list[psutil.Process] = []

    def start(self, *options: str) -> None:
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "search.run", SPACE, *options, "--results", str(self.results)],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self, pattern: str) -> None:
        """Kill the processes whose command matches."""
        found = [one for one in self.family if re.search(pattern, " ".join(one.cmdline()))]
        assert found
        for one in found:
            one.kill()

    def session(self) -> Path:
        (folder,) = self.temporary.glob("ray-*/ray/session_2*")
        return folder

    def left(self) -> list[str]:
        alive = [one for one in self.family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        return [" ".join(one.cmdline()) for one in alive]


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    temporary = Path(f"/tmp/lost-{os.getpid()}")
    temporary.mkdir()
    search = Search(tmp_path / "results", temporary)
    search.results.mkdir()
    yield search
    for one in [*search.family, search.process]:
        if one.poll() is None if isinstance(one, subprocess.Popen) else one.is_running():
            one.kill()
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def small_session(search: Search) -> Iterator[Path]:
    """The disk of Ray's session, of 64 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(search.temporary)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield search.temporary
    subprocess.run(["umount", "--lazy", str(search.temporary)], check=True)


def halted(search: Search) -> str:
    """The sentence that the search ends with."""
    assert search.process.wait(PATIENCE) == 3, search.output()
    assert search.left() == []
    (line,) = (line for line in search.output().splitlines() if re.match(r"(search\.run: )?halted", line))
    assert "Traceback" not in search.output()
    return line


AGENTS = r"^ray::(DashboardAgent|RuntimeEnvAgent)"


@pytest.mark.long
@pytest.mark.parametrize("victim", [AGENTS, r"/raylet/raylet ", r"/gcs/gcs_server ", r"-m search\.run "])
def test_a_search_whose_processes_are_killed_says_so_and_goes_on_when_resumed(search: Search, victim: str) -> None:
    search.start("--smoke", "--samples", "3", "--set", "wait=2", "--set", "epochs=4")
    search.wait_for("epoch 2/")
    search.kill(victim)
    line = halted(search)
    assert "killed" in line
    assert line.endswith("all that was known is saved")
    assert f"--resume --results {search.results}" in search.output()
    (record,) = search.results.glob(f"*/*/{STUDY_FILE}")
    content = (record.parent / JOURNAL_FILE).read_bytes()
    assert len(journal.read(content, record).trials[0].results) >= 2
    search.start("--resume")
    assert search.process.wait(PATIENCE) == 0, search.output()


@pytest.mark.long
def test_a_swept_session_folder_is_named_and_not_the_results(search: Search) -> None:
    search.start("--smoke", "--samples", "3", "--set", "wait=1")
    search.wait_for("epoch 2/")
    session = search.session()
    shutil.rmtree(session)
    line = halted(search)
    assert f"Ray's session folder {session} was removed or moved while the run went on: set TMPDIR to" in line
    assert line.endswith("all that was known is saved")


@pytest.mark.long
def test_a_full_disk_of_the_session_is_named_and_not_the_results(search: Search, small_session: Path) -> None:
    search.start("--smoke", "--samples", "3", "--set", "wait=1")
    search.wait_for("epoch 2/")
    with contextlib.suppress(OSError), (small_session / "ballast").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    line = halted(search)
    assert f"Ray's session folder {search.session()} cannot be written: No space left on device: set TMPDIR" in line


@pytest.mark.long
@pytest.mark.parametrize("take", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))])
def test_results_taken_away_in_mid_run_are_named(search: Search, take: Callable[[Path], object]) -> None:
    search.start("--smoke", "--samples", "3", "--set", "wait=1")
    search.wait_for("epoch 2/")
    take(search.results)
    line = halted(search)
    assert str(search.results) in line
    assert line.endswith("was removed or moved while the run went on; what was known went with it")
    assert "go on" not in search.output()
