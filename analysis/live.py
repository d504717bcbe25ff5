"""Write a running study's page again and again: `analysis.report` every 30 seconds, until the run has ended.

The page loads itself again in the browser, without a server, and keeps what the reader has unfolded. This process takes
the lowest priority, reads the results folder alone and replaces the page whole. If the first page cannot be
written, one line says why and the status is 2; what hinders a later page is said once. `search.run --report` starts it
with --until-closed, before the run has tables: then it waits for them.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from analysis import cli
from analysis.load import ResultsError, load
from analysis.report import report
from analysis.tables import printable

EVERY = 30  # seconds between two pages
TABLES = ("study.json", "trials.parquet", "epochs.parquet")


def write(paths: Sequence[str], output: Path, again: int | None) -> bool:
    """Replace the page, and return whether a run that it shows is still going. Raises ResultsError, OSError.

    `again` is the number of seconds after which the page loads itself, as long as a run is going.
    """
    read: list[str] = []
    results = load(paths, read.append)
    going = any(result.partial for result in results)
    text = report(results, read, again if going else None)
    # Beside the page, so that replacing it is one step: a browser that loads it meanwhile gets all of one or the other.
    part = output.with_name(f"{output.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, output)
    return going


def state(paths: Sequence[str]) -> list[tuple[str, int]]:
    """Return when each table was written, by which a change is noticed."""
    files = (file for path in paths for name in TABLES for file in sorted(Path(path).rglob(name)))
    return [(str(file), file.stat().st_mtime_ns) for file in files if file.exists()]


def closed(seconds: float) -> bool:
    """Wait for so long at most; return whether the other end of standard input was closed."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready and not os.read(sys.stdin.fileno(), 1024):
            return True
    return False


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("live", __doc__, output="FILE.html")
    options.add_argument("--every", type=int, default=EVERY, metavar="SECONDS", help="default: 30")
    options.add_argument("--until-closed", action="store_true", help="end when standard input is closed")
    args = options.parse_args(argv)
    if args.every < 1:
        options.error(f"--every needs a second or more, got {args.every}")

    def told(error: Exception) -> str:
        return printable(f"{options.prog}: {' '.join(str(error).split())}")

    before: list[tuple[str, int]] | None = None  # None: no page yet
    failure = ""
    while True:
        now, going = state(args.results), True
        if now != before:
            try:
                going = write(args.results, args.output, args.every)
                before, failure = now, ""
            except (ResultsError, OSError) as error:
                if not args.until_closed and told(error) != failure:
                    failure = told(error)
                    print(failure, file=sys.stderr)
                    if before is None:
                        return 2
        if args.until_closed:
            if closed(args.every):
                break
        elif not going:
            return 0
        else:
            time.sleep(args.every)
    try:
        write(args.results, args.output, None)
    except (ResultsError, OSError) as error:
        print(told(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    os.nice(19)  # the search comes first
    sys.exit(main())
