"""Separate the runs of one arm under several `--set`: each size is judged on its own, never pooled with another.

A study's arm may have runs at the note's own size and at smaller ones. Each command's changes make a view of the
results, in which every arm is as that command would have left it; an arm that a command leaves as it is stands in
several views.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pandas as pd

from analysis.arms import arm_trials, trial_names
from analysis.load import Results
from search.records import ARM

T = TypeVar("T")


def by_size(results: Sequence[Results]) -> list[list[Results]]:
    """Return one view of `results` for each size, the note's own first; only `results` if no arm has runs of two sizes.

    A view has the same runs in the same order, each with those of its arms (and their trials) that have the view's
    size.
    """
    changes: dict[tuple[str, str], set[str]] = {}
    for result in results:
        for arm in result.finished()[ARM].dropna().unique():
            changes.setdefault((result.record.study, str(arm)), set()).add(result.changed_of(str(arm)))
    if all(len(each) == 1 for each in changes.values()):
        return [list(results)]
    commands = {result.changed: result for result in sorted(results, key=lambda result: result.changed)}
    return [[_at(result, command) for result in results] for command in commands.values()]


def arms_by_size(results: Sequence[Results]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each arm and its finished trials as `arm_trials` returns them; several sizes are named by what changed."""
    views = by_size(results)
    seen = set()
    for view in views:
        for arm in dict.fromkeys(arm for result in view for arm in result.finished()[ARM].dropna()):
            trials = arm_trials(view, arm)
            if (own := (arm, trial_names(trials, view))) in seen:
                continue
            seen.add(own)
            changed = view[trials["result"].iloc[0]].changed_of(arm) if len(views) > 1 else ""
            yield f"{arm} ({changed})" if changed else arm, trials


def _at(result: Results, command: Results) -> Results:
    record = result.record
    arms = {str(arm) for arm in (*record.arms, *result.trials[ARM].dropna().unique())}
    kept = {arm for arm in arms if _is_at(result, arm, command)}
    trials = result.trials
    restricted = dataclasses.replace(
        record,
        arms=_only(record.arms, kept),
        declared=_only(record.declared, kept),
        answered_by=_only(record.answered_by, kept),
        known=_only(record.known, kept),
    )
    of_size = trials[ARM].isna() | trials[ARM].isin(kept)
    return dataclasses.replace(result, trials=trials[of_size], record=restricted)


def _only(of_arms: dict[str, T], kept: set[str]) -> dict[str, T]:
    return {arm: value for arm, value in of_arms.items() if arm in kept}


def _is_at(result: Results, arm: str, command: Results) -> bool:
    """Return whether an arm's run is as `command`'s changes would have left it."""
    if result.changed == command.changed:
        return True
    own = set(result.changed_of(arm).split(", ")) - {""}
    return own <= set(command.changed.split(", ")) and result.meets(arm, command.assigned)
