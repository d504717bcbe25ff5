"""Trials that answer an arm without being its own: those of other arms, studies and runs that trained the same.

Member i of an ensemble draws from (seed, i) alone, so that a finished trial holds every training of fewer members that
differs in nothing else (`search.records.Training`), as it would have been measured by a run of its own, as far as the
tables tell. A replay leaves such arms out, and any results given together may answer each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.load import Results, by_study
from analysis.measure import majority
from search import columns
from search import records as r

HARD = "hard"  # the vote by labels
# Of a trial's epochs, the mean over its members of a column of members.parquet.
_MEANS = {
    r.TRAIN_LOSS: "own_train_loss",
    r.RUNNING_TRAIN_ACCURACY: "own_train_accuracy",
    r.MEMBER_VAL_ACCURACY: r.OWN_VAL_ACCURACY,
    r.MEMBER_TEST_ACCURACY: r.OWN_TEST_ACCURACY,
}


@dataclass(frozen=True, eq=False)
class Answer(Results):
    """Trials of `source` as those of another arm: their first `members`, of all if that is None.

    Rows, `record.study` and `record.arms` are the answered arm's; `path`, `record.run` and the trials' numbers say
    where the trials are.
    """

    source: Results | None = None
    members_kept: int | None = None
    hard: bool = True

    def predictions(self, trial_id: int) -> pd.DataFrame:
        """See Results; no rows if the first members' vote cannot be redone from labels."""
        assert self.source is not None
        kept, members = self.source.predictions(trial_id), self.members_kept
        if members is None or kept.empty:
            return kept
        if r.MEMBER_PREDICTED not in kept or not (self.hard or members == 1):
            return kept[:0]
        votes = np.stack(kept[r.MEMBER_PREDICTED].to_list())[:, :members]
        return kept.assign(**{r.PREDICTED: majority(votes), r.MEMBER_PREDICTED: list(votes)})


def with_answers(results: Sequence[Results]) -> list[Results]:
    """`results`, and for each arm the finished trials among them that answer it, as runs of its study.

    A seed that the arm has run itself, or that another answer holds, is not answered again. Raises ResultsError
    if runs of one study differ in data set.
    """
    given = [result for result in results if not isinstance(result, Answer)]
    trained = [
        Trained(result, str(arm), training)
        for result in given
        for arm in result.finished()[r.ARM].dropna().unique()
        if (training := result.training_of(arm))
    ]
    found: list[Results] = []
    for pooled in by_study(given).values():
        for arm in dict.fromkeys(arm for result in pooled for arm in result.record.arms):
            found += _answers(trained, pooled, arm)
    return [*given, *found]


class Trained(NamedTuple):
    """Finished trials of an arm, and what they trained."""

    result: Results
    arm: str
    training: r.Training


def _answers(trained: Sequence[Trained], pooled: Sequence[Results], arm: str) -> Iterator[Results]:
    """The answers to an arm of the study whose runs are `pooled`."""
    known = [result for result in pooled if result.training_of(arm)]
    # A run that left the arm out, by --arm, does not say how it is run.
    ran = [result for result in known if _has(result, arm)] or known
    trainings = [training for result in ran if (training := result.training_of(arm))]
    if not trainings or any(training != trainings[0] for training in trainings):
        return
    record, wanted = ran[0].record, trainings[0]
    holding = [
        one
        for one in trained
        if (one.result.record.study, one.arm) != (record.study, arm) and one.training.holds(wanted)
    ]
    taken = {seed for result in pooled for seed in _of_arm(result, arm)[r.SEED]}
    # The smallest first: of the same draws it is the one that tells most.
    for one in sorted(holding, key=lambda one: (one.training.members, not one.training.answers(wanted))):
        rows = _of_arm(one.result, one.arm)
        rows = rows[~rows[r.SEED].isin(taken)].drop_duplicates(r.SEED)
        if len(rows):
            taken |= set(rows[r.SEED])
            if answer := _answer(one, rows, record, arm, wanted):
                yield answer


def _has(result: Results, arm: str) -> bool:
    record = result.record
    return arm in record.answered_by or arm in record.known or len(_of_arm(result, arm)) > 0


def _of_arm(result: Results, arm: str) -> pd.DataFrame:
    finished = result.finished()
    return finished[finished[r.ARM] == arm]


