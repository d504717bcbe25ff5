"""Read what an arm scored, seed by seed: the rows behind every claim and comparison.

`arm` is an arm of the study, "arm:k" the first k members of its ensemble, "arm@e" the arm at epoch e, "arm:k@e" both.
With "study/" in front it is that study's arm alone, if `results` are of several studies; trials of identical training
that another study ran then count too. Only finished trials count. Two trials of one training and seed (a repeated run)
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
from analysis.runs import same_training
from search import columns
from search.records import (
    ARM,
    BEST_TEST_ACCURACY,
    BEST_VAL_ACCURACY,
    CONFIG,
    EPOCH,
    EPOCHS,
    IMAGE,
    LABEL,
    MEMBER_PREDICTED,
    MEMBER_TEST_ACCURACY,
    MEMBER_VAL_ACCURACY,
    MEMBERS,
    ONE_IMAGE_MEMORY_BYTES,
    PARAMETERS,
    PREDICTED,
    PROTOCOL,
    SECONDS,
    SEED,
    TEST_ACCURACY,
    TRAIN_ACCURACY,
    TRIAL_ID,
    VAL_ACCURACY,
)

GAP, SECONDS_PER_EPOCH = columns.GAP, columns.SECONDS_PER_EPOCH
QUANTITIES = columns.quantities()
EXACT = (PARAMETERS, ONE_IMAGE_MEMORY_BYTES)  # quantities without chance, which one run decides
HARD = "hard"  # name of the vote by labels


class UnmeasuredError(ResultsError):
    """A quantity of an arm that the results folders do not report: no further run of the arm tests a claim on it."""


@dataclass(frozen=True)
class Arm:
    """An arm as claims name it: "s/bagging:3@40" is study s, arm bagging, its first 3 members, epoch 40."""

    study: str | None
    name: str
    members: int | None = None
    epoch: int | None = None

    @property
    def whole(self) -> bool:
        """Return whether the arm is a whole training, not a prefix or an epoch of one."""
        return self.members is None and self.epoch is None


def split_arm(arm: str) -> Arm:
    """Parse an arm as claims name it. Raises UnmeasuredError."""
    study, slash, rest = arm.rpartition("/")
    rest, at, epoch = rest.partition("@")
    name, colon, size = rest.partition(":")
    if colon and not _counts(size):
        raise UnmeasuredError(f"an arm's first members are written arm:k with k from 1, got {arm!r}")
    if at and not _counts(epoch):
        raise UnmeasuredError(f"an arm's epoch is written arm@e with e from 1, got {arm!r}")
    return Arm(study if slash else None, name, int(size) if colon else None, int(epoch) if at else None)


def split_quantity(quantity: str) -> tuple[str, int | None]:
    """Parse a quantity: "test_accuracy@5" is ("test_accuracy", 5). Raises UnmeasuredError for an unknown one."""
    name, at, epoch = quantity.partition("@")
    if name not in QUANTITIES:
        raise UnmeasuredError(f"a quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    if at and not _counts(epoch):
        raise UnmeasuredError(f"an epoch is written quantity@e with e from 1, got {quantity!r}")
    return name, int(epoch) if at else None


def quantity_name(quantity: str) -> str:
    """Return a quantity without its epoch, also of one that nothing reports: a claim on it is shown, too."""
    return quantity.partition("@")[0]


def _counts(text: str) -> bool:
    return re.fullmatch("[1-9][0-9]{0,8}", text) is not None


def more_is_better(quantity: str) -> bool:
    """Return whether more of `quantity` is better; less is better for a gap, a time or a size."""
    column = columns.of("trials").get(split_quantity(quantity)[0])
    return column is not None and column.better == "max"


def arm_trials(results: Sequence[Results], arm: str) -> pd.DataFrame:
    """Return the arm's finished trials, with the position of each trial's run in `results` as column `result`.

    Raises ResultsError if the trials ran under more than one protocol, were changed differently by `--set`, or if the
    arm's settings or code were edited between two runs.
    """
    of = split_arm(arm)
    places = [place for place, result in enumerate(results) if of.study in (None, result.record.study)]
    rows = [
        found.assign(result=place)
        for place in places
        if (found := trials_by_arm(results[place]).get(of.name)) is not None
    ]
    if not rows:
        return pd.DataFrame(columns=[TRIAL_ID, ARM, SEED, PROTOCOL, "result"])
    found = pd.concat(rows, ignore_index=True)
    if len(protocols := found[PROTOCOL].unique()) > 1:
        raise ResultsError(f"trials of arm {of.name} compare only under one protocol, got {', '.join(protocols)}")
    if len(changes := sorted({results[place].changed_of(of.name) or "nothing" for place in found["result"]})) > 1:
        raise ResultsError(f"trials of arm {of.name} compare only under one --set, got {'; '.join(changes)}")
    # What answers for the arm was chosen because it trained alike.
    own = [results[place] for place in dict.fromkeys(found["result"]) if type(results[place]) is Results]
    for result in own[1:]:
        if not same_training(result, own[0], of.name):
            raise ResultsError(
                f"trials of arm {of.name} compare only if they trained alike, and its settings or its code were edited "
                f"between {own[0].path} and {result.path}: name one of them"
            )
    return found


_ARMS: weakref.WeakKeyDictionary[Results, dict[str, pd.DataFrame]] = weakref.WeakKeyDictionary()


def trials_by_arm(result: Results) -> dict[str, pd.DataFrame]:
    """Return the run's finished trials by arm."""
    if result not in _ARMS:
        finished = result.finished()
        groups = finished[finished[ARM].notna()].groupby(ARM, sort=False)
        _ARMS[result] = {str(arm): trials for arm, trials in groups}
    return _ARMS[result]


