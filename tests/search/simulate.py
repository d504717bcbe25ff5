"""python -m tests.search.simulate [--schedules N] [--seed S] [--schedule K] [--processes P]: crashes by the thousand.

Plays schedules 0 to N - 1 of a seed (see `tests.search.simulator`), or schedule K alone with all that happened in it.
Prints each failure with what it takes to play it again. Exit status 1 if there was any.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.search import simulator


def attempt(job: tuple[int, int]) -> tuple[str | None, Counter[str]]:
    """What is wrong with a schedule, and what happened in it."""
    try:
        world, _ = simulator.play(*job)
    except simulator.Fault as error:
        return str(error), Counter()
    return None, Counter(line.split()[0] for line in world.history)


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.search.simulate", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=None, help="of all schedules (default: another each time)")
    parser.add_argument("--schedule", type=int, default=None, help="play this one alone, and tell it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(None if arguments is None else list(arguments))
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3))
    if options.schedule is not None:
        world, _ = simulator.play(seed, options.schedule)
        print("\n".join(map(str, [world.setting, *world.history])))
        return 0
    jobs = [(seed, schedule) for schedule in range(options.schedules)]
    began = time.monotonic()
    failures, happened = [], Counter[str]()
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for problem, events in pool.imap_unordered(attempt, jobs, chunksize=20):
            happened += events
            if problem:
                failures.append(problem)
                print(problem, flush=True)
    taken = time.monotonic() - began
    print(f"{len(jobs)} schedules of seed {seed} in {taken:.0f} s: {len(failures)} failed; {dict(happened)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
