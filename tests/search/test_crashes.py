"""A long search on a machine that fails: nothing is lost, nothing is left lying about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
SPACE = "tests/search/crash_space.py"
TRIAL_BYTES = 64 << 10  # of a trial's logs and rows, as the disk counts them


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_search_killed_twenty_times_ends_as_one_left_in_peace(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.search.crashes", "--kills", "20", "--seed", "7", "--results", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "20 kills" in run.stdout
    assert "nothing was lost" in run.stdout


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_of_200_trials_logs_are_left_and_one_set_of_weights(tmp_path: Path) -> None:
    options = ["--smoke", "--samples", "200", "--set", "epochs=2", "--results", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "search.run", SPACE, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (folder,) = (tmp_path / "crash").iterdir()
    assert len(pq.read_table(folder / "trials.parquet")) == 200
    assert [path.relative_to(folder) for path in folder.rglob("*.pt")] == [Path("best.pt")]
    assert not list(folder.rglob("checkpoint_*"))
    assert not list(folder.rglob("*_state-*.json"))  # Ray's snapshots
    taken = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
    assert taken < 200 * TRIAL_BYTES + (folder / "best.pt").stat().st_size
