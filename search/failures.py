"""Explain in one line why a trial failed or a run cannot continue."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from search.disk import TEMPORARY, Disk, write_all

PORTS = "*_port_*"  # pattern of the files in Ray's session folder that hold its ports
GONE = "was removed or moved while the run went on"
PROBE_BYTES = 1 << 18  # size of a file that a full disk has no room for


class UsageError(ValueError):
    """Report a wrong request, in one line."""


class ClusterError(RuntimeError):
    """A cluster that cannot be started or joined as asked; the message is one line."""


class Halted(RuntimeError):
    """Report, in one line, why the machine prevents a run from continuing; nothing is lost."""


class NodeLost(Halted):
    """Report that Ray no longer answers: disconnecting from it would end this process with Ray's exit status."""


def disk_full(text: str) -> bool:
    return any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT))


def halted_by(error: BaseException | str, disk: Disk, session: Path | None) -> Halted | None:
    """Return why `error` ends a run if the machine caused it (a folder is gone, its disk is full), else None.

    The error seldom names the cause: Ray writes to the results folder and to its session folder, and reports where
    its code stood rather than what was missing. So writing to both folders is tried.
    """
    if problem := _problem(disk):
        return Halted(f"the results folder {disk.folder} {problem}")
    if session is not None:
        # The files of ports show whether the folder was swept, being written once: Ray makes the folder again when it
        # writes to it, and sockets also vanish with a raylet that dies.
        swept = not any(session.glob(PORTS))
        if problem := GONE if swept else _problem(Disk(session)):
            remedy = "set TMPDIR to a folder that has room and is never swept"
            return NodeLost(f"Ray's session folder {session} {problem}: {remedy}")
    if disk_full(str(error)):
        return Halted(f"a disk was full for a moment, and is not now: {str(error).strip().splitlines()[-1]}")
    return None


def _problem(disk: Disk) -> str | None:
    """Return what prevents this process from writing in a folder, or None if nothing does."""
    name = f"probe.{secrets.token_hex(8)}{TEMPORARY}"
    try:
        with disk.create(name) as file:
            try:
                write_all(file, bytes(PROBE_BYTES))
            finally:
                disk.remove(name)
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return None


def node_lost(text: str) -> bool:
    return re.search("node has (crashed|died)|node .*has been marked dead", text) is not None


_NO_MEMORY = re.compile(
    "OutOfMemory|out of memory|MemoryError|can't allocate memory|Cannot allocate memory|running low on memory"
)


def cause_of(text: str) -> str:
    """Return in one line why a trial failed, from the error text that Ray wrote."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no error message"]
    if node_lost(text):
        return "its node was lost"
    if any(re.search(r"\b(ActorDied|ActorUnavailable|WorkerCrashed)Error|actor died", line) for line in lines):
        if not _NO_MEMORY.search(text):
            return "its worker was lost: killed by a person or by the system, perhaps for want of memory"
    elif not _NO_MEMORY.search(text):
        return lines[-1]
    told = next(line for line in reversed(lines) if _NO_MEMORY.search(line))
    return told if told.startswith("out of memory") else f"out of memory: {told}"
