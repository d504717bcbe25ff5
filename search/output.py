"""What a person is told, on whatever standard output there is: in ASCII alone, a closed pipe, a full disk."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class Output:
    """Stands in for a standard stream and goes on without it once it cannot be written: a search is worth more.

    The loss is said once on `told`; the stream's descriptor then leads to nowhere, also for what is buffered and for
    processes started from here.
    """

    def __init__(self, stream: Any, name: str, told: Any = None) -> None:
        self._stream = stream
        self._name = name
        self._told = told
        self._lost = False

    def write(self, text: str) -> int:
        if not self._lost:
            try:
                return int(self._stream.write(text))
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if not self._lost:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self._lost = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self._told:
            how = f"cannot be written any more ({error.strerror}): the command goes on without it"
            self._told.write(f"search.run: {self._name} {how}\n")
            self._told.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Make a process's standard output and error such that printing never fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the encoding lacks is written by its number; a log file shows each event as it comes.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.stderr = Output(sys.stderr, "standard error")
    sys.stdout = Output(sys.stdout, "standard output", sys.stderr)
