"""Compare each replayed arm with the run that its note reports, figure by figure and epoch by epoch.

Ours is the mean over seeds with its 95 % t interval. The note's result is measured as the note measured it: at the last
epoch, or, if the note printed its best test epoch, at the epoch of highest test accuracy. Losses are compared if the
note's unit is known (bits are converted to nats). Note D's least training loss is not compared: it lies so far below
the final one that it must be a single batch's (inferred). The notes' times come from other machines: they are shown,
not judged.

leaves_at       the first printed epoch at which our mean lies farther than --band from the printed figure
changed         settings that --set made different from the reported run: our figures are then those of another run
selection_bias  what choosing by test data would have gained: the best epoch's test accuracy less that of the
                epoch which validation accuracy chooses
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis import cli, figures
from analysis.answers import with_answers
from analysis.arms import SECONDS_PER_EPOCH, arm_trials, arm_values, trial_names, values_at_best
from analysis.intervals import mean_interval
from analysis.load import Results, by_study
from analysis.sizes import by_size
from analysis.tables import Table, cell, heading
from search.records import (
    ARM,
    BEST_VAL_EPOCH,
    EPOCH,
    MEMBERS,
    OWN_TEST_ACCURACY,
    OWN_VAL_ACCURACY,
    PARAMETERS,
    ROUND,
    RUNNING_TRAIN_ACCURACY,
    SEED,
    TEST_ACCURACY,
    TEST_KL_LOSS,
    TEST_LOSS,
    TEST_TOP5_ACCURACY,
    TRAIN_ACCURACY,
    TRAIN_LOSS,
    TRIAL_ID,
    VAL_ACCURACY,
    Reported,
)

BAND = 0.03
CURVES = (TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY)
KL = "nats, KL to the smoothed target"  # unit of note C's test loss
NATS = {"nats": 1.0, KL: 1.0, "bits": math.log(2)}
# Our quantities, and the fields of a reported run.
FIGURES = {
    TEST_ACCURACY: "test_accuracy",
    TEST_TOP5_ACCURACY: "top5_accuracy",
    VAL_ACCURACY: "val_accuracy",
    TRAIN_ACCURACY: "train_accuracy",
    TRAIN_LOSS: "train_loss",
    TEST_LOSS: "test_loss",
    PARAMETERS: "parameters",
    SECONDS_PER_EPOCH: "seconds_per_epoch",
}
COLUMNS = [
    *("study", ARM, "run", "section", "quantity", "ours", "low", "high", "n", "reported", "difference"),
    *("epochs_compared", "leaves_at", "selection_bias", "trials", "changed"),
]
CURVE_COLUMNS = [
    *("study", ARM, "run", "quantity", EPOCH, "ours", "low", "high", "n", "reported", "difference"),
    *("outside", "changed"),
]


def compare(results: Sequence[Results], band: float = BAND) -> pd.DataFrame:
    """Return a row for each figure that a reported run prints and a finished trial of its arm measured.

    Columns: `COLUMNS`; accuracies and `band` are fractions, losses nats. `difference` is ours less reported.
    Raises ResultsError if runs of one study differ in data set or an arm's trials in protocol.
    """
    curve = curves(results, band)
    rows = []
    for study, pooled, run in _replayed(results):
        trials = arm_trials(pooled, run.arm)
        changed = pooled[trials["result"].iloc[0]].changed_of(run.arm)
        of_run = curve[(curve["run"] == run.run) & (curve["study"] == study) & (curve["changed"] == changed)]
        for quantity, field in FIGURES.items():
            reported = getattr(run, field)
            ours = _ours(pooled, run, quantity)
            if quantity.endswith("loss") and reported is not None:
                reported *= NATS.get(str(run.loss_unit), math.nan)
            if reported is None or math.isnan(reported) or ours.empty:
                continue
            points = of_run[of_run["quantity"] == quantity]
            outside = points[points["outside"]]
            bias = _selection_bias(pooled, trials) if quantity == TEST_ACCURACY else math.nan
            rows.append(
                {
                    "study": study,
                    ARM: run.arm,
                    "run": run.run,
                    "section": f"{run.note} {run.section}",
                    "quantity": quantity,
                    **mean(ours),
                    "reported": reported,
                    "difference": ours.mean() - reported,
                    "epochs_compared": len(points),
                    "leaves_at": outside[EPOCH].min() if len(outside) else None,
                    "selection_bias": bias,
                    "trials": trial_names(trials, pooled),
                    "changed": changed,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def curves(results: Sequence[Results], band: float = BAND) -> pd.DataFrame:
    """Return a row for each printed epoch that a finished trial of the run's arm measured; columns `CURVE_COLUMNS`."""
    rows = []
    for study, pooled, run, ours in replayed_epochs(results):
        changed = pooled[arm_trials(pooled, run.arm)["result"].iloc[0]].changed_of(run.arm)
        for quantity in CURVES:
            # Two trials of one seed are the same draw.
            measured = ours.dropna(subset=[quantity]).groupby([EPOCH, SEED])[quantity].mean()
            for printed in run.curve:
                epoch, value = printed[EPOCH], printed.get(quantity)
                if value is None or epoch not in measured.index.get_level_values(EPOCH):
                    continue
                at = measured.xs(epoch, level=EPOCH)
                difference = at.mean() - value
                rows.append(
                    {"study": study, ARM: run.arm, "run": run.run, "quantity": quantity, EPOCH: epoch}
                    | mean(at)
                    | {"reported": value, "difference": difference, "outside": abs(difference) > band}
                    | {"changed": changed}
                )
    return pd.DataFrame(rows, columns=CURVE_COLUMNS).astype({"outside": bool})


