"""What early stopping and a sampler are worth: the platform's default beside what people would take instead.

`python -m tests.benchmarks.early_stopping --json FILE` simulates every way on every landscape of
tests.benchmarks.landscapes with many seeds, keeps each search as a line of FILE, goes on from there, and prints tables;
`--figure` draws the curves. Regret is the best expected accuracy of the landscape less the accuracy expected of the
configuration that was handed over, in points.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy import stats

from tests.benchmarks.landscapes import LANDSCAPES, Landscape, Surface
from tests.benchmarks.simulation import Search, simulate
from tests.benchmarks.ways import IEpoch, Optuna, Ours, Ray, SyneTune

FIRST_SEED, SEEDS = 100, 50  # the default was chosen on others, and on two of the landscapes
CHOSEN_ON = ("lenet", "lenet_mixed")
TARGET_SEEDS = range(1000, 1050)
RANDOM_TRIALS = 32  # full ones that the largest budget pays, and of which the median best is the target
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1)
SLOTS = (2, 8)
PYTHON = "SYNE_TUNE_PYTHON"  # variable that names the Python of an environment that holds Syne Tune
ON_EIGHT = 5  # ways that are simulated on eight slots too, the first of WAYS

OURS, RANDOM, I_EPOCH = "ours", "random, nobody stopped", "i-Epoch, random"
SYNE_TUNE = "Syne Tune: CQR and ASHA"
WAYS: dict[str, Callable[[Landscape, int], Any]] = {
    OURS: lambda landscape, seed: Ours(landscape, seed),
    "ours until 2026-11-24": lambda landscape, seed: Ours(
        landscape, seed, grace_epochs=1, reduction_factor=3, initial_design="random"
    ),
    RANDOM: lambda landscape, seed: Ours(landscape, seed, searcher="random", scheduler="none"),
    I_EPOCH: IEpoch,
    "Ray: OptunaSearch and ASHA": Ray,
    "ours, nobody stopped": lambda landscape, seed: Ours(landscape, seed, scheduler="none"),
    "ours, median rule": lambda landscape, seed: Ours(landscape, seed, scheduler="median"),
    "ours, asynchronous HyperBand": lambda landscape, seed: Ours(landscape, seed, scheduler="hyperband"),
    "ours, Gaussian process": lambda landscape, seed: Ours(landscape, seed, searcher="gp"),
    "Optuna: TPE, median pruner": lambda landscape, seed: Optuna(landscape, seed, optuna.pruners.MedianPruner()),
    "Optuna: TPE, Hyperband pruner": lambda landscape, seed: Optuna(
        landscape, seed, optuna.pruners.HyperbandPruner(1, landscape.epochs)
    ),
    "Optuna: TPE, Wilcoxon pruner": lambda landscape, seed: Optuna(landscape, seed, optuna.pruners.WilcoxonPruner()),
    SYNE_TUNE: lambda landscape, seed: SyneTune(landscape, seed, Path(os.environ[PYTHON])),
}

Key = tuple[str, str, int, int]  # landscape, way, slots, seed


def recorded() -> list[str]:
    return [name for name, landscape in LANDSCAPES.items() if landscape.path.exists()]


def ways() -> tuple[list[str], str]:
    """The ways that can be simulated here, and why others are left out."""
    if os.environ.get(PYTHON):
        return list(WAYS), ""
    return [way for way in WAYS if way != SYNE_TUNE], f"{SYNE_TUNE}: left out, {PYTHON} names no Python that has it"


def budget(landscape: Landscape) -> int:
    return RANDOM_TRIALS * landscape.epochs


@functools.cache
def surface(name: str) -> Surface:
    return Surface(LANDSCAPES[name])


def search(key: Key) -> tuple[Key, Search]:
    name, way, slots, seed = key
    landscape = LANDSCAPES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = WAYS[way](landscape, seed)
        found = simulate(surface(name), asked, slots=slots, budget=budget(landscape), seed=seed)
    asked.close()
    return key, found


def simulated(keys: Iterable[Key], file: Path | None, workers: int) -> dict[Key, Search]:
    """Every search of `keys`: those that are lines of the file, and the others, which are added to it."""
    known: dict[Key, Search] = {}
    if file and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            held = json.loads(line)
            key = tuple(held.pop("key"))
            known[key] = Search(**held)
    missing = [key for key in keys if key not in known]
    with ProcessPoolExecutor(workers) as pool:
        for key, found in pool.map(search, missing):
            known[key] = found
            if file:
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"key": key, **dataclasses.asdict(found)}) + "\n")
    return known


def seeds_of(searches: dict[Key, Search], name: str, way: str, slots: int) -> list[int]:
    return sorted(seed for seed in range(FIRST_SEED, FIRST_SEED + SEEDS) if (name, way, slots, seed) in searches)


def chance(name: str) -> float:
    return 0.1 if LANDSCAPES[name].dataset == "cifar10" else 0.01


def regrets(
    searches: dict[Key, Search], name: str, way: str, slots: int, seeds: list[int], counted: Any = "epochs"
) -> np.ndarray:
    """Regret in points [seeds, FRACTIONS]; a search with nothing finished hands over chance."""
    landscape = LANDSCAPES[name]
    most = budget(landscape) / (1 if counted == "epochs" else slots)
    found = [
        [searches[name, way, slots, seed].after(most * fraction, counted) for fraction in FRACTIONS] for seed in seeds
    ]
    return 100 * (surface(name).best - np.nan_to_num(np.array(found), nan=chance(name)))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half of its 95 % interval by Student's t."""
    return float(values.mean()), float(
        stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    )


