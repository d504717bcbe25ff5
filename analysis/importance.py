"""Which hyperparameter mattered: each one's share of the variance of the metric, by functional ANOVA.

Over searched trials that finished, so that all are at equal fidelity; what early stopping took out of the
comparison is not seen, so a hyperparameter that ruins a trial at once can look harmless. Low and high are the
2.5th and 97.5th percentile over bootstrap resamples of the trials. The row "(noise)" is a hyperparameter that
does nothing, drawn at random: what ranks no clearer than it has not been shown to matter. `p` is by permutation: how
often the share is as large if the metric is dealt out to the trials at random, so that nothing matters.

Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", 2014, as Optuna
computes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from analysis import cli, figures
from analysis.load import Results, ResultsError
from analysis.optuna_export import distributions, parameters
from analysis.tables import Table
from search import records as r

FEWEST = 20  # trials: of fewer, shares tell more of the forest than of the hyperparameters
RESAMPLES = 50
PERMUTATIONS = 99  # so that p can be .01
NOISE = "(noise)"
COLUMNS = ["study", "run", "hyperparameter", "importance", "low", "high", "p", "trials"]


class UntoldError(ResultsError):
    """The trials say nothing of importance: too few, or none that differ."""


def importance(
    result: Results, resamples: int = RESAMPLES, seed: int = 0, permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """A row a hyperparameter that varied, and one for noise; the largest share first. `COLUMNS`.

    Shares add up to 1. `trials` counts those behind them. Raises UntoldError for fewer than twenty, saying how many
    more are needed, or none that differ, and ResultsError for domains that cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    record = result.record
    rows = result.searched()
    if len(rows) < FEWEST:
        raise UntoldError(
            f"{result.path}: importance needs {FEWEST} finished searched trials with {record.metric}, got {len(rows)}: "
            f"{FEWEST - len(rows)} more"
        )
    domains = {
        name: domain
        for name, domain in distributions(result).items()
        if rows[r.CONFIG + name].astype(str).nunique() > 1
    }
    if not domains:
        raise UntoldError(f"{result.path}: no hyperparameter varied over the finished trials")
    if rows[record.metric].nunique() == 1:
        raise UntoldError(f"{result.path}: all finished trials have the same {record.metric}: nothing to explain")
    rng = np.random.default_rng(seed)
    points = [(parameters(row, domains), float(row[record.metric])) for row in rows.to_dict("records")]
    domains[NOISE] = FloatDistribution(0, 1)

    def shares(settings: Sequence[int], values: Sequence[int] | None = None) -> dict[str, float]:
        """Of the trials with these settings and, if they are not their own, those values."""
        trials = [
            create_trial(params=points[i][0] | {NOISE: rng.random()}, distributions=domains, value=points[j][1])
            for i, j in zip(settings, values or settings, strict=True)
        ]
        return _shares(trials, seed)

    everything = shares(range(len(points)))
    drawn = pd.DataFrame([shares(rng.integers(len(points), size=len(points)).tolist()) for _ in range(resamples)])
    own = list(range(len(points)))
    dealt = pd.DataFrame([shares(own, rng.permutation(len(points)).tolist()) for _ in range(permutations)])
    table = pd.DataFrame(
        {
            "study": record.study,
            "run": record.run,
            "hyperparameter": list(domains),
            "importance": [everything[name] for name in domains],
            "low": [drawn[name].quantile(0.025) for name in domains],
            "high": [drawn[name].quantile(0.975) for name in domains],
            "p": [(1 + (dealt[name] >= everything[name]).sum()) / (1 + permutations) for name in domains],
            "trials": len(points),
        }
    )
    return table.sort_values("importance", ascending=False, ignore_index=True)[COLUMNS]


def _shares(trials: Sequence[FrozenTrial], seed: int) -> dict[str, float]:
    if len({trial.value for trial in trials}) == 1:  # a resample of few trials
        return dict.fromkeys(trials[0].params, 0.0)
    study = optuna.create_study()
    study.add_trials(trials)
    # Shallow trees: as telling at these sizes, and a bootstrap in seconds.
    evaluator = FanovaImportanceEvaluator(n_trees=16, max_depth=8, seed=seed)
    return {name: float(share) for name, share in get_param_importances(study, evaluator=evaluator).items()}


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    """The shares of each run that tells any; of the others a note says why not."""
    told, titles, notes = [pd.DataFrame(columns=COLUMNS)], list[str](), list[str]()
    searches = [result for result in results if result.trials[r.ARM].isna().any()]
    if 0 < len(searches) < len(results):
        notes.append(f"{len(results) - len(searches)} of the runs replayed arms and searched nothing.")
    for result in searches or results:
        try:
            one = importance(result, args.resamples, permutations=args.permutations)
        except UntoldError as error:
            notes.append(f"Not told: {error}.")
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
    title = f"Which hyperparameter mattered{' for ' if titles else ': not told'}{', '.join(titles)}"
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
