"""What the declared rules are worth: verdicts on made-up tables of claims whose truth is known.

    python -m tests.benchmarks.verdicts [--tables 2000] [--seed 0] [-o tests/benchmarks/verdicts.md]

A table holds 37 claims of every kind but the ratio, on eight families of arms, with the truth planted: nothing (the
effect lies on the bound of the claim's region, the worst case), true, or false. Runs have a spread of 1; seeds shift
all arms of a family alike by .5, a fixed test set shifts each arm by .35. Every claim is looked at as
`analysis.intervals` declares, and stops at its first verdict. The same rules in NumPy, all tables at once: a test of
the suite holds them to what `analysis.claims` says of the same tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special, stats

from analysis.comparisons import comparisons, region
from analysis.intervals import (
    ALPHA,
    DISCOVERY,
    HOMOGENEITY,
    LEVEL,
    LOOK_ALPHA,
    LOOKS,
    PROMISE_GATE,
    PROMISE_LEVEL,
    RULES,
    overall,
    power,
    rounding_variance,
    seeds_to_decide,
)
from search.records import Claim

SEEDS = LOOKS[-1]
SHARED, IMAGES, PLACE = 0.5, 0.35, 0.5  # deviations of seeds and of test sets; last place of printed figures
NOTHING, TRUE, FALSE = "nothing", "true", "false"


@dataclass(frozen=True)
class Planted:
    """A claim on arms of a family, with the truth about it."""

    claim: Claim
    truth: str
    distance: float  # of the true effect from the nearest bound, in spreads of a run


@dataclass(frozen=True)
class Family:
    """Arms with their true means, and the claims on them; `images`: test images are part of the chance."""

    name: str
    means: tuple[float, ...]
    planted: tuple[Planted, ...]
    images: bool

    @property
    def arms(self) -> list[str]:
        return [f"{self.name}{i}" for i in range(len(self.means))]


def families() -> list[Family]:
    """The 37 claims of a table."""
    made = []
    for number, effects in enumerate(
        ((0, 0, -1.5, 1, 2, 4), (0, 0, -1, 1, 2, 3), (0, 0, -3, 0.5, 1.5, 2, 0)),
    ):
        made.append(_against_base(f"d{number}-", effects, images=number > 0))
    made += [
        _family(
            "order",
            (0, 2, 2, 0, 2, 4, 0, 2, 0),
            [(NOTHING, (0, 1, 2), 0.0), (TRUE, (3, 4, 5), 2.0), (FALSE, (6, 7, 8), 2.0)],
            kind="order",
            expected="increasing",
        ),
        _family(
            "equal",
            (0, 2, -2, 0, 4),
            [(NOTHING, (1, 0), 0.0), (NOTHING, (2, 0), 0.0), (TRUE, (3, 0), 2.0), (FALSE, (4, 0), 2.0)],
            expected="equal",
            margin=2.0,
        ),
        _family(
            "within",
            (0, 1, 2, 0, 0, 0),
            [(NOTHING, (0, 1, 2), 0.0), (TRUE, (3, 4, 5), 2.0)],
            kind="within",
            margin=2.0,
        ),
        _family(
            "level",
            (0, 1, -1, 2, 2, 2),
            [(NOTHING, (0,), 0.0), (TRUE, (1,), 1.0), (FALSE, (2,), 1.0), (TRUE, (3, 4, 5), 2.0)],
            kind="level",
            low=0.0,
        ),
        _family(
            "contrast",
            (0, 2, 0, -2, 0, 0, 0, 3, 0, 3, 0, 1),
            [(NOTHING, (0, 1, 2, 3), 0.0), (TRUE, (4, 5, 6, 7), 3.0), (FALSE, (8, 9, 10, 11), 2.0)],
            kind="contrast",
            expected="less",
        ),
        _family("no_worse", (0, -1, 0), [(NOTHING, (1, 0), 0.0), (TRUE, (2, 0), 1.0)], kind="no_worse", margin=1.0),
    ]
    return made


def _against_base(name: str, effects: Sequence[float], images: bool) -> Family:
    truth = {0: NOTHING, 1: TRUE, -1: FALSE}
    planted = [(truth[int(np.sign(e))], (i + 1, 0), abs(e)) for i, e in enumerate(effects)]
    return _family(name, (0, *effects), planted, images=images)


def _family(
    name: str,
    means: Sequence[float],
    planted: Sequence[tuple[str, tuple[int, ...], float]],
    images: bool = False,
    **kind,
) -> Family:
    claims = tuple(
        Planted(
            Claim(
                f"{name}{i}", "planted", "note A, planted", tuple(f"{name}{a}" for a in arms), "test_accuracy", **kind
            ),
            truth,
            distance,
        )
        for i, (truth, arms, distance) in enumerate(planted)
    )
    return Family(name, tuple(map(float, means)), claims, images)


def draw(family: Family, tables: int, spread: float, random: np.random.Generator) -> np.ndarray:
    """Return the family's runs (tables, arms, seeds); `spread` is the deviation of the log of an arm's own spread."""
    arms = len(family.means)
    deviation = np.exp(spread * random.normal(size=(tables, arms, 1)))
    runs = np.array(family.means)[:, None] + deviation * random.normal(size=(tables, arms, SEEDS))
    runs += SHARED * random.normal(size=(tables, 1, SEEDS))
    if family.images:
        runs += IMAGES * random.normal(size=(tables, arms, 1))
    return runs


# The rules, all tables at once.


@dataclass(frozen=True)
class Comparison:
    """One comparison at one look: arrays (tables,); `images` is its standard error over test images."""

    effect: np.ndarray
    error: np.ndarray
    df: np.ndarray
    images: float
    run_variance: np.ndarray
    run_df: np.ndarray

    def interval(self, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seeds = special.stdtrit(self.df, 1 - alpha / 2) * self.error
        half = np.hypot(seeds, special.ndtri(1 - alpha / 2) * self.images)
        return self.effect - half, self.effect + half


def compare(family: Family, runs: np.ndarray, claim: Claim) -> list[Comparison]:
    """Return the claim's comparisons on `runs` (tables, arms, n), with the spread that the rules choose."""
    _, arms, n = runs.shape
    place = {arm: i for i, arm in enumerate(family.arms)}
    centred = runs - runs.mean(axis=2, keepdims=True)
    residual = centred - centred.mean(axis=1, keepdims=True)
    df, freedom = (arms - 1) * (n - 1), (arms - 1) * (n - 1) / arms
    variance = np.square(residual).sum(axis=(1, 2)) / df
    each = np.square(residual).sum(axis=2) / freedom
    statistic = df * np.log(variance) - freedom * np.log(each).sum(axis=1)
    p = stats.chi2.sf(statistic / (1 + (arms / freedom - 1 / df) / (3 * (arms - 1))), arms - 1)
    whole = np.square(centred).sum(axis=(1, 2)) / (arms * (n - 1))
    shared = np.maximum(0, whole - variance)
    first, rest = (n - 1) * (variance + arms * shared), (arms - 1) * (n - 1) * variance
    whole_df = (first + rest) ** 2 / (first**2 / (n - 1) + rest**2 / ((arms - 1) * (n - 1)))
    pooled = (p >= HOMOGENEITY) & (df > n - 1)
    made = []
    for weights in comparisons(claim, claim.arms):
        scale = np.zeros(arms)
        for arm, weight in weights.items():
            scale[place[arm]] = weight
        values = np.tensordot(runs, scale, axes=(1, 0))
        level = abs(scale.sum()) > 0
        own = values.var(axis=1, ddof=1) / n
        shared_error = (whole if level else (scale**2).sum() * variance) / n
        error = np.sqrt(np.where(pooled, np.maximum(own, shared_error), own))
        arm_variances = scale**2 * centred.var(axis=2, ddof=1)
        welch = arm_variances.sum(axis=1)
        welch_df = welch**2 / (arm_variances**2 / (n - 1)).sum(axis=1)
        made.append(
            Comparison(
                values.mean(axis=1),
                error,
                np.where(pooled, whole_df if level else df, n - 1),
                IMAGES * np.sqrt((scale**2).sum()) if family.images else 0.0,
                np.where(pooled, np.maximum(welch, (scale**2).sum() * whole), welch),
                np.where(pooled, np.maximum(welch_df, whole_df), welch_df),
            )
        )
    return made


