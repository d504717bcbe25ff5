"""python -m search.campaign FILE [options]: run the search.run commands of a text file, one after the other.

A line of FILE holds the arguments of `python -m search.run`, or the whole command; empty lines and text after a # are
ignored. A line whose run has finished is skipped, and a line whose run was broken off is resumed: a campaign that was
interrupted or killed continues if it is started again. A line that fails does not stop the lines after it.

Exit status: 0 every line is done, 1 a line failed or is unfinished, 2 the file or an option is wrong (nothing
started), 3 a line stopped because the machine let it go no further (a full disk), 130 interrupted.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import contextlib
import dataclasses
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
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search.failures import UsageError
from search.folders import check_writable, newest_run, read_record
from search.interrupts import end_in_order
from search.journal import JOURNAL_FILE
from search.options import PLACE, STORED, folder, parser
from search.output import span
from search.records import FAILED, STATUS, STUDY_FILE, RecordError, StudyRecord
from search.request import DEFAULTS, Request

COMMAND = "python -m search.run"
RETRY_SECONDS = 10.0
REFUSED = 2  # search.run's exit status for a request that cannot begin
DONE, DONE_BUT, BROKEN_OFF, TO_DO, RUNNING = "done", "done, some trials failed", "broken off", "to do", "running"
HALTED, INTERRUPTED = 3, 130  # exit statuses of search.run


@dataclass(frozen=True)
class Line:
    """One command. `request` is its parsed form, with the campaign's --results unless the line has its own."""

    number: int  # number of the line in the file, from 1
    text: str
    request: Request

    @property
    def asked(self) -> dict[str, object]:
        """Return the options by which a run is matched with the line that began it."""
        return _asked(self.request)

    @property
    def results(self) -> Path:
        """Return the folder of the line's results, by one name however the line names it."""
        return self.request.results.absolute()


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

    @property
    def results(self) -> int:
        """Return how many results the run's journal holds."""
        return (self.folder / JOURNAL_FILE).read_bytes().count(b'{"event": "result"')


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        lines = read(options.file, options.results)
        if options.status:
            return print_status(lines, running=_locked(options.file))
        return run(lines, options)
    except (UsageError, RecordError) as error:
        print(f"search.campaign: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("search.campaign: interrupted: repeat the command to continue", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    options = type(parser())(
        prog="python -m search.campaign", description="Run the commands of a file.", allow_abbrev=False
    )
    options.add_argument("file", type=Path, help="a text file of search.run commands, one a line")
    options.add_argument("--results", type=folder, default=Path("results"), metavar="DIR", help="for lines without one")
    options.add_argument("--nice", type=int, choices=range(20), metavar="N", help="lower every run's priority by N")
    options.add_argument("--status", action="store_true", help="print what is done, running or to do; start nothing")
    return options


def read(file: Path, results: Path) -> list[Line]:
    """Read the commands of a file. Raises UsageError, with the line's number, for what search.run would refuse."""
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
            request = Request.parse(words)
            if request.resume or request.extend or request.plan:
                raise UsageError("a campaign begins and resumes runs by itself: remove --resume, --extend and --plan")
            if not any(word == "--results" or word.startswith("--results=") for word in words):
                request = dataclasses.replace(request, results=results)
            if not request.space.is_file():
                raise UsageError(f"no such space file: {request.space}")
            check_writable(request.results)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
        line = Line(number, shlex.join(words), request)
        if twin := next((each for each in lines if (each.asked, each.results) == (line.asked, line.results)), None):
            raise UsageError(f"{where} repeats line {twin.number}: {line.text}: use --repeats or another --seed")
        lines.append(line)
    if not lines:
        raise UsageError(f"{file} must hold a command a line, got none")
    return lines


def _asked(request: Request) -> dict[str, Any]:
    # What other results had finished changes nothing in what is asked, and they lie elsewhere in another clone.
    asked = {name: getattr(request, name) for name in (*STORED, "space") if name not in (*PLACE, "known")}
    return asked | {name: os.path.abspath(value) for name in ("space", "data", "weights") if (value := asked[name])}


def begun_by(line: Line) -> Run | None:
    """Return the newest run in the line's results that its command began, also from another folder or by hand."""
    found: list[Run] = []
    for path in line.request.results.glob(f"*/*/{STUDY_FILE}"):
        record = read_record(path)
        command = record.command.removeprefix(COMMAND)
        try:
            asked = _asked(Request.parse(shlex.split(command)))
        except ValueError:
            continue  # another version, with other options, wrote the command
        if asked == line.asked:
            found.append(Run(path.parent, record))
    return max(found, key=lambda run: run.folder.name, default=None)


