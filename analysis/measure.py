"""What an arm scored, seed by seed: the rows behind every claim and comparison.

`arm` is an arm of the study, or "arm:k" for the first k members of its ensemble; "study/arm" is that study's
alone, where `results` are of several. Only finished trials count. Two trials of one arm and seed (a run
repeated) are the same draw: they count once, with their mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.load import Results, ResultsError
from search import records as r

GAP, SECONDS_PER_EPOCH = "gap", "seconds_per_epoch"
QUANTITIES = (
    *(r.TEST_ACCURACY, r.TRAIN_ACCURACY, r.VAL_ACCURACY, r.TEST_TOP5_ACCURACY, GAP),
    *(r.TRAIN_LOSS, r.VAL_LOSS, r.TEST_LOSS, r.TEST_KL_LOSS, SECONDS_PER_EPOCH, r.PARAMETERS),
)


def split_arm(arm: str) -> tuple[str | None, str, int | None]:
    """Study, arm and members: "s/bagging:3" -> ("s", "bagging", 3); "bagging" -> (None, "bagging", None).

    Raises ResultsError.
    """
    study, slash, rest = arm.rpartition("/")
    name, colon, size = rest.partition(":")
    if colon and not (size.isdecimal() and int(size) > 0):
        raise ResultsError(f"an arm's first members are written arm:k with k from 1, got {arm!r}")
    return study if slash else None, name, int(size) if colon else None


def split_quantity(quantity: str) -> tuple[str, int | None]:
    """ "test_accuracy@5" -> ("test_accuracy", 5). Raises ResultsError for an unknown quantity."""
    name, at, epoch = quantity.partition("@")
    if name not in QUANTITIES:
        raise ResultsError(f"a quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    if at and not (epoch.isdecimal() and int(epoch) > 0):
        raise ResultsError(f"an epoch is written quantity@e with e from 1, got {quantity!r}")
    return name, int(epoch) if at else None


def trials(results: Sequence[Results], arm: str) -> pd.DataFrame:
    """The arm's finished trials, with the place of each's `Results` in `results` as column `result`.

    Raises ResultsError where they ran under more than one protocol, or were changed differently by `--set`.
    """
    study, name, _ = split_arm(arm)
    finished = [
        result.finished().assign(result=place)
        for place, result in enumerate(results)
        if study in (None, result.record.study)
    ]
    if not finished:
        return pd.DataFrame(columns=[r.TRIAL_ID, r.ARM, r.SEED, r.PROTOCOL, "result"])
    rows = pd.concat([trials[trials[r.ARM] == name] for trials in finished], ignore_index=True)
    if len(protocols := rows[r.PROTOCOL].unique()) > 1:
        raise ResultsError(f"trials of arm {name} compare only under one protocol, got {', '.join(protocols)}")
    if len(changes := sorted({results[place].changed or "nothing" for place in rows["result"]})) > 1:
        raise ResultsError(f"trials of arm {name} compare only under one --set, got {'; '.join(changes)}")
    return rows


def names(trials: pd.DataFrame, results: Sequence[Results]) -> str:
    """The numbers of `trials`, with their run where there are several: "0 3" or "one/0 two/3"."""
    pairs = zip(trials["result"], trials[r.TRIAL_ID], strict=True)
    if len(results) == 1:
        return " ".join(str(trial) for _, trial in pairs)
    return " ".join(f"{results[place].record.run}/{trial}" for place, trial in pairs)


def values(results: Sequence[Results], arm: str, quantity: str) -> pd.Series:
    """One number a seed (the index), as `quantity` is defined in `search.records.Claim`.

    seconds_per_epoch is the median over a trial's epochs: the first also warms up. Seeds for which it was
    not measured are absent. Raises ResultsError for what no results folder can tell.
    """
    name, epoch = split_quantity(quantity)
    *_, size = split_arm(arm)
    rows = trials(results, arm)
    measured = [
        _value(results[result], trial, name, epoch, size)
        for result, (_, trial) in zip(rows["result"], rows.iterrows(), strict=True)
    ]
    series = pd.Series(measured, index=rows[r.SEED].astype("int64"), dtype="float64").dropna()
    return series.groupby(level=0).mean()


def _value(result: Results, trial: pd.Series, name: str, epoch: int | None, size: int | None) -> float:
    if name == GAP:
        train = _value(result, trial, r.TRAIN_ACCURACY, epoch, size)
        return train - _value(result, trial, r.TEST_ACCURACY, epoch, size)
    if size is not None:
        return _prefix_value(result, trial, name, epoch, size)
    if name == r.PARAMETERS or (name != SECONDS_PER_EPOCH and epoch is None):
        return float(trial[name])
    rows = result.epochs[result.epochs[r.TRIAL_ID] == trial[r.TRIAL_ID]]
    if epoch is not None:
        rows = rows[rows[r.EPOCH] == epoch]
    return float(rows[r.SECONDS if name == SECONDS_PER_EPOCH else name].median())


def _prefix_value(result: Results, trial: pd.Series, name: str, epoch: int | None, size: int) -> float:
    rows = result.members
    if name not in rows:
        raise ResultsError(f"{result.path} does not tell {name} of an ensemble's first members")
    at = trial[r.EPOCHS] if epoch is None else epoch
    rows = rows[(rows[r.TRIAL_ID] == trial[r.TRIAL_ID]) & (rows[r.EPOCH] == at) & (rows[r.MEMBERS] == size)]
    return float(rows[name].iloc[0]) if len(rows) else float("nan")


def best_values(results: Sequence[Results], arm: str, column: str) -> pd.Series:
    """One number a seed: the best of a trial's epochs, the highest accuracy or the lowest loss."""
    rows = trials(results, arm)
    best = []
    for result, trial in zip(rows["result"], rows[r.TRIAL_ID], strict=True):
        epochs = results[result].epochs
        of_trial = epochs.loc[epochs[r.TRIAL_ID] == trial, column]
        best.append(of_trial.min() if column.endswith("loss") else of_trial.max())
    series = pd.Series(best, index=rows[r.SEED].astype("int64"), dtype="float64").dropna()
    return series.groupby(level=0).mean()


