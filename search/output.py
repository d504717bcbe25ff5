"""Standard output and error that never fail a search: an encoding of ASCII alone, a closed pipe, a full disk."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
from typing import Any

from search.records import writable_text

MESSAGE = 2000  # most characters of an error's line
INDENT = " " * 11  # below the text of a line that begins with a word such as "dashboard"


def one_line(error: Exception) -> str:
    """Return an error's message as one line of at most MESSAGE characters, cut in its middle."""
    text = " ".join("".join(c if writable_text(c) or c.isspace() else repr(c)[1:-1] for c in str(error)).split())
    half = MESSAGE // 2
    return text if len(text) <= MESSAGE else f"{text[:half]} [...] {text[-half:]}"


def span(seconds: float) -> str:
    """Return a number of seconds as a person says it: 45 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def fitted(line: str) -> str:
    """Return a line as it is, or on a terminal broken between words where the terminal's line ends."""
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    # Not at hyphens: an address or a path stays whole.
    return textwrap.fill(line, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)


class Output:
    """Replace a standard stream, and drop what is printed once the stream cannot be written: the search goes on.

    The loss is reported once on `told`. The stream's descriptor then leads to os.devnull, also for buffered text and
    for child processes.
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
    """Replace this process's standard output and error by streams to which printing never fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the encoding lacks is written as its number; a log file shows each event at once.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.stderr = Output(sys.stderr, "standard error")
    sys.stdout = Output(sys.stdout, "standard output", sys.stderr)
