"""The spread that the arms of one family share, see `analysis.statistics`."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import pandas as pd

from analysis import measure
from analysis import statistics as s
from analysis.answers import Answer
from analysis.load import Results
from search import records as r


class Families:
    """Pools of variance over `results`, each made once.

    A family is what one note's runs (of a study without a note: its own) of one trainable on one data set under one
    protocol and one set of changes measured of one quantity.
    """

    def __init__(self, results: Sequence[Results]) -> None:
        self._results = results
        self._pools: dict[Hashable, s.Pool | None] = {}
        self._arms: dict[Hashable, list[str]] = {}
        seen: dict[Hashable, list[object]] = {}
        for result in results:
            if isinstance(result, Answer) and result.members_kept:
                continue  # it shares its draws with the ensemble that it is the first members of
            for name, trials in measure.arms(result).items():
                key = _key(result, trials[r.PROTOCOL].iloc[0])
                training = result.training_of(name) or (result.record.study, name)
                # An arm that several runs or studies trained alike counts once.
                if training not in seen.setdefault(key, []):
                    seen[key].append(training)
                    self._arms.setdefault(key, []).append(f"{result.record.study}/{name}")

    def pool(self, trials: pd.DataFrame, quantity: str) -> s.Pool | None:
        """Return what the family of these trials of an arm says about the spread of `quantity`, None if nothing."""
        if trials.empty:
            return None
        first = trials.iloc[0]
        key = _key(self._results[first["result"]], first[r.PROTOCOL])
        if (key, quantity) not in self._pools:
            arms = self._arms.get(key, [])
            table = pd.DataFrame([measure.values(self._results, arm, quantity) for arm in arms])
            self._pools[key, quantity] = s.pool(table) if len(table) > 1 else None
        return self._pools[key, quantity]


def _key(result: Results, protocol: str) -> Hashable:
    record = result.record
    note = re.search(r"note (\w)\b", record.source)
    family = note[1] if note else record.study
    data = (record.dataset, record.dataset_fingerprint, record.smoke)
    return (family, record.trainable, *data, protocol, result.changed)
