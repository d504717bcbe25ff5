"""Guard a search from a process of its own: report a search that ends without a word, and end what Ray left running.

If its raylet dies, Ray ends a process from C++; if memory is short, the system ends one. No Python code runs then, and
the exit status is not the search's own. So the command is two processes. The first, which imports the standard library
alone, passes signals on, waits, and exits with the search's status; the second is the search. On a terminal, the first
also counts the seconds that the second's imports take.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import mmap
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

HALTED = 3
REFUSED = 2
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
SUBREAPER, PARENT_DEATH = 36, 1  # options of prctl: adoption of orphaned descendants, a signal at the parent's end
CLEARING_SECONDS = 10.0  # limit on the wait for killed processes to end

CALLER = "SEARCH_CALLER"  # variable: the descriptor on which a caller in Python awaits the folder of a run that ended
CALLER_ID = "SEARCH_CALLER_ID"  # variable: that caller's process id
GREETING = "starting: loading PyTorch and Ray ..."
TICK = 1.0  # seconds between two counts

_line: int | None = None  # the search's end of a pipe to its guardian
_caller: int | None = None  # the search's end of a pipe to `search.api.run`
_greeting: mmap.mmap | None = None  # one byte that both processes share: whether the greeting has ended


def stand_guard() -> None:
    """Return in a child process, which becomes the search; the parent waits for the child and exits with its status."""
    global _line, _caller, _greeting
    reading, _line = os.pipe()
    if CALLER in os.environ:
        _caller = int(os.environ.pop(CALLER))  # neither the name nor the pipe is for Ray's processes
        os.set_inheritable(_caller, False)
    if os.isatty(1):
        _greeting = mmap.mmap(-1, 1)
        _greet(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    waited = {*PASSED_ON, signal.SIGTSTP, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    if search := os.fork():
        os.close(_line)
        with contextlib.suppress(OSError):  # the search has already left the group
            os.setpgid(search, search)
        os._exit(_guard(search, reading, waited))
    os.close(reading)
    # The search leaves the terminal's process group, or it would receive the terminal's signals twice.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(HALTED)
    atexit.register(say)  # a search that Python ends in order has printed why


def _greet(seconds: float) -> None:
    """Show the greeting on the terminal's line; a dumb terminal has no way back to its beginning."""
    if os.environ.get("TERM", "dumb") != "dumb":
        text = f"\r{GREETING} {seconds:.0f} s" if seconds else GREETING
    elif seconds % 4 == 0:
        text = f"{GREETING} {seconds:.0f} s\n"
    else:
        return
    with contextlib.suppress(OSError):  # a terminal that has gone costs nothing
        os.write(1, text.encode())


def end_greeting() -> None:
    """Clear the greeting's line, before this process prints its first."""
    if _greeting and not _greeting[0]:
        _greeting[0] = 1
        if os.environ.get("TERM", "dumb") != "dumb":
            with contextlib.suppress(OSError):
                os.write(1, b"\r\x1b[K")


def tell(folder: Path, go_on: str) -> None:
    """Send the guardian the run's folder, and the line that says how to resume the run."""
    _write({"folder": str(folder.absolute()), "go_on": go_on})


def hand_over(folder: Path) -> None:
    """Send the caller in Python, if there is one, the folder of a run that has ended in order."""
    if _caller is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(_caller, os.fsencode(folder))


def say(status: int | None = None) -> None:
    """Report to the guardian that the search has printed why it ends; `status` overrides the status that Ray leaves."""
    _write({"said": True} if status is None else {"said": True, "status": status})


def _write(words: dict[str, Any]) -> None:
    if _line is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(_line, json.dumps(words).encode() + b"\n")


def _guard(search: int, reading: int, waited: set[signal.Signals]) -> int:
    """Pass signals on until the search has ended; return the exit status of the command."""
    count = 0
    while True:
        if _greeting and not _greeting[0]:
            told = signal.sigtimedwait(waited, TICK)
            if told is None:
                count += 1
                if not _greeting[0]:
                    _greet(count * TICK)
                continue
            number = told.si_signo
        else:
            number = signal.sigwait(waited)
        if number == signal.SIGTSTP:
            os.killpg(search, signal.SIGTSTP)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.killpg(search, signal.SIGCONT)
        elif number == signal.SIGCHLD:
            ended = _reap(search)
            if ended is not None:
                break
        else:
            os.kill(search, number)
    end_greeting()  # of a search that ended before its first line
    words: dict[str, Any] = {}
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):  # another process still holds the pipe's writing end open
        while part := os.read(reading, 1 << 16):
            words |= {key: value for line in part.splitlines() for key, value in json.loads(line).items()}
    status: int = words.get("status", ended)
    if not words.get("said"):
        with contextlib.suppress(OSError):
            os.write(2, f"\n{last_words(ended, words)}\n".encode(errors="backslashreplace"))
        status = HALTED
    if status in (REFUSED, HALTED):  # a Ray begun beside a refused command's imports may still be going
        clear()
    return status


def _reap(search: int) -> int | None:
    """Reap every child that has ended; return the search's status if it is one of them, below 0 for a signal."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == search:
                status = os.waitstatus_to_exitcode(found[1])
    return status


def last_words(ended: int, words: dict[str, Any]) -> str:
    """Return the message for a search that ended without one, and remove the folder of a run that never started."""
    if ended < 0:
        name = signal.Signals(-ended).name if -ended in set(signal.Signals) else f"signal {-ended}"
        why = f"it was killed ({name}) by a person or by the system, perhaps for want of memory or by a `ulimit`"
    else:
        why = "Ray ended it, since a process of Ray's had died: killed by a person or by the system"
    cause = f"search.run: halted: the search's process ended without a word: {why}"
    if "folder" not in words:
        return cause
    folder = Path(words["folder"])
    if (folder / "study.json").exists():
        return f"{cause}; all that was known is saved\n{words['go_on']}"
    if not folder.is_dir():
        return f"{cause}; {folder} is gone, and what was known with it"
    with contextlib.suppress(OSError):
        (folder / "journal.jsonl").unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()
    return f"{cause}; nothing had begun"


def clear() -> None:
    """Kill every process that the search left running, all of which this process has adopted."""
    deadline = time.monotonic() + CLEARING_SECONDS
    while (found := descendants()) and time.monotonic() < deadline:
        for number in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        _reap(0)
        time.sleep(0.02)


def descendants() -> set[int]:
    """Return the ids of all processes that descend from this one, adopted ones included."""
    parents = {}
    for name in os.listdir("/proc") if Path("/proc/self").exists() else []:
        with contextlib.suppress(OSError):  # the process has just ended
            if name.isdecimal():
                stat = Path(f"/proc/{name}/stat").read_text(errors="replace")
                parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}
