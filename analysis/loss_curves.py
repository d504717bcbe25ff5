"""Compare our training loss with the one that a note prints, epoch by epoch, in the note's unit.

Note A's losses are in bits (log base 2), ours in nats: ours are divided by ln 2 here. An epoch's loss is the mean over
its batches while the weights change: for AdaBoost, whose printed epochs are the last member's, that member's loss; for
Bagging the mean over its members. Losses of single batches (notes D and E) compare with no epoch's mean. Ours is the
mean over seeds, with its 95 % t interval.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import pandas as pd

from analysis import cli, compare, figures
from analysis.arms import arm_trials
from analysis.load import Results, by_study
from analysis.tables import Table
from search.records import ARM, EPOCH, SEED, TRAIN_LOSS

NATS = {"nats": 1.0, "bits": math.log(2)}  # nats in one of each unit
COLUMNS = [
    *("study", ARM, "run", EPOCH, "unit", "ours", "low", "high", "n", "reported", "difference", "changed"),
]


def loss_curves(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each printed epoch's training loss that a finished trial of the run's arm measured.

    Columns: `COLUMNS`, losses in `unit`; `difference` is ours less reported. Raises ResultsError if runs of one
    study differ in data set or an arm's trials in protocol.
    """
    rows = []
    for study, pooled, run, ours in compare.replayed_epochs(results):
        unit = run.loss_unit
        if unit not in NATS:
            continue
        changed = pooled[arm_trials(pooled, run.arm)["result"].iloc[0]].changed_of(run.arm)
        # Two trials of one seed are the same draw.
        measured = ours.dropna(subset=[TRAIN_LOSS]).groupby([EPOCH, SEED])[TRAIN_LOSS].mean() / NATS[unit]
        for printed in run.curve:
            epoch, value = printed[EPOCH], printed.get("train_loss_printed")
            if value is not None and epoch in measured.index.get_level_values(EPOCH):
                at = measured.xs(epoch, level=EPOCH)
                rows.append(
                    {"study": study, ARM: run.arm, "run": run.run, EPOCH: epoch, "unit": unit}
                    | compare.mean(at)
                    | {"reported": value, "difference": at.mean() - value}
                    | {"changed": changed}
                )
    return pd.DataFrame(rows, columns=COLUMNS)


NOTE = (
    "Losses in the note's unit (bits: log base 2; ours are divided by ln 2), means over an epoch's batches; ours with "
    "95 % over seeds."
)


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame = loss_curves(results)
    title = f"Training losses beside {len(frame)} printed ones: {', '.join(by_study(results))}"
    notes = [NOTE] if len(frame) else ["No arm of a run whose note prints an epoch's mean loss has finished here."]
    drawn = [figures.loss_curve(one) for _, one in frame.groupby(["study", "run", "changed"], sort=False)]
    return Table(frame.dropna(axis="columns", how="all"), title, notes, drawn)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.table(cli.parser("loss_curves", __doc__), answer, argv)


if __name__ == "__main__":
    sys.exit(main())
