"""Find trials of other arms, studies and runs that trained the same as an arm and so answer it.

Member i of an ensemble draws from (seed, i) alone. So a finished trial contains every training with fewer members that
differs in nothing else (`search.records.Training`), measured as a run of its own would have been, as far as the tables
report it. A replay leaves such arms out, and any results given together may answer each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arms import majority
from analysis.load import Results, by_study
from analysis.untestable import SHARES
from search import columns
from search.records import (
    ARM,
    BEST_TEST_ACCURACY,
    BEST_TEST_EPOCH,
    BEST_VAL_ACCURACY,
    BEST_VAL_EPOCH,
    CONFIG,
    EPOCH,
    EPOCHS,
    LR,
    MEMBER_PREDICTED,
    MEMBER_TEST_ACCURACY,
    MEMBER_VAL_ACCURACY,
    MEMBERS,
    OWN_TEST_ACCURACY,
    OWN_VAL_ACCURACY,
    PREDICTED,
    RUNNING_TRAIN_ACCURACY,
    SECONDS,
    SEED,
    TEST_ACCURACY,
    TOTAL_EPOCHS,
    TRAIN_ACCURACY,
    TRAIN_LOSS,
    TRIAL_ID,
    VAL_ACCURACY,
    StudyRecord,
    Training,
)

HARD = "hard"  # name of the vote by labels
# Columns of epochs.parquet that are means over the members, and their columns in members.parquet.
_MEANS = {
    TRAIN_LOSS: "own_train_loss",
    RUNNING_TRAIN_ACCURACY: "own_train_accuracy",
    MEMBER_VAL_ACCURACY: OWN_VAL_ACCURACY,
    MEMBER_TEST_ACCURACY: OWN_TEST_ACCURACY,
}


@dataclass(frozen=True, eq=False)
class Answer(Results):
    """Trials of `source` in the place of another arm's trials.

    Only the first `members_kept` members count, all if that is None. Rows, `record.study` and `record.arms` are those
    of the answered arm; `path`, `record.run`, `record.machine` and the trials' numbers say where the trials are.
    """

    source: Results | None = None
    members_kept: int | None = None
    hard: bool = True

    def predictions(self, trial_id: int) -> pd.DataFrame:
        """Return a trial's predictions, see Results; no rows if the first members' vote cannot be redone."""
        assert self.source is not None
        kept, members = self.source.predictions(trial_id), self.members_kept
        if members is None or kept.empty:
            return kept
        if MEMBER_PREDICTED not in kept or not (self.hard or members == 1):
            return kept[:0]
        votes = np.stack(kept[MEMBER_PREDICTED].to_list())[:, :members]
        return kept.assign(**{PREDICTED: majority(votes), MEMBER_PREDICTED: list(votes)})


def with_answers(results: Sequence[Results]) -> list[Results]:
    """Return `results` and, as further runs, the finished trials among them that answer an arm of another study or run.

    A seed that the arm has run itself, or that another answer already gives, is not answered again. Raises ResultsError
    if runs of one study differ in data set.
    """
    given = [result for result in results if not isinstance(result, Answer)]
    trained = [
        Trained(result, str(arm), training)
        for result in given
        for arm in result.finished()[ARM].dropna().unique()
        if (training := result.training_of(arm))
    ]
    found: list[Results] = []
    for pooled in by_study(given).values():
        for arm in dict.fromkeys(arm for result in pooled for arm in result.record.arms):
            found += _answers(trained, pooled, arm)
    return [*given, *found]


class Trained(NamedTuple):
    """Finished trials of an arm, and the training that they are."""

    result: Results
    arm: str
    training: Training


def _answers(trained: Sequence[Trained], pooled: Sequence[Results], arm: str) -> Iterator[Results]:
    """Yield the answers to an arm of the study whose runs are `pooled`."""
    known = [result for result in pooled if result.training_of(arm)]
    # A run that left the arm out (--arm) does not say how the arm is run.
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
    taken = {seed for result in pooled for seed in _of_arm(result, arm)[SEED]}
    # Fewest members first: for the same draws the smallest ensemble has the most figures on record.
    for one in sorted(holding, key=lambda one: (one.training.members, not one.training.answers(wanted))):
        rows = _of_arm(one.result, one.arm)
        rows = rows[~rows[SEED].isin(taken)].drop_duplicates(SEED)
        if len(rows):
            taken |= set(rows[SEED])
            if answer := _answer(one, rows, record, arm, wanted):
                yield answer


def _has(result: Results, arm: str) -> bool:
    record = result.record
    return arm in record.answered_by or arm in record.known or len(_of_arm(result, arm)) > 0


def _of_arm(result: Results, arm: str) -> pd.DataFrame:
    finished = result.finished()
    return finished[finished[ARM] == arm]


def _answer(of: Trained, rows: pd.DataFrame, record: StudyRecord, arm: str, wanted: Training) -> Answer | None:
    """Return the trials `rows` of `of` as trials of `arm`, whose training is `wanted`; None if they report nothing."""
    source, training = of.result, of.training
    first = None if training.members == wanted.members else wanted.members
    settings = record.settings_of(arm) or record.arms[arm]
    last = wanted.members * settings.get("epochs", record.epochs)
    trials, epochs, members = [], [], []
    for _, trial in rows.iterrows():
        own_epochs = source.epochs[source.epochs[TRIAL_ID] == trial[TRIAL_ID]].sort_values(EPOCH)
        own_members = source.members[source.members[TRIAL_ID] == trial[TRIAL_ID]]
        if first is not None and training.sequential:
            own_epochs, own_members = _rounds(own_epochs, own_members, first, last, measured=_way(training) != RUNNING)
        elif first is not None:
            own_members = own_members[own_members[MEMBERS] <= first]
            own_epochs = _prefix(own_epochs, own_members, first)
        if first is not None and own_epochs.empty:
            continue  # no figures of the first members are on record
        own_epochs = _measured(own_epochs, training, wanted)
        if training != wanted:
            own_epochs = own_epochs.assign(**{SECONDS: np.nan})  # other measurements took part of the time
        trials.append(_final(trial, own_epochs).to_frame().T.assign(**{ARM: arm}))
        epochs.append(own_epochs)
        members.append(own_members)
    if not trials:
        return None
    told = pd.concat(trials, ignore_index=True).infer_objects()
    if first is not None and CONFIG + MEMBERS in told:
        told[CONFIG + MEMBERS] = first
    here = source.record.run if source.record.study == record.study else f"{source.record.study}/{source.record.run}"
    shares = {name: source.record.options.get(name) for name in SHARES}
    options = {**record.options, **shares}
    return Answer(
        record=dataclasses.replace(
            record, run=here, machine=source.record.machine, options=options, answered_by={}, known={}
        ),
        trials=told.astype({TRIAL_ID: "int64", SEED: "int64", EPOCHS: "int64"}),
        epochs=pd.concat(epochs, ignore_index=True),
        members=pd.concat(members, ignore_index=True),
        path=source.path,
        partial=source.partial,
        source=source,
        members_kept=first,
        hard=training.measuring.get("vote", HARD) == HARD and not training.sequential,
    )


def _prefix(epochs: pd.DataFrame, members: pd.DataFrame, first: int) -> pd.DataFrame:
    """Return the epochs of the first members of a Bagging trial, from what members.parquet reports."""
    own = epochs[EPOCH]
    at = members[members[MEMBERS] == first].set_index(EPOCH)
    complete = members.groupby(EPOCH)[MEMBERS].count() == first
    made = epochs[[TRIAL_ID, EPOCH, *(name for name in (LR,) if name in epochs)]].copy()
    for name in epochs.columns.difference(made.columns, sort=False):
        values = pd.Series(np.nan, index=at.index, dtype="float64")
        if name in _MEANS and _MEANS[name] in members:
            values = members.groupby(EPOCH)[_MEANS[name]].agg(lambda one: one.mean(skipna=False)).where(complete)
        elif name in at and name in columns.of("members"):
            values = at[name]
        made[name] = own.map(values).astype("float64")
    return made


def _rounds(
    epochs: pd.DataFrame, members: pd.DataFrame, first: int, last: int, *, measured: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the epochs and members of the first rounds of an AdaBoost trial, which end with epoch `last`.

    `measured`: whether the vote's training accuracy was measured after the trial's last round.
    """
    end = members[EPOCH].max()
    if not end > last:
        return epochs, members  # the trial ended by itself in these rounds
    # Figures measured only after the last round are on record there for each prefix.
    ended = members[(members[EPOCH] == end) & (members[MEMBERS] <= first)].assign(**{EPOCH: last})
    vote = ended[ended[MEMBERS] == first]
    kept = epochs[epochs[EPOCH] <= last].copy()
    for name in vote.columns.intersection(kept.columns).difference([TRIAL_ID, EPOCH]):
        if measured if name == TRAIN_ACCURACY else vote[name].notna().any():
            kept.loc[kept[EPOCH] == last, name] = vote[name].max()
    return kept, pd.concat([members[members[EPOCH] < last], ended], ignore_index=True)


