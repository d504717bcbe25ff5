"""What each further member adds: the accuracy of the first 1, 2, ... members' vote, from one run of all.

Member i of an ensemble depends on its seed and i alone, so the first k of n members are the k-member ensemble.
The interval is over seeds where an arm ran with several, else over test images (Wilson), which says nothing of
another training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis import measure
from analysis import statistics as s
from analysis.load import Results
from search import records as r

COLUMNS = ["ensemble", r.MEMBERS, r.TEST_ACCURACY, "low", "high", "n", "over", "trials"]


def ensemble_sizes(results: Sequence[Results]) -> pd.DataFrame:
    """A row for each size of each arm's ensemble, and of the searched one with the best validation accuracy.

    Columns: `COLUMNS`; fractions; `n` counts what the interval is `over` ("seeds", "test images"), low and high
    are NaN where there is neither. `results` are runs of one study.
    """
    rows = []
    arms = dict.fromkeys(arm for result in results for arm in result.finished()[r.ARM].dropna())
    for arm in arms:
        trials = measure.trials(results, arm)
        prefixes = pd.concat([_prefixes(results[t["result"]], t) for _, t in trials.iterrows()])
        if prefixes.empty or prefixes[r.MEMBERS].max() == 1:
            continue
        seeds = prefixes.groupby([r.MEMBERS, r.SEED])[r.TEST_ACCURACY].mean()
        for size in seeds.index.unique(r.MEMBERS):
            accuracies = seeds.xs(size, level=r.MEMBERS)
            if len(accuracies) > 1:
                interval, over = s.mean_interval(accuracies), "seeds"
            else:
                interval, over = _over_images(results[trials["result"].iloc[0]], trials.iloc[0], accuracies.iloc[0])
            rows.append(_row(arm, size, interval, over, measure.names(trials, results)))
    for place, result in enumerate(results):
        best = _best_searched_ensemble(result)
        if best is None:
            continue
        name = measure.names(pd.DataFrame([best]).assign(result=place), results)
        for _, prefix in _prefixes(result, best).iterrows():
            interval, over = _over_images(result, best, prefix[r.TEST_ACCURACY])
            rows.append(_row(f"trial {name}", int(prefix[r.MEMBERS]), interval, over, name))
    return pd.DataFrame(rows, columns=COLUMNS)


def _prefixes(result: Results, trial: pd.Series) -> pd.DataFrame:
    rows = result.members
    rows = rows[(rows[r.TRIAL_ID] == trial[r.TRIAL_ID]) & (rows[r.EPOCH] == trial[r.EPOCHS])]
    rows = rows[rows[r.TEST_ACCURACY].notna()].sort_values(r.MEMBERS)
    return rows[[r.MEMBERS, r.TEST_ACCURACY]].assign(**{r.SEED: trial[r.SEED]})


def _best_searched_ensemble(result: Results) -> pd.Series | None:
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


def _row(ensemble: str, size: int, interval: s.Interval, over: str, trials: str) -> dict[str, object]:
    bounded = math.isfinite(interval.low)
    low, high = (interval.low, interval.high) if bounded else (math.nan, math.nan)
    values = (ensemble, size, interval.effect, low, high, interval.n, over, trials)
    return dict(zip(COLUMNS, values, strict=True))
