"""A run's checkpoints: one for each unfinished trial, none for a trial that has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from search.disk import Disk
from search.events import RAY_FOLDER, TrialLog
from search.journal import Journal
from trainables.training import checkpoint
from trainables.training.checkpoint import CheckpointError

__all__ = ["RAY_FOLDER", "CheckpointError", "name_of", "newest_whole", "read", "remove_checkpoints"]

write_checkpoint, read_checkpoint = checkpoint.write, checkpoint.read  # a whole checkpoint's one file, by its folder


def name_of(path: str) -> str:
    """Return a checkpoint's name within the run's folder, from the whole path by which Ray names it."""
    return "/".join(path.rstrip("/").split("/")[-3:])


def read(disk: Disk, name: str) -> bytes:
    """Return the bytes that a trial saved in a checkpoint. Raises CheckpointError if they are missing or damaged."""
    try:
        content = disk.read(f"{name}/{checkpoint.CHECKPOINT_FILE}")
        digest = disk.read(f"{name}/{checkpoint.DIGEST_FILE}")
    except OSError as error:
        raise CheckpointError(f"{name} holds no whole checkpoint: {error.strerror}") from None
    return checkpoint.verified(content, digest, name)


def remove_checkpoints(journal: Journal, log: TrialLog, but: str | None = None) -> None:
    """Remove every checkpoint of a trial except `but`, including those that a crash left half-written.

    A checkpoint that a killed run's orphaned worker is still writing stays until the trial ends. Raises JournalError.
    """
    names = [name for name in _all(journal.disk, log) if name != but]
    if names:
        journal.sync()  # else a power cut could leave a journal that still needs the removed checkpoints
    for name in names:
        journal.disk.remove_tree(name)


def _all(disk: Disk, log: TrialLog) -> Iterator[str]:
    for folder in log.folders:
        for name in disk.names(f"{RAY_FOLDER}/{folder}"):
            if name.startswith("checkpoint_"):
                yield f"{RAY_FOLDER}/{folder}/{name}"


def newest_whole(disk: Disk, log: TrialLog, warn: Callable[[str], None]) -> str | None:
    """Return the newest undamaged checkpoint of a trial, None if it must start over; warn of each damaged one."""
    for epoch, name in reversed(log.checkpoints):
        if not disk.is_folder(name):
            continue  # removed once a later checkpoint was complete
        try:
            read(disk, name)
        except CheckpointError as error:
            warn(f"{log.number:04d} cannot go on from epoch {epoch}: {error}")
            continue
        return name
    return None
