"""Choose the runs that a path stands for: a run's folder that run, any other folder all its runs that go together.

Of the runs found in a folder, these are left out, each with its reason, so that none is left out unseen:

    a smoke run                      if the study has one on its own data, be it one that has not ended
    a run that has not ended         if the study has one that has
    a run on other data              than the study's newest
    a run whose arms or searched     trials a newer run has under another --set, engine or protocol: they measure
                                     something else, and would not pool
    a run with an arm that a newer   run has with other settings, or with other code of the user's own
    a run with searched trials       if a newer run has them with another trainable, or other code of the user's own
    a copy                           of a run that is read

A run that is named itself is always read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.records import ARM, COMPLETED, PROTOCOL, STATUS, STUDY_FILE, StudyRecord, own_code, run_order

if TYPE_CHECKING:
    from analysis.load import Results

DEEPEST = 8  # levels of folders searched below the one named
SEARCHED = "/"  # stand-in for a searched trial's arm: no arm can have this name
MOST_FOLDERS = 50_000  # most folders looked into: the 10,000 trials of a large study, five times


class ResultsError(ValueError):
    """Results folders that cannot answer what was asked; the message is one line for the user."""


def is_run(folder: Path) -> bool:
    return (folder / STUDY_FILE).is_file()


def runs_below(folder: Path) -> list[Path]:
    """Return the runs in `folder` at any depth, in order of path; runs inside a run are not looked for.

    Raises ResultsError if there is none, or if the folder is too large to be a folder of results.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder} is not a folder" if folder.exists() else f"{folder}: no such folder")
    seen = set[str]()

    def below(here: Path, depth: int) -> Iterator[Path]:
        # A link to a run, such as "latest", is the same run again.
        if (real := os.path.realpath(here)) in seen:
            return
        seen.add(real)
        if len(seen) > MOST_FOLDERS:
            raise ResultsError(f"{folder} holds more than {MOST_FOLDERS:,} folders: name the results' own folder")
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
            f"{folder} is not a results folder: no {STUDY_FILE} in it or below it, found {shown or 'nothing'}"
        )
    return runs


def choose(named: Sequence[Results], found: Sequence[Results]) -> tuple[list[Results], dict[Path, str]]:
    """Return the runs to read, named ones first, and the reason why each other run in `found` is left out."""
    used, left_out = list(named), dict[Path, str]()
    for result in sorted(found, key=_precedence, reverse=True):
        same = [other for other in used if other.record.study == result.record.study]
        if reason := next(filter(None, (_conflict(result, other) for other in same)), None):
            left_out[result.path] = reason
        else:
            used.append(result)
    chosen = [result for result in found if result.path not in left_out]
    # Runs of one study in order of their start: the declarations of the newest count.
    place = {result.record.study: i for i, result in reversed(list(enumerate(chosen)))}
    chosen.sort(key=lambda result: (place[result.record.study], _order(result)))
    return [*named, *chosen], left_out


def _precedence(result: Results) -> tuple[bool, bool, tuple[str, int, str]]:
    return not result.record.smoke, not result.partial, _order(result)


def _order(result: Results) -> tuple[str, int, str]:
    return run_order(result.path.name, result.record)


def _conflict(result: Results, other: Results) -> str | None:
    """Return why `result` cannot be read beside `other`, a run of its study that takes precedence; None if it can."""
    mine, its = result.record, other.record
    if (mine.run, mine.started) == (its.run, its.started):
        return f"a copy of {other.path}"
    if mine.smoke and not its.smoke:
        return "a smoke run"
    if result.partial and not other.partial:
        return "it has not ended (named itself, it is read)"
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
    return edited(result, other)


def edited(result: Results, other: Results) -> str | None:
    """Return what `result` and `other`, runs of one study, both finished but trained differently, and why.

    None if there is nothing.
    """
    for arm in sorted(_protocols(result).keys() & _protocols(other).keys()):
        if not same_training(result, other, arm):
            what, parts = f"arm {arm}", "its settings or its code were"
            if arm == SEARCHED:
                what, parts = "searched network", "its code was"
            elif (mine := result.changed_of(arm)) != (its := other.changed_of(arm)):
                return (
                    f"its arm {arm} ran with another --set than in {other.path}: {mine or 'nothing changed'} against "
                    f"{its or 'nothing changed'}"
                )
            return f"its {what} was another than in {other.path}: {parts} edited between"
    return None


def same_training(one: Results, other: Results, arm: str) -> bool:
    """Return whether two runs trained an arm, or the `SEARCHED` trials, alike and tested it alike, as far as they say.

    A searched trial's settings are in its row.
    """
    if arm == SEARCHED:
        codes = [result.record.definition.get("code") for result in (one, other)]
        known = [own_code(code) for code in codes if code is not None]
        return one.record.trainable == other.record.trainable and (len(known) < 2 or known[0] == known[1])
    mine, its = one.training_of(arm), other.training_of(arm)
    return mine is None or its is None or (mine.holds(its) and its.holds(mine))


def _protocols(result: Results) -> dict[str, frozenset[str]]:
    """Return the protocols under which each arm's finished trials were measured."""
    finished = result.trials[result.trials[STATUS] == COMPLETED]
    by_arm = finished.groupby(finished[ARM].fillna(SEARCHED))[PROTOCOL]
    return {str(arm): frozenset(protocols) for arm, protocols in by_arm}


def _data(record: StudyRecord) -> str:
    return f"{record.dataset} {record.dataset_fingerprint[:8]}"
