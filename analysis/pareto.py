"""Find the trials that no other trial beats in both accuracy and size.

Validation accuracy (more is better) is set against the parameters of one deployed predictor (fewer is
better); test accuracy stands beside and chooses nothing. Only trials that finished count, never one
under the protocol "recovery". A finished ensemble counts once for each of its first 1, 2, ... members:
each prefix is a predictor of its own.

A row is one trial, one seed. If a setting ran with several seeds, the 95 % interval of its mean over them stands
beside it. If one ensemble's members are as many single models (Bagging), that of their mean stands beside the first.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import cli, figures
from analysis.intervals import mean_interval
from analysis.load import Results, ResultsError, require_one, require_one_data_set
from analysis.runs import edited
from analysis.tables import Table
from search.records import (
    ARM,
    COMPLETED,
    CONFIG,
    EPOCH,
    EPOCHS,
    MEMBERS,
    OWN_VAL_ACCURACY,
    PARAMETERS,
    PROTOCOL,
    SEED,
    STATUS,
    TEST_ACCURACY,
    TRIAL_ID,
    VAL_ACCURACY,
)

# Columns that exist if any row has an interval of its setting's mean validation accuracy, and the seeds behind it.
INTERVAL = ["low_val_accuracy", "high_val_accuracy", "behind"]
COLUMNS = ["study", "trial", ARM, MEMBERS, PARAMETERS, VAL_ACCURACY, TEST_ACCURACY]


def candidates(results: Sequence[Results], protocol: str | None = None) -> pd.DataFrame:
    """Return a row for each finished trial, and each prefix of a finished ensemble, that has a validation accuracy.

    With `protocol` only trials measured under it count.

    Columns: `COLUMNS` (`run` after study if there are several runs), `INTERVAL` if any row has one, then the config/
    columns that differ between rows. Raises ResultsError if the runs differ in data set or protocol, if `protocol` is
    that of no finished trial, or if what two runs of a study share ran with another --set or was edited between them.
    """
    require_one_data_set(results)
    measured = sorted({name for result in results for name in result.finished()[PROTOCOL]})
    if protocol is not None and measured and protocol not in measured:
        raise ResultsError(f"--protocol must be that of a finished trial, {' or '.join(measured)}, got {protocol}")
    if protocol is None:
        require_one(results, "protocol (choose with --protocol)", lambda x: x.finished()[PROTOCOL].unique())
    for one, other in itertools.combinations(results, 2):
        # Equal settings of edited code would pass for seeds of one setting.
        if one.record.study == other.record.study and (reason := edited(one, other)):
            raise ResultsError(f"{one.path} cannot stand beside another run of its study, {reason}: name one of them")
    rows = pd.concat([_candidates(result, protocol) for result in results], ignore_index=True)
    rows = rows[rows[VAL_ACCURACY].notna() & rows[PARAMETERS].notna()].reset_index(drop=True)
    columns = COLUMNS if len(results) == 1 else ["study", "run", *COLUMNS[1:]]
    rows = rows.assign(**_intervals(rows, results))
    known = INTERVAL if rows["behind"].notna().any() else []
    return rows[[*columns, *known, *_differing(rows)]]


def _intervals(rows: pd.DataFrame, results: Sequence[Results]) -> dict[str, list[float]]:
    """Return the columns `INTERVAL` for each row."""
    found = {name: [math.nan] * len(rows) for name in INTERVAL}
    settings = [name for name in rows if name.startswith(CONFIG) and name != CONFIG + SEED]
    members = {
        (result.record.study, result.record.run, trial): some
        for result in results
        for trial, some in result.members.groupby(TRIAL_ID)
    }
    # Trials without a setting on record are not known to be alike.
    alike = ["study", MEMBERS, *settings] if settings else rows.index
    for _, some in rows.groupby(alike, dropna=False):
        if len(some) == 1 and some[MEMBERS].iloc[0] != 1:
            continue  # neither seeds nor single models beside it
        values = some.groupby(SEED)[VAL_ACCURACY].mean().to_numpy()
        for place in some.index:
            own = values if len(values) > 1 else _members(rows.loc[place], members)
            interval = mean_interval(own) if len(own) > 1 else None
            if interval is not None and math.isfinite(interval.low):
                for name, value in zip(INTERVAL, (interval.low, interval.high, interval.n), strict=True):
                    found[name][place] = value
    return found


def _members(row: pd.Series, members: dict[tuple[Any, ...], pd.DataFrame]) -> np.ndarray:
    """Return the validation accuracies of a run's members that are single models; none for larger prefixes.

    `members`: rows of the members' tables, by study, run and trial.
    """
    rows = members.get((row["study"], row["run"], row["trial"]))
    if row[MEMBERS] != 1 or rows is None:
        return np.zeros(0)
    last = rows[rows[EPOCH] == row[EPOCHS]]
    # AdaBoost's members learn from one another's mistakes.
    if "alpha" not in last or OWN_VAL_ACCURACY not in last or last["alpha"].notna().any():
        return np.zeros(0)
    return last[OWN_VAL_ACCURACY].dropna().to_numpy(dtype=float)


def _candidates(result: Results, protocol: str | None) -> pd.DataFrame:
    trials = _under(result, protocol)
    # For an ensemble of this size, columns that both tables have come from members.
    prefixes = trials.drop(columns=[name for name in result.members if name in trials and name != TRIAL_ID]).merge(
        result.members, left_on=[TRIAL_ID, EPOCHS], right_on=[TRIAL_ID, EPOCH]
    )
    single = trials[~trials[TRIAL_ID].isin(prefixes[TRIAL_ID])]
    sizes = single[CONFIG + MEMBERS].fillna(1) if CONFIG + MEMBERS in single else 1
    rows = pd.concat([single.assign(**{MEMBERS: sizes}), prefixes], ignore_index=True)
    rows = rows.astype({MEMBERS: "int64"}).sort_values([TRIAL_ID, MEMBERS])
    return rows.assign(study=result.record.study, run=result.record.run, trial=rows[TRIAL_ID])


def _under(result: Results, protocol: str | None) -> pd.DataFrame:
    trials = result.finished()
    return trials if protocol is None else trials[trials[PROTOCOL] == protocol]


def _differing(rows: pd.DataFrame) -> list[str]:
    config = [name for name in rows if name.startswith(CONFIG)]
    # Members have a column already; a seed is no setting to choose.
    chosen = [name for name in config if name not in (CONFIG + MEMBERS, CONFIG + SEED)]
    return [name for name in chosen if rows[name].astype(str).nunique() > 1]


def pareto_front(results: Sequence[Results]) -> pd.DataFrame:
    """Return the rows of `candidates` that no other row beats, fewest parameters first.

    A row is beaten by a row at least as accurate with as few parameters that is better in one of the
    two; rows equal in both stand together.
    """
    return non_dominated(candidates(results))


def non_dominated(rows: pd.DataFrame) -> pd.DataFrame:
    best = rows.groupby(PARAMETERS)[VAL_ACCURACY].max()  # best accuracy of each size, smallest size first
    best = best[best > best.cummax().shift().fillna(-math.inf)]
    return rows[rows[VAL_ACCURACY] == rows[PARAMETERS].map(best)].sort_values(PARAMETERS)


def hypervolume(front: pd.DataFrame, reference: float) -> float:
    """Return accuracy times decades of parameters that `front` covers.

    Counted from accuracy 0 up and from `reference` parameters down; sizes count as log10(parameters). Two fronts
    compare only at one reference. Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms",
    1998.
    """
    inside = front[front[PARAMETERS] < reference]
    sizes = np.log10([*inside[PARAMETERS], reference])
    return float((np.diff(sizes) * inside[VAL_ACCURACY]).sum())


def knee(front: pd.DataFrame) -> int | None:
    """Return the index of the front's knee: the row farthest above the line from its smallest row to its largest.

    Both axes (log10 of parameters, validation accuracy) are scaled to [0, 1]. None if no row is above that line.
    Das, "On characterizing the 'knee' of the Pareto curve", 1999.
    """
    if len(front) < 3:
        return None
    size, accuracy = np.log10(front[PARAMETERS]), front[VAL_ACCURACY]
    if size.max() == size.min():
        return None
    scaled = (accuracy - accuracy.min()) / (accuracy.max() - accuracy.min())
    above = scaled - (size - size.min()) / (size.max() - size.min())
    return int(above.idxmax()) if above.max() > 0 else None


def reported_points(results: Sequence[Results]) -> pd.DataFrame:
    """Return the notes' points on this data set whose parameters and test accuracy are printed."""
    runs = {run.run: (result.record.study, run) for result in results for run in result.record.reported}
    rows = [
        {
            "study": study,
            ARM: run.arm,
            MEMBERS: run.members,
            PARAMETERS: run.parameters,
            TEST_ACCURACY: run.test_accuracy,
            "reported": run.run,
            **{CONFIG + name: value for name, value in run.config.items()},
        }
        for study, run in runs.values()
        if run.parameters and run.test_accuracy is not None and run.dataset == results[0].record.dataset
    ]
    return pd.DataFrame(rows, columns=None if rows else [*COLUMNS, "reported"])


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    rows = candidates(results, args.protocol)
    front = non_dominated(rows)
    reported = reported_points(results) if args.reported else pd.DataFrame()
    shown = front
    if args.reported:
        shown = pd.concat([front.assign(reported=None), reported])[[*front, "reported"]]
    return Table(
        frame=shown,
        title=_title(results),
        notes=_notes(results, rows, front, args),
        figures=[figures.pareto(rows, front, reported)],
    )