RUNNING = "running"  # name of the training accuracy measured during the epoch


def _way(training: Training) -> str:
    return str(training.measuring.get("train_measure", RUNNING))


def _measured(epochs: pd.DataFrame, training: Training, wanted: Training) -> pd.DataFrame:
    """Return the epochs with training accuracy as `wanted` measures it; null if `training` did not measure it so."""
    asked = _way(wanted)
    if asked == _way(training) and (asked != RUNNING or training.members == wanted.members or training.sequential):
        return epochs
    told = epochs.get(RUNNING_TRAIN_ACCURACY, np.nan) if asked == RUNNING else np.nan
    return epochs.assign(**{TRAIN_ACCURACY: told})


def _final(trial: pd.Series, epochs: pd.DataFrame) -> pd.Series:
    """Return the trial's row with the last and best figures of these epochs."""
    trial = trial.copy()
    if epochs.empty:
        return trial
    final = epochs.iloc[-1]
    for name in columns.of("trials").keys() & columns.of("epochs").keys() & set(trial.index) & set(epochs.columns):
        if name not in (TRIAL_ID, SECONDS):
            trial[name] = final[name]
    trial[EPOCHS] = trial[TOTAL_EPOCHS] = len(epochs)
    trial[SECONDS] = epochs[SECONDS].sum(min_count=len(epochs))
    for name, best, at in (
        (VAL_ACCURACY, BEST_VAL_ACCURACY, BEST_VAL_EPOCH),
        (TEST_ACCURACY, BEST_TEST_ACCURACY, BEST_TEST_EPOCH),
    ):
        if pd.notna(trial[best]) and epochs[name].notna().any():
            place = epochs[name].idxmax()
            trial[best], trial[at] = epochs.loc[place, name], epochs.loc[place, EPOCH]
    return trial
