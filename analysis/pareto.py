"""Accuracy against size: the trials that no other beats on both.

Validation accuracy (more is better) against the parameters of one deployed predictor (fewer is
better); test accuracy stands beside and chooses nothing. Only trials that finished count, never one
under the protocol "recovery". A finished ensemble counts once for each of its first 1, 2, ... members:
each prefix is a predictor of its own.

A row is one trial, one seed. Where a setting ran with several seeds the 95 % interval of its mean over them stands
beside it, and where one ensemble's members are as many single models (Bagging), that of their mean beside the first.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import cli, figures
from analysis import statistics as s
from analysis.load import Results, require_one, require_one_data_set
from analysis.tables import Table
from search import records as r

# The interval of the setting's mean validation accuracy, and the seeds or members behind it; where any row has one.
INTERVAL = ["low_val_accuracy", "high_val_accuracy", "behind"]
COLUMNS = ["study", "trial", r.ARM, r.MEMBERS, r.PARAMETERS, r.VAL_ACCURACY, r.TEST_ACCURACY]


def candidates(results: Sequence[Results], protocol: str | None = None) -> pd.DataFrame:
    """A row per finished trial, and per prefix of a finished ensemble, that has a validation accuracy.

    With `protocol` only trials measured under it.

    Columns: `COLUMNS` (`run` after study where there are several runs), `INTERVAL` if any row has one, then the config/
    columns that differ between rows. Raises ResultsError where the runs differ in data set or protocol.
    """
    require_one_data_set(results)
    if protocol is None:
        require_one(results, "protocol (choose with --protocol)", lambda x: x.finished()[r.PROTOCOL].unique())
    rows = pd.concat([_candidates(result, protocol) for result in results], ignore_index=True)
    rows = rows[rows[r.VAL_ACCURACY].notna() & rows[r.PARAMETERS].notna()].reset_index(drop=True)
    columns = COLUMNS if len(results) == 1 else ["study", "run", *COLUMNS[1:]]
    rows = rows.assign(**_intervals(rows, results))
    known = INTERVAL if rows["behind"].notna().any() else []
    return rows[[*columns, *known, *_differing(rows)]]


def _intervals(rows: pd.DataFrame, results: Sequence[Results]) -> dict[str, list[float]]:
    """`INTERVAL` for each row."""
    found = {name: [math.nan] * len(rows) for name in INTERVAL}
    settings = [name for name in rows if name.startswith(r.CONFIG) and name != r.CONFIG + r.SEED]
    # Trials without a setting on record are not known to be alike.
    alike = ["study", r.MEMBERS, *settings] if settings else rows.index
    for _, some in rows.groupby(alike, dropna=False):
        values = some.groupby(r.SEED)[r.VAL_ACCURACY].mean().to_numpy()
        for place in some.index:
            own = values if len(values) > 1 else _members(rows.loc[place], results)
            interval = s.mean_interval(own) if len(own) > 1 else None
            if interval is not None and math.isfinite(interval.low):
                for name, value in zip(INTERVAL, (interval.low, interval.high, interval.n), strict=True):
                    found[name][place] = value
    return found


def _members(row: pd.Series, results: Sequence[Results]) -> np.ndarray:
    """The validation accuracies of the members of one run that are as many single models; none for larger prefixes."""
    (result,) = [x for x in results if (x.record.study, x.record.run) == (row["study"], row["run"])]
    members = result.members
    last = members[(members[r.TRIAL_ID] == row["trial"]) & (members[r.EPOCH] == row[r.EPOCHS])]
    # AdaBoost's members learn from one another's mistakes.
    if row[r.MEMBERS] != 1 or "alpha" not in last or r.OWN_VAL_ACCURACY not in last or last["alpha"].notna().any():
        return np.zeros(0)
    return last[r.OWN_VAL_ACCURACY].dropna().to_numpy(dtype=float)


def _candidates(result: Results, protocol: str | None) -> pd.DataFrame:
    trials = _under(result, protocol)
    # What both tables have is, of an ensemble of this size, in members.
    prefixes = trials.drop(columns=[name for name in result.members if name in trials and name != r.TRIAL_ID]).merge(
        result.members, left_on=[r.TRIAL_ID, r.EPOCHS], right_on=[r.TRIAL_ID, r.EPOCH]
    )
    single = trials[~trials[r.TRIAL_ID].isin(prefixes[r.TRIAL_ID])]
    sizes = single[r.CONFIG + r.MEMBERS].fillna(1) if r.CONFIG + r.MEMBERS in single else 1
    rows = pd.concat([single.assign(**{r.MEMBERS: sizes}), prefixes], ignore_index=True)
    rows = rows.astype({r.MEMBERS: "int64"}).sort_values([r.TRIAL_ID, r.MEMBERS])
    return rows.assign(study=result.record.study, run=result.record.run, trial=rows[r.TRIAL_ID])


def _under(result: Results, protocol: str | None) -> pd.DataFrame:
    trials = result.finished()
    return trials if protocol is None else trials[trials[r.PROTOCOL] == protocol]


def _differing(rows: pd.DataFrame) -> list[str]:
    config = [name for name in rows if name.startswith(r.CONFIG)]
    # Members are a column already; a seed is no setting to choose.
    chosen = [name for name in config if name not in (r.CONFIG + r.MEMBERS, r.CONFIG + r.SEED)]
    return [name for name in chosen if rows[name].astype(str).nunique() > 1]


def pareto_front(results: Sequence[Results]) -> pd.DataFrame:
    """The rows of `candidates` that no other beats: fewest parameters first.

    A row is beaten by one at least as accurate with as few parameters that is better in one of the
    two; rows equal in both stand together.
    """
    return non_dominated(candidates(results))


def non_dominated(rows: pd.DataFrame) -> pd.DataFrame:
    best = rows.groupby(r.PARAMETERS)[r.VAL_ACCURACY].max()  # of each size, the smallest first
    best = best[best > best.cummax().shift().fillna(-math.inf)]
    return rows[rows[r.VAL_ACCURACY] == rows[r.PARAMETERS].map(best)].sort_values(r.PARAMETERS)


def hypervolume(front: pd.DataFrame, reference: float) -> float:
    """Accuracy times decades of parameters that `front` covers, from accuracy 0 up and from `reference`
    parameters down.

    Sizes count as log10(parameters). Two fronts compare only at one reference. Zitzler and Thiele,
    "Multiobjective optimization using evolutionary algorithms", 1998.
    """
    inside = front[front[r.PARAMETERS] < reference]
    sizes = np.log10([*inside[r.PARAMETERS], reference])
    return float((np.diff(sizes) * inside[r.VAL_ACCURACY]).sum())


def knee(front: pd.DataFrame) -> int | None:
    """The index of the row farthest above the line from the smallest row to the largest, after both axes
    (log10 of parameters, validation accuracy) are scaled to [0, 1]; None if no row is above that line.

    Das, "On characterizing the 'knee' of the Pareto curve", 1999.
    """
    if len(front) < 3:
        return None
    size, accuracy = np.log10(front[r.PARAMETERS]), front[r.VAL_ACCURACY]
    if size.max() == size.min():
        return None
    scaled = (accuracy - accuracy.min()) / (accuracy.max() - accuracy.min())
    above = scaled - (size - size.min()) / (size.max() - size.min())
    return int(above.idxmax()) if above.max() > 0 else None


def reported_points(results: Sequence[Results]) -> pd.DataFrame:
    """The notes' own points on this data set: those whose parameters and test accuracy are printed."""
    runs = {run.run: (result.record.study, run) for result in results for run in result.record.reported}
    rows = [
        {
            "study": study,
            r.ARM: run.arm,
            r.MEMBERS: run.members,
            r.PARAMETERS: run.parameters,
            r.TEST_ACCURACY: run.test_accuracy,
            "reported": run.run,
            **{r.CONFIG + name: value for name, value in run.config.items()},
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
    finished = sum((result.trials[r.STATUS] == r.COMPLETED).sum() for result in results)
    started = sum(len(result.trials) for result in results)
    dataset = results[0].record.dataset
    return f"Pareto front of {studies} on {dataset}: {finished} finished of {started} trials"


def _notes(results: Sequence[Results], rows: pd.DataFrame, front: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    notes = []
    ranked = rows[[name for name in ("run", "study", "trial") if name in rows]].drop_duplicates()
    if unranked := sum(len(_under(result, args.protocol)) for result in results) - len(ranked):
        notes.append(f"Finished without a validation accuracy, so not ranked: {unranked} trials.")
    if front.empty:
        return [*notes, "No finished trial to rank."]
    reference = args.reference or 10 * front[r.PARAMETERS].max()
    notes.append(
        f"Chosen on validation accuracy; a row is one trial, one seed. Hypervolume "
        f"{hypervolume(front, reference):.4f} accuracy·decades, down from {reference:,.0f} parameters."
    )
    if (index := knee(front)) is not None:
        row = front.loc[index]
        size = f"members {row[r.MEMBERS]}, {row[r.PARAMETERS]:,.0f} parameters"
        notes[-1] += f" Knee: trial {row['trial']}, {size}."
    return notes


def _parameters(text: str) -> float:
    if not (value := float(text)) > 0:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("pareto", __doc__)
    options.add_argument("--reported", action="store_true", help="the notes' own points beside ours")
    options.add_argument("--protocol", help="only trials measured under this protocol")
    options.add_argument(
        "--reference",
        type=_parameters,
        metavar="PARAMETERS",
        help="where the hypervolume starts; default: ten times the largest of the front",
    )
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
