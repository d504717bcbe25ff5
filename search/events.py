"""Check the events of a run's journal, and apply each to the log of its trial."""

from __future__ import annotations

import functools
import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from search import columns
from search.records import COMPLETED, DIVERGED, EPOCH, FAILED, STOPPED, TOTAL_EPOCHS

RAY_FOLDER = "trials"  # Ray's own folder of the run: TensorBoard events, result.json, checkpoints
ENDINGS = (COMPLETED, STOPPED, DIVERGED, FAILED)
_CHECKPOINT = re.compile(r"checkpoint_\w{1,80}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LISTS = tuple(columns.prefix_lists())
MOST_EPOCHS = 1 << 31
FORMAT = 3  # a journal's format, which its first line gives; a journal of format 1 has no such line
WITH_RELATIVE_PATHS = 2  # first format whose checkpoints are named within the run's folder
WITH_ENGINES = 3  # first format in which the engine is called `engine` and not `path`


class EventError(ValueError):
    """An event that does not hold what it must; the message is one line, without a subject."""


@dataclass(slots=True)
class TrialLog:
    """One trial, as far as the journal records it."""

    number: int
    name: str
    config: dict[str, Any]
    arm: str | None = None
    state: dict[str, Any] = field(default_factory=dict)  # the searcher's own notes on the suggestion
    results: dict[int, dict[str, Any]] = field(default_factory=dict)  # epoch -> its first report
    status: str | None = None  # None while unfinished
    error: str | None = None
    errors: list[tuple[int, str]] = field(default_factory=list)  # (epochs known, cause) of each attempt that failed
    folders: list[str] = field(default_factory=list)  # folder of each attempt, within Ray's folder
    checkpoints: list[tuple[int, str]] = field(default_factory=list)  # (epoch, name in the run's folder), newest last
    predictions: str | None = None  # sha256 of the trial's part of predictions.parquet
    best: str | None = None  # sha256 of best.pt, once it has held the trial's weights

    @property
    def failures(self) -> int:
        """Return how many attempts in a row failed before any new epoch."""
        known = max(self.results, default=0)
        return sum(epoch == known for epoch, _ in self.errors)

    @property
    def weights_kept(self) -> bool:
        """Return whether a checkpoint was taken after the last epoch."""
        return bool(self.checkpoints) and self.checkpoints[-1][0] == max(self.results)

    @property
    def last(self) -> dict[str, Any]:
        """Return the result of the last epoch, {} before the first."""
        return self.results[max(self.results)] if self.results else {}


def apply_event(trials: dict[int, TrialLog], event: dict[str, Any]) -> bool:
    """Apply an event to `trials`, and return whether it is the first result of its epoch.

    A trial that went back to a checkpoint reports some epochs again: the first report counts, since decisions were
    based on it.
    """
    number = event["trial"]
    if event["event"] == "suggest":
        trials[number] = TrialLog(number, event["name"], event["config"], event["arm"], event["state"])
        return False
    log = trials[number]
    if event["event"] == "result":
        # One string for each name, shared by all results: else names would be a third of a long study's memory.
        result = {sys.intern(name): value for name, value in event["result"].items()}
        log.predictions = event.get("predictions", log.predictions)
        new = int(result[EPOCH]) not in log.results
        log.results.setdefault(int(result[EPOCH]), result)
        return new
    if event["event"] == "start":
        log.folders.append(event["folder"])
    elif event["event"] == "checkpoint":
        log.checkpoints.append((event.get("epoch", 0), event["path"]))  # old runs did not record its epoch
    elif event["event"] == "error":
        log.error = event["error"]
        if event.get("counts", True):
            log.errors.append((max(log.results, default=0), event["error"]))
    elif event["event"] == "end":
        log.status, log.error = event["status"], event.get("error")
    elif event["event"] == "best":
        log.best = event["sha256"]
    elif event["event"] == "again":
        # Decisions based on the trial's results stay; its weights and predictions have to be made again.
        log.status, log.error, log.predictions, log.best = None, None, None, None
        log.checkpoints, log.errors = [], []
    return False


def check_event(trials: dict[int, TrialLog], event: dict[str, Any], written: int = FORMAT) -> None:
    """Raise EventError unless `apply_event` can take this event, which may come from a damaged file.

    `written` is the journal's format. An event of an older format is changed to today's: the absolute checkpoint paths
    of format 1 become relative, and the engine, which formats 1 and 2 call `path`, is renamed.
    """
    kind: Any = event.get("event")
    number: Any = event.get("trial")
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise EventError(f"has an unknown kind, {kind!r:.40}")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise EventError(f"must name a trial by its number, got {number!r:.40}")
    if kind == "suggest":
        if number in trials:
            raise EventError(f"suggests trial {number} a second time")
        if number != len(trials):
            raise EventError(f"must suggest the next trial, {len(trials)}, got {number}")
    elif number not in trials:
        raise EventError(f"is about trial {number}, which no line before it suggests")
    elif (trials[number].status is None) == (kind in _AFTERWARDS):
        raise EventError(f"is about trial {number}, which has {'not ' * (kind in _AFTERWARDS)}ended")
    _CHECKS[kind](trials, event, written)


def _suggest(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    _text(event, "name")
    if "arm" not in event or event["arm"] is not None:
        _text(event, "arm")
    for name in ("config", "state"):
        if not isinstance(event.get(name), dict):
            raise EventError(f"must hold {name} as an object, got {event.get(name)!r:.40}")
        _check_values(event[name], name)
    if written < WITH_ENGINES and "path" in event["config"]:
        event["config"]["engine"] = event["config"].pop("path")


def _start(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    folder = _text(event, "folder")
    if not _is_component(folder):
        raise EventError(f"must name a folder in the run's own, got {folder!r:.80}")


def _result(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    check_result(event.get("result"))
    if "predictions" in event:
        _digest(event, "predictions")


def _digest(event: dict[str, Any], name: str) -> None:
    if not _DIGEST.fullmatch(_text(event, name)):
        raise EventError(f"must hold {name} as a sha256, got {event[name]!r:.40}")


def check_result(result: Any) -> None:
    """Raise EventError unless the result is one that a trial may report."""
    if not isinstance(result, dict):
        raise EventError(f"must hold a result as an object, got {result!r:.40}")
    for name in (EPOCH, TOTAL_EPOCHS):
        value: Any = result.get(name)
        if not _whole(value, 1) or value > MOST_EPOCHS:
            raise EventError(f"must hold {name} as a whole number from 1, got {value!r:.40}")
    if not isinstance(result.get("done", False), bool):
        raise EventError(f"must hold done as true or false, got {result['done']!r:.40}")
    if not isinstance(result.get("diverged") or "", str):
        raise EventError(f"must hold diverged as text, got {result['diverged']!r:.40}")
    _check_values(result, "result")


def check_measured(result: dict[str, Any], own: tuple[columns.Column, ...]) -> None:
    """Raise EventError unless the tables can hold what the result measured; `own` are the trainable's columns."""
    known = _known(own)
    if problem := columns.wrong({name: value for name, value in result.items() if name in known}, own):
        raise EventError(problem)
    sizes = len(result.get("prefix_parameters") or ())
    for name in _LISTS:
        values = result.get(name) or []
        if not isinstance(values, list) or not all(map(_number, values)) or (sizes and len(values) not in (0, sizes)):
            raise EventError(f"must hold {name} as {sizes or 'some'} numbers, got {values!r:.80}")


@functools.cache
def _known(own: tuple[columns.Column, ...]) -> dict[str, columns.Column]:
    return columns.of("epochs", own)


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _checkpoint(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    path = _text(event, "path")
    if not (_whole(event.get("epoch"), 0) or (written < WITH_RELATIVE_PATHS and "epoch" not in event)):
        raise EventError(f"must hold epoch as a whole number, got {event.get('epoch')!r:.40}")
    # The run's folder may have been moved since an absolute path was written.
    name = "/".join(path.split("/")[-3:]) if written < WITH_RELATIVE_PATHS else path
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != RAY_FOLDER or not _is_component(parts[1]) or not _CHECKPOINT.fullmatch(parts[2]):
        raise EventError(f"must name a checkpoint in the run's folder, got {path!r:.80}")
    event["path"] = name


def _error(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    _text(event, "error")
    if not isinstance(event.get("counts", True), bool):
        raise EventError(f"must hold counts as true or false, got {event['counts']!r:.40}")


def _end(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    if event.get("status") not in ENDINGS:
        raise EventError(f"must hold a status of {', '.join(ENDINGS)}, got {event.get('status')!r:.40}")
    if event.get("error") is not None:
        _text(event, "error")
    if event["status"] in (COMPLETED, STOPPED, DIVERGED) and not trials[event["trial"]].results:
        raise EventError(f"ends trial {event['trial']} as {event['status']}, but the trial has no result")


def _again(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    _text(event, "reason")


def _best(trials: dict[int, TrialLog], event: dict[str, Any], written: int) -> None:
    _digest(event, "sha256")


_AFTERWARDS = ("best", "again")  # events of a trial that has ended
_CHECKS = {
    "suggest": _suggest,
    "start": _start,
    "result": _result,
    "checkpoint": _checkpoint,
    "error": _error,
    "end": _end,
    "best": _best,
    "again": _again,
}


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and value >= low


def _text(event: dict[str, Any], name: str) -> str:
    text = event.get(name)
    if not isinstance(text, str):
        raise EventError(f"must hold {name} as text, got {text!r:.40}")
    _check_values(text, name)
    return text


def _is_component(name: str) -> bool:
    """Return whether a name is exactly one component of a path."""
    return 0 < len(name.encode()) <= 255 and name not in (".", "..") and "/" not in name and "\0" not in name


def _check_values(value: Any, where: str) -> None:
    """Raise EventError unless every number is finite and every text can be written."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_values(name, where)
            _check_values(item, where)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, where)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(f"must hold finite numbers in {where}, got {value}")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise EventError(f"must hold text in {where}, got {value!r:.40}") from None


def ending(result: dict[str, Any]) -> str | None:
    """Return the status with which a trial ends after this result, None if it goes on."""
    if not result:
        return None
    if result.get("diverged"):
        return DIVERGED
    if int(result[EPOCH]) >= int(result[TOTAL_EPOCHS]):
        return COMPLETED
    return STOPPED if result.get("done") else None


def finished(log: TrialLog) -> bool:
    return log.status in ENDINGS
