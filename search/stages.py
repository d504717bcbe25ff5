"""Show what a command does while nothing else is printed: a line that counts seconds on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.output import span

EVERY = 4.0  # seconds between two lines where there is no terminal


@contextlib.contextmanager
def stage(what: str, *, terminal_only: bool = False) -> Iterator[None]:
    """Show `what` for as long as the block runs; text that the block prints stands above the line.

    Not on a terminal, the block's start is a line, and so is each `EVERY` seconds; with `terminal_only` nothing is.
    """
    started = time.monotonic()

    def line() -> str:
        seconds = time.monotonic() - started
        return f"{what} ..." if seconds < 1 else f"{what} ... {span(seconds)}"

    if sys.stdout.isatty():
        console = Console(highlight=False)
        with Live(get_renderable=lambda: Text(line(), no_wrap=True), console=console, transient=True):
            yield
        return
    if terminal_only:
        yield
        return
    print(line(), flush=True)
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            print(line(), flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