def replayed_epochs(
    results: Sequence[Results],
) -> Iterator[tuple[str, list[Results], Reported, pd.DataFrame]]:
    """Yield each reported run whose arm has a finished trial: study, its runs, the reported run, its trials' epochs.

    The epochs have the columns epoch, seed and those that a curve prints (accuracies and train_loss), measured as the
    run's curve was. Raises ResultsError.
    """
    for study, pooled, run in _replayed(results):
        trials = arm_trials(pooled, run.arm)
        yield study, pooled, run, pd.concat([_epochs(pooled[t["result"]], t, run) for _, t in trials.iterrows()])


def _replayed(results: Sequence[Results]) -> list[tuple[str, list[Results], Reported]]:
    """Return each reported run on the studied data set whose arm has a finished trial, with its study and runs.

    Each comes once for each size at which the arm was run, see `analysis.sizes`.
    """
    found: dict[tuple[object, ...], tuple[str, list[Results], Reported]] = {}
    for view in by_size(results):
        for study, pooled in by_study(with_answers(view)).items():
            runs = {run.run: run for result in pooled for run in result.record.reported}
            dataset = pooled[0].record.dataset
            for run in runs.values():
                trials = arm_trials(pooled, run.arm)
                if run.dataset == dataset and len(trials):
                    found.setdefault((study, run.run, trial_names(trials, pooled)), (study, pooled, run))
    return list(found.values())


def _ours(results: Sequence[Results], run: Reported, quantity: str) -> pd.Series:
    if quantity == TEST_LOSS and run.loss_unit == KL:
        quantity = TEST_KL_LOSS
    if run.selection == "best" and quantity in (TEST_ACCURACY, TEST_TOP5_ACCURACY, TEST_LOSS, TEST_KL_LOSS):
        return values_at_best(results, run.arm, quantity)
    return arm_values(results, run.arm, quantity)


def mean(values: pd.Series) -> dict[str, float]:
    """Return the mean over seeds as "ours", its interval as low and high (NaN if unbounded) and n."""
    interval = mean_interval(values)
    bounded = math.isfinite(interval.low)
    low, high = (interval.low, interval.high) if bounded else (math.nan, math.nan)
    return {"ours": interval.effect, "low": low, "high": high, "n": interval.n}


def _epochs(result: Results, trial: pd.Series, run: Reported) -> pd.DataFrame:
    """Return one trial's accuracies and training loss by epoch, measured as the run's curve was.

    A curve "of the last member" (AdaBoost, whose members train one after the other) counts the epochs of that
    member's round, with the member's own running training accuracy and loss and its own test accuracy.
    """
    rows = result.epochs[result.epochs[TRIAL_ID] == trial[TRIAL_ID]]
    if "last member" in (run.train_accuracy_measured or "") and ROUND in rows:
        last = rows[rows[ROUND] == rows[ROUND].max()]
        members = result.members[result.members[TRIAL_ID] == trial[TRIAL_ID]]
        own = members[members[MEMBERS] == last[ROUND].max()].set_index(EPOCH)
        rows = last.assign(
            **{
                TRAIN_ACCURACY: last[RUNNING_TRAIN_ACCURACY],
                VAL_ACCURACY: last[EPOCH].map(own[OWN_VAL_ACCURACY]),
                TEST_ACCURACY: last[EPOCH].map(own[OWN_TEST_ACCURACY]),
                EPOCH: last[EPOCH] - last[EPOCH].min() + 1,
            }
        )
    return rows[[EPOCH, *CURVES, TRAIN_LOSS]].assign(**{SEED: trial[SEED]})