def verdicts(claim: Claim, compared: Sequence[Comparison], alpha: np.ndarray) -> np.ndarray:
    """Return 1 if reproduced, -1 if contradicted, 0 if undecided (tables,), each look at `alpha`."""
    least, most = region(claim)
    lows, highs = (np.array(x) for x in zip(*(c.interval(alpha / len(compared)) for c in compared), strict=True))
    if claim.kind == "level":
        inside = ((lows > least) & (highs < most)).all(axis=0)
        outside = ((highs <= least) | (lows >= most)).any(axis=0)
        return np.where(outside, -1, np.where(inside, 1, 0))
    if claim.kind == "within":
        turned = np.array([c.effect < 0 for c in compared])
        lows, highs = np.where(turned, -highs, lows).max(axis=0), np.where(turned, -lows, highs).max(axis=0)
        lows = np.maximum(lows, 0)
    elif claim.kind == "contrast":
        lows, highs = _absolute(lows, highs)
    else:
        lows, highs = lows.min(axis=0), highs.min(axis=0)
    inside, outside = (lows > least) & (highs < most), (highs <= least) | (lows >= most)
    return np.where(inside, 1, np.where(outside, -1, 0))


def _absolute(lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (d, t), (high_d, high_t) = lows, highs
    most = np.maximum(np.minimum(high_d, high_t), -np.maximum(d, t))
    return -np.maximum(np.minimum(high_d, -t), -np.maximum(d, -high_t)), most


def p_values(claim: Claim, compared: Sequence[Comparison]) -> np.ndarray:
    """Return the least overall level at which each table's claim would be decided (tables,)."""
    tables = len(compared[0].effect)
    inside, outside = np.zeros(tables), np.full(tables, np.log(1e-12))
    never = verdicts(claim, compared, np.full(tables, 1 - 1e-9)) == 0
    for _ in range(30):
        middle = (inside + outside) / 2
        decided = verdicts(claim, compared, np.exp(middle)) != 0
        inside, outside = np.where(decided, middle, inside), np.where(decided, outside, middle)
    return np.where(never, 1.0, np.vectorize(overall, otypes=[float])(np.exp(inside)))


# What is told of them.


@dataclass
class Told:
    """What the rules did with one planted claim in all tables; arrays (tables,) or (looks, tables)."""

    planted: Planted
    kind: str
    images: bool
    first: np.ndarray  # the first verdict over all looks
    seeds: np.ndarray  # at which it was told, SEEDS if never
    at: np.ndarray  # verdicts look by look, had none of them stopped it
    p: np.ndarray
    differs: np.ndarray | None  # look by look: the note's figure, which is true, told to differ
    promised: np.ndarray  # the number of seeds promised at the first promise, 0 if none ever was
    kept: np.ndarray  # whether it was decided by then


def simulate(tables: int, spread: float, random: np.random.Generator) -> list[Told]:
    """Run the rules on `tables` tables of 37 claims."""
    told = []
    for family in families():
        runs = draw(family, tables, spread, random)
        for planted in family.planted:
            told.append(_tell(family, planted, runs, random))
    return told


def _tell(family: Family, planted: Planted, runs: np.ndarray, random: np.random.Generator) -> Told:
    claim, tables = planted.claim, len(runs)
    looks = [compare(family, runs[:, :, :n], claim) for n in LOOKS]
    alpha = np.full(tables, LOOK_ALPHA)
    at = np.array([verdicts(claim, compared, alpha) for compared in looks])
    decided = at != 0
    place = np.where(decided.any(axis=0), decided.argmax(axis=0), len(looks) - 1)
    first = at[place, np.arange(tables)]
    seeds = np.array(LOOKS)[place]
    promised, kept = _promises(claim, looks, at)
    differs = None
    if claim.kind == "difference" and not family.images:
        figure = _figure(family, claim, tables, random)
        differs = np.array([_differs(figure, compared, n) for n, (compared,) in zip(LOOKS, looks, strict=True)])
    p = np.array([p_values(claim, compared) for compared in looks])
    kind = "equal" if claim.expected == "equal" else claim.kind
    return Told(planted, kind, family.images, first, seeds, at, p, differs, promised, kept)


def _figure(family: Family, claim: Claim, tables: int, random: np.random.Generator) -> np.ndarray:
    """The note's figure of a difference (tables,): of two single runs with seeds of their own, each rounded."""
    place = {arm: i for i, arm in enumerate(family.arms)}
    figure = np.zeros(tables)
    for arm, sign in zip(claim.arms, (1, -1), strict=True):
        run = family.means[place[arm]] + np.hypot(1, SHARED) * random.normal(size=tables)
        figure += sign * np.round(run / PLACE) * PLACE
    return figure


def _differs(figure: np.ndarray, compared: Comparison, n: int) -> np.ndarray:
    """Whether the note's figure lies outside the prediction interval for one further run."""
    rounding = 2 * rounding_variance(PLACE)
    half = special.stdtrit(compared.run_df, 0.5 + LEVEL / 2) * np.sqrt(compared.run_variance * (1 + 1 / n) + rounding)
    return np.abs(figure - compared.effect) > half


def _promises(claim: Claim, looks: Sequence[Sequence[Comparison]], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first number of seeds promised to decide the claim, and whether it was decided by then."""
    tables = at.shape[1]
    promised, kept = np.zeros(tables, int), np.zeros(tables, bool)
    if claim.kind not in ("difference", "no_worse"):
        return promised, kept
    bound = next(end for end in region(claim) if np.isfinite(end))
    open_still = np.ones(tables, bool)
    for place, (n, (compared,)) in enumerate(zip(LOOKS, looks, strict=True)):
        open_still &= at[place] == 0
        gate = verdicts(claim, [compared], np.full(tables, PROMISE_GATE)) != 0
        low, high = compared.interval(np.full(tables, PROMISE_LEVEL))
        clear = np.where((low <= bound) & (bound <= high), 0, np.minimum(abs(low - bound), abs(high - bound)))
        for i in np.flatnonzero(open_still & gate & (promised == 0)):
            deviation, df = compared.error[i] * np.sqrt(n), compared.df[i]
            half = float(special.ndtri(1 - LOOK_ALPHA / 2) * compared.images)
            needed = seeds_to_decide(clear[i], deviation, n, None if df <= n - 1 else df, half)
            if needed:
                promised[i] = needed
                until = LOOKS.index(needed) + 1
                kept[i] = (at[:until, i] != 0).any()
    return promised, kept


def fixed_seeds(distance: float, images: bool, decided: float) -> float:
    """Return the seeds (3 at least) of a test at 5 %, done once, that decides as often; inf for more than 200."""
    half = float(special.ndtri(1 - ALPHA / 2)) * IMAGES * np.sqrt(2) if images else 0.0
    for n in range(LOOKS[0], 201):
        if power(distance, np.sqrt(2), n, 6 * (n - 1), half, ALPHA) >= min(decided, 0.99):
            return n
    return np.inf


def report(tables: int, seed: int) -> str:
    """Return the page: what the rules did, in Markdown."""
    parts = [_HEAD.format(rules=RULES, tables=tables, seed=seed)]
    for title, spread in (("All arms spread alike", 0.0), ("Spreads of the arms differ by 30 %", 0.3)):
        told = simulate(tables, spread, np.random.default_rng(seed))
        parts += [f"## {title}", _kinds(told), _economy(told), _many(told), _sizes(told), _powers(told)]
    return "\n\n".join(parts) + "\n"


_HEAD = """# What the rules for verdicts are worth

Made by `python -m tests.benchmarks.verdicts --tables {tables} --seed {seed}`, under rules {rules} (see
`analysis/intervals.py`): {tables} tables of 37 claims with known truth. "Nothing" puts the effect on the bound of the
claim's region, where a false verdict is likeliest. A verdict may be wrong in 5 % of such claims over all looks. Effects
so small that the test images are the limit cost more than 1.5 times a single test's seeds, and no number of seeds would
decide most of them."""


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _kinds(told: Sequence[Told]) -> str:
    lines = [
        "Verdicts in percent, claims stopped at their first one:",
        "",
        "| kind | truth | claims | reproduced | contradicted | any false verdict | at the last look |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        groups.setdefault((one.kind, one.planted.truth), []).append(one)
    nothing = [one for one in told if one.planted.truth == NOTHING]
    for (kind, truth), some in [*groups.items(), (("all", NOTHING), nothing)]:
        first, last = np.array([one.first for one in some]), np.array([one.at[-1] for one in some])
        wrong: Callable[[np.ndarray], float] = {
            NOTHING: lambda v: float((v != 0).mean()),
            TRUE: lambda v: float((v < 0).mean()),
            FALSE: lambda v: float((v > 0).mean()),
        }[truth]
        lines.append(
            f"| {kind.replace('_', ' ')} | {truth} | {len(some)} | {_percent((first > 0).mean())} "
            f"| {_percent((first < 0).mean())} | {_percent(wrong(first))} | {_percent(wrong(last))} |"
        )
    return "\n".join(lines)


def _economy(told: Sequence[Told]) -> str:
    lines = [
        "Seeds until a difference is decided (20 if it never is), beside a single test at 5 % that decides as often:",
        "",
        "| effect, in spreads | test images count | decided, % | seeds, mean | seeds of the fixed test | times |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for images in (False, True):
        groups: dict[float, list[Told]] = {}
        for one in told:
            if one.kind == "difference" and one.planted.truth != NOTHING and images == one.images:
                groups.setdefault(one.planted.distance, []).append(one)
        for distance, some in sorted(groups.items()):
            used, decided = (float(np.mean(x)) for x in ([one.seeds for one in some], [one.first != 0 for one in some]))
            fixed = fixed_seeds(distance, images, decided)
            beside = f"{fixed:.0f} | {used / fixed:.2f}" if np.isfinite(fixed) else "over 200 | –"
            lines.append(
                f"| {distance:g} | {'yes' if images else 'no'} | {_percent(decided)} | {used:.1f} | {beside} |"
            )
    return "\n".join(lines)


def _many(told: Sequence[Told]) -> str:
    lines = [
        f"Many claims: a table's verdicts with q at most {DISCOVERY:g}, all claims looked at with as many seeds:",
        "",
        "| seeds | verdicts with q at most .05 | of them false, % | tables with a false one, % |",
        "| --- | --- | --- | --- |",
    ]
    right = np.array([{NOTHING: 0, TRUE: 1, FALSE: -1}[one.planted.truth] for one in told])
    for look, n in enumerate(LOOKS):
        p = np.array([one.p[look] for one in told])
        q = stats.false_discovery_control(p, axis=0)
        at = np.array([one.at[look] for one in told])
        found = q <= DISCOVERY
        # A verdict with q at most .05 has p at most .05, so it is one of that look.
        false = found & (at != right[:, None])
        share = float(np.where(found.sum(axis=0), false.sum(axis=0) / np.maximum(found.sum(axis=0), 1), 0).mean())
        lines.append(
            f"| {n} | {found.sum(axis=0).mean():.1f} | {_percent(share)} | {_percent(false.any(axis=0).mean())} |"
        )
    return "\n".join(lines)


def _sizes(told: Sequence[Told]) -> str:
    differs = np.array([one.differs for one in told if one.differs is not None])
    shares = ", ".join(f"{_percent(differs[:, i].mean())} at {n}" for i, n in enumerate(LOOKS))
    return (
        f"Size: a true figure of the note, of single runs rounded to {PLACE:g} of a spread, is said to differ in "
        f"percent: {shares} seeds; at any of these looks {_percent(differs.any(axis=1).mean())}."
    )


def _powers(told: Sequence[Told]) -> str:
    some = [one for one in told if one.kind in ("difference", "no_worse")]
    nothing = [one for one in some if one.planted.truth == NOTHING]
    there = [one for one in some if one.planted.truth != NOTHING]
    promised, kept = (np.concatenate([getattr(one, x) for one in there]) for x in ("promised", "kept"))
    vain = float(np.mean([one.promised > 0 for one in nothing]))
    return (
        f'"N seeds would decide": told of {_percent(float((promised > 0).mean()))} % of the differences that are '
        f"there, and kept in {_percent(float(kept[promised > 0].mean()))} % of these; told of {_percent(vain)} % of "
        "those that are nothing."
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")
    args = parser.parse_args(argv)
    page = report(args.tables, args.seed)
    if args.output:
        args.output.write_text(page, encoding="utf-8")
    else:
        print(page, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
