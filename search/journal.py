"""What happened in a run, one JSON line an event, appended as it happens.

The journal is the only thing a run must not lose: tables, early stopping and the searcher's memory are all
rebuilt from it. A line is written in one call before anything depends on it; a torn last line, which a
crash can leave, is an event that never happened.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.records import COMPLETED, DIVERGED, EPOCH, FAILED, STOPPED, TOTAL_EPOCHS

JOURNAL_FILE = "journal.jsonl"
SYNC_SECONDS = 1.0


class JournalError(ValueError):
    """A journal that cannot be read or is in use; the message is one line."""


@dataclass
class TrialLog:
    """One trial as far as the journal knows it."""

    number: int
    name: str
    config: dict[str, Any]
    arm: str | None = None
    state: dict[str, Any] = field(default_factory=dict)  # the searcher's own notes on the suggestion
    results: dict[int, dict[str, Any]] = field(default_factory=dict)  # by epoch, the first time it came
    status: str | None = None  # None while unfinished
    error: str | None = None
    errors: list[tuple[int, str]] = field(default_factory=list)  # (epochs known, cause) of each attempt that failed
    folders: list[str] = field(default_factory=list)  # of each attempt, within Ray's folder
    checkpoints: list[tuple[int, str]] = field(default_factory=list)  # (epoch, folder), the newest last

    @property
    def failures(self) -> int:
        """Attempts in a row that failed before any new epoch."""
        known = max(self.results, default=0)
        return sum(epoch == known for epoch, _ in self.errors)

    @property
    def weights_kept(self) -> bool:
        """A checkpoint was taken after the last epoch."""
        return bool(self.checkpoints) and self.checkpoints[-1][0] == max(self.results)

    @property
    def last(self) -> dict[str, Any]:
        """The result of the last epoch, {} before the first."""
        return self.results[max(self.results)] if self.results else {}


class Journal:
    """The journal of one run folder, open for appending by this process alone.

    Raises JournalError if another process has it open or a line in the middle is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self.failure: str | None = None  # why nothing more can be appended
        self._synced = -math.inf
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise JournalError(f"{folder} is in use by another run") from None
        self.trials: dict[int, TrialLog] = {}
        self.order: list[tuple[int, int]] = []  # (trial, epoch) in the order the results came
        self._replay()

    def _replay(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            self._file.truncate(complete)
        for number, event in enumerate(parse(content[:complete], self.path), 1):
            try:
                self._apply(event)
            except KeyError as error:
                raise JournalError(
                    f"{self.path}, line {number} is about something that no line before it has: {error}: "
                    "the file is damaged"
                ) from None
            except (TypeError, ValueError, AttributeError) as error:
                raise JournalError(
                    f"{self.path}, line {number} does not hold what its event must: {error}: the file is damaged"
                ) from None

    def append(self, event: str, trial: int, **fields: Any) -> None:
        """Raises JournalError if the line cannot be written; then it never happened, nor can any after it."""
        record = {"event": event, "trial": trial, **fields}
        line = json.dumps(_plain(record), allow_nan=False).encode() + b"\n"
        if self.failure:
            raise JournalError(self.failure)
        length = os.fstat(self._file.fileno()).st_size
        try:
            self._write(line)
        except OSError as error:
            self.failure = f"{self.path} cannot be written: {error.strerror}"
            self._file.truncate(length)
            raise JournalError(self.failure) from error
        self._apply(json.loads(line))

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        # What the process wrote survives it at once, a power cut about a second later.
        now = time.monotonic()
        if now - self._synced > SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = now

    def _apply(self, event: dict[str, Any]) -> None:
        if apply_event(self.trials, event):
            self.order.append((event["trial"], int(event["result"][EPOCH])))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles a Tuner to restore it; a study is restored from the file instead

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def parse(content: bytes, path: Path) -> Iterator[dict[str, Any]]:
    """The events in whole lines; raises JournalError naming the line that holds none."""
    for number, line in enumerate(content.splitlines(), 1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not {"event", "trial"} <= event.keys():
            raise JournalError(f"{path}, line {number} is not an event: the file is damaged")
        yield event


def apply_event(trials: dict[int, TrialLog], event: dict[str, Any]) -> bool:
    """Bring `trials` up to date; True for a result that is new.

    A trial that went back to a checkpoint reports some epochs again: the first report counts, since
    decisions were taken on it.
    """
    number = event["trial"]
    if event["event"] == "suggest":
        trials[number] = TrialLog(number, event["name"], event["config"], event["arm"], event["state"])
        return False
    log = trials[number]
    if event["event"] == "result":
        result = event["result"]
        new = int(result[EPOCH]) not in log.results
        log.results.setdefault(int(result[EPOCH]), result)
        return new
    if event["event"] == "start":
        log.folders.append(event["folder"])
    elif event["event"] == "checkpoint":
        log.checkpoints.append((event.get("epoch", 0), event["path"]))  # runs of old did not say of which epoch
    elif event["event"] == "error":
        log.error = event["error"]
        if event.get("counts", True):
            log.errors.append((max(log.results, default=0), event["error"]))
    elif event["event"] == "end":
        log.status, log.error = event["status"], event.get("error")
    return False


def ending(result: dict[str, Any]) -> str | None:
    """The status with which a trial ends after this result, None if it goes on."""
    if not result:
        return None
    if result.get("diverged"):
        return DIVERGED
    if int(result[EPOCH]) >= int(result[TOTAL_EPOCHS]):
        return COMPLETED
    return STOPPED if result.get("done") else None


def finished(log: TrialLog) -> bool:
    return log.status in (COMPLETED, STOPPED, DIVERGED, FAILED)


def _plain(value: Any) -> Any:
    """JSON's own types; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
