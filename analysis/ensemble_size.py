"""What each further member adds: the accuracy of the first 1, 2, ... members' vote, from one run of all.

Member i of an ensemble depends on its seed and i alone, so the first k of n members are the k-member ensemble.
The interval is over seeds where an arm ran with several, else over test images (Wilson), which says nothing of
another training.

Beside it stands what a vote of as many independent members of the same accuracy would reach (the model is
`analysis.independent_voters`'s), and how far the members are from that: their correlation on the test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis import independent_voters, measure
from analysis import statistics as s
from analysis.load import Results
from analysis.sizes import arms_by_size
from search import records as r

MEMBER, INDEPENDENT, CORRELATION = "member_test_accuracy", "independent_test_accuracy", "correlation"
COLUMNS = [
    *("ensemble", r.MEMBERS, r.TEST_ACCURACY, "low", "high", "n", "over"),
    *(MEMBER, INDEPENDENT, CORRELATION, "trials"),
]

NOTE = (
    "Dotted: what a vote of as many independent members of the same accuracy would reach, each as likely wrong by one "
    "label as by another. Real members err on the same images: correlation is 0 for independent ones, 1 for ones that "
    "are right on the same images (mean over pairs, test images)."
)


def ensemble_sizes(results: Sequence[Results]) -> pd.DataFrame:
    """A row for each size of each arm's ensemble, and of the searched one with the best validation accuracy.

    Columns: `COLUMNS`; fractions; `n` counts what the interval is `over` ("seeds", "test images"), low and high
    are NaN where there is neither. The mean accuracy of the members alone, what the vote of independent ones would
    reach and the members' mean correlation are means over seeds, NaN where they are not known. `results` are runs of
    one study.
    """
    rows = []
    for arm, trials in arms_by_size(results):
        found = [(results[t["result"]], t, _prefixes(results[t["result"]], t)) for _, t in trials.iterrows()]
        if max((rows[r.MEMBERS].max() for *_, rows in found if len(rows)), default=1) == 1:
            continue
        prefixes = pd.concat([_beside(*one) for one in found])
        seeds = prefixes.groupby([r.MEMBERS, r.SEED]).mean()
        for size in seeds.index.unique(r.MEMBERS):
            of_size = seeds.xs(size, level=r.MEMBERS)
            accuracies = of_size[r.TEST_ACCURACY]
            if len(accuracies) > 1:
                interval, over = s.mean_interval(accuracies), "seeds"
            else:
                interval, over = _over_images(results[trials["result"].iloc[0]], trials.iloc[0], accuracies.iloc[0])
            rows.append(_row(arm, size, interval, over, of_size.mean(), measure.names(trials, results)))
    for place, result in enumerate(results):
        best = best_searched_ensemble(result)
        if best is None:
            continue
        name = measure.names(pd.DataFrame([best]).assign(result=place), results)
        for _, prefix in _beside(result, best, _prefixes(result, best)).iterrows():
            interval, over = _over_images(result, best, prefix[r.TEST_ACCURACY])
            rows.append(_row(f"trial {name}", int(prefix[r.MEMBERS]), interval, over, prefix, name))
    return pd.DataFrame(rows, columns=COLUMNS)


def _prefixes(result: Results, trial: pd.Series) -> pd.DataFrame:
    rows = result.members
    rows = rows[(rows[r.TRIAL_ID] == trial[r.TRIAL_ID]) & (rows[r.EPOCH] == trial[r.EPOCHS])]
    rows = rows[rows[r.TEST_ACCURACY].notna()].sort_values(r.MEMBERS)
    return rows[[r.MEMBERS, r.TEST_ACCURACY, r.OWN_TEST_ACCURACY]].assign(**{r.SEED: trial[r.SEED]})


def _beside(result: Results, trial: pd.Series, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a trial's prefixes with what independent members would reach and the members' correlation, where known."""
    own = rows[r.OWN_TEST_ACCURACY]
    alone = own.expanding().mean().where(own.notna())
    correlations, classes = independent_voters.of_trial(result, int(trial[r.TRIAL_ID]))
    independent = [
        math.nan if math.isnan(accuracy) or classes < 2 else independent_voters.vote_accuracy(size, accuracy, classes)
        for size, accuracy in zip(rows[r.MEMBERS], alone, strict=True)
    ]
    known = len(correlations) == len(rows)
    return rows.drop(columns=r.OWN_TEST_ACCURACY).assign(
        **{MEMBER: alone, INDEPENDENT: independent, CORRELATION: correlations if known else math.nan}
    )


def best_searched_ensemble(result: Results) -> pd.Series | None:
    """Return the searched trial of several members with the best validation accuracy, None without any."""
    members = result.members
    ensembles = members.loc[members[r.MEMBERS] > 1, r.TRIAL_ID].unique()
    trials = result.finished()
    trials = trials[trials[r.ARM].isna() & trials[r.TRIAL_ID].isin(ensembles) & trials[r.VAL_ACCURACY].notna()]
    return None if trials.empty else trials.loc[trials[r.VAL_ACCURACY].idxmax()]


def _over_images(result: Results, trial: pd.Series, accuracy: float) -> tuple[s.Interval, str]:
    images = len(result.predictions(int(trial[r.TRIAL_ID])))
    if not images:
        return s.Interval(accuracy, math.nan, math.nan, 1), "seeds"
    return s.proportion_interval(round(accuracy * images), images), "test images"


def _row(ensemble: str, size: int, interval: s.Interval, over: str, means: pd.Series, trials: str) -> dict[str, object]:
    bounded = math.isfinite(interval.low)
    low, high = (interval.low, interval.high) if bounded else (math.nan, math.nan)
    of_members = (means[MEMBER], means[INDEPENDENT], means[CORRELATION])
    values = (ensemble, size, interval.effect, low, high, interval.n, over, *of_members, trials)
    return dict(zip(COLUMNS, values, strict=True))