@functools.cache
def target(name: str) -> float:
    """The median, over other seeds, of the best of 32 random trials that nobody stopped."""
    landscape = LANDSCAPES[name]
    bests = []
    for seed in TARGET_SEEDS:
        way = Ours(landscape, seed, searcher="random", scheduler="none")
        bests.append(simulate(surface(name), way, slots=2, budget=budget(landscape), seed=seed).accuracies[-1])
    return float(np.median(bests))


def tables(searches: dict[Key, Search], names: list[str], shown: list[str]) -> dict[str, Any]:
    """Print the tables; return their numbers. Ways are compared seed by seed, on the seeds that both have."""
    report: dict[str, Any] = {}
    for name in names:
        goal, epochs = target(name), budget(LANDSCAPES[name])
        print(f"\n{name}: best {surface(name).best:.3f}, target {goal:.3f}, two slots; ", end="")
        print(f"regret in points after {', '.join(f'{epochs * f:.0f}' for f in FRACTIONS)} epochs, 95 %\n")
        print(f"| way | n | {' | '.join(f'1/{1 / f:.0f}' for f in FRACTIONS[:-1])} | all | ", end="")
        print("ours less it at 1/4, 1/2, 1 | epochs to target, median | reached | full trials of those begun |")
        print("| --- | ---: |" + " ---: |" * len(FRACTIONS) + " --- | ---: | ---: | ---: |")
        for way in shown:
            seeds = seeds_of(searches, name, way, SLOTS[0])
            if len(seeds) < 2:
                continue
            theirs = regrets(searches, name, way, SLOTS[0], seeds)
            cells = [f"{m:.2f} ± {h:.2f}" for m, h in map(mean_interval, theirs.T)]
            both = [seed for seed in seeds if seed in seeds_of(searches, name, OURS, SLOTS[0])]
            pairs = regrets(searches, name, OURS, SLOTS[0], both) - regrets(searches, name, way, SLOTS[0], both)
            less = [mean_interval(pairs[:, each]) for each in range(1, len(FRACTIONS))]
            of_seed = [searches[name, way, SLOTS[0], seed] for seed in seeds]
            until = [each.until(goal) for each in of_seed]
            reached = sum(map(math.isfinite, until))
            begun, finished = (np.mean([getattr(each, what) for each in of_seed]) for what in ("begun", "finished"))
            middle = float(np.median(until))
            difference = "" if way == OURS else ", ".join(f"{m:+.2f} ± {h:.2f}" for m, h in less)
            print(f"| {way} | {len(seeds)} | {' | '.join(cells)} | {difference} | {middle:.0f} | ", end="")
            print(f"{reached} of {len(seeds)} | {finished:.0f} of {begun:.0f} |")
            report.setdefault(name, {})[way] = {
                "n": len(seeds),
                "regret": [mean_interval(each) for each in theirs.T],
                "ours_less": less,
                "until": middle,
                "reached": reached,
            }
    _ranks(searches, names, shown, report)
    return report


def _ranks(searches: dict[Key, Search], names: list[str], shown: list[str], report: dict[str, Any]) -> None:
    for slots, counted in ((SLOTS[0], "epochs"), *((slots, "times") for slots in SLOTS)):
        of_name, n = [], []
        held = [way for way in shown if all(len(seeds_of(searches, name, way, slots)) > 1 for name in names)]
        for name in names:
            common = set.intersection(*(set(seeds_of(searches, name, way, slots)) for way in held)) if held else set()
            if common:
                values = [regrets(searches, name, way, slots, sorted(common), counted) for way in held]
                of_name.append(stats.rankdata(np.array(values).round(6), axis=0).mean(1))
                n.append(str(len(common)))
        if not of_name:
            continue
        print(f"\nmean rank of regret over budgets in {counted}, {slots} slots; seeds: {', '.join(n)}\n")
        print("| way | 1/8 | 1/4 | 1/2 | 1 |\n| --- | ---: | ---: | ---: | ---: |")
        for way, ranks in zip(held, np.mean(of_name, axis=0), strict=True):
            print(f"| {way} | {' | '.join(f'{each:.1f}' for each in ranks)} |")
            report.setdefault("ranks", {}).setdefault(f"{counted}, {slots}", {})[way] = list(ranks)


