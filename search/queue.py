"""python -m search.queue FILE [options]: run the search.run commands of a text file, one after the other.

A line of FILE is what follows `python -m search.run` (or all of it); empty lines and what follows a # are left out.
A line whose run has finished is skipped, one whose run was broken off is resumed: a queue that was interrupted or
killed goes on where it stopped when it is started again. A line that fails does not stop those after it.

Exit status: 0 every line is done, 1 a line failed or is unfinished, 2 the file or an option is wrong (nothing
started), 3 a line stopped because the machine let it go no further (a full disk), 130 interrupted.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import fcntl
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from search.folders import check_writable, newest_run
from search.journal import JOURNAL_FILE
from search.options import STORED, UsageError, check_combination, parser
from search.progress import span
from search.records import FAILED, STATUS, STUDY_FILE, RecordError, StudyRecord

COMMAND = "python -m search.run"
DONE, DONE_BUT, BROKEN_OFF, TO_DO, RUNNING = "done", "done, some trials failed", "broken off", "to do", "running"
HALTED, INTERRUPTED = 3, 130  # of search.run


@dataclass(frozen=True)
class Line:
    """One command. `options` are what search.run makes of it, with the queue's --results unless it has its own."""

    number: int  # in the file, from 1
    text: str
    options: argparse.Namespace

    @property
    def asked(self) -> dict[str, object]:
        """What tells a run that another line, or none, began."""
        return _asked(self.options)


@dataclass(frozen=True)
class Run:
    """The newest run that a line began."""

    folder: Path
    record: StudyRecord

    @property
    def status(self) -> str:
        if not self.record.finished:
            return BROKEN_OFF
        try:
            statuses = pq.read_table(self.folder / "trials.parquet", columns=[STATUS])[STATUS].to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{self.folder} cannot be read: {' '.join(str(error).split())}") from None
        return DONE_BUT if FAILED in statuses else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        lines = read(options.file, options.results)
        if options.status:
            return print_status(lines, running=_locked(options.file))
        return run(lines, options)
    except (UsageError, RecordError) as error:
        print(f"search.queue: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("search.queue: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    options = type(parser())(
        prog="python -m search.queue", description="Run the commands of a file.", allow_abbrev=False
    )
    options.add_argument("file", type=Path, help="a text file of search.run commands, one a line")
    options.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="of lines without one")
    options.add_argument("--nice", type=int, choices=range(20), metavar="N", help="lower every run's priority by N")
    options.add_argument("--status", action="store_true", help="print what is done, running or to do; start nothing")
    return options


