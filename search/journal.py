"""The journal of a run: one JSON line for each event, appended as it happens.

The journal is the only thing a run must not lose: tables, early stopping and the searcher's memory are all
rebuilt from it. A line is written in one call before anything depends on it; a torn last line, which a
crash can leave, counts as an event that never happened.

Every line ends with a digest of itself and of the digest before it, and the first line holds a random number: a line
that was changed, lost, moved or taken from another run does not fit. Older journals without digests are read as they
are; when such a run is first continued, a line like the first one is appended, which seals the lines before it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.disk import Disk, write_all
from search.events import (
    FORMAT,
    WITH_RELATIVE_PATHS,
    EventError,
    TrialLog,
    apply_event,
    check_event,
    ending,
    finished,
)
from search.records import EPOCH

__all__ = ["JOURNAL_FILE", "Journal", "JournalError", "TrialLog", "ending", "finished", "read"]

JOURNAL_FILE = "journal.jsonl"
SYNC_SECONDS = 1.0
_SEAL = re.compile(rb', "chain": "([0-9a-f]{32})"\}')
_SEAL_LENGTH = len(b', "chain": ""}') + 32


class JournalError(ValueError):
    """A journal that cannot be read or is in use; the message is one line."""


@dataclass
class Content:
    """The parsed content of a journal."""

    trials: dict[int, TrialLog] = field(default_factory=dict)
    order: list[tuple[int, int]] = field(default_factory=list)  # (trial, epoch) in the order the results came
    id: str = ""  # the run's id; "" if the journal is not sealed
    format: int = 1
    chain: str = ""  # digest of the last line
    length: int = 0  # bytes of the whole lines
    torn: int = 0  # bytes after the last whole line


def read(content: bytes, path: Path) -> Content:
    """Parse a journal's bytes. Raises JournalError that names `path` and the damaged line."""
    found = Content(length=content.rfind(b"\n") + 1)
    found.torn = len(content) - found.length
    start = 0
    for number, line in enumerate(content[: found.length].split(b"\n")[:-1], 1):
        try:
            event = _parsed(line)
            seal = _SEAL.fullmatch(line[-_SEAL_LENGTH:])
            if seal:
                before = found.chain if found.id else hashlib.sha256(content[:start]).hexdigest()
                found.chain = _sealed(before, line[:-_SEAL_LENGTH])
                if seal[1].decode() != found.chain:
                    raise EventError("does not follow from the line before it")
                del event["chain"]
            elif found.id:
                raise EventError("lacks the digest that every line of this journal has")
            if event.get("event") == "run":
                if not seal:
                    raise EventError("lacks its digest")
                _check_first(event, found.id)
                found.id, found.format = event["id"], event["format"]
            else:
                if seal and not found.id:
                    raise EventError("does not follow from the line before it")
                check_event(found.trials, event, found.format)
                if apply_event(found.trials, event):
                    found.order.append((event["trial"], int(event["result"][EPOCH])))
        except EventError as error:
            raise JournalError(f"{path}, line {number} {error}: the file is damaged") from None
        start += len(line) + 1
    return found


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise EventError("is not an event")
    return event


def _no_number(text: str) -> None:
    raise ValueError(text)


def _check_first(event: dict[str, Any], known: str) -> None:
    if known:
        raise EventError("begins a journal in the middle of one")
    if type(form := event.get("format")) is not int or form < WITH_RELATIVE_PATHS:
        raise EventError(f"must hold format as a whole number from {WITH_RELATIVE_PATHS}, got {form!r:.40}")
    if form > FORMAT:
        raise EventError(f"must have a format up to {FORMAT}, got {form}: a newer version wrote it")
    if not (isinstance(event.get("id"), str) and event["id"]):
        raise EventError(f"must hold the run's id, got {event.get('id')!r:.40}")


def _sealed(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:32]


