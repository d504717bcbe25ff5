"""Rank hyperparameters by importance: each one's share of the variance of the metric, by functional ANOVA.

The shares are computed over searched trials that finished, so that all are at equal fidelity. Trials that early
stopping ended are not seen, so a hyperparameter that ruins a trial at once can look harmless. Low and high are the
2.5th and 97.5th percentile over bootstrap resamples of the trials. The row "(noise)" is a hyperparameter that does
nothing, drawn at random: a hyperparameter that ranks no clearer has not been shown to matter. `p` is by permutation:
how often the share is as large if the metric is dealt out to the trials at random, so that nothing matters.
A hyperparameter that some trials lack, since another one excludes it, stands at the middle of its domain there. A
logarithmic range counts by its logarithm.

Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", 2014, as Optuna
computes it but for logarithmic ranges, which Optuna takes by their values.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from analysis import cli, figures
from analysis.fanova import Encoding
from analysis.load import Results, ResultsError
from analysis.optuna_export import distributions, parameters
from analysis.tables import Table
from search.records import ARM, CONFIG

FEWEST = 20  # least number of trials: with fewer, shares reflect the forest more than the hyperparameters
RESAMPLES = 50
PERMUTATIONS = 99  # number of permutations, so that p can be .01
NOISE = "(noise)"
COLUMNS = ["study", "run", "hyperparameter", "importance", "low", "high", "p", "trials"]


class UntoldError(ResultsError):
    """Trials from which no importance follows: too few, or none that differ."""


def importance(
    result: Results, resamples: int = RESAMPLES, seed: int = 0, permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """Return a row for each hyperparameter that varied, and one for noise; the largest share first; columns `COLUMNS`.

    Shares add up to 1. `trials` counts the trials behind them. Raises UntoldError for fewer than twenty trials, saying
    how many more are needed, or for trials that do not differ, and ResultsError for domains that cannot be read.
    """
    record = result.record
    rows = result.searched()
    if len(rows) < FEWEST:
        raise UntoldError(
            f"{result.path}: importance needs {FEWEST} finished searched trials with {record.metric}, got {len(rows)}: "
            f"{FEWEST - len(rows)} more"
        )
    domains = {
        name: domain for name, domain in distributions(result).items() if rows[CONFIG + name].astype(str).nunique() > 1
    }
    if not domains:
        raise UntoldError(f"{result.path}: no hyperparameter varied over the finished trials")
    if rows[record.metric].nunique() == 1:
        raise UntoldError(f"{result.path}: all finished trials have the same {record.metric}: nothing to explain")
    rng = np.random.default_rng(seed)
    # A hyperparameter that a trial lacks, since another one excludes it, stands at the middle of its domain.
    middles = {name: _middle(domain) for name, domain in domains.items()}
    settings = [middles | parameters(row, domains) for row in rows.to_dict("records")]
    encoding = Encoding.of({**domains, NOISE: FloatDistribution(0, 1)})
    points = encoding.encode([one | {NOISE: 0.0} for one in settings])
    values = rows[record.metric].to_numpy(dtype=float)
    names, count = list(encoding.domains), len(points)

    def shares(chosen: np.ndarray, dealt: np.ndarray | None = None) -> np.ndarray:
        """Return the shares over the trials `chosen`, with the values of the trials `dealt` (by default their own)."""
        drawn = points[chosen]
        drawn[:, -1] = rng.random(len(chosen))
        return encoding.shares(drawn, values[chosen if dealt is None else dealt], seed)

    own = np.arange(count)
    everything = dict(zip(names, shares(own), strict=True))
    drawn = pd.DataFrame([shares(rng.integers(count, size=count)) for _ in range(resamples)], columns=names)
    dealt = pd.DataFrame([shares(own, rng.permutation(count)) for _ in range(permutations)], columns=names)
    table = pd.DataFrame(
        {
            "study": record.study,
            "run": record.run,
            "hyperparameter": names,
            "importance": [everything[name] for name in names],
            "low": [drawn[name].quantile(0.025) for name in names],
            "high": [drawn[name].quantile(0.975) for name in names],
            "p": [(1 + (dealt[name] >= everything[name]).sum()) / (1 + permutations) for name in names],
            "trials": count,
        }
    )
    return table.sort_values("importance", ascending=False, ignore_index=True)[COLUMNS]


def _middle(domain: BaseDistribution) -> Any:
    """Return the middle choice, or the value halfway along a range on its own scale."""
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[len(domain.choices) // 2]
    assert isinstance(domain, FloatDistribution | IntDistribution)
    middle = math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
    return int(middle) if isinstance(domain, IntDistribution) else middle


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    """Return the shares of each run that has any, with a note on each run that has none."""
    told, titles, notes = [pd.DataFrame(columns=COLUMNS)], list[str](), list[str]()
    searches = [result for result in results if result.trials[ARM].isna().any()]
    if 0 < len(searches) < len(results):
        notes.append(f"{len(results) - len(searches)} of the runs replayed arms and searched nothing.")
    for result in searches or results:
        try:
            one = importance(result, args.resamples, permutations=args.permutations)
        except UntoldError as error:
            notes.append(f"No importance: {error}.")
            continue
        told.append(one)
        record, own = result.record, one["trials"].iloc[0]
        titles.append(f"{record.metric} of {record.study}/{record.run} ({own} finished searched trials)")
    if titles:
        how = (
            f"Share of the variance of the metric; 95 % interval from {args.resamples} resamples of the trials, p from "
            f"{args.permutations} permutations of the metric."
        )
        notes.insert(0, how)
    title = f"Which hyperparameter mattered{' for ' if titles else ': unknown'}{', '.join(titles)}"
    return Table(pd.concat(told[1:] or told, ignore_index=True), title, notes, list(map(figures.importance, told[1:])))


def _resamples(text: str) -> int:
    if (value := int(text)) < 2:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("importance", __doc__)
    options.add_argument("--resamples", type=_resamples, default=RESAMPLES, metavar="N", help="default: 50")
    options.add_argument("--permutations", type=_resamples, default=PERMUTATIONS, metavar="N", help="default: 99")
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
