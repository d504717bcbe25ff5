"""Name the classes that the best predictor takes for others: python -m analysis.confusions RESULTS...

For each run, the trial that is best on validation images, and its labels for the test images: a row for each pair of
classes that it confuses, most images first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from analysis import cli
from analysis.load import Results
from analysis.tables import Table
from search.records import IMAGE, LABEL, PREDICTED, TRIAL_ID

MOST = 15  # most pairs of a run
SHARE = "share_of_class"


def confusions(result: Results, most: int = MOST) -> pd.DataFrame:
    """Return the pairs of classes that the run's best trial confuses most often on the test images.

    Columns trial, class, taken_for (names), images, and share_of_class, the fraction of the class's test images. No
    rows if no trial kept its labels or none is wrong.
    """
    columns = ["trial", "class", "taken_for", "images", SHARE]
    best = result.best()
    kept = pd.DataFrame() if best is None else result.predictions(int(best[TRIAL_ID]))
    if best is None or kept.empty:
        return pd.DataFrame(columns=columns)
    of_class = kept[LABEL].value_counts()
    wrong = kept[kept[LABEL] != kept[PREDICTED]]
    pairs = wrong.groupby([LABEL, PREDICTED], as_index=False)[IMAGE].count()
    pairs = pairs.sort_values([IMAGE, LABEL, PREDICTED], ascending=[False, True, True]).head(most)
    rows = [
        (
            int(best[TRIAL_ID]),
            class_name(result, int(label)),
            class_name(result, int(predicted)),
            int(images),
            images / of_class[label],
        )
        for label, predicted, images in pairs[[LABEL, PREDICTED, IMAGE]].itertuples(index=False)
    ]
    return pd.DataFrame(rows, columns=columns)


def class_name(result: Results, label: int) -> str:
    """Return the name of a label; its number if the run's record has no names."""
    names = result.record.class_names
    return names[label] if label < len(names) else str(label)


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as text, shares in percent."""
    shown = rows.astype({"images": int}).astype(str)
    shown[SHARE] = [f"{100 * share:.1f}" for share in rows[SHARE]]
    return shown.rename(columns={"taken_for": "taken for", SHARE: "of its images %"})


def answer(results: Sequence[Results], args: argparse.Namespace) -> Table:
    """Return the confusions of every run as a table."""
    of = [{"study": result.record.study, "run": result.record.run} for result in results]
    found = [confusions(result).assign(**names) for result, names in zip(results, of, strict=True)]
    rows = pd.concat(found, ignore_index=True)
    rows = rows[["study", "run", *(name for name in rows if name not in ("study", "run"))]]
    notes = [] if len(rows) else ["No finished trial of a search kept its labels of the test images, or none is wrong."]
    return Table(rows, "Classes taken for others by the best trial", notes, read=readable)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.table(cli.parser("confusions", __doc__), answer, argv)


if __name__ == "__main__":
    sys.exit(main())
