"""What an arm scored, seed by seed: the rows behind every claim and comparison.

`arm` is an arm of the study, "arm:k" the first k members of its ensemble, "arm@e" the arm at epoch e, "arm:k@e" both;
with "study/" in front it is that study's alone, if `results` are of several, and then trials of identical training
that another study ran count too. Only finished trials count. Two trials of one training and seed (a run repeated)
are the same draw: they count once, with their mean.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.load import Results, ResultsError
from search import columns
from search import records as r

GAP, SECONDS_PER_EPOCH = "gap", "seconds_per_epoch"
# Quantities of a trial's row that are one number of it, with their better end.
_MEASURED = {
    name: column.better
    for name, column in columns.of("trials").items()
    if column.type in ("int64", "float64") and column.measured_on and not name.endswith("_epoch")
}
QUANTITIES = (*_MEASURED, GAP, SECONDS_PER_EPOCH)
HARD = "hard"  # the vote by labels


@dataclass(frozen=True)
class Arm:
    """An arm as claims name it: "s/bagging:3@40" is study s, arm bagging, its first 3 members, epoch 40."""

    study: str | None
    name: str
    members: int | None = None
    epoch: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a training of its own, and no part of one."""
        return self.members is None and self.epoch is None


def split_arm(arm: str) -> Arm:
    """Read an arm as claims name it. Raises ResultsError."""
    study, slash, rest = arm.rpartition("/")
    rest, at, epoch = rest.partition("@")
    name, colon, size = rest.partition(":")
    if colon and not _counts(size):
        raise ResultsError(f"an arm's first members are written arm:k with k from 1, got {arm!r}")
    if at and not _counts(epoch):
        raise ResultsError(f"an arm's epoch is written arm@e with e from 1, got {arm!r}")
    return Arm(study if slash else None, name, int(size) if colon else None, int(epoch) if at else None)


