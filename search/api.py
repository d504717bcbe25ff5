"""Run searches from Python, in scripts and notebooks: `results = run(study, data="...", samples=32)`.

    from search.api import Results, run

    results = run(study, samples=32)      # or run("spaces/alexnet_bagging.py", data="DIR")
    results.best, results.pareto(), results.plot()
    results.predict(["cat.png"])
    Results("results/rates")              # the same, of any run, later

The search is a process of its own, as from the command line: whatever happens to Ray, the calling process lives on,
and a run that was killed goes on with `run(study, resume=True)`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from ray import cloudpickle

from search import siblings
from search.failures import UsageError
from search.finished import Results, ResultsError
from search.guardian import CALLER, CALLER_ID
from search.output import one_line
from search.records import plain
from search.request import DEFAULTS, Request
from search.sendable import require_sendable
from search.study import Study, StudyError

__all__ = ["Results", "ResultsError", "SearchError", "plan", "run"]

_LISTS = {"arms": "arm", "known": "known"}  # arguments that are repeated options


class SearchError(RuntimeError):
    """A search that did not begin, or was halted; the message says why, and how to go on."""


def run(
    study: Study | Path | str,
    *,
    data: Path | str | None = None,
    samples: int | None = None,
    searcher: str | None = None,
    scheduler: str | None = None,
    set: Mapping[str, Any] | None = None,
    seed: int = 0,
    engine: str | None = None,
    time_budget: str | None = None,
    results: Path | str = "results",
    smoke: bool = False,
    replay: bool = False,
    repeats: int = 1,
    arms: Sequence[str] = (),
    known: Sequence[Path | str] = (),
    resume: bool = False,
    extend: int | None = None,
    warm_start: Sequence[Path | str] = (),
    log: Sequence[str] = (),
    report: Path | str | None = None,
    weights: Path | str | None = None,
    cpus_per_trial: float | str | None = None,
    gpus_per_trial: float | str | None = None,
    address: str | None = None,
    listen: str | None = None,
    yes: bool = False,
    verbose: bool = False,
) -> Results:
    """Run a study, or the study of a space file, to its end, and return its results.

    The arguments are the options of `python -m search.run` (`search/README.md`), with their defaults; `set` maps
    hyperparameters to fixed values, `arms` are `--arm`'s, and `time_budget` is text such as "30m". The search's output
    is printed as it comes.

    Raises UsageError for a wrong argument, SearchError if the search cannot begin or is halted, and KeyboardInterrupt
    if it was interrupted, after what was known is saved.
    """
    given = {name: value for name, value in locals().items() if name != "study"}
    given["set"] = _assignments(set)
    return _Call(study, given).results()


def plan(study: Study | Path | str, **options: Any) -> str:
    """Return what a run with these options (see `run`) would cost here, measured: `--plan`'s table.

    Raises UsageError and SearchError.
    """
    given = {**options, "set": _assignments(options.pop("set", None)), "plan": True}
    return _Call(study, given).output()


class _Call:
    """A search that is about to run in a process of its own."""

    def __init__(self, study: Study | Path | str, given: Mapping[str, Any]) -> None:
        self.study = study if isinstance(study, Study) else None
        space = self._caller() if self.study else Path(study)  # type: ignore[arg-type]
        self.words = [str(space), *_words(given)]
        self.request = Request.parse(self.words)
        self.pickled = _pickled(self.study) if self.study else b""
        self.last_words: list[str] = []
        self.errors: list[str] = []  # lines of standard error alone: progress may come between these and the end
        self.folder = ""  # of the run, once it has ended in order

    @staticmethod
    def _caller() -> Path:
        """Return the script that calls, or a name for what is no file."""
        main = getattr(sys.modules["__main__"], "__file__", None)
        return Path(main) if main else Path("notebook")

    def results(self) -> Results:
        status = self._run(show=True)
        if status == 130:
            raise KeyboardInterrupt
        if status not in (0, 1):
            raise SearchError(self._why(status))
        if not self.folder and status:
            told = [line.strip() for line in self.last_words if line.strip()]
            raise SearchError(one_line(RuntimeError(f"the search failed: {'; '.join(told[-3:]) or 'without a word'}")))
        if not self.folder:
            raise SearchError(f"nothing to run: every trial is known, in {', '.join(self.request.known)}")
        return Results(self.folder, self.study)

    def output(self) -> str:
        lines: list[str] = []
        status = self._run(show=False, lines=lines)
        if status:
            raise SearchError(self._why(status))
        return "".join(lines)

    def _why(self, status: int) -> str:
        told = [line.strip() for line in self.last_words if line.strip()]
        if status == 2 and (errors := [line.strip() for line in self.errors if line.strip()]):
            return errors[-1].removeprefix("search.run: ")
        reason = next((line for line in reversed(told) if line.startswith(("halted", "search.run: halted"))), "")
        again = "run(study, resume=True" + (", smoke=True)" if self.request.smoke else ")")
        return (reason or f"the search ended with status {status}") + f"; {again} continues it"

    def _run(self, *, show: bool, lines: list[str] | None = None) -> int:
        """Run the search, print its output if `show`, and return its exit status."""
        module = "search.hosted" if self.study else "search.run"
        terminal = show and sys.stdout.isatty()
        reading, writing = os.pipe()
        own = {"PYTHONPATH": os.pathsep.join(siblings.search_path()), "PYTHONIOENCODING": "utf-8", CALLER: str(writing)}
        own |= {CALLER_ID: str(os.getpid())} if self.study else {}
        process = subprocess.Popen(
            [sys.executable, "-m", module, *self.words],
            env={**os.environ, **own},
            pass_fds=[writing],
            stdin=subprocess.PIPE if self.study else subprocess.DEVNULL,
            stdout=None if terminal else subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C then reaches the search once, through this process
        )
        os.close(writing)
        heard = (process.stderr, sys.stderr, self.last_words, self.errors)
        relays = [threading.Thread(target=self._relay, args=heard, daemon=True)]
        if not terminal:
            to = sys.stdout if show else None
            kept = self.last_words if lines is None else lines
            relays.append(threading.Thread(target=self._relay, args=(process.stdout, to, kept), daemon=True))
        for relay in relays:
            relay.start()
        if process.stdin:
            # A broken pipe: the search has ended already, and says why.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                cast(TextIO, pipe).buffer.write(self.pickled)
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
        for relay in relays:
            relay.join()
        os.set_blocking(reading, False)
        with os.fdopen(reading, "rb", buffering=0) as told:
            self.folder = os.fsdecode(told.read() or b"")  # None: another process still holds the writing end open
        return status

    @staticmethod
    def _relay(pipe: Any, to: Any, *kept: list[str]) -> None:
        for line in pipe:
            for lines in kept:
                lines.append(line)
            if to is not None:
                print(line, end="", file=to, flush=True)


def _pickled(study: Study) -> bytes:
    """Return a study as its process gets it. Raises UsageError if its trainable cannot be sent."""
    try:
        study.require_effective()
        require_sendable(study)
    except StudyError as error:
        raise UsageError(str(error)) from None
    return cast(bytes, cloudpickle.dumps(study))


def _assignments(fixed: Mapping[str, Any] | None) -> list[str]:
    """Return the words of --set for hyperparameters and their values. Raises UsageError."""
    if fixed is not None and not isinstance(fixed, Mapping):
        raise UsageError(f"set must map hyperparameters to values, got {fixed!r:.80}")
    return [f"{name}={_text(name, plain(value))}" for name, value in (fixed or {}).items()]


def _text(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float | os.PathLike):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    raise UsageError(f"set must map {name} to a number, text, True, False or None, got {value!r:.80}")


def _words(given: Mapping[str, Any]) -> list[str]:
    """Return the command line's words for the arguments that differ from their defaults. Raises UsageError."""
    words: list[str] = []
    for argument, value in given.items():
        name = _LISTS.get(argument, argument)
        if name not in DEFAULTS or name in ("space", "address_from", "hosted"):
            raise UsageError(f"run has no argument {argument!r}")
        default, option = DEFAULTS[name], "--" + name.replace("_", "-")
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{argument} must be True or False, got {value!r}")
            words += [option] if value else []
        elif isinstance(default, tuple):
            if value is not None and not isinstance(value, list | tuple):
                raise UsageError(f"{argument} must be a list, got {value!r:.80}")
            words += [f"{option}={each}" for each in value or ()]
        elif value is not None and value != default:
            words.append(f"{option}={value}")
    return words
