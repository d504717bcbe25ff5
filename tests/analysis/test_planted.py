"""Claims of known truth on real runs, from training to verdict."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis import claims
from analysis.load import load

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "tests" / "analysis" / "planted_space.py"


@pytest.mark.long
def test_planted_claims_come_out_as_they_are(tmp_path):
    command = [sys.executable, "-m", "search.run", str(SPACE), "--replay", "--repeats", "3", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    frame = claims.claims(load([tmp_path / "planted"])).set_index("claim")
    assert frame["verdict"].to_dict() == {
        "false-difference": "contradicted",
        "false-level": "contradicted",
        "false-no-worse": "contradicted",
        "true-of-one-arm-at-two-epochs": "reproduced",
    }
    assert (frame["n"] == 3).all()