def right(results: Sequence[Results], arm: str) -> pd.DataFrame | None:
    """Which final test predictions were right: a row an image, a column a seed, shares in [0, 1].

    None where not every trial kept its predictions. The first k members are taken to vote by majority,
    ties to the smallest label, and only where that gives the accuracy the run measured itself: another vote
    (weighted, over probabilities) cannot be redone from labels, and gives None.
    """
    *_, size = split_arm(arm)
    columns = []
    for _, trial in trials(results, arm).iterrows():
        result = results[trial["result"]]
        kept = result.predictions(int(trial[r.TRIAL_ID]))
        predicted = kept[r.PREDICTED].to_numpy()
        if size is not None:
            if r.MEMBER_PREDICTED not in kept or kept.empty:
                return None
            predicted = majority(np.stack(kept[r.MEMBER_PREDICTED].to_list())[:, :size])
        correct = pd.Series(predicted == kept[r.LABEL].to_numpy(), index=kept[r.IMAGE], dtype="float64")
        measured = _value(result, trial, r.TEST_ACCURACY, None, size)
        if correct.empty or not abs(correct.mean() - measured) < 0.5 / len(correct):
            return None
        columns.append(correct.rename(trial[r.SEED]))
    if not columns:
        return None
    return pd.concat(columns, axis=1, join="inner").T.groupby(level=0).mean().T


def majority(votes: np.ndarray) -> np.ndarray:
    """The label most members chose for each image; ties go to the smallest label.

    votes (images, members) -> (images,)
    """
    counts = np.zeros((len(votes), votes.max(initial=0) + 1), dtype=np.int32)
    for member in votes.T:
        counts[np.arange(len(votes)), member] += 1
    return counts.argmax(axis=1)