COLORS = ("#d62728", "#ff9896", "#8c564b", "#c49c94", "#e377c2", "#7f7f7f", "#111111", "#1f77b4", "#2ca02c", "#98df8a")
COLORS += ("#bcbd22", "#17becf", "#ff7f0e")


def figure(searches: dict[Key, Search], names: list[str], shown: list[str], path: Path) -> None:
    """Draw mean regret against epochs (both logarithmic), a panel a landscape and a line a way, as SVG."""
    width, height, left, head, across = 330, 240, 45, 25, 3
    bottom = math.ceil(len(names) / across) * (height + 50)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across * (width + left)}" height="{bottom + 60}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for panel, name in enumerate(names):
        landscape = LANDSCAPES[name]
        most = budget(landscape)
        budgets = np.geomspace(most / 12, most, 60)
        lines = {}
        for way in shown:
            seeds = seeds_of(searches, name, way, SLOTS[0])
            if len(seeds) < 2:
                continue
            found = np.array([[searches[name, way, SLOTS[0], seed].after(each) for each in budgets] for seed in seeds])
            lines[way] = 100 * (surface(name).best - np.nan_to_num(found, nan=chance(name)).mean(0))
        low = min(line.min() for line in lines.values()) * 0.9
        high = max(line[20:].max() for line in lines.values()) * 1.5
        x0, top = panel % across * (width + left) + left, panel // across * (height + 50) + head

        def place(
            epochs: float,
            regret: float,
            x0: int = x0,
            top: int = top,
            low: float = low,
            high: float = high,
            most: int = most,
        ) -> str:
            x = x0 + (width - 10) * (1 + math.log(epochs / most) / math.log(12))
            y = top + height * (1 - math.log(min(max(regret, low), high) / low) / math.log(high / low))
            return f"{x:.1f},{y:.1f}"

        parts.append(f'<rect x="{x0}" y="{top}" width="{width - 10}" height="{height}" fill="none" stroke="#999"/>')
        parts.append(f'<text x="{x0}" y="{top - 8}" font-size="12">{name}: regret, points</text>')
        for tick in (0.5, 1, 2, 4, 8, 16, 32):
            if low <= tick <= high:
                y = place(budgets[0], tick).split(",")[1]
                parts.append(f'<text x="{x0 - 5}" y="{y}" text-anchor="end">{tick:g}</text>')
        for tick in (50, 100, 200, 400):
            if budgets[0] <= tick <= most:
                x = place(tick, high).split(",")[0]
                parts.append(f'<text x="{x}" y="{top + height + 14}" text-anchor="middle">{tick}</text>')
        for way, color in zip(shown, COLORS, strict=False):
            if (line := lines.get(way)) is None:
                continue
            points = " ".join(place(*pair) for pair in zip(budgets, line, strict=True))
            thick = 2.5 if way == OURS else 1.2
            parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{thick}"/>')
    drawn = [
        (way, color)
        for way, color in zip(shown, COLORS, strict=False)
        if any(len(seeds_of(searches, name, way, SLOTS[0])) > 1 for name in names)
    ]
    for number, (way, color) in enumerate(drawn):
        x, y = left + number % 5 * 220, bottom + 20 + number // 5 * 16
        parts.append(f'<line x1="{x}" x2="{x + 18}" y1="{y - 3}" y2="{y - 3}" stroke="{color}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 23}" y="{y}">{way}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def measure(
    repeats: int,
    device: str,
    file: Path | None = None,
    drawn: Path | None = None,
    workers: int = 1,
    seeds: int = SEEDS,
    without: Iterable[str] = (),
) -> dict[str, Any]:
    """Simulate, print the tables and draw; `repeats` and `device` are those of benchmarks that measure time.

    `seeds` 0 shows what the file holds; the ways in `without` are shown as far as it does.
    """
    names = recorded()
    shown, left_out = ways()
    keys = [
        (name, way, slots, seed)
        for slots in SLOTS
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        for name in names
        for way in (shown if slots == SLOTS[0] else shown[:ON_EIGHT])
        if way not in without
    ]
    searches = simulated(keys, file, workers)
    report = tables(searches, names, shown)
    if left_out:
        print(f"\n{left_out}")
    if drawn:
        figure(searches, names, shown, drawn)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.early_stopping", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keeps each search, goes on from those in it")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"default {SEEDS}; 0: of FILE only")
    parser.add_argument("--without", action="append", default=[], choices=WAYS, help="do not simulate (repeatable)")
    options = parser.parse_args()
    measure(1, "cpu", options.json, options.figure, options.workers, options.seeds, options.without)


if __name__ == "__main__":
    main()
