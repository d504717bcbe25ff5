"""Find which settings a note's printed test curves allow that the note does not print, and which they cannot separate.

A recovery trains one network for each printed curve with each setting that it tries. Like is compared with like: a
distance is that of one seed's curve from the printed one, which is one run too. Beside the searched trials stand the
seeds of the note's own arms, one by one, as other studies replayed them.

A setting is within reach of a curve if its distance is no larger than the difference of two seeds of one setting, one
of them rounded like the note's figures: over the pairs of the replayed seeds, mean + t * s * sqrt(1 + 1/n), one-sided
95 %. A curve determines what all settings within reach share. SGD with momentum takes steps as long as
lr / (1 - momentum), so that its curve determines this ratio rather than either; Adam's determines the rate.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis import cli, tables
from analysis.arms import trials_by_arm
from analysis.intervals import LEVEL
from analysis.load import Results, ResultsError
from analysis.tables import Table
from search.records import COMPLETED, CONFIG, EPOCH, EPOCHS, SEED, STATUS, STOPPED, TEST_ACCURACY, TRIAL_ID, Reported

STEP = "lr / (1 - momentum)"
_CURVE = "_test_accuracy"  # ending of the column of each curve's network
_DISTANCE = "_distance"
TRIALS = ["study", "which", EPOCHS, "distance"]


def distances(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each searched trial of each recovery and each seed of the note's replayed arms; nearest first.

    Columns: study, which ("trial 3", "replay, seed 0"), epochs, distance (mean over the curves, a fraction),
    `<curve>_distance` for each, and the searched settings with `STEP`. Raises ResultsError.
    """
    rows = []
    for result in results:
        if not result.recovery:
            continue
        printed = _printed(result, results)
        for trial in result.trials.to_dict("records"):
            if trial[EPOCHS] and trial[STATUS] in (COMPLETED, STOPPED):
                apart = {name: _apart(_own(result, trial, name), curve) for name, curve in printed.items()}
                rows.append(_row(result, f"trial {trial[TRIAL_ID]}", trial[EPOCHS], apart, _settings(result, trial)))
        rows += _replays(result, results, printed)
    frame = pd.DataFrame(rows, columns=None if rows else TRIALS)
    return frame.sort_values(["study", "distance"], kind="stable", ignore_index=True)