class Journal:
    """The journal of one run folder, open for appending by this process alone.

    If `begun`, the journal must exist; else a missing one is made, with its first line. The folder is otherwise not
    changed before the first append; `dropped` reports a torn last line, which the append will drop.

    Raises OSError if the file cannot be written, and JournalError if another process has it open, a line in the middle
    is damaged, or the journal of a begun run is missing: a new one would describe a run without trials.
    """

    def __init__(
        self,
        folder: Path,
        *,
        begun: bool = False,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disk = disk or Disk(folder)
        self.clock = clock
        self.path = folder / JOURNAL_FILE
        self.failure: str | None = None  # why nothing more can be appended
        self.dropped: str | None = None
        self._synced = -math.inf
        self._file: Any = None
        self._unlock: Callable[[], None] | None = None
        try:
            self._open(folder, begun)
        except BaseException:
            self._release()
            raise

    def _open(self, folder: Path, begun: bool) -> None:
        try:
            self._unlock = self.disk.lock_folder()
            new = not begun and JOURNAL_FILE not in self.disk.names()
            if new:
                self.disk.create(JOURNAL_FILE).close()
                self.disk.sync_folder()
            self._file = self.disk.append_to(JOURNAL_FILE)
            self.disk.lock(self._file)
            self._file.seek(0)
            content = self._file.read()
        except BlockingIOError:
            raise JournalError(f"{folder} is in use by another run") from None
        except FileNotFoundError:
            raise JournalError(
                f"{folder} has no {JOURNAL_FILE}: its tables can be read, but the run cannot be continued"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL):
                raise
            raise JournalError(f"{self.path} must be a plain file, got a link or the like") from None
        found = read(content, self.path)
        self.trials, self.order = found.trials, found.order
        self.id, self._chain, self._length = found.id, found.chain, found.length
        if found.torn:
            self.dropped = (
                f"{self.path}: the last line was half-written ({found.torn} bytes) and is dropped, as if its event "
                "had not happened"
            )
        if new:
            self.seal()

    def seal(self) -> None:
        """Drop a torn line, and append a line with an id if the journal has none. Raises JournalError."""
        if self.failure:
            raise JournalError(self.failure)
        try:
            if self._file.seek(0, os.SEEK_END) > self._length:
                self._file.truncate(self._length)
        except OSError as error:
            raise self._failed(error) from error
        if not self.id:
            if not self._chain:
                self._file.seek(0)
                self._chain = hashlib.sha256(self._file.read()).hexdigest()
            first = secrets.token_hex(16)
            self._line(json.dumps({"event": "run", "trial": None, "format": FORMAT, "id": first}))
            self.id = first
            self.sync()

    def append(self, event: str, trial: int, **fields: Any) -> None:
        """Append an event. Raises JournalError if its line cannot be written: then no later line can be either."""
        if not self.id or self.dropped:
            self.seal()
            self.dropped = None
        body = json.dumps(plain({"event": event, "trial": trial, **fields}), allow_nan=False)
        record = json.loads(body)
        try:
            check_event(self.trials, record)  # an event that could not be read again is not written
        except EventError as error:
            raise JournalError(f"{self.path} cannot take an event of trial {trial}: the event {error}") from None
        self._line(body)
        now = self.clock()
        # A written line survives this process at once, and a power cut after about a second.
        if now - self._synced > SYNC_SECONDS:
            self.sync()
        if apply_event(self.trials, record):
            self.order.append((trial, int(record["result"][EPOCH])))

    def _line(self, body: str) -> None:
        """Write one event and its digest. Raises JournalError."""
        if self.failure:
            raise JournalError(self.failure)
        chain = _sealed(self._chain, start := body[:-1].encode())
        line = start + b', "chain": "' + chain.encode() + b'"}\n'
        try:
            self._require_file()
            write_all(self._file, line)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._length)
            raise self._failed(error) from error
        self._chain = chain
        self._length += len(line)

    @property
    def removed(self) -> bool:
        """Return whether the file was removed or moved from its place."""
        return not self.disk.linked(self._file, JOURNAL_FILE)

    def _require_file(self) -> None:
        """Raise OSError if the file was removed or moved, so that nobody would find an appended line."""
        if self.removed:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _failed(self, error: OSError) -> JournalError:
        why = "was removed or moved while the run went on" if self.removed else f"cannot be written: {error.strerror}"
        self.failure = f"{self.path} {why}"
        return JournalError(self.failure)

    def sync(self) -> None:
        """Wait until every line is on the disk. Raises JournalError.

        Call it before removing anything that a line makes superfluous.
        """
        try:
            self.disk.sync(self._file)
        except OSError as error:
            raise self._failed(error) from error
        self._synced = self.clock()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles a Tuner to restore it; a study is restored from the file instead

    def close(self) -> None:
        try:
            self.disk.sync(self._file)
        finally:
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._unlock is not None:
            self._unlock()
            self._unlock = None


def plain(value: Any) -> Any:
    """Return a value in JSON's own types; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
