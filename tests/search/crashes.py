"""python -m tests.search.crashes [--kills N] [--seed S]: a search killed again and again, beside one left in peace.

Runs a smoke study of real networks one trial at a time, and kills, at random moments, the driver alone (its
orphans live on), the driver with all it started, the trial's worker, or Ray's raylet. What ended is resumed.
Each study must end as one that ran through: the same suggestions, decisions, metrics, predictions and best
weights, every trial finished exactly once. Only clocks, throughput and memory may differ. Studies follow one
another, each with the next seed, until N kills are done. Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import torch

from search import journal
from search.journal import JOURNAL_FILE, TrialLog
from search.records import STUDY_FILE, TABLES, StudyRecord
from search.resources import cpu_count

ROOT = Path(__file__).parents[2]
SPACE = "tests/search/crash_space.py"
STUDY = ["--smoke"]
VICTIMS = ("driver", "everything", "worker", "raylet")
APART = {"seconds", "train_seconds", "images_per_second", "peak_memory_bytes"}
PATIENCE = 300.0  # seconds without an event, on a machine that does other things too


class Run:
    """One study in `results`, run and resumed until it is finished."""

    def __init__(self, results: Path, seed: int) -> None:
        self.results = results
        self.seed = seed
        self.process: subprocess.Popen[str] | None = None
        self.output = (results / "output.txt").open("a")
        self.family: set[psutil.Process] = set()

    @property
    def folder(self) -> Path | None:
        """The run's folder, once there is something to resume."""
        found = [path.parent for path in self.results.glob(f"*/*/{STUDY_FILE}")]
        assert len(found) <= 1, found
        return found[0] if found else None

    def lines(self) -> int:
        path = self.folder / JOURNAL_FILE if self.folder else None
        return path.read_bytes().count(b"\n") if path else 0

    def epochs(self) -> int:
        return sum(len(log.results) for log in read(self.folder).values()) if self.folder else 0

    def start(self) -> None:
        how = ["--resume"] if self.folder else [*STUDY, "--seed", str(self.seed)]
        where = ["--results", str(self.results), "--cpus-per-trial", str(cpu_count())]  # one trial at a time
        self.process = subprocess.Popen(
            [sys.executable, "-m", "search.run", SPACE, *how, *where],
            cwd=ROOT,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ended(self) -> bool:
        assert self.process
        return self.process.poll() is not None

    def finished(self) -> bool:
        return bool(self.folder) and StudyRecord.from_json((self.folder / STUDY_FILE).read_text()).finished

    def members(self) -> list[psutil.Process]:
        """The driver and all it started, also what its death orphaned."""
        assert self.process
        try:
            driver = psutil.Process(self.process.pid)
            self.family |= {driver, *driver.children(recursive=True)}
        except psutil.NoSuchProcess:
            pass
        self.family = {process for process in self.family if process.is_running()}
        return list(self.family)

    def kill(self, victim: str) -> bool:
        """False where there is no such process at this moment."""
        assert self.process
        found = [process for process in self.members() if plays(process, victim, self.process.pid)]
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                found.remove(process)
        return bool(found)

    def wait(self, until: Callable[[], bool]) -> bool:
        """True when `until` holds, False if the run ended first. Raises AssertionError where nothing happens."""
        deadline = time.monotonic() + PATIENCE
        seen = self.lines()
        while not until():
            if self.ended():
                return False
            if (lines := self.lines()) > seen:
                seen, deadline = lines, time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, f"nothing happened for {PATIENCE:.0f} s; see {self.output.name}"
            time.sleep(0.003)
        return True


def plays(process: psutil.Process, victim: str, driver: int) -> bool:
    if victim == "everything" or process.pid == driver:
        return victim in ("everything", "driver")
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    pattern = {"worker": r"^ray::(?!DashboardAgent|RuntimeEnvAgent|IDLE)", "raylet": r"/raylet/raylet "}.get(victim)
    return bool(pattern and re.search(pattern, command))


def read(folder: Path) -> dict[int, TrialLog]:
    return journal.read((folder / JOURNAL_FILE).read_bytes(), folder / JOURNAL_FILE).trials


def torment(run: Run, kills: int, random: random.Random) -> Counter[str]:
    """Run a study to its end with up to `kills` kills on the way; returns how many of each kind there were."""
    done: Counter[str] = Counter()
    run.start()
    while not run.finished():
        if run.ended():
            run.start()
        if sum(done.values()) == kills:
            run.wait(lambda: False)
            continue
        victim = random.choice(VICTIMS)
        # In the first moments of a process, or after some more events; then a moment that no event marks.
        startup = victim in ("driver", "everything") and random.random() < 0.2
        events, moment = random.randint(1, 6), random.uniform(0, 0.2)
        target = run.lines() + events
        seconds = time.monotonic() + random.uniform(0, 20)
        epochs = run.epochs()
        if not run.wait(lambda: time.monotonic() > seconds if startup else run.lines() >= target):  # noqa: B023
            continue
        time.sleep(moment)
        if run.ended() or not run.kill(victim):
            continue
        done[victim] += 1
        when = "while it started" if startup else f"{events} events and {moment:.2f} s later"
        print(f"  kill {sum(done.values())}: {victim}, {when}, in epoch {epochs} of all", flush=True)
        if victim == "worker":
            # By itself it goes on; twice in one epoch would be a trial that gets no further.
            run.wait(lambda: run.epochs() > epochs + 1)  # noqa: B023
        else:
            assert run.process
            run.process.wait(PATIENCE)
    return done


def clean_up(run: Run) -> None:
    for process in run.members():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def differences(ours: Path, theirs: Path) -> list[str]:
    """What two runs' folders do not have in common, in words."""
    found = []
    for folder in (ours, theirs):
        events = [json.loads(line) for line in (folder / JOURNAL_FILE).read_bytes().splitlines()]
        for kind in ("suggest", "end"):
            counts = Counter(event["trial"] for event in events if event["event"] == kind)
            found += [f"{folder}: trial {n} has {count} of {kind!r}" for n, count in counts.items() if count != 1]
        found += [f"{path} was left" for path in folder.rglob("checkpoint_*")]
    a, b = read(ours), read(theirs)
    if a.keys() != b.keys():
        found.append(f"trials {sorted(a)} and {sorted(b)}")
    for number in a.keys() & b.keys():
        for what in ("name", "config", "arm", "state", "status"):
            if getattr(a[number], what) != getattr(b[number], what):
                found.append(f"trial {number}: {what} {getattr(a[number], what)!r} and {getattr(b[number], what)!r}")
        if without(a[number].results) != without(b[number].results):
            found.append(f"trial {number}: results {a[number].results} and {b[number].results}")
    for table in TABLES:
        one, other = (pq.read_table(folder / f"{table}.parquet") for folder in (ours, theirs))
        one, other = (t.drop_columns([name for name in t.column_names if name in APART]) for t in (one, other))
        if table == "trials":
            one, other = one.drop_columns("error"), other.drop_columns("error")
        if not one.equals(other):
            found.append(f"{table}.parquet differs")
    weights = [torch.load(folder / "best.pt", weights_only=True) for folder in (ours, theirs)]
    if not same(*weights):
        found.append("best.pt differs")
    return found


def without(results: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {epoch: {k: v for k, v in result.items() if k not in APART} for epoch, result in sorted(results.items())}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.search.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="in all (default 20)")
    parser.add_argument("--seed", type=int, default=None, help="of the kills and of the first study")
    parser.add_argument("--results", type=Path, default=None, help="where the studies run (default: a new folder)")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(2))
    results = options.results or Path(tempfile.mkdtemp(prefix="crashes-"))
    random_ = random.Random(seed)
    total: Counter[str] = Counter()
    found: list[str] = []
    for study in itertools.count(seed):
        print(f"study of seed {study}, killed by seed {seed}, in {results}", flush=True)
        folders = []
        for name, kills in (("in-peace", 0), ("killed", options.kills - sum(total.values()))):
            (results / f"{study}-{name}").mkdir(parents=True)
            run = Run(results / f"{study}-{name}", study)
            try:
                total += torment(run, kills, random_)
            finally:
                clean_up(run)
            assert run.folder
            folders.append(run.folder)
        found += differences(*folders)
        logs = read(folders[1]).values()
        print(
            f"  {len(logs)} trials, {sum(len(log.results) for log in logs)} epochs: {found or 'all the same'}",
            flush=True,
        )
        if found or sum(total.values()) >= options.kills:
            break
    print(
        f"{sum(total.values())} kills ({', '.join(f'{n} of {victim}' for victim, n in total.items())}): "
        f"{'; '.join(found) or 'nothing was lost'}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