def _selection_bias(results: Sequence[Results], trials: pd.DataFrame) -> float:
    """Return the mean selection bias of the trials; NaN without validation accuracy or test accuracy at every epoch."""
    gains = []
    for _, trial in trials.iterrows():
        epochs = results[trial["result"]].epochs
        test = epochs[epochs[TRIAL_ID] == trial[TRIAL_ID]].set_index(EPOCH)[TEST_ACCURACY]
        if pd.notna(trial[BEST_VAL_EPOCH]) and test.notna().all():
            gains.append(test.max() - test[trial[BEST_VAL_EPOCH]])
    return float(pd.Series(gains, dtype="float64").mean())


def _difference(value: float, quantity: str) -> str:
    """Return a difference as text; accuracies in points."""
    if pd.isna(value):
        return ""
    return f"{100 * value:+.2f}" if quantity.endswith("accuracy") else f"{value:+,.4g}"


def _beside(one: dict[str, Any]) -> dict[str, str]:
    """Return our figure and the note's as a reader sees them."""
    quantity = one["quantity"]
    return {
        "ours": cell(one["ours"], quantity),
        "95 %": " to ".join(filter(None, (cell(one[end], quantity) for end in ("low", "high")))),
        "seeds": str(one["n"]),
        "reported": cell(one["reported"], quantity),
        "difference": _difference(one["difference"], quantity),
    }


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    def row(one: dict[str, Any]) -> dict[str, str]:
        leaves = ""
        if one["epochs_compared"]:
            at = one["leaves_at"]
            leaves = f"not in {one['epochs_compared']} epochs" if pd.isna(at) else f"epoch {at:.0f}"
        return {
            "arm": one[ARM],
            "note": one["section"],
            "quantity": heading(one["quantity"]),
            **_beside(one),
            "leaves the curve": leaves,
            "selection bias": _difference(one["selection_bias"], TEST_ACCURACY),
            **({"changed": one["changed"]} if scaled else {}),
        }

    scaled = bool((frame["changed"] != "").any())
    rows = [row({str(k): v for k, v in one.items()}) for one in frame.to_dict("records")]
    shown = pd.DataFrame(rows, columns=None if rows else [], dtype=str)
    # Most notes have no curves, or no validation set.
    said = [name for name in shown if name not in ("leaves the curve", "selection bias") or shown[name].any()]
    return shown[said]


def readable_curves(frame: pd.DataFrame) -> pd.DataFrame:
    several, scaled = frame["study"].nunique() > 1, bool((frame["changed"] != "").any())

    def row(one: dict[str, Any]) -> dict[str, str]:
        return {
            **({"study": one["study"]} if several else {}),
            "arm": one[ARM],
            "run": one["run"],
            "quantity": heading(one["quantity"]),
            "epoch": str(one[EPOCH]),
            **_beside(one),
            "outside": "yes" if one["outside"] else "",
            **({"changed": one["changed"]} if scaled else {}),
        }

    rows = [row({str(k): v for k, v in one.items()}) for one in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=None if rows else [], dtype=str)


def note(band: float) -> str:
    return (
        "Accuracies in percent, their differences in points, losses in nats, times in seconds; the notes' times come "
        f"from other machines. A curve is left at the first epoch more than {100 * band:g} points away."
    )


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame, curve = compare(results, args.band), curves(results, args.band)
    title = f"Ours beside the notes' figures: {frame['run'].nunique()} runs of {', '.join(by_study(results))}"
    notes = [note(args.band)]
    if frame.empty:
        here = ", ".join(dict.fromkeys(result.record.dataset for result in results))
        notes = [f"No arm of a reported run has finished on that run's data set (ours: {here})."]
    if args.curves:
        return Table(curve, title, notes, read=readable_curves)
    return Table(
        frame,
        title,
        notes,
        [figures.curves(one) for _, one in curve.groupby(["study", "run", "changed"], sort=False)],
        readable,
    )


def _band(text: str) -> float:
    if not (value := float(text)) > 0:
        raise ValueError
    return value / 100


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("compare", __doc__)
    options.add_argument(
        "--band", type=_band, default=BAND, metavar="POINTS", help="distance that leaves a curve; default: 3 points"
    )
    options.add_argument("--curves", action="store_true", help="print the table epoch by epoch")
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
