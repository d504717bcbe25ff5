"""Why a trial failed or a run cannot go on, for a person."""

from __future__ import annotations

import errno
import os
import re


class Halted(RuntimeError):
    """The machine lets a run go no further; nothing is lost. The message is one line."""


class NodeLost(Halted):
    """No node of the Ray cluster is left."""


def disk_full(text: str) -> bool:
    return any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT))


def node_lost(text: str) -> bool:
    return re.search("node has (crashed|died)|node .*has been marked dead", text) is not None


_NO_MEMORY = re.compile(
    "OutOfMemory|out of memory|MemoryError|can't allocate memory|Cannot allocate memory|running low on memory"
)


def cause_of(text: str) -> str:
    """Why a trial failed, in one line for a person, from what Ray wrote of it."""
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
