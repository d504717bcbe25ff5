"""Pool the spread that the arms of one family share, see `analysis.intervals`."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import pandas as pd

from analysis import intervals
from analysis.answers import Answer
from analysis.arms import arm_values, trials_by_arm
from analysis.intervals import Pool
from analysis.load import Results
from search.records import PROTOCOL


class Families:
    """Pools of variance over `results`, each computed once.

    A family is one quantity measured on one note's runs (a study without a note is its own family) of one trainable on
    one data set under one protocol and one set of changes.
    """

    def __init__(self, results: Sequence[Results]) -> None:
        self._results = results
        self._pools: dict[Hashable, Pool | None] = {}
        self._arms: dict[Hashable, list[str]] = {}
        seen: dict[Hashable, list[object]] = {}
        for result in results:
            if isinstance(result, Answer) and result.members_kept:
                continue  # shares its draws with the whole ensemble
            for name, trials in trials_by_arm(result).items():
                key = _key(result, trials[PROTOCOL].iloc[0])
                training = result.training_of(name) or (result.record.study, name)
                # An arm that several runs or studies trained alike counts once.
                if training not in seen.setdefault(key, []):
                    seen[key].append(training)
                    self._arms.setdefault(key, []).append(f"{result.record.study}/{name}")

    def pool(self, trials: pd.DataFrame, quantity: str) -> Pool | None:
        """Return the spread of `quantity` in the family of these trials of an arm, None if the family gives none."""
        if trials.empty:
            return None
        first = trials.iloc[0]
        key = _key(self._results[first["result"]], first[PROTOCOL])
        if (key, quantity) not in self._pools:
            arms = self._arms.get(key, [])
            table = pd.DataFrame([_looked_at(arm_values(self._results, arm, quantity)) for arm in arms])
            self._pools[key, quantity] = intervals.pool(table) if len(table) > 1 else None
        return self._pools[key, quantity]


def _looked_at(values: pd.Series) -> pd.Series:
    """Return the seeds that the last look saw: those that wait for the next one may move no interval yet."""
    return values.iloc[: intervals.look(len(values))]


def _key(result: Results, protocol: str) -> Hashable:
    record = result.record
    note = re.search(r"note (\w)\b", record.source)
    family = note[1] if note else record.study
    data = (record.dataset, record.dataset_fingerprint, record.smoke)
    return (family, record.trainable, *data, protocol, result.changed)