def _answer(of: Trained, rows: pd.DataFrame, record: r.StudyRecord, arm: str, wanted: r.Training) -> Answer | None:
    """The trials `rows` of `of` as trials of `arm`, of `wanted`."""
    source, training = of.result, of.training
    first = None if training.members == wanted.members else wanted.members
    settings = record.settings_of(arm) or record.arms[arm]
    last = wanted.members * settings.get("epochs", record.epochs)
    trials, epochs, members = [], [], []
    for _, trial in rows.iterrows():
        own_epochs = source.epochs[source.epochs[r.TRIAL_ID] == trial[r.TRIAL_ID]].sort_values(r.EPOCH)
        own_members = source.members[source.members[r.TRIAL_ID] == trial[r.TRIAL_ID]]
        if first is not None and training.sequential:
            own_epochs, own_members = _rounds(own_epochs, own_members, first, last, measured=_way(training) != RUNNING)
        elif first is not None:
            own_members = own_members[own_members[r.MEMBERS] <= first]
            own_epochs = _prefix(own_epochs, own_members, first)
        if first is not None and own_epochs.empty:
            continue  # nothing is told of its members
        own_epochs = _measured(own_epochs, training, wanted)
        if training != wanted:
            own_epochs = own_epochs.assign(**{r.SECONDS: np.nan})  # what else was measured took its time too
        trials.append(_final(trial, own_epochs).to_frame().T.assign(**{r.ARM: arm}))
        epochs.append(own_epochs)
        members.append(own_members)
    if not trials:
        return None
    told = pd.concat(trials, ignore_index=True).infer_objects()
    if first is not None and r.CONFIG + r.MEMBERS in told:
        told[r.CONFIG + r.MEMBERS] = first
    here = source.record.run if source.record.study == record.study else f"{source.record.study}/{source.record.run}"
    return Answer(
        record=dataclasses.replace(record, run=here, answered_by={}, known={}),
        trials=told.astype({r.TRIAL_ID: "int64", r.SEED: "int64", r.EPOCHS: "int64"}),
        epochs=pd.concat(epochs, ignore_index=True),
        members=pd.concat(members, ignore_index=True),
        path=source.path,
        partial=source.partial,
        source=source,
        members_kept=first,
        hard=training.measuring.get("vote", HARD) == HARD and not training.sequential,
    )


def _prefix(epochs: pd.DataFrame, members: pd.DataFrame, first: int) -> pd.DataFrame:
    """The epochs of the first members of a Bagging, from what members.parquet tells of them."""
    own = epochs[r.EPOCH]
    at = members[members[r.MEMBERS] == first].set_index(r.EPOCH)
    complete = members.groupby(r.EPOCH)[r.MEMBERS].count() == first
    made = epochs[[r.TRIAL_ID, r.EPOCH, *(name for name in (r.LR,) if name in epochs)]].copy()
    for name in epochs.columns.difference(made.columns, sort=False):
        values = pd.Series(np.nan, index=at.index, dtype="float64")
        if name in _MEANS and _MEANS[name] in members:
            values = members.groupby(r.EPOCH)[_MEANS[name]].agg(lambda one: one.mean(skipna=False)).where(complete)
        elif name in at and name in columns.of("members"):
            values = at[name]
        made[name] = own.map(values).astype("float64")
    return made


def _rounds(
    epochs: pd.DataFrame, members: pd.DataFrame, first: int, last: int, *, measured: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The epochs and members of the first rounds of an AdaBoost, of which `last` is the last epoch.

    `measured`: the vote's training accuracy was, after the last round of all.
    """
    end = members[r.EPOCH].max()
    if not end > last:
        return epochs, members  # it ended there by itself
    # What was measured once, after the last round, is told of each prefix there.
    ended = members[(members[r.EPOCH] == end) & (members[r.MEMBERS] <= first)].assign(**{r.EPOCH: last})
    vote = ended[ended[r.MEMBERS] == first]
    kept = epochs[epochs[r.EPOCH] <= last].copy()
    for name in vote.columns.intersection(kept.columns).difference([r.TRIAL_ID, r.EPOCH]):
        if measured if name == r.TRAIN_ACCURACY else vote[name].notna().any():
            kept.loc[kept[r.EPOCH] == last, name] = vote[name].max()
    return kept, pd.concat([members[members[r.EPOCH] < last], ended], ignore_index=True)


RUNNING = "running"  # training accuracy of the epoch itself


def _way(training: r.Training) -> str:
    return str(training.measuring.get("train_measure", RUNNING))


def _measured(epochs: pd.DataFrame, training: r.Training, wanted: r.Training) -> pd.DataFrame:
    """The epochs with training accuracy as `wanted` measures it, null if `training` did not."""
    asked = _way(wanted)
    if asked == _way(training) and (asked != RUNNING or training.members == wanted.members or training.sequential):
        return epochs
    told = epochs.get(r.RUNNING_TRAIN_ACCURACY, np.nan) if asked == RUNNING else np.nan
    return epochs.assign(**{r.TRAIN_ACCURACY: told})


def _final(trial: pd.Series, epochs: pd.DataFrame) -> pd.Series:
    """The trial's row as its epochs make it: their last, and their best."""
    trial = trial.copy()
    if epochs.empty:
        return trial
    final = epochs.iloc[-1]
    for name in columns.of("trials").keys() & columns.of("epochs").keys() & set(trial.index) & set(epochs.columns):
        if name not in (r.TRIAL_ID, r.SECONDS):
            trial[name] = final[name]
    trial[r.EPOCHS] = trial[r.TOTAL_EPOCHS] = len(epochs)
    trial[r.SECONDS] = epochs[r.SECONDS].sum(min_count=len(epochs))
    for name, best, at in (
        (r.VAL_ACCURACY, r.BEST_VAL_ACCURACY, r.BEST_VAL_EPOCH),
        (r.TEST_ACCURACY, r.BEST_TEST_ACCURACY, r.BEST_TEST_EPOCH),
    ):
        if pd.notna(trial[best]) and epochs[name].notna().any():
            place = epochs[name].idxmax()
            trial[best], trial[at] = epochs.loc[place, name], epochs.loc[place, r.EPOCH]
    return trial
