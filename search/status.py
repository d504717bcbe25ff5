"""Show a run from its journal, live and from anywhere that sees its folder: python -m search.status RESULTS.

RESULTS is a run's folder, a study's, or one above: the run shown is the one below it that wrote last. Nothing is
written or locked, and neither Ray nor torch is needed. On a terminal the picture is drawn again until the run ends or
Ctrl-C is pressed; into a pipe or file it is printed once. Exit status: 0, or 2 if there is no run to show (one line).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.events import TrialLog, finished
from search.journal import JOURNAL_FILE, JournalError, read
from search.live_table import BEST, CURVE, shorten, sparkline
from search.output import one_line, span
from search.records import COMPLETED, EPOCH, RUNNING, STATUSES, STUDY_FILE, TOTAL_EPOCHS, RecordError, StudyRecord

WIDTH, HEIGHT = 80, 24  # size of the picture where there is no terminal to ask
REFRESH_SECONDS = 1.0
SHARE = 10.0  # a large journal is read at most a tenth of the time
NARROW = 60  # characters of a terminal that has no room for curves
DEEPEST = 3  # levels below RESULTS at which a run is looked for


class StatusError(ValueError):
    """Report in one line why there is no run to show."""


@dataclass(frozen=True)
class Run:
    """One run as its folder holds it now; `quiet` is how many seconds ago its journal last grew."""

    folder: Path
    record: StudyRecord
    trials: dict[int, TrialLog]
    quiet: float


def find(results: Path) -> Path:
    """Return the folder of the run at or below `results` whose journal grew last. Raises StatusError."""
    found = {}
    for level in range(DEEPEST):
        for path in results.glob("*/" * level + JOURNAL_FILE):
            with contextlib.suppress(OSError):  # a run that failed to start takes its folder away
                if (path.parent / STUDY_FILE).is_file():
                    found[path.stat().st_mtime] = path.parent
    if not found:
        raise StatusError(
            f"RESULTS must be a run, a study's folder or a folder of these, got {results}: there is no {JOURNAL_FILE} "
            f"beside a {STUDY_FILE} in it or below it"
        )
    return found[max(found)]


def load(folder: Path) -> Run:
    """Read a run's record and journal. Raises OSError, RecordError, JournalError."""
    path = folder / JOURNAL_FILE
    text = (folder / STUDY_FILE).read_text(encoding="utf-8", errors="replace")
    record = StudyRecord.from_json(text, str(folder / STUDY_FILE))
    quiet = max(0.0, time.time() - path.stat().st_mtime)
    return Run(folder, record, read(path.read_bytes(), path).trials, quiet)


def render(run: Run, width: int, height: int) -> Group:
    """Return the picture of a run, at most `width` characters wide and `height` lines high."""
    record, trials = run.record, run.trials
    counts = Counter(log.status or RUNNING for log in trials.values())
    state = "ended" if record.finished else f"last event {span(run.quiet)} ago"
    head = Text(f"{record.study}: {record.question}", style="bold", no_wrap=True, overflow="ellipsis")
    done = sum(map(finished, trials.values()))
    line = Text(f"{done}/{record.samples} trials ended", no_wrap=True, overflow="ellipsis")
    for status in STATUSES:
        if counts[status]:
            line.append(f"  {counts[status]} {status}")
    running = [log for log in trials.values() if not finished(log)]
    best = ranked(record, trials)[:BEST]
    room = max(1, height - len(best) - 6)  # above the table three lines, and its own heading, a rule and one to spare
    if len(running) > room:
        state += f", {len(running) - room + 1} more running"
        running = running[: room - 1]
    where = Text(f"{shorten(str(run.folder), width - len(state) - 2)}  {state}", style="dim", no_wrap=True)
    table = Table(box=None, pad_edge=False, width=width)
    table.add_column("trial", no_wrap=True, ratio=1)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column(record.metric, justify="right", no_wrap=True, max_width=20)
    bars = CURVE if width >= NARROW else 0
    if bars:
        table.add_column("curve", no_wrap=True, width=bars)
    shown = [figure(record.metric, log.last.get(record.metric)) for log in (*running, *best)]
    epochs = [f"{log.last[EPOCH]:.0f}/{log.last[TOTAL_EPOCHS]:.0f}" if log.last else "0" for log in (*running, *best)]
    taken = max(map(len, ("epoch", *epochs))) + max(map(len, (record.metric[:20], *shown))) + bars + 6
    for number, (log, epoch, value) in enumerate(zip((*running, *best), epochs, shown, strict=True)):
        if number == len(running) and best:
            table.add_row(Text("best of the completed", style="dim"))
        values = [log.results[each].get(record.metric) for each in sorted(log.results)]
        table.add_row(shorten(log.name, width - taken), epoch, value, *([curve(values)] if bars else []))
    return Group(head, line, where, table)


def ranked(record: StudyRecord, trials: dict[int, TrialLog]) -> list[TrialLog]:
    """Return the completed trials that measured the study's metric, the best first."""
    measured = [log for log in trials.values() if log.status == COMPLETED and log.last.get(record.metric) is not None]
    sign = -1 if record.mode == "max" else 1
    return sorted(measured, key=lambda log: (sign * log.last[record.metric], log.number))


def figure(metric: str, value: float | None) -> str:
    """Return a metric's value as the table shows it: accuracies in percent."""
    if value is None:
        return ""
    return f"{value:.1%}" if metric.endswith("accuracy") else f"{value:.4g}"


def curve(values: Sequence[float | None]) -> str:
    """Return a trial's curve between its own least and greatest value."""
    numbers = [math.nan if value is None else value for value in values]
    known = [value for value in numbers if math.isfinite(value)]
    return sparkline(numbers, min(known, default=0.0), max(known, default=0.0))


def watch(folder: Path, console: Console) -> None:
    """Draw the run again and again until it has ended."""
    run = load(folder)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(render(run, *console.size), refresh=True)
            if run.record.finished:
                return
            began = time.monotonic()
            run = load(folder)
            time.sleep(max(REFRESH_SECONDS, SHARE * (time.monotonic() - began)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.status", description="Show a run, live, from its journal.")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a run, a study's folder or a folder of these")
    results = parser.parse_args(arguments).results
    console = Console(highlight=False)
    try:
        folder = find(results)
        if console.is_terminal:
            watch(folder, console)
        else:
            Console(width=WIDTH, highlight=False).print(render(load(folder), WIDTH, HEIGHT))
    except (StatusError, JournalError, RecordError, OSError) as error:
        print(f"search.status: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
