"""Compare AdaBoost's weights of its members, alpha, with those that a note prints, round by round.

Note A's alpha is log2((K - 1) a / (1 - a)) / K for a member that was right on the share a of the training images (a
share of 1 / K, chance, gives 0). So a printed weight gives that accuracy to the image: `reported_train_accuracy` is
derived from it. Ours are the member's running training accuracy in the last epoch of its round, and the alpha that our
run voted with: means over seeds, with the 95 % t interval of alpha.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import pandas as pd

from analysis import cli, compare, independent_voters
from analysis.arms import arm_trials, trial_names
from analysis.load import Results, by_study
from analysis.tables import Table
from search.records import ARM, EPOCH, EPOCHS, MEMBERS, SEED, TRIAL_ID

ROUND_ACCURACY, REPORTED_ACCURACY = "train_accuracy", "reported_train_accuracy"
COLUMNS = [
    *("study", ARM, "run", "round", "ours", "low", "high", "n", "reported", "difference"),
    *(ROUND_ACCURACY, REPORTED_ACCURACY, "trials", "changed"),
]


def adaboost_weights(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each printed weight whose round a finished trial of the run's arm ended.

    Columns: `COLUMNS`; accuracies are fractions, NaN if a run did not record them or kept no labels to count the
    classes by. Raises ResultsError if runs of one study differ in data set or an arm's trials in protocol.
    """
    rows = []
    for study, pooled, run, _ in compare.replayed_epochs(results):
        if not run.alphas:
            continue
        trials = arm_trials(pooled, run.arm)
        ended = pd.concat([_rounds(pooled[t["result"]], t) for _, t in trials.iterrows()])
        first = trials.iloc[0]
        result = pooled[first["result"]]
        _, classes = independent_voters.of_trial(result, int(first[TRIAL_ID]))
        seeds = ended.groupby([MEMBERS, SEED]).mean()
        for round_, printed in enumerate(run.alphas, 1):
            if round_ not in seeds.index.get_level_values(MEMBERS):
                continue
            of_round = seeds.xs(round_, level=MEMBERS).dropna(subset=["alpha"])
            if of_round.empty:
                continue
            rows.append(
                {"study": study, ARM: run.arm, "run": run.run, "round": round_}
                | compare.mean(of_round["alpha"])
                | {"reported": printed, "difference": of_round["alpha"].mean() - printed}
                | {ROUND_ACCURACY: of_round["own_train_accuracy"].mean()}
                | {REPORTED_ACCURACY: accuracy_of(printed, classes) if classes > 1 else math.nan}
                | {"trials": trial_names(trials, pooled), "changed": result.changed}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def accuracy_of(alpha: float, classes: int) -> float:
    """Return the share of right training predictions that gives note A's alpha."""
    odds = 2 ** (alpha * classes) / (classes - 1)
    return odds / (1 + odds)


def _rounds(result: Results, trial: pd.Series) -> pd.DataFrame:
    rows = result.members
    rows = rows[(rows[TRIAL_ID] == trial[TRIAL_ID]) & (rows[EPOCH] == trial[EPOCHS])]
    return rows[[MEMBERS, "alpha", "own_train_accuracy"]].assign(**{SEED: trial[SEED]})


NOTE = (
    "alpha = log2((K - 1) a / (1 - a)) / K, with a the share of the training images that the member was right on in "
    "its last epoch; the note's accuracy is derived from its alpha. 95 % over seeds."
)


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame = adaboost_weights(results)
    title = f"AdaBoost's weights beside {len(frame)} printed ones: {', '.join(by_study(results))}"
    notes = [NOTE] if len(frame) else ["No arm of an AdaBoost run whose weights a note prints has finished here."]
    return Table(frame, title, notes)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.table(cli.parser("adaboost_weights", __doc__), answer, argv)


if __name__ == "__main__":
    sys.exit(main())
