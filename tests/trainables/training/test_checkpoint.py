"""A checkpoint that is not as it was written is never gone on from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from trainables.training import checkpoint
from trainables.training.checkpoint import CHECKPOINT_FILE, DIGEST_FILE, CheckpointError

STATE = {"weights": torch.arange(1000.0), "epoch": 3}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path, checkpoint.dump(STATE))
    checkpoint.settle(tmp_path)
    return tmp_path


def test_what_was_written_is_read(written: Path) -> None:
    state = checkpoint.parse(checkpoint.read(written))
    assert torch.equal(state["weights"], STATE["weights"])
    assert state["epoch"] == 3


def test_any_flipped_bit_is_found(written: Path) -> None:
    path = written / CHECKPOINT_FILE
    whole = path.read_bytes()
    for position in random.Random(0).sample(range(8 * len(whole)), 200):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged: the sha256"):
            checkpoint.read(written)


@pytest.mark.parametrize("length", [0, 1, 1000, -1])
def test_any_missing_end_is_found(written: Path, length: int) -> None:
    path = written / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.settle(written)


@pytest.mark.parametrize("name", [CHECKPOINT_FILE, DIGEST_FILE])
def test_a_missing_file_is_found(written: Path, name: str) -> None:
    (written / name).unlink()
    with pytest.raises(CheckpointError, match=f"holds no whole checkpoint: .*{name}"):
        checkpoint.read(written)


def test_a_digest_that_is_no_text_is_found(written: Path) -> None:
    (written / DIGEST_FILE).write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="holds no whole checkpoint"):
        checkpoint.read(written)
