"""A run's checkpoints: one of each trial that runs, none of one that has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from search.disk import Disk
from search.events import RAY_FOLDER, TrialLog
from search.journal import Journal
from trainables import checkpoint
from trainables.checkpoint import CheckpointError

__all__ = ["RAY_FOLDER", "CheckpointError", "name_of", "newest_whole", "read", "remove_checkpoints"]


def name_of(path: str) -> str:
    """The name in the run's folder of a checkpoint that Ray names by its whole path."""
    return "/".join(path.rstrip("/").split("/")[-3:])


def read(disk: Disk, name: str) -> bytes:
    """What the trial saved. Raises CheckpointError."""
    try:
        content = disk.read(f"{name}/{checkpoint.CHECKPOINT_FILE}")
        digest = disk.read(f"{name}/{checkpoint.DIGEST_FILE}")
    except OSError as error:
        raise CheckpointError(f"{name} holds no whole checkpoint: {error.strerror}") from None
    return checkpoint.verified(content, digest, name)


def remove_checkpoints(journal: Journal, log: TrialLog, but: str | None = None) -> None:
    """Remove every checkpoint of a trial except `but`, also those that a crash left half-written.

    What an orphan of a killed run still writes to stays until the trial ends. Raises JournalError.
    """
    names = [name for name in _all(journal.disk, log) if name != but]
    if names:
        journal.sync()  # else a power cut could leave a journal that still counts on them
    for name in names:
        journal.disk.remove_tree(name)


def _all(disk: Disk, log: TrialLog) -> Iterator[str]:
    for folder in log.folders:
        for name in disk.names(f"{RAY_FOLDER}/{folder}"):
            if name.startswith("checkpoint_"):
                yield f"{RAY_FOLDER}/{folder}/{name}"


def newest_whole(disk: Disk, log: TrialLog, warn: Callable[[str], None]) -> str | None:
    """The checkpoint from which a trial goes on, None for the start; reports each that was damaged."""
    for epoch, name in reversed(log.checkpoints):
        if not disk.is_folder(name):
            continue  # a later one took its place
        try:
            read(disk, name)
        except CheckpointError as error:
            warn(f"{log.number:04d} cannot go on from epoch {epoch}: {error}")
            continue
        return name
    return None
