"""Compute functional ANOVA: each hyperparameter's share of the variance of a metric, by a forest of regression trees.

Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", 2014, as Optuna computes
it: same forest, same shares, but from the boxes of all leaves at once, since an interval over resamples needs hundreds
of forests. Unlike Optuna, a logarithmic range counts by its logarithm, as the search draws from it: by the values
themselves nine tenths of a range from 1e-4 to 1e-1 lie above 1e-2, and what happens below hardly counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn import config_context
from sklearn.tree import DecisionTreeRegressor

# Shallow trees are as accurate at these sizes, and a bootstrap takes seconds.
TREES, DEPTH = 16, 8


@dataclass(frozen=True)
class Encoding:
    """Hyperparameters as a forest's columns: a number has one column, a choice one for each of its values.

    The column of a logarithmic range holds the natural logarithm.

    bounds    [columns, 2], the space's ends in each column
    columns   for each hyperparameter, its columns
    """

    domains: dict[str, BaseDistribution]
    bounds: np.ndarray
    columns: list[np.ndarray]

    @classmethod
    def of(cls, domains: dict[str, BaseDistribution]) -> Encoding:
        """Lay out the columns of `domains`. Raises TypeError for a domain of another kind."""
        bounds: list[tuple[float, float]] = []
        columns = []
        for domain in domains.values():
            if isinstance(domain, CategoricalDistribution):
                ends = [(0.0, 1.0)] * len(domain.choices)
            elif isinstance(domain, FloatDistribution | IntDistribution):
                ends = [(_place(domain, domain.low), _place(domain, domain.high))]
            else:
                raise TypeError(f"a domain must be a range or choices, got {type(domain).__name__}")
            columns.append(np.arange(len(bounds), len(bounds) + len(ends)))
            bounds += ends
        return cls(domains, np.array(bounds, dtype=float), columns)

    def encode(self, settings: Sequence[dict[str, Any]]) -> np.ndarray:
        """Return the settings as rows [n, columns]; every hyperparameter must have a value in its domain."""
        rows = np.zeros((len(settings), len(self.bounds)))
        for (name, domain), columns in zip(self.domains.items(), self.columns, strict=True):
            for row, one in zip(rows, settings, strict=True):
                if isinstance(domain, CategoricalDistribution):
                    row[columns[int(domain.to_internal_repr(one[name]))]] = 1
                else:
                    row[columns[0]] = _place(domain, one[name])
        return rows

    def shares(self, rows: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
        """Return each hyperparameter's share of the variance of `values` [n]; they add up to 1, or are 0 for none."""
        if np.ptp(values) == 0:  # possible in a resample of few trials
            return np.zeros(len(self.columns))
        single, draws = rows.astype(np.float32), np.random.RandomState(seed)
        seeds = [draws.randint(np.iinfo(np.int32).max) for _ in range(TREES)]
        found = [
            [_marginal_variance(low, high, mean, self.bounds, columns) / total for columns in self.columns]
            for low, high, mean in (_leaves(_tree(single, values, one), self.bounds) for one in seeds)
            if (total := _variance(mean, np.prod(high - low, axis=1))) > 0
        ]
        shares = np.mean(found, axis=0)
        return shares / shares.sum() if shares.sum() > 0 else shares


def _place(domain: BaseDistribution, value: float) -> float:
    return math.log(value) if getattr(domain, "log", False) else value


def _tree(rows: np.ndarray, values: np.ndarray, seed: int) -> Any:
    """Fit a tree to a resample of the rows, as scikit-learn's RandomForestRegressor does without checking its input."""
    drawn = np.bincount(np.random.RandomState(seed).randint(0, len(rows), len(rows)), minlength=len(rows))
    tree = DecisionTreeRegressor(max_depth=DEPTH, random_state=seed)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # a quarter of a small tree's time
        return tree.fit(rows, values, sample_weight=drawn.astype(float), check_input=False).tree_


def _leaves(tree: Any, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the leaves' boxes within the space, low and high [leaves, columns], and their values [leaves]."""
    low, high = (np.repeat(bounds[None, :, end], tree.node_count, axis=0) for end in (0, 1))
    inner = np.zeros(1, dtype=int)
    while len(inner := inner[tree.feature[inner] >= 0]):
        column, at = tree.feature[inner], tree.threshold[inner]
        left, right = tree.children_left[inner], tree.children_right[inner]
        for child in (left, right):
            low[child], high[child] = low[inner], high[inner]
        high[left, column] = np.minimum(high[left, column], at)
        low[right, column] = np.maximum(low[right, column], at)
        inner = np.concatenate([left, right])
    leaf = tree.feature < 0
    return low[leaf], high[leaf], tree.value[leaf, 0, 0]


def _variance(values: np.ndarray, weights: np.ndarray) -> float:
    weights = weights / weights.sum()
    return float(weights @ (values - weights @ values) ** 2)


def _marginal_variance(
    low: np.ndarray, high: np.ndarray, values: np.ndarray, bounds: np.ndarray, columns: np.ndarray
) -> float:
    """Return the variance, over `columns`, of the mean of a tree over all other columns."""
    others = np.delete(np.arange(len(bounds)), columns)
    weights = np.prod(high[:, others] - low[:, others], axis=1)
    inside, sizes = np.ones((1, len(values)), dtype=bool), np.ones(1)
    for column in columns:
        ends = np.unique(np.concatenate([bounds[column], low[:, column], high[:, column]]))
        middles = (ends[1:] + ends[:-1]) / 2
        within = (low[:, column] < middles[:, None]) & (middles[:, None] <= high[:, column])
        inside = (inside[:, None] & within).reshape(-1, len(values))
        sizes = np.outer(sizes, np.diff(ends)).ravel()
    mean = (inside * weights) @ values / (inside @ weights)
    return _variance(mean, sizes)
