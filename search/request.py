"""The command line of search.run as one frozen value."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.failures import UsageError
from search.options import PLACE, STORED, parser
from search.packing import AUTO
from search.records import NO_DATA, STUDY_FILE, StudyRecord
from trainables.training.engine import PLAIN


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one command line, named and documented by `search.options.parser`.

    `engine` is None or "auto" until one is chosen. `address_from` says how the user gave the cluster's address: as an
    option, or as a variable of the environment. `hosted`: a Python process has handed the study over, and `space` is
    the script's name.
    """

    space: Path
    smoke: bool = False
    plan: bool = False
    replay: bool = False
    repeats: int = 1
    arm: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    warm_start: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    samples: int | None = None
    time_budget: float | None = None
    searcher: str | None = None
    scheduler: str | None = None
    seed: int = 0
    engine: str | None = None
    data: Path | None = None
    weights: Path | None = None
    results: Path = Path("results")
    log: tuple[str, ...] = ()
    resume: bool = False
    extend: int | None = None
    cpus_per_trial: float | str | None = None
    gpus_per_trial: float | str | None = None
    address: str | None = None
    address_from: str = "--address "
    listen: str | None = None
    report: Path | None = None
    yes: bool = False
    verbose: bool = False
    hosted: bool = False

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Request:
        """Return the request that the arguments make (None: the process's own). Raises UsageError.

        Without --address, RAY_ADDRESS of the environment is the address. Options that would have no effect are errors.
        """
        request = cls._of(parser().parse_args(arguments))
        environment = os.environ.get("RAY_ADDRESS", "")
        if request.address is None and environment not in ("", HERE):
            request = dataclasses.replace(request, address=environment, address_from="RAY_ADDRESS=")
        request._check()
        # A resumed run needs to know that the user said so: `restored` compares the address with the recorded one.
        goes_on = request.resume or request.extend
        return dataclasses.replace(request, address=None) if request.address == HERE and not goes_on else request

    @classmethod
    def _of(cls, options: argparse.Namespace) -> Request:
        given = ((name, value) for name, value in vars(options).items() if name in _FIELDS)
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given}
        return cls(**values)

    def _check(self) -> None:
        """Raise UsageError for options that exclude each other or would have no effect."""
        if self.resume and self.extend:
            raise UsageError(
                "--resume and --extend exclude each other, got both: --extend also finishes unfinished trials"
            )
        if self.resume and self.plan:
            raise UsageError(
                "--plan measures what a new run or an --extend costs, got --resume too: leave one of them out"
            )
        if self.address not in (None, HERE) and self.listen:
            raise UsageError(
                f"--listen is for a Ray that this command starts, got {self.told_address} too: leave one of them out"
            )
        if self.resume or self.extend:
            return
        if self.repeats != 1 and not self.replay:
            raise UsageError(f"--repeats needs --replay, got --repeats {self.repeats} alone")
        for name in ("arm", "known"):
            if (given := getattr(self, name)) and not self.replay:
                raise UsageError(f"--{name} needs --replay, got --{name} {given[0]} alone")
        for name in ("samples", "searcher", "scheduler") if self.replay else ():
            if (given := getattr(self, name)) is not None:
                raise UsageError(f"--replay runs every arm to its end, got --{name} {given}: --repeats says how often")
        if self.replay and self.warm_start:
            raise UsageError(
                f"--warm-start is for a search, got --replay too: --known {self.warm_start[0]} spares trials"
            )
        if self.searcher == "grid" and self.samples is not None:
            raise UsageError(f"--searcher grid runs every combination once, got --samples {self.samples}")

    @property
    def told_address(self) -> str:
        """Return the cluster's address as the user gave it."""
        return f"{self.address_from}{self.address}"

    def sharing(self, cpus: float, gpus: float) -> Request:
        """Return the request with these numbers for each `auto` of --cpus-per-trial and --gpus-per-trial."""
        measured: dict[str, Any] = {"cpus_per_trial": cpus, "gpus_per_trial": gpus}
        return dataclasses.replace(self, **{name: n for name, n in measured.items() if getattr(self, name) == AUTO})

    def stored(self) -> dict[str, Any]:
        """Return the options that a run's record keeps, as JSON's own values."""
        return {name: _json(getattr(self, name)) for name in STORED}

    def restored(self, folder: Path, record: StudyRecord) -> Request:
        """Return the request with every option that defines the run in `folder` from its record, and `extend` added.

        Raises UsageError if the request contradicts the record, or the record does not hold what it must.
        """
        # A run older than these options took the plain engine, ran every arm, knew of no other run and kept no log.
        old: dict[str, Any] = {"engine": PLAIN, "arm": [], "known": [], "warm_start": [], "log": []}
        kept = {**old, **dict.fromkeys(PLACE), **record.options}
        if record.dataset == NO_DATA:  # before 2026-11-30 a hyperparameter of that name was stored as the engine
            kept["engine"] = PLAIN
        asked = "--extend" if self.extend else "--resume"
        if missing := [name for name in STORED if name not in kept]:
            raise UsageError(f"{asked}: {folder / STUDY_FILE} must hold its run's options, lacks {', '.join(missing)}")
        changes: dict[str, Any] = {}
        for name in STORED:
            stored, given, default = kept[name], getattr(self, name), DEFAULTS[name]
            if not _may_be(name, stored):
                option = name.replace("_", "-")
                raise UsageError(f"{asked}: {folder / STUDY_FILE} must hold what --{option} takes, got {stored!r:.40}")
            if name in ("data", "weights"):
                # Data and weights may have been moved since: the data's fingerprint is checked.
                changes[name] = given or (Path(stored) if stored else None)
                continue
            if name == "log":
                changes[name] = given or tuple(stored)
                continue
            if name in PLACE:
                changes[name] = stored if given is None else given
                continue
            value = tuple(stored) if isinstance(stored, list) else stored
            if given not in (value, default):
                shown = ", ".join(given) if isinstance(given, tuple) else given
                raise UsageError(
                    f"{asked} goes on with {folder}, which ran with {name} {stored!r}, "
                    f"got --{name.replace('_', '-')} {shown}"
                    + ("" if self.extend or name not in ("samples", "repeats") else ": --extend adds more")
                )
            changes[name] = value
        if changes["address"] == HERE or self.listen:
            changes["address"] = None
        if self.extend and changes["replay"]:
            changes["repeats"] += self.extend
        elif self.extend:
            if record.searcher == "grid":
                raise UsageError(f"--extend needs a search with more to try, got {folder}: it ran its whole grid")
            changes["samples"] = record.samples + self.extend
        return dataclasses.replace(self, **changes)


HERE = "local"  # Ray's own word, as an address, for a start on this machine
_FIELDS = {field.name: field for field in dataclasses.fields(Request)}
DEFAULTS: dict[str, Any] = {name: field.default for name, field in _FIELDS.items()}


def _json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _may_be(name: str, stored: object) -> bool:
    """Return whether `stored`, a value from study.json, is one that the command line can give the option `name`."""
    default = DEFAULTS[name]
    if isinstance(default, tuple):
        return isinstance(stored, list) and all(isinstance(each, str) for each in stored)
    if isinstance(default, bool):
        return isinstance(stored, bool)
    if stored is None:
        return default is None
    try:
        given = getattr(parser().parse_args(["space", f"--{name.replace('_', '-')}={stored}"]), name)
    except UsageError:
        return False
    return type(stored) in (str, int, float) and (str(given) if isinstance(given, Path) else given) == stored
