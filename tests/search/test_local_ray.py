"""A Ray that starts while the command still imports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from search import local_ray
from search.study import load

ROOT = Path(__file__).parents[2]
SPACES = sorted(path for path in (ROOT / "spaces").glob("*.py") if "Study(" in path.read_text())


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_a_spaces_job_has_the_studys_name_and_question(space: Path) -> None:
    study = load(space)
    assert local_ray.job_name(space) == f"{study.name}: {study.question}"


@pytest.mark.parametrize(
    "text",
    ["", "Study(", "Study(name=NAME, question='?')", "Study(name='one')", "other(name='a', question='b')", "\0"],
)
def test_no_job_without_a_plain_name(tmp_path: Path, text: str) -> None:
    space = tmp_path / "space.py"
    space.write_text(text)
    assert local_ray.job_name(space) is None
    assert local_ray.job_name(tmp_path) is None


@pytest.mark.parametrize("option", ["--help", "--plan", "--address=auto", "--listen", "--verbose"])
def test_nothing_begins_for_a_command_that_starts_no_such_ray(option: str) -> None:
    local_ray.begin([str(SPACES[0]), option])
    local_ray.begin(["no/such/space.py"])
    assert local_ray._begun is None


@pytest.mark.long
@pytest.mark.parametrize("wrong", ["no_such_hyperparameter=1", "lr=nonsense"])
def test_a_refused_command_is_one_line_and_leaves_no_ray(tmp_path: Path, wrong: str) -> None:
    marker = f"refused-{os.getpid()}-{time.time_ns()}"
    command = [sys.executable, "-m", "search.run", "spaces/lenet_flip.py", "--smoke", "--set", wrong]
    done = subprocess.run(
        [*command, "--results", str(tmp_path / "results")],
        cwd=ROOT,
        env={**os.environ, "MARKER": marker},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "results").exists()
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARKER") == marker:
                left.append(process.cmdline())
        except psutil.Error:
            continue  # another user's, or gone
    assert left == []
