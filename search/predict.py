"""Label pictures with the best model of a run: python -m search.predict RESULTS IMAGE...

Prints a line for each picture: its file, the label that the model's own vote gives, and the most probable classes. A
picture of another size or colour is prepared as the data set's own were. Exit status: 0 done, 2 wrong request.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd

from search.failures import UsageError
from search.finished import LABEL, PROBABILITY, Results, ResultsError
from search.output import guard, one_line
from search.study import StudyError, load


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _Parser(prog="python -m search.predict", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("results", type=Path, help="a run's folder, or a folder that holds runs of one study")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG or WebP files")
    parser.add_argument("--space", type=Path, help="the space file, if its trainable is its own and it was moved")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes shown for each picture (default 3)")
    try:
        options = parser.parse_args(arguments)
        if options.top < 1:
            raise UsageError(f"--top must be at least 1, got {options.top}")
        study = load(options.space) if options.space else None
        results = Results(options.results, study, options.space)
        if results.path != options.results:
            print(f"by the best model of {results.path}", file=sys.stderr)
        print(table(results.predict(options.images), options.top))
    except (UsageError, StudyError, ResultsError) as error:
        print(f"search.predict: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def table(predicted: pd.DataFrame, top: int) -> str:
    """Return a line for each picture: file, label, and the `top` most probable classes."""
    files = max(len(str(name)) for name in predicted.index)
    labels = max(map(len, predicted[LABEL]))
    lines = []
    for name, row in predicted.iterrows():
        classes = row.drop([LABEL, PROBABILITY]).astype(float).nlargest(top)
        shares = "  ".join(f"{each} {share:.1%}" for each, share in classes.items())
        lines.append(f"{name!s:{files}}  {row[LABEL]:{labels}}  {shares}")
    return "\n".join(lines)


if __name__ == "__main__":
    guard()
    sys.exit(main())
