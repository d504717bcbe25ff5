"""Handle the signals that ask a process to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


def end_in_order() -> None:
    """Treat the signals of a scheduler, a shutdown or a lost terminal as Ctrl-C, which ends a run in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored under `nohup`, so that a run outlives its terminal
            signal.signal(number, _as_ctrl_c)


def _as_ctrl_c(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's shell ignores SIGINT for background commands
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Keep this process's handlers of signals while Ray starts, which replaces the handler of SIGTERM by `sys.exit`.

    Raises KeyboardInterrupt if SIGTERM arrives while Ray starts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray then leaves the handlers alone
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            if handler is not None:  # None stands for a handler that was not set from Python
                signal.signal(number, handler)
