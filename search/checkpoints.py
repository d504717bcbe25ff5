"""A run's checkpoints: one of each trial that runs, none of one that has ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from search.journal import TrialLog
from trainables import checkpoint

RAY_FOLDER = "trials"  # Ray's own folder of the run: TensorBoard events, result.json, checkpoints


def remove_checkpoints(folder: Path, log: TrialLog, but: Path | None = None) -> None:
    """Remove every checkpoint of a trial except `but`, also those that a crash left half-written.

    What an orphan of a killed run still writes to stays until the trial ends.
    """
    for name in log.folders:
        for path in (folder / RAY_FOLDER / name).glob("checkpoint_*"):
            if path != but:
                shutil.rmtree(path, ignore_errors=True)


def newest_whole(log: TrialLog, warn: Callable[[str], None]) -> str | None:
    """The checkpoint from which a trial goes on, None for the start; tells of each that was damaged."""
    for epoch, path in reversed(log.checkpoints):
        if not Path(path).is_dir():
            continue  # a later one took its place
        try:
            checkpoint.read(Path(path))
        except checkpoint.CheckpointError as error:
            warn(f"{log.number:04d} cannot go on from epoch {epoch}: {error}")
            continue
        return path
    return None