def print_status(lines: Sequence[Line], *, running: bool) -> int:
    """Print a row for each line; return 0 if all are done, else 1."""
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
    """Run the lines that are not done, and return the exit status. Raises UsageError if the file is already running."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    end_in_order()
    # The current run inherits the lock, and keeps it if this process is killed: no second campaign begins beside it.
    with options.file.open() as locked:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{options.file} is already being run by another process: --status shows it") from None
        os.nice(options.nice or 0)
        failed = 0
        for place, (line, begun) in enumerate(_in_turn(lines), 1):
            state = begun.status if begun else TO_DO
            if state in (DONE, DONE_BUT):
                failed += state == DONE_BUT
                print(f"[{place}/{len(lines)}] {state}: {line.text}")
                continue
            ends = _run(line, begun, f"[{place}/{len(lines)}]", locked.fileno())
            known = begun.results if begun else 0
            # Ray's processes may have been killed, or starved of processor time: go on as long as that gets further.
            while ends == HALTED and (begun := begun_by(line)) and begun.results > known:
                time.sleep(RETRY_SECONDS)
                known = begun.results
                again = _run(line, begun, f"[{place}/{len(lines)}]", locked.fileno())
                ends = again if again != REFUSED else HALTED  # what halted the run is still so, such as a full disk
            if ends in (HALTED, INTERRUPTED):
                return ends
            now = begun_by(line)
            failed += ends != 0 or (now is not None and now.status != DONE)
    print(f"{len(lines) - failed} of {len(lines)} lines are done" + (f", {failed} are not" if failed else ""))
    return 1 if failed else 0


def _in_turn(lines: Sequence[Line]) -> list[tuple[Line, Run | None]]:
    """Return the lines in order: broken-off ones first, newest run first, as `--resume` takes a study's newest run."""
    begun = [(line, begun_by(line)) for line in lines]
    broken = [pair for pair in begun if pair[1] and pair[1].status == BROKEN_OFF]
    broken.sort(key=lambda pair: pair[1].folder.name if pair[1] else "", reverse=True)
    return broken + [pair for pair in begun if pair not in broken]


def _run(line: Line, begun: Run | None, place: str, lock: int) -> int:
    """Run one line to its end, and return search.run's exit status."""
    request = line.request
    if begun:
        newest, _ = newest_run(request.results, begun.record.study, smoke_only=request.smoke, finished=False)
        if newest != begun.folder:
            print(
                f"{place} failed: {line.text}: --resume would take {newest}, which no line began; remove or finish it"
            )
            return 2
        # The record has the options that define the run.
        again = ("smoke", "data", "weights", *PLACE)
        kept: dict[str, Any] = {name: DEFAULTS[name] for name in STORED if name not in again}
        request = dataclasses.replace(request, resume=True, **kept)
    words = words_of(request)
    print(f"{place} {'resumed' if begun else 'begun'}: {COMMAND} {shlex.join(words)}")
    started = time.monotonic()
    # The run gets a session of its own: a Ctrl-C then reaches it once, through this process, and it ends in order.
    command = [sys.executable, "-m", "search.run", *words]
    process = subprocess.Popen(command, pass_fds=[lock], start_new_session=True)
    _lower(process.pid)
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGTERM)  # which a run takes also where Ctrl-C is ignored, in the background
    ended = "done" if status == 0 else f"ended with status {status}"
    print(f"{place} {ended} in {span(time.monotonic() - started)}: {line.text}")
    if interrupted:
        raise KeyboardInterrupt
    return status


def _lower(session: int) -> None:
    """Give a session this process's niceness: if Linux schedules by session, nice values count only within one."""
    with contextlib.suppress(OSError):  # not Linux, or a Linux that does not schedule by session
        Path(f"/proc/{session}/autogroup").write_text(str(os.nice(0)), encoding="ascii")


def words_of(request: Request) -> list[str]:
    """Return the words after `python -m search.run` that make this request."""
    space = str(request.space)
    words = [f"./{space}" if space.startswith("-") else space]
    for name, default in DEFAULTS.items():
        value = getattr(request, name)
        if name in ("space", "address_from", "hosted") or value == default:
            continue
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [f"{option}={each}" for each in value]
        else:
            # Written out, since search.run takes no exponent in a time.
            words.append(f"{option}={f'{Decimal(str(value)):f}s' if name == 'time_budget' else value}")
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