def trial_names(trials: pd.DataFrame, results: Sequence[Results]) -> str:
    """Return the numbers of `trials`, with their run if there are several: "0 3" or "one/0 two/3"."""
    pairs = zip(trials["result"], trials[TRIAL_ID], strict=True)
    if len(results) == 1:
        return " ".join(str(trial) for _, trial in pairs)
    return " ".join(f"{results[place].record.run}/{trial}" for place, trial in pairs)


def arm_values(results: Sequence[Results], arm: str, quantity: str) -> pd.Series:
    """Return one number a seed (the index), as `quantity` is defined in `search.records.Claim`.

    seconds_per_epoch is the median over a trial's epochs, since the first also warms up. Seeds for which the quantity
    was not measured are absent. Raises UnmeasuredError for a quantity that the results folders do not report.
    """
    name, epoch = split_quantity(quantity)
    of = split_arm(arm)
    if epoch is not None and of.epoch is not None:
        raise UnmeasuredError(f"a claim names an epoch with its arms or its quantity, got {arm!r} and {quantity!r}")
    at = of.epoch or epoch
    known = columns.quantities(first_members=of.members is not None, at_epoch=at is not None)
    if name not in known:
        raise UnmeasuredError(f"a quantity of {arm!r} must be one of {', '.join(known)}, got {quantity!r}")
    rows = arm_trials(results, arm)
    measured = [
        _value(results[result], trial, name, at, of.members)
        for result, (_, trial) in zip(rows["result"], rows.iterrows(), strict=True)
    ]
    series = pd.Series(measured, index=rows[SEED].astype("int64"), dtype="float64").dropna()
    return series.groupby(level=0).mean()


def _value(result: Results, trial: pd.Series, name: str, epoch: int | None, size: int | None) -> float:
    if name == GAP:
        train = _value(result, trial, TRAIN_ACCURACY, epoch, size)
        return train - _value(result, trial, TEST_ACCURACY, epoch, size)
    if size is not None:
        return _prefix_value(result, trial, name, epoch, size)
    if name == PARAMETERS or (name != SECONDS_PER_EPOCH and epoch is None):
        value = trial.get(name, np.nan)
        if pd.isna(value) and name in _OF_ONE and not _ensemble(result, trial):
            value = trial[_OF_ONE[name]]
        return float(value)
    rows = result.epochs[result.epochs[TRIAL_ID] == trial[TRIAL_ID]]
    if epoch is not None:
        rows = rows[rows[EPOCH] == epoch]
    column = SECONDS if name == SECONDS_PER_EPOCH else name
    if column not in rows:
        raise UnmeasuredError(f"{result.path} does not report {name} epoch by epoch")
    return float(rows[column].median())


# Quantities that are means over members, and what each is for a single model.
_OF_ONE = {MEMBER_TEST_ACCURACY: TEST_ACCURACY, MEMBER_VAL_ACCURACY: VAL_ACCURACY}
_OWN = columns.OF_EACH_MEMBER


def _ensemble(result: Results, trial: pd.Series) -> bool:
    rows = result.members
    return bool((rows.loc[rows[TRIAL_ID] == trial[TRIAL_ID], MEMBERS] > 1).any())


