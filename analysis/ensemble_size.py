"""Measure what each further member adds: the accuracy of the first 1, 2, ... members' vote, from one run.

Member i of an ensemble depends on its seed and i alone, so the first k of n members are the k-member ensemble.
The interval is over seeds if an arm ran with several seeds, else over test images (Wilson), which says nothing about
another training.

Beside it stands the accuracy that a vote of as many independent members of the same accuracy would reach (the model of
`analysis.independent_voters`), and how far the members are from independent: their correlation on the test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis import independent_voters
from analysis.arms import trial_names
from analysis.intervals import Interval, mean_interval, proportion_interval
from analysis.load import Results
from analysis.sizes import arms_by_size
from search.records import ARM, EPOCH, EPOCHS, MEMBERS, OWN_TEST_ACCURACY, SEED, TEST_ACCURACY, TRIAL_ID, VAL_ACCURACY

MEMBER, INDEPENDENT, CORRELATION = "member_test_accuracy", "independent_test_accuracy", "correlation"
COLUMNS = [
    *("ensemble", MEMBERS, TEST_ACCURACY, "low", "high", "n", "over"),
    *(MEMBER, INDEPENDENT, CORRELATION, "trials"),
]

NOTE = (
    "Dotted: the accuracy of a vote of as many independent members of the same accuracy, each as likely wrong by one "
    "label as by another. Real members err on the same images: the correlation is 0 for independent members, 1 for "
    "members that are right on the same images (mean over pairs, test images)."
)


def ensemble_sizes(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each size of each arm's ensemble, and of the best searched ensemble.

    The best searched ensemble is that of the highest validation accuracy. Columns: `COLUMNS`; fractions; `n` counts
    what the interval is `over` ("seeds", "test images"), low and high are NaN if there is neither. The mean accuracy of
    the members alone, the accuracy of as many independent members and the members' mean correlation are means over
    seeds, NaN if unknown. `results` are runs of one study.
    """
    rows = []
    for arm, trials in arms_by_size(results):
        found = [(results[t["result"]], t, _prefixes(results[t["result"]], t)) for _, t in trials.iterrows()]
        if max((rows[MEMBERS].max() for *_, rows in found if len(rows)), default=1) == 1:
            continue
        prefixes = pd.concat([_beside(*one) for one in found])
        seeds = prefixes.groupby([MEMBERS, SEED]).mean()
        for size in seeds.index.unique(MEMBERS):
            of_size = seeds.xs(size, level=MEMBERS)
            accuracies = of_size[TEST_ACCURACY]
            if len(accuracies) > 1:
                interval, over = mean_interval(accuracies), "seeds"
            else:
                interval, over = _over_images(results[trials["result"].iloc[0]], trials.iloc[0], accuracies.iloc[0])
            rows.append(_row(arm, size, interval, over, of_size.mean(), trial_names(trials, results)))
    for place, result in enumerate(results):
        best = best_searched_ensemble(result)
        if best is None:
            continue
        name = trial_names(pd.DataFrame([best]).assign(result=place), results)
        for _, prefix in _beside(result, best, _prefixes(result, best)).iterrows():
            interval, over = _over_images(result, best, prefix[TEST_ACCURACY])
            rows.append(_row(f"trial {name}", int(prefix[MEMBERS]), interval, over, prefix, name))
    return pd.DataFrame(rows, columns=COLUMNS)


def _prefixes(result: Results, trial: pd.Series) -> pd.DataFrame:
    rows = result.members
    rows = rows[(rows[TRIAL_ID] == trial[TRIAL_ID]) & (rows[EPOCH] == trial[EPOCHS])]
    rows = rows[rows[TEST_ACCURACY].notna()].sort_values(MEMBERS)
    return rows[[MEMBERS, TEST_ACCURACY, OWN_TEST_ACCURACY]].assign(**{SEED: trial[SEED]})


def _beside(result: Results, trial: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a trial's prefixes with the accuracy of independent members and the members' correlation, if known."""
    own = rows[OWN_TEST_ACCURACY]
    alone = own.expanding().mean().where(own.notna())
    correlations, classes = independent_voters.of_trial(result, int(trial[TRIAL_ID]))
    independent = [
        math.nan if math.isnan(accuracy) or classes < 2 else independent_voters.vote_accuracy(size, accuracy, classes)
        for size, accuracy in zip(rows[MEMBERS], alone, strict=True)
    ]
    known = len(correlations) == len(rows)
    return rows.drop(columns=OWN_TEST_ACCURACY).assign(
        **{MEMBER: alone, INDEPENDENT: independent, CORRELATION: correlations if known else math.nan}
    )


def best_searched_ensemble(result: Results) -> pd.Series | None:
    """Return the searched trial of several members with the best validation accuracy, None without any."""
    members = result.members
    ensembles = members.loc[members[MEMBERS] > 1, TRIAL_ID].unique()
    trials = result.finished()
    trials = trials[trials[ARM].isna() & trials[TRIAL_ID].isin(ensembles) & trials[VAL_ACCURACY].notna()]
    return None if trials.empty else trials.loc[trials[VAL_ACCURACY].idxmax()]


def _over_images(result: Results, trial: pd.Series, accuracy: float) -> tuple[Interval, str]:
    images = len(result.predictions(int(trial[TRIAL_ID])))
    if not images:
        return Interval(accuracy, math.nan, math.nan, 1), "seeds"
    return proportion_interval(round(accuracy * images), images), "test images"


def _row(ensemble: str, size: int, interval: Interval, over: str, means: pd.Series, trials: str) -> dict[str, object]:
    bounded = math.isfinite(interval.low)
    low, high = (interval.low, interval.high) if bounded else (math.nan, math.nan)
    of_members = (means[MEMBER], means[INDEPENDENT], means[CORRELATION])
    values = (ensemble, size, interval.effect, low, high, interval.n, over, *of_members, trials)
    return dict(zip(COLUMNS, values, strict=True))