def told_apart(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each printed curve of each recovery: which settings it allows.

    Columns: study, curve, seeds (of the replays), apart and limit (fractions: the mean difference of two seeds of one
    setting, and the largest that is put down to chance), within (trials and seeds within reach), then least and most of
    each searched setting and of `STEP` over those.
    """
    rows = []
    for result in results:
        if not result.recovery:
            continue
        every = distances([result, *(x for x in results if not x.recovery)])
        for name, curve in _printed(result, results).items():
            seeds = _seeds(result, results, name)
            reach = {epochs: limit(seeds, epochs) for epochs in every[EPOCHS].unique()}
            near = every[every[name + _DISTANCE] <= every[EPOCHS].map(reach)]
            row: dict[str, Any] = {
                "study": result.record.study,
                "curve": name,
                "seeds": len(seeds),
                "apart": _pairs(seeds, len(curve)).mean() if len(seeds) > 1 else math.nan,
                "limit": limit(seeds, len(curve)),
                "within": "; ".join(near["which"]),
            }
            for setting in _told(result, name):
                row |= {f"{setting}, least": near[setting].min(), f"{setting}, most": near[setting].max()}
            rows.append(row)
    return pd.DataFrame(rows)


def limit(seeds: Mapping[int, np.ndarray], epochs: int) -> float:
    """Return the most that two seeds of one setting differ by over the first epochs; NaN for fewer than three pairs."""
    pairs = _pairs(seeds, epochs)
    if len(pairs) < 3:
        return math.nan
    spread = float(pairs.std(ddof=1)) * math.sqrt(1 + 1 / len(pairs))
    # Degrees of freedom of the seeds, not of the pairs, since pairs share seeds.
    return float(pairs.mean()) + float(special.stdtrit(len(seeds) - 1, LEVEL)) * spread


def _pairs(seeds: Mapping[int, np.ndarray], epochs: int) -> np.ndarray:
    """Return each seed's distance from each other seed's curve, rounded to whole percents like the notes'."""
    curves = [curve[:epochs] for curve in seeds.values()]
    return np.array([np.abs(one - np.round(other, 2)).mean() for one, other in itertools.permutations(curves, 2)])


def _told(result: Results, curve: str) -> list[str]:
    """Return the settings that a curve's network has: Adam's has no momentum to search."""
    searched = [name for name in result.record.space if not (name == "momentum" and curve == "adam")]
    return [*searched, STEP] if {"lr", "momentum"} <= set(searched) else searched


def _row(
    result: Results, which: str, epochs: int, apart: Mapping[str, float], settings: Mapping[str, Any]
) -> dict[str, Any]:
    row = {"study": result.record.study, "which": which, EPOCHS: int(epochs)}
    row |= {"distance": float(np.mean(list(apart.values())))}
    row |= {name + _DISTANCE: value for name, value in apart.items()}
    step = settings["lr"] / (1 - settings["momentum"]) if {"lr", "momentum"} <= settings.keys() else math.nan
    return row | dict(settings) | {STEP: step}


def _settings(result: Results, trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: trial[CONFIG + name] for name in result.record.space}


def _own(result: Results, trial: Mapping[str, Any], name: str) -> np.ndarray:
    epochs = result.epochs[result.epochs[TRIAL_ID] == trial[TRIAL_ID]].sort_values(EPOCH)
    return epochs[name + _CURVE].to_numpy(dtype=float)


def _apart(ours: np.ndarray, printed: np.ndarray) -> float:
    """Return the mean distance over the epochs that ours has."""
    return float(np.abs(ours - printed[: len(ours)]).mean())


def _note(text: str) -> str:
    match = re.search(r"note (\w)\b", text)
    return match[1] if match else ""


def _curves(result: Results) -> list[str]:
    return [
        name.removesuffix(_CURVE) for name in (one["name"] for one in result.record.metrics) if name.endswith(_CURVE)
    ]


def _reported(result: Results, results: Sequence[Results]) -> dict[str, Reported]:
    """Return the note's run behind each curve of a recovery: it has the curve's optimizer and prints every epoch."""
    note = _note(result.record.source)
    runs = {run.run: run for other in results for run in other.record.reported if run.note == note}
    whole = [
        run
        for run in runs.values()
        if run.dataset == result.record.dataset and _points(run) is not None and len(run.curve) == run.epochs
    ]
    found = {}
    for name in _curves(result):
        named = [run for run in whole if run.config.get("optimizer") == name]
        if len(named) != 1:
            raise ResultsError(
                f"{result.path}: a recovery is read beside a replay of note {note}'s run with optimizer {name} that "
                f"prints every epoch, got {len(named)} such runs"
            )
        found[name] = named[0]
    return found


def _points(run: Reported) -> np.ndarray | None:
    values = [point.get(TEST_ACCURACY) for point in run.curve]
    return None if not values or None in values else np.array(values, dtype=float)


def _printed(result: Results, results: Sequence[Results]) -> dict[str, np.ndarray]:
    return {name: points for name, run in _reported(result, results).items() if (points := _points(run)) is not None}


def _seeds(result: Results, results: Sequence[Results], name: str) -> dict[int, np.ndarray]:
    """Return the test curve of each seed of the note's run behind a curve, replayed unchanged but for the engine."""
    run = _reported(result, results)[name]
    found: dict[int, np.ndarray] = {}
    for other in results:
        if other.recovery or other.record.options.get("set") or run.run not in {x.run for x in other.record.reported}:
            continue
        trials = trials_by_arm(other).get(run.arm)
        if trials is None or other.record.dataset_fingerprint != result.record.dataset_fingerprint:
            continue
        for trial in trials.to_dict("records"):
            epochs = other.epochs[other.epochs[TRIAL_ID] == trial[TRIAL_ID]].sort_values(EPOCH)
            curve = epochs[TEST_ACCURACY].to_numpy(dtype=float)
            if len(curve) == len(run.curve) and not np.isnan(curve).any():
                found.setdefault(int(trial[SEED]), curve)
    return dict(sorted(found.items()))


def _replays(result: Results, results: Sequence[Results], printed: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return a row for each seed with which every curve's run was replayed."""
    seeds = {name: _seeds(result, results, name) for name in printed}
    settings = _replayed_settings(result, results)
    rows = []
    for seed in sorted(set.intersection(*map(set, seeds.values()))):
        apart = {name: _apart(seeds[name][seed], curve) for name, curve in printed.items()}
        rows.append(_row(result, f"replay, seed {seed}", len(next(iter(printed.values()))), apart, settings))
    return rows


def _replayed_settings(result: Results, results: Sequence[Results]) -> dict[str, Any]:
    """Return the searched settings that the replays of the note's runs had; NaN if their tables do not say."""
    runs = {run.run: run.arm for run in _reported(result, results).values()}
    found: dict[str, Any] = dict.fromkeys(result.record.space, math.nan)
    for other in results:
        for run in other.record.reported:
            trials = None if other.recovery else trials_by_arm(other).get(runs.get(run.run, ""))
            for name in result.record.space:
                if trials is not None and CONFIG + name in trials:
                    value = trials[CONFIG + name].iloc[0]
                    # Only SGD's network has a momentum.
                    found[name] = value if pd.isna(found[name]) or run.config.get("optimizer") == "sgd" else found[name]
    return found


def readable_distances(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the distances as text, in points."""
    shown = pd.DataFrame(index=frame.index)
    for name in frame:
        if name == "distance" or name.endswith(_DISTANCE):
            heading = "points from the curves" if name == "distance" else f"{name.removesuffix(_DISTANCE)} alone"
            shown[heading] = [f"{100 * value:.2f}" for value in frame[name]]
        else:
            shown[name] = [tables.cell(value) for value in frame[name]]
    return shown


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what each curve determines as text, distances in points."""
    rows = []
    for row in frame.to_dict("records"):
        ranges = [name.removesuffix(", least") for name in frame if str(name).endswith(", least")]
        told = [
            f"{name} {_number(row[f'{name}, least'])} to {_number(row[f'{name}, most'])}"
            for name in ranges
            if pd.notna(row[f"{name}, least"])
        ]
        rows.append(
            {
                "study": row["study"],
                "curve": row["curve"],
                "seeds": str(row["seeds"]),
                "two seeds differ by, points": _points_of(row["apart"]),
                "at most": _points_of(row["limit"]),
                "within that": row["within"],
                "settings within that": "; ".join(told),
            }
        )
    return pd.DataFrame(rows, dtype=str)


def _number(value: float) -> str:
    return f"{value:.3g}"


def _points_of(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{100 * value:.2f}"


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    if not any(result.recovery for result in results):
        raise ResultsError("needs the results of a recovery, and of the studies that replay the note's runs; got none")
    if args.trials:
        title = "Settings that a note does not print: how far one seed's curves lie from the printed ones"
        return Table(distances(results), title, read=readable_distances)
    return Table(told_apart(results), "Settings that a note does not print: what its curves determine", read=readable)


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("recovery", __doc__)
    options.add_argument("--trials", action="store_true", help="the distance of every trial and of every replayed seed")
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