def split_quantity(quantity: str) -> tuple[str, int | None]:
    """ "test_accuracy@5" -> ("test_accuracy", 5). Raises ResultsError for an unknown quantity."""
    name, at, epoch = quantity.partition("@")
    if name not in QUANTITIES:
        raise ResultsError(f"a quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    if at and not _counts(epoch):
        raise ResultsError(f"an epoch is written quantity@e with e from 1, got {quantity!r}")
    return name, int(epoch) if at else None


def _counts(text: str) -> bool:
    return re.fullmatch("[1-9][0-9]{0,8}", text) is not None


def more_is_better(quantity: str) -> bool:
    """Whether an arm with more of `quantity` is the better one; a smaller gap, time or size is."""
    return _MEASURED.get(split_quantity(quantity)[0]) == "max"


def trials(results: Sequence[Results], arm: str) -> pd.DataFrame:
    """The arm's finished trials, with the place of each's `Results` in `results` as column `result`.

    Raises ResultsError where they ran under more than one protocol, or were changed differently by `--set`.
    """
    of = split_arm(arm)
    places = [place for place, result in enumerate(results) if of.study in (None, result.record.study)]
    rows = [
        trials.assign(result=place) for place in places if (trials := arms(results[place]).get(of.name)) is not None
    ]
    if not rows:
        return pd.DataFrame(columns=[r.TRIAL_ID, r.ARM, r.SEED, r.PROTOCOL, "result"])
    found = pd.concat(rows, ignore_index=True)
    if len(protocols := found[r.PROTOCOL].unique()) > 1:
        raise ResultsError(f"trials of arm {of.name} compare only under one protocol, got {', '.join(protocols)}")
    if len(changes := sorted({results[place].changed_of(of.name) or "nothing" for place in found["result"]})) > 1:
        raise ResultsError(f"trials of arm {of.name} compare only under one --set, got {'; '.join(changes)}")
    return found


_ARMS: weakref.WeakKeyDictionary[Results, dict[str, pd.DataFrame]] = weakref.WeakKeyDictionary()


def arms(result: Results) -> dict[str, pd.DataFrame]:
    """The run's finished trials by arm."""
    if result not in _ARMS:
        finished = result.finished()
        groups = finished[finished[r.ARM].notna()].groupby(r.ARM, sort=False)
        _ARMS[result] = {str(arm): trials for arm, trials in groups}
    return _ARMS[result]


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
    of = split_arm(arm)
    if epoch is not None and of.epoch is not None:
        raise ResultsError(f"a claim names an epoch with its arms or its quantity, got {arm!r} and {quantity!r}")
    rows = trials(results, arm)
    measured = [
        _value(results[result], trial, name, of.epoch or epoch, of.members)
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
        value = trial.get(name, np.nan)
        if pd.isna(value) and name in _OF_ONE and not _ensemble(result, trial):
            value = trial[_OF_ONE[name]]
        return float(value)
    rows = result.epochs[result.epochs[r.TRIAL_ID] == trial[r.TRIAL_ID]]
    if epoch is not None:
        rows = rows[rows[r.EPOCH] == epoch]
    column = r.SECONDS if name == SECONDS_PER_EPOCH else name
    if column not in rows:
        raise ResultsError(f"{result.path} does not tell {name} epoch by epoch")
    return float(rows[column].median())


# What the mean over the members is of a single model.
_OF_ONE = {r.MEMBER_TEST_ACCURACY: r.TEST_ACCURACY, r.MEMBER_VAL_ACCURACY: r.VAL_ACCURACY}
_OWN = {r.MEMBER_TEST_ACCURACY: r.OWN_TEST_ACCURACY, r.MEMBER_VAL_ACCURACY: r.OWN_VAL_ACCURACY}


def _ensemble(result: Results, trial: pd.Series) -> bool:
    rows = result.members
    return bool((rows.loc[rows[r.TRIAL_ID] == trial[r.TRIAL_ID], r.MEMBERS] > 1).any())


def _prefix_value(result: Results, trial: pd.Series, name: str, epoch: int | None, size: int) -> float:
    rows = result.members
    column = _OWN.get(name, name)
    if column not in rows or (len(rows) and rows[column].isna().all() and column not in _IN_EVERY_TABLE):
        raise ResultsError(f"{result.path} does not tell {name} of an ensemble's first members")
    at = trial[r.EPOCHS] if epoch is None else epoch
    rows = rows[(rows[r.TRIAL_ID] == trial[r.TRIAL_ID]) & (rows[r.EPOCH] == at)]
    if name in _OWN:
        first = rows[rows[r.MEMBERS] <= size]
        return float(first[column].mean()) if len(first) == size else float("nan")
    rows = rows[rows[r.MEMBERS] == size]
    return float(rows[column].iloc[0]) if len(rows) else float("nan")


_IN_EVERY_TABLE = (r.TEST_ACCURACY, r.VAL_ACCURACY, r.PARAMETERS)


def hard_votes_of_two(results: Sequence[Results], arm: str, quantity: str) -> bool:
    """Whether `quantity` of `arm` rests on a vote of two members by label, which is the smaller label of two."""
    name, _ = split_quantity(quantity)
    if name not in (GAP, r.TRAIN_ACCURACY, r.VAL_ACCURACY, r.TEST_ACCURACY, r.BEST_TEST_ACCURACY, r.BEST_VAL_ACCURACY):
        return False
    size = split_arm(arm).members
    for _, trial in trials(results, arm).iterrows():
        members = size if size is not None else trial.get(r.CONFIG + r.MEMBERS, 1)
        if pd.notna(members) and int(members) == 2 and trial.get(r.CONFIG + "vote") == HARD:
            return True
    return False


def chance(results: Sequence[Results], arm: str) -> float | None:
    """The accuracy of guessing on the arm's data set, None if neither its name nor kept labels say how many classes."""
    for place, trial in trials(results, arm)[["result", r.TRIAL_ID]].itertuples(index=False):
        name = results[place].record.dataset
        labels = CLASSES.get(name) or results[place].predictions(int(trial))[r.LABEL].nunique()
        if labels:
            return 1 / labels
    return None


CLASSES = {"cifar10": 10, "cifar100": 100, "digits": 10}


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
    of = split_arm(arm)
    if of.epoch is not None:
        return None
    size = of.members
    by_seed = []
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
        by_seed.append(correct.rename(trial[r.SEED]))
    if not by_seed:
        return None
    return pd.concat(by_seed, axis=1, join="inner").T.groupby(level=0).mean().T


def majority(votes: np.ndarray) -> np.ndarray:
    """The label most members chose for each image; ties go to the smallest label.

    votes (images, members) -> (images,)
    """
    counts = np.zeros((len(votes), votes.max(initial=0) + 1), dtype=np.int32)
    for member in votes.T:
        counts[np.arange(len(votes)), member] += 1
    return counts.argmax(axis=1)