def _prefix_value(result: Results, trial: pd.Series, name: str, epoch: int | None, size: int) -> float:
    rows = result.members
    column = _OWN.get(name, name)
    if column not in rows or (len(rows) and rows[column].isna().all() and column not in _IN_EVERY_TABLE):
        raise UnmeasuredError(f"{result.path} does not report {name} for an ensemble's first members")
    at = trial[EPOCHS] if epoch is None else epoch
    rows = rows[(rows[TRIAL_ID] == trial[TRIAL_ID]) & (rows[EPOCH] == at)]
    if name in _OWN:
        first = rows[rows[MEMBERS] <= size]
        return float(first[column].mean()) if len(first) == size else float("nan")
    rows = rows[rows[MEMBERS] == size]
    return float(rows[column].iloc[0]) if len(rows) else float("nan")


_IN_EVERY_TABLE = (TEST_ACCURACY, VAL_ACCURACY, PARAMETERS)


def ensemble_sizes(results: Sequence[Results], arm: str) -> set[int]:
    """Return the numbers of members whose votes the arm's trials join."""
    size = split_arm(arm).members
    if size is not None:
        return {size}
    trained = arm_trials(results, arm).get(CONFIG + MEMBERS)
    return {1} if trained is None else {int(members) for members in trained.fillna(1)}


def hard_votes_of_two(results: Sequence[Results], arm: str, quantity: str) -> bool:
    """Return whether `quantity` of `arm` rests on a vote of two members by label, which is just the smaller label."""
    name, _ = split_quantity(quantity)
    if name not in (GAP, TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY, BEST_TEST_ACCURACY, BEST_VAL_ACCURACY):
        return False
    size = split_arm(arm).members
    for _, trial in arm_trials(results, arm).iterrows():
        members = size if size is not None else trial.get(CONFIG + MEMBERS, 1)
        if pd.notna(members) and int(members) == 2 and trial.get(CONFIG + "vote") == HARD:
            return True
    return False


def chance_accuracy(results: Sequence[Results], arm: str) -> float | None:
    """Return the accuracy of guessing on the arm's data set; None if its number of classes is not on record."""
    for place, trial in arm_trials(results, arm)[["result", TRIAL_ID]].itertuples(index=False):
        name = results[place].record.dataset
        labels = CLASSES.get(name) or results[place].predictions(int(trial))[LABEL].nunique()
        if labels:
            return 1 / labels
    return None


CLASSES = {"cifar10": 10, "cifar100": 100, "digits": 10}


def values_at_best(results: Sequence[Results], arm: str, column: str) -> pd.Series:
    """Return one number a seed: `column` at the trial's epoch of highest test accuracy, the first of equal ones."""
    rows = arm_trials(results, arm)
    best = []
    for result, trial in zip(rows["result"], rows[TRIAL_ID], strict=True):
        epochs = results[result].epochs
        of_trial = epochs[epochs[TRIAL_ID] == trial].sort_values(EPOCH)
        tested = of_trial[TEST_ACCURACY].dropna()
        best.append(of_trial.loc[tested.idxmax(), column] if len(tested) else np.nan)
    series = pd.Series(best, index=rows[SEED].astype("int64"), dtype="float64").dropna()
    return series.groupby(level=0).mean()


def right_predictions(results: Sequence[Results], arm: str) -> pd.DataFrame | None:
    """Return which final test predictions were right: a row an image, a column a seed, shares in [0, 1].

    None if a trial did not keep its predictions. The first k members are taken to vote by majority,
    ties to the smallest label, and only if that gives the accuracy that the run measured itself: another vote
    (weighted, over probabilities) cannot be redone from labels, and gives None.
    """
    of = split_arm(arm)
    if of.epoch is not None:
        return None
    size = of.members
    by_seed = []
    for _, trial in arm_trials(results, arm).iterrows():
        result = results[trial["result"]]
        kept = result.predictions(int(trial[TRIAL_ID]))
        predicted = kept[PREDICTED].to_numpy()
        if size is not None:
            if MEMBER_PREDICTED not in kept or kept.empty:
                return None
            predicted = majority(np.stack(kept[MEMBER_PREDICTED].to_list())[:, :size])
        correct = pd.Series(predicted == kept[LABEL].to_numpy(), index=kept[IMAGE], dtype="float64")
        measured = _value(result, trial, TEST_ACCURACY, None, size)
        if correct.empty or not abs(correct.mean() - measured) < 0.5 / len(correct):
            return None
        by_seed.append(correct.rename(trial[SEED]))
    if not by_seed:
        return None
    return pd.concat(by_seed, axis=1, join="inner").T.groupby(level=0).mean().T


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the label that most members chose for each image; ties go to the smallest label.

    votes (images, members) -> (images,)
    """
    counts = np.zeros((len(votes), votes.max(initial=0) + 1), dtype=np.int32)
    for member in votes.T:
        counts[np.arange(len(votes)), member] += 1
    return counts.argmax(axis=1)
