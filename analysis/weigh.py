"""What our runs say of one claim: its effect, the intervals, the verdict and what it lacks.

The kinds of claims are those of `search.records.Claim`, the rule that of `analysis.statistics`. Every claim is
one or more comparisons of two arms, paired by seed and, where labels were kept, by test image.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import measure
from analysis import statistics as s
from analysis.load import Results
from search import records as r

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Weighed:
    """What the runs say of one comparison.

    `low`, `high` bound the effect over seeds, `image_low`, `image_high` over test images, in the unit of the
    quantity (a ratio has none); NaN where there is none. `n` counts seeds. `seeds_needed`: how many would
    decide an undecided one, None where no number can be told. `trials`: the rows of trials.parquet behind it.
    `changed`: what `--set` made different from the note's own runs.
    """

    verdict: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    image_low: float = math.nan
    image_high: float = math.nan
    seeds_needed: int | None = None
    why: str = ""
    trials: str = ""
    changed: str = ""


def weigh(results: Sequence[Results], claim: r.Claim, arms: Sequence[str]) -> Weighed:
    """What `results` say of `claim` with `arms` in the place of its own, which differ in its confounders too."""
    measured = {arm: measure.values(results, arm, claim.quantity) for arm in arms}
    used = {arm: measure.trials(results, arm) for arm in measured}
    trials = "; ".join(f"{arm}: {measure.names(rows, results)}" for arm, rows in used.items())
    lost = _lost(results, list(measured))
    protocols = sorted({protocol for rows in used.values() for protocol in rows[r.PROTOCOL]})
    if len(protocols) > 1:
        reason = f"the arms ran under different protocols: {', '.join(protocols)}"
        return Weighed(s.UNDECIDED, why="; ".join([reason, *lost]), trials=trials)
    changes = sorted({results[place].changed for rows in used.values() for place in rows["result"]})
    if len(changes) > 1:
        reason = f"the arms ran under different --set: {'; '.join(one or 'nothing' for one in changes)}"
        return Weighed(s.UNDECIDED, why="; ".join([reason, *lost]), trials=trials)
    if gone := _taken_away(results, claim, _pairs(claim, arms), used):
        return Weighed(s.UNDECIDED, why="; ".join([f"not tested: {gone}", *lost]), trials=trials)
    seeds = sorted(set.intersection(*(set(series.index) for series in measured.values())))
    if not seeds:
        missing = [arm for arm, series in measured.items() if series.empty]
        reason = f"no {claim.quantity} of {', '.join(missing)}" if missing else "the arms share no seed"
        return Weighed(s.UNDECIDED, why="; ".join([reason, *lost]), trials=trials)

    paired = {arm: series[seeds].to_numpy() for arm, series in measured.items()}
    pairs, region = _pairs(claim, arms), _region(claim)
    level = 1 - (1 - s.LEVEL) / len(pairs)
    compare = s.ratio_interval if claim.kind == "ratio" else _difference_interval
    intervals = [compare(paired[a], paired[b], level) for a, b in pairs]
    if claim.quantity == r.PARAMETERS:
        intervals = [dataclasses.replace(each, low=each.effect, high=each.effect) for each in intervals]
    over_seeds = _join(claim, intervals)
    over_images = _over_images(results, claim, pairs, seeds, level)
    verdict = s.verdict(region, *filter(None, (over_seeds, over_images)))
    needed: int | None = None
    why: list[str] = []
    if verdict == s.UNDECIDED:
        if s.verdict(region, over_seeds) != s.UNDECIDED:
            why = ["the test set is too small, whatever the seeds"]
        elif len(seeds) == 1:
            why = ["one seed has no spread"]
        else:
            needed = _seeds_needed(claim, paired, pairs, level, over_seeds.effect)
            why = [] if needed else [f"more than {s.MOST_SEEDS} seeds, or none, would decide"]
    return Weighed(
        verdict=verdict,
        effect=over_seeds.effect,
        low=over_seeds.low,
        high=over_seeds.high,
        n=len(seeds),
        image_low=over_images.low if over_images else math.nan,
        image_high=over_images.high if over_images else math.nan,
        seeds_needed=needed,
        why="; ".join([*why, *lost]),
        trials=trials,
        changed=changes[0],
    )


def _taken_away(results: Sequence[Results], claim: r.Claim, pairs: Pairs, used: dict[str, pd.DataFrame]) -> str:
    """ "--set left no difference in epochs": in what two arms should differ, a confounder apart, and no longer do.

    What differs still is then another claim's question, or nothing is left of the claim.
    """
    declared, run, by = {}, {}, "--set"
    for arm, rows in used.items():
        name = measure.split_arm(arm)[1]
        # A run of before this was recorded says nothing.
        records = [results[place].record for place in rows["result"] if name in results[place].record.declared]
        for record in records[:1]:
            declared[arm] = record.declared[name]
            run[arm] = declared[arm] | record.arms.get(name, {})
            by = "--smoke" if record.smoke else by
    gone = {
        name
        for a, b in pairs
        if a in declared and b in declared
        for name in declared[a].keys() & declared[b].keys() - set(claim.confounded_by)
        if declared[a][name] != declared[b][name] and run[a][name] == run[b][name]
    }
    return f"{by} left no difference in {', '.join(sorted(gone))}" if gone else ""


def _pairs(claim: r.Claim, arms: Sequence[str]) -> Pairs:
    """The comparisons a claim is made of, each written so that its effect is first less second."""
    if claim.kind == "within":
        return list(itertools.combinations(arms, 2))
    if claim.kind == "order":
        steps = list(itertools.pairwise(arms))
        return [(b, a) for a, b in steps] if claim.expected == "increasing" else steps
    return [(arms[0], arms[1])]


def _region(claim: r.Claim) -> tuple[float, float]:
    none = 1.0 if claim.kind == "ratio" else 0.0  # the effect of no difference
    if claim.kind == "within":
        return -math.inf, claim.margin or 0.0
    if claim.expected == "equal":
        margin = claim.margin or 0.0
        return none - margin, none + margin
    return (-math.inf, none) if claim.expected == "less" else (none, math.inf)


def _difference_interval(first: np.ndarray, second: np.ndarray, level: float) -> s.Interval:
    return s.mean_interval(first - second, level)


def _join(claim: r.Claim, intervals: Sequence[s.Interval]) -> s.Interval:
    """The least step of an order, the largest difference within; otherwise there is but one."""
    extreme = max if claim.kind == "within" else min
    if claim.kind == "within":
        turned = (s.Interval(-i.effect, -i.high, -i.low, i.n) if i.effect < 0 else i for i in intervals)
        intervals = [dataclasses.replace(i, low=max(i.low, 0.0)) for i in turned]
    return s.Interval(
        effect=extreme(i.effect for i in intervals),
        low=extreme(i.low for i in intervals),
        high=extreme(i.high for i in intervals),
        n=min(i.n for i in intervals),
    )


def _over_images(
    results: Sequence[Results], claim: r.Claim, pairs: Pairs, seeds: list[int], level: float
) -> s.Interval | None:
    """The interval over test images, where the claim is on final test accuracy, of one data set, and all labels
    were kept.
    """
    if claim.quantity != r.TEST_ACCURACY or len({result.record.dataset_fingerprint for result in results}) > 1:
        return None  # images pair within one data set only
    right = {arm: measure.right(results, arm) for arm in dict.fromkeys(itertools.chain(*pairs))}
    tables = [table for table in right.values() if table is not None]
    if len(tables) < len(right):
        return None
    images = tables[0].index
    for table in tables[1:]:
        images = images.intersection(table.index)
    scores = {arm: table.loc[images, seeds].to_numpy().T for arm, table in zip(right, tables, strict=True)}
    if claim.kind == "ratio":
        ((a, b),) = pairs
        return s.ratio_interval(scores[a].mean(axis=0), scores[b].mean(axis=0), level)
    return _join(claim, [s.image_interval(scores[a], scores[b], level) for a, b in pairs])


def _seeds_needed(
    claim: r.Claim, paired: dict[str, np.ndarray], pairs: Pairs, level: float, effect: float
) -> int | None:
    """Seeds that would decide `claim` if means and spreads stay as they are."""
    region = _region(claim)
    bound = min((end for end in region if math.isfinite(end)), key=lambda end: abs(effect - end))
    if claim.kind == "ratio":
        ((a, b),) = pairs
        return s.seeds_to_decide(paired[a] - bound * paired[b], 0.0, level)
    steps = [paired[a] - paired[b] for a, b in pairs]
    if claim.kind == "within":
        steps = [step if step.mean() >= 0 else -step for step in steps]
    if not region[0] < effect < region[1]:
        # One comparison on the wrong side is enough to contradict.
        steps = [max(steps, key=np.mean) if claim.kind == "within" else min(steps, key=np.mean)]
    needed = [s.seeds_to_decide(step, bound, level) for step in steps]
    return None if None in needed else max(n for n in needed if n is not None)


def _lost(results: Sequence[Results], arms: Sequence[str]) -> list[str]:
    """Trials of these arms that ended without a result: leaving them out unsaid would flatter an arm."""
    names = {measure.split_arm(arm)[:2] for arm in arms}
    lost = []
    for result in results:
        here = [name for study, name in names if study in (None, result.record.study)]
        rows = result.trials
        lost.append(rows[rows[r.ARM].isin(here) & rows[r.STATUS].isin([r.STOPPED, r.DIVERGED, r.FAILED])])
    return [f"{row[r.ARM]} seed {row[r.SEED]} {row[r.STATUS]}" for _, row in pd.concat(lost).iterrows()]