def read(file: Path, results: Path) -> list[Line]:
    """The commands of a file. Raises UsageError, with the line's number, for what search.run would refuse."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} must be a text file of commands: {error}") from None
    lines: list[Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        where = f"{file}, line {number}"
        try:
            words = shlex.split(raw, comments=True)
            if words[:3] == COMMAND.split():
                words = words[3:]
            if not words:
                continue
            options = parser().parse_args(words)
            if options.resume or options.extend or options.plan:
                raise UsageError("a queue begins and resumes runs itself: --resume, --extend and --plan are not for it")
            if not any(word == "--results" or word.startswith("--results=") for word in words):
                options.results = results
            check_combination(options)
            if not options.space.is_file():
                raise UsageError(f"no such space file: {options.space}")
            check_writable(options.results)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
        line = Line(number, shlex.join(words), options)
        if twin := next((each for each in lines if each.asked == line.asked), None):
            raise UsageError(f"{where} asks for what line {twin.number} asks for: {line.text}; use --repeats or --seed")
        lines.append(line)
    if not lines:
        raise UsageError(f"{file} holds no command")
    return lines


def _asked(options: argparse.Namespace) -> dict[str, object]:
    asked = {name: value for name, value in vars(options).items() if name in {*STORED, "space"}}
    return asked | {name: os.path.abspath(value) for name in ("space", "data", "weights") if (value := asked[name])}


def begun_by(line: Line) -> Run | None:
    """The newest run in the line's results that the line's command began, also from another folder or by hand."""
    found: list[Run] = []
    for path in line.options.results.glob(f"*/*/{STUDY_FILE}"):
        record = StudyRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))
        command = record.command.removeprefix(COMMAND)
        try:
            asked = _asked(parser().parse_args(shlex.split(command)))
        except ValueError:
            continue  # of a version with other options
        if asked == line.asked:
            found.append(Run(path.parent, record))
    return max(found, key=lambda run: run.folder.name, default=None)


def print_status(lines: Sequence[Line], *, running: bool) -> int:
    """Print a row a line; returns 0 if all are done."""
    runs = [begun_by(line) for line in lines]
    states = [run.status if run else TO_DO for run in runs]
    unfinished = {place: run.folder / JOURNAL_FILE for place, run in enumerate(runs) if run and not run.record.finished}
    if running and unfinished:
        states[max(unfinished, key=lambda place: unfinished[place].stat().st_mtime)] = RUNNING
    width = max(map(len, states))
    for line, state, begun in zip(lines, states, runs, strict=True):
        print(f"{line.number:4d}  {state:{width}}  {line.text}" + (f"  ({begun.folder})" if begun else ""))
    counts = {state: states.count(state) for state in (DONE, DONE_BUT, RUNNING, BROKEN_OFF, TO_DO)}
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    return 0 if set(states) == {DONE} else 1


def run(lines: Sequence[Line], options: argparse.Namespace) -> int:
    """Run what is not done; returns the exit status. Raises UsageError if the queue is being run already."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: signal.raise_signal(signal.SIGINT))
    # The run under way inherits the lock, and keeps it if this process is killed: no second one begins beside it.
    with options.file.open() as locked:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{options.file} is being run already; --status says how far it is") from None
        os.nice(options.nice or 0)
        failed = 0
        for place, (line, begun) in enumerate(_in_turn(lines), 1):
            state = begun.status if begun else TO_DO
            if state in (DONE, DONE_BUT):
                failed += state == DONE_BUT
                print(f"[{place}/{len(lines)}] {state}: {line.text}")
                continue
            ends = _run(line, begun, f"[{place}/{len(lines)}]", locked.fileno())
            if ends in (HALTED, INTERRUPTED):
                return ends
            now = begun_by(line)
            failed += ends != 0 or (now is not None and now.status != DONE)
    print(f"{len(lines) - failed} of {len(lines)} lines are done" + (f", {failed} are not" if failed else ""))
    return 1 if failed else 0


def _in_turn(lines: Sequence[Line]) -> list[tuple[Line, Run | None]]:
    """Broken-off lines first, the newest run of all in front: `--resume` takes a study's newest unfinished one."""
    begun = [(line, begun_by(line)) for line in lines]
    broken = [pair for pair in begun if pair[1] and pair[1].status == BROKEN_OFF]
    broken.sort(key=lambda pair: pair[1].folder.name if pair[1] else "", reverse=True)
    return broken + [pair for pair in begun if pair not in broken]


def _run(line: Line, begun: Run | None, place: str, lock: int) -> int:
    """Run one line to its end; returns search.run's exit status."""
    options = line.options
    if begun:
        newest, _ = newest_run(options.results, begun.record.study, smoke_only=options.smoke, finished=False)
        if newest != begun.folder:
            print(
                f"{place} failed: {line.text}: --resume would take {newest}, which no line began; remove or finish it"
            )
            return 2
        # What defines the run is on its record.
        kept = {name: parser().get_default(name) for name in STORED if name not in ("smoke", "data", "weights")}
        options = argparse.Namespace(**{**vars(options), **kept, "resume": True})
    words = words_of(options)
    print(f"{place} {'resumed' if begun else 'begun'}: {COMMAND} {shlex.join(words)}")
    started = time.monotonic()
    # In a session of its own: a Ctrl-C reaches it once, from here, and it ends as orderly as it does alone.
    command = [sys.executable, "-m", "search.run", *words]
    process = subprocess.Popen(command, pass_fds=[lock], start_new_session=True)
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)
    ended = "done" if status == 0 else f"ended with status {status}"
    print(f"{place} {ended} in {span(time.monotonic() - started)}: {line.text}")
    if interrupted:
        raise KeyboardInterrupt
    return status


def words_of(options: argparse.Namespace) -> list[str]:
    """The words after `python -m search.run` that make these options."""
    words = [str(options.space)]
    for name, value in vars(options).items():
        if name == "space" or value == parser().get_default(name):
            continue
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [word for each in value for word in (option, str(each))]
        else:
            words += [option, f"{value}s" if name == "time_budget" else str(value)]
    return words


def _locked(file: Path) -> bool:
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
