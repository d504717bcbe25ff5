"""Measure how far the probabilities of each ensemble size can be trusted, and how far its members differ.

At a trial's last epoch, for the first 1, 2, ... members: negative log-likelihood (nats an image), expected
calibration error (15 equal bins), Brier score, the share of images on which two members' labels differ and their Q
statistic (means over pairs: 0 for members that err independently, 1 for members that err together). The probabilities
of a hard vote are its members' mean, those of an AdaBoost its weighted vote's. For training images and out of bag only
the accuracy was measured. Intervals: 95 %, Student's t over seeds; none for one seed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence

import pandas as pd

from analysis import cli, ensemble_size, figures
from analysis.arms import trial_names
from analysis.intervals import mean_interval
from analysis.load import Results, by_study
from analysis.sizes import arms_by_size
from analysis.tables import Table, cell, heading
from search.records import EPOCH, EPOCHS, MEMBERS, OOB_ACCURACY, SEED, TRAIN_ACCURACY, TRIAL_ID

# Columns of members.parquet, by images and quantity.
MEASURES = ("accuracy", "loss", "ece", "brier", "disagreement", "q_statistic")
QUANTITIES: dict[str, dict[str, str]] = {
    "validation": {name: f"val_{name}" for name in MEASURES},
    "test": {name: f"test_{name}" for name in MEASURES},
    "training": {"accuracy": TRAIN_ACCURACY},
    "out of bag": {"accuracy": OOB_ACCURACY},
}
WORDS = {
    "loss": "log-likelihood loss",
    "ece": "calibration error",
    "brier": "Brier score",
    "q_statistic": "Q statistic",
}
COLUMNS = ["study", "ensemble", MEMBERS, "images", "quantity", "value", "low", "high", "n", "trials"]


def uncertainty(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each quantity measured for each size of each arm, and of the best searched trials.

    Columns: `COLUMNS`; accuracies are fractions. Runs that did not record calibration yet give no row. Raises
    ResultsError if runs of one study differ in data set or an arm's trials in protocol.
    """
    rows = []
    for study, pooled in by_study(results).items():
        for ensemble, trials in _ensembles(pooled):
            prefixes = pd.concat([_last_epoch(pooled[t["result"]], t) for _, t in trials.iterrows()])
            if prefixes.empty or prefixes[["val_ece", "test_ece"]].isna().all(axis=None):
                continue
            # Two trials of one seed are the same draw.
            seeds = prefixes.groupby([MEMBERS, SEED]).mean()
            names = trial_names(trials, pooled)
            for size in seeds.index.unique(MEMBERS):
                of_size = seeds.xs(size, level=MEMBERS)
                for images, columns in QUANTITIES.items():
                    for quantity, column in columns.items():
                        values = of_size[column].dropna()
                        if len(values):
                            interval = mean_interval(values)
                            bounded = math.isfinite(interval.low)
                            low, high = (interval.low, interval.high) if bounded else (math.nan, math.nan)
                            told = (study, ensemble, size, images, quantity, interval.effect, low, high)
                            rows.append((*told, interval.n, names))
    return pd.DataFrame(rows, columns=COLUMNS)


def _ensembles(results: Sequence[Results]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each arm's finished trials, then each run's best searched trial and best searched ensemble.

    The trials have the place of their `result` as a column.
    """
    yield from arms_by_size(results)
    for place, result in enumerate(results):
        best = [] if result.recovery else [result.best(), ensemble_size.best_searched_ensemble(result)]
        for one in {trial[TRIAL_ID]: trial for trial in best if trial is not None}.values():
            trials = pd.DataFrame([one]).assign(result=place)
            yield f"trial {trial_names(trials, results)}", trials


def _last_epoch(result: Results, trial: pd.Series) -> pd.DataFrame:
    rows = result.members
    rows = rows[(rows[TRIAL_ID] == trial[TRIAL_ID]) & (rows[EPOCH] == trial[EPOCHS])]
    columns = [column for of_images in QUANTITIES.values() for column in of_images.values()]
    return rows[[MEMBERS, *columns]].assign(**{SEED: trial[SEED]})


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each ensemble, size and kind of images, with a column for each quantity."""
    keys = ["study", "ensemble", MEMBERS, "images"]
    rows = []
    for key, one in frame.groupby(keys, sort=False):
        told = {name: _told(values) for name, values in one.set_index("quantity").iterrows()}
        shown = {heading(WORDS.get(name, name)): told.get(name, "") for name in MEASURES}
        rows.append(dict(zip(keys, map(str, key), strict=True)) | shown | {"seeds": str(one["n"].max())})
    several = frame["study"].nunique() > 1
    return pd.DataFrame(rows, columns=None if rows else [], dtype=str).drop(
        columns=[] if several else "study", errors="ignore"
    )


def _told(one: pd.Series) -> str:
    quantity = str(one.name)
    value = cell(one["value"], quantity)
    if pd.isna(one["low"]):
        return value
    return f"{value} ({cell(one['low'], quantity)} to {cell(one['high'], quantity)})"


NOTE = (
    "At the last epoch: loss in nats an image, calibration error over 15 equal bins of the predicted label's "
    "probability, Brier score summed over classes; disagreement and Q are means over pairs of members. In brackets "
    "95 % over seeds. A hard vote's probabilities are its members' mean."
)
NOTHING = "No finished trial has recorded calibration (runs from 2026-11-25 on do)."


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame = uncertainty(results)
    title = f"Calibration and diversity by ensemble size: {', '.join(by_study(results))}"
    drawn = [figures.uncertainty(one) for _, one in frame.groupby("study", sort=False)]
    return Table(frame, title, [NOTHING if frame.empty else NOTE], drawn, readable)


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("uncertainty", __doc__)
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
