"""Which runs a path stands for: a run's folder for itself, any other folder for all runs in it that belong together.

Of the runs found in a folder, these are left out, each with its reason, so that none is left out unseen:

    a run that has not ended         if the study has one that has
    a smoke run                      if the study has one on its own data
    a run on other data              than the study's newest
    a run whose arms or searched     trials a newer run has under another --set, path or protocol: they measure
                                     something else, and would not pool
    a copy                           of a run that is read

A run that is named itself is always read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search import records as r

if TYPE_CHECKING:
    from analysis.load import Results

DEEPEST = 8  # folders below the one named
SEARCHED = "/"  # in the place of a searched trial's arm: no arm can be called so
MOST_FOLDERS = 50_000  # looked into: the 10,000 trials of a large study, five times


class ResultsError(ValueError):
    """What was asked of a results folder cannot be answered; the message is one line for the user."""


def is_run(folder: Path) -> bool:
    return (folder / r.STUDY_FILE).is_file()


def runs_below(folder: Path) -> list[Path]:
    """The runs in `folder` at any depth, in order of path; nothing is looked for inside a run.

    Raises ResultsError if there is none, or if the folder is too large to be one of results.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder} is not a folder" if folder.exists() else f"{folder}: no such folder")
    seen = set[str]()

    def below(here: Path, depth: int) -> Iterator[Path]:
        # A link to a run, such as "latest", is that run once more.
        if (real := os.path.realpath(here)) in seen:
            return
        seen.add(real)
        if len(seen) > MOST_FOLDERS:
            raise ResultsError(f"{folder} holds more than {MOST_FOLDERS:,} folders: name the results' own")
        if is_run(here):
            yield here
            return
        try:
            names = sorted(entry.name for entry in os.scandir(here) if entry.is_dir())
        except OSError as error:
            raise ResultsError(f"cannot read {here}: {error.strerror}") from None
        if depth < DEEPEST:
            for name in names:
                yield from below(here / name, depth + 1)

    if not (runs := list(below(folder, 0))):
        names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ResultsError(
            f"{folder} is not a results folder: no {r.STUDY_FILE} in it or below it, found {shown or 'nothing'}"
        )
    return runs


def choose(named: Sequence[Results], found: Sequence[Results]) -> tuple[list[Results], dict[Path, str]]:
    """Return the runs to read, the named ones first, and why each of the others in `found` is left out."""
    used, left_out = list(named), dict[Path, str]()
    for result in sorted(found, key=_precedence, reverse=True):
        same = [other for other in used if other.record.study == result.record.study]
        if reason := next(filter(None, (_conflict(result, other) for other in same)), None):
            left_out[result.path] = reason
        else:
            used.append(result)
    chosen = [result for result in found if result.path not in left_out]
    # Of one study in the order of their start: what the newest declares is what counts.
    place = {result.record.study: i for i, result in reversed(list(enumerate(chosen)))}
    chosen.sort(key=lambda result: (place[result.record.study], _order(result)))
    return [*named, *chosen], left_out


def _precedence(result: Results) -> tuple[bool, bool, tuple[str, int, str]]:
    return not result.partial, not result.record.smoke, _order(result)


def _order(result: Results) -> tuple[str, int, str]:
    return r.run_order(result.path.name, result.record)


def _conflict(result: Results, other: Results) -> str | None:
    """Why `result` cannot be read beside `other`, a run of the same study that takes precedence; None if it can."""
    mine, its = result.record, other.record
    if (mine.run, mine.started) == (its.run, its.started):
        return f"a copy of {other.path}"
    if result.partial and not other.partial:
        return "it has not ended"
    if mine.smoke and not its.smoke:
        return "a smoke run"
    if (mine.dataset, mine.dataset_fingerprint) != (its.dataset, its.dataset_fingerprint):
        return f"it ran on {_data(mine)}, {other.path} on {_data(its)}"
    protocols, its_protocols = _protocols(result), _protocols(other)
    shared = protocols.keys() & its_protocols.keys()
    for arm in shared:
        one, another = (x.changed if arm == SEARCHED else x.changed_of(arm) for x in (result, other))
        if one != another:
            return f"it ran with {one or 'nothing changed'}, {other.path} with {another or 'nothing changed'}"
    if any(protocols[arm] != its_protocols[arm] for arm in shared):
        return f"it measured under another protocol than {other.path}"
    return None


def _protocols(result: Results) -> dict[str, frozenset[str]]:
    """What each arm's finished trials measured under."""
    finished = result.trials[result.trials[r.STATUS] == r.COMPLETED]
    by_arm = finished.groupby(finished[r.ARM].fillna(SEARCHED))[r.PROTOCOL]
    return {str(arm): frozenset(protocols) for arm, protocols in by_arm}


def _data(record: r.StudyRecord) -> str:
    return f"{record.dataset} {record.dataset_fingerprint[:8]}"