def _title(results: Sequence[Results]) -> str:
    studies = ", ".join(dict.fromkeys(result.record.study for result in results))
    finished = sum((result.trials[STATUS] == COMPLETED).sum() for result in results)
    started = sum(len(result.trials) for result in results)
    dataset = results[0].record.dataset
    return f"Pareto front of {studies} on {dataset}: {finished} finished of {started} trials"


def _notes(results: Sequence[Results], rows: pd.DataFrame, front: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    notes = []
    ranked = rows[[name for name in ("run", "study", "trial") if name in rows]].drop_duplicates()
    finished = [_under(result, args.protocol) for result in results]
    unsized = sum(int((one[VAL_ACCURACY].notna() & one[PARAMETERS].isna()).sum()) for one in finished)
    if unranked := sum(map(len, finished)) - len(ranked) - unsized:
        notes.append(f"Finished without a validation accuracy, so not ranked: {unranked} trials.")
    if unsized:
        notes.append(f"Finished without a parameter count, so not ranked: {unsized} trials.")
    if front.empty:
        return [*notes, "No finished trial to rank."]
    reference = args.reference or 10 * front[PARAMETERS].max()
    notes.append(
        f"Chosen on validation accuracy; a row is one trial, one seed. Hypervolume "
        f"{hypervolume(front, reference):.4f} accuracy·decades, down from {reference:,.0f} parameters."
    )
    if (index := knee(front)) is not None:
        row = front.loc[index]
        size = f"members {row[MEMBERS]}, {row[PARAMETERS]:,.0f} parameters"
        several = [name for name in ("study", "run") if name in rows and rows[name].nunique() > 1]
        where = "".join(f" of {name} {row[name]}" for name in several)
        notes[-1] += f" Knee: trial {row['trial']}{where}, {size}."
    return notes


def _parameters(text: str) -> float:
    if not (value := float(text)) > 0:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("pareto", __doc__)
    options.add_argument("--reported", action="store_true", help="show the notes' own points beside ours")
    options.add_argument("--protocol", help="only trials measured under this protocol")
    options.add_argument(
        "--reference",
        type=_parameters,
        metavar="PARAMETERS",
        help="size at which the hypervolume starts; default: ten times the largest on the front",
    )
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
