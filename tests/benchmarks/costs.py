"""python -m tests.benchmarks.costs --data DIR [--write] [SPACE...]: what each study's search costs on this machine.

Runs `python -m search.run SPACE --plan` for each space that says its cost, and prints the line that belongs into the
space's docstring; --write puts it there. Spaces whose cost is "see --plan" need what this machine lacks and stay.
Without --data nothing is measured: after a change of the early stopping's rule, the epochs that it leaves are worked
out anew, and the time that the line has changes with them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

from search.output import span
from search.plan import expected_share
from search.provenance import machine_name
from search.study import load

ROOT = Path(__file__).parents[2]
STOPPED = re.compile(r"(\d+) trials, ([\d,]+) epochs, about ([\d,]+) with early stopping: ([\d.]+) (s|min|h|days) on")
SECONDS = {"s": 1, "min": 60, "h": 3600, "days": 86_400}
LINE = re.compile(r"^Cost       (?!see --plan).*$", re.MULTILINE)


def cost(space: Path, data: Path, machine: str) -> str:
    """Return the docstring's line. Raises CalledProcessError if the plan fails."""
    command = [sys.executable, "-m", "search.run", str(space), "--plan", "--data", str(data)]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines() if line.startswith("|")]
    stopped, whole = rows[2], rows[3]
    less = "" if stopped[2] == whole[2] else f", about {stopped[2]} with early stopping"
    return f"Cost       {whole[1]} trials, {whole[2]} epochs{less}: {stopped[3]} on {machine}, {date.today()}"


def restopped(space: Path, line: str) -> str:
    """Return the docstring's line with the epochs that the study's own rule leaves, and its time in proportion."""
    told = STOPPED.search(line)
    if told is None:  # nobody is stopped
        return line
    trials, epochs, before, amount = (float(each.replace(",", "")) for each in told.group(1, 2, 3, 4))
    study = load(space)
    left = round(epochs * expected_share(study, int(trials), study.trial_epochs))
    seconds = amount * SECONDS[told[5]] * left / before
    new = f"{told[1]} trials, {told[2]} epochs, about {left:,} with early stopping: {span(seconds)} on"
    return line[: told.start()] + new + line[told.end() :]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.costs", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--write", action="store_true", help="put each line into its space's docstring")
    parser.add_argument("--machine", default=machine_name(), help="what the line calls this machine")
    parser.add_argument("spaces", nargs="*", type=Path)
    options = parser.parse_args()
    for space in options.spaces or sorted((ROOT / "spaces").glob("*.py")):
        text = space.read_text(encoding="utf-8")
        if not (old := LINE.search(text)):
            continue
        line = cost(space, options.data, options.machine) if options.data else restopped(space, old[0])
        print(f"{space.stem}: {line.removeprefix('Cost').strip()}", flush=True)
        if options.write:
            space.write_text(LINE.sub(lambda _, line=line: line, text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
