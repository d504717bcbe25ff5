"""What our runs say of one claim: its effect, the intervals, the verdict and what it lacks.

The kinds of claims are those of `search.records.Claim`, the rules those of `analysis.statistics`. Every claim is one
or more comparisons of arms, paired by seed and, if labels were kept, by test image.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import measure
from analysis import statistics as s
from analysis.family import Families
from analysis.load import Results
from search import records as r

Weights = Mapping[str, float]  # of arms, whose weighted sum is one comparison's effect


@dataclass(frozen=True)
class Weighed:
    """What the runs say of one comparison.

    verdict       direction: reproduced, contradicted, undecided or not tested
    effect        mean over the seeds of the last look, in the unit of the quantity (a ratio has none)
    low, high     of the interval that decides, over seeds and test images; NaN if there is none
    n             seeds behind it
    image_low, image_high   the part over test images alone; NaN if labels were not kept
    p             least overall level at which the verdict would have been reached; NaN before the first look
    size          fits, differs or not comparable: the note's own figure; "" if it prints none or nothing was measured
    size_low, size_high     the prediction interval in which its figure would fit
    spread        where the spread comes from
    seeds_needed  seeds that are promised to decide an undecided claim
    note_seeds    seeds that would decide it with 80 % if the note's own figure is the truth
    detectable    least distance from the claim's bound that the last look decides with 80 %
    trials        the rows of trials.parquet behind it
    changed       what `--set` made different from the note's own runs
    """

    verdict: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    image_low: float = math.nan
    image_high: float = math.nan
    p: float = math.nan
    size: str = ""
    size_low: float = math.nan
    size_high: float = math.nan
    spread: str = ""
    seeds_needed: int | None = None
    note_seeds: int | None = None
    detectable: float = math.nan
    why: str = ""
    trials: str = ""
    changed: str = ""


def weigh(
    results: Sequence[Results], claim: r.Claim, study: str, arms: Sequence[str], families: Families | None = None
) -> Weighed:
    """Judge `claim` of `study` on `arms` instead of `claim.arms`, which differ in its confounders too.

    `families` are those of `results`. Raises ResultsError for what no results folder can tell.
    """
    return _Weighing(results, claim, study, arms, families or Families(results)).weighed()


@dataclass(frozen=True)
class Outlook:
    """What further seeds can be expected to do for a claim that is open.

    effect, deviation  the hardest comparison's mean over `n` seeds, and of one seed, on `df` degrees of freedom
    images             half its interval over test images
    region, alpha      where it must lie, and the level of its look
    """

    effect: float
    deviation: float
    df: float
    n: int
    images: float
    region: tuple[float, float]
    alpha: float

    def chance(self, seeds: int) -> float:
        """Return the probability that a look at `seeds` seeds decides, given what is seen so far and nothing else.

        The mean then is normal around today's with the variance of the seeds still to come, over the effects that
        today's seeds leave possible.
        """
        if seeds <= self.n or not math.isfinite(self.deviation):
            return 0.0
        error = self.deviation / math.sqrt(seeds)
        half = math.hypot(s.critical(max(self.df, seeds - 1), self.alpha) * error, self.images)
        moves = self.deviation * math.sqrt(1 / self.n - 1 / seeds)
        least, most = self.region
        inside = _between(least + half, most - half, self.effect, moves)
        outside = _between(-math.inf, least - half, self.effect, moves) + _between(
            most + half, math.inf, self.effect, moves
        )
        return inside + outside


def _between(low: float, high: float, mean: float, deviation: float) -> float:
    """The probability that a normal variable lies between two values."""
    if not low < high:
        return 0.0
    if not deviation > 0:
        return float(low < mean < high)
    return 0.5 * (
        math.erf((high - mean) / deviation / math.sqrt(2)) - math.erf((low - mean) / deviation / math.sqrt(2))
    )


def outlook(
    results: Sequence[Results], claim: r.Claim, study: str, arms: Sequence[str], families: Families
) -> Outlook | None:
    """Return what further seeds promise for `claim` on `arms`; None if its runs do not say or cannot test it."""
    return _Weighing(results, claim, study, arms, families).outlook()


class _Weighing:
    def __init__(
        self,
        results: Sequence[Results],
        claim: r.Claim,
        study: str,
        arms: Sequence[str],
        families: Families,
    ) -> None:
        self.results, self.claim, self.arms, self.families = results, claim, tuple(arms), families
        self.own = {arm: arm if "/" in arm else f"{study}/{arm}" for arm in arms}
        self.values = {arm: measure.values(results, full, claim.quantity) for arm, full in self.own.items()}
        self.used = {arm: measure.trials(results, full) for arm, full in self.own.items()}
        self.comparisons = comparisons(claim, arms)
        self.region = region(claim)
        self.exact = claim.quantity == r.PARAMETERS

    def weighed(self) -> Weighed:
        trials = "; ".join(f"{arm}: {measure.names(rows, self.results)}" for arm, rows in self.used.items())
        lost = _lost(self.results, list(self.own.values()))
        changes = self._changes()
        changed = changes[0] if changes else ""
        if reason := self._untestable(changes):
            return Weighed(s.NOT_TESTED, why="; ".join([reason, *lost]), trials=trials)
        shared = sorted(set.intersection(*(set(series.index) for series in self.values.values())))
        if not shared:
            missing = [arm for arm, series in self.values.items() if series.empty]
            reason = f"no {self.claim.quantity} of {', '.join(missing)}" if missing else "the arms share no seed"
            return Weighed(s.NOT_TESTED, why="; ".join([reason, *lost]), trials=trials)
        if reason := self._no_ensembles():
            told = "; ".join([reason, *lost])
            return Weighed(s.NOT_TESTED, n=len(shared), why=told, trials=trials, changed=changed)
        seeds = shared[: s.look(len(shared)) or None]
        paired = {arm: series[seeds].to_numpy() for arm, series in self.values.items()}
        joints, spread = self._joints(paired, seeds)
        weighed = self._judged(joints, len(seeds))
        why = [*([weighed.why] if weighed.why else []), *self._waiting(len(shared), len(seeds)), *lost]
        weighed = self._sized(weighed, paired, changed)
        if self._near_chance(seeds):
            weighed = dataclasses.replace(weighed, verdict=s.NOT_TESTED, p=math.nan, seeds_needed=None)
            why = [f"not testable at this size: no arm is above {s.NEAR_CHANCE:g} times the chance rate", *lost]
        return dataclasses.replace(weighed, why="; ".join(why), trials=trials, changed=changed, spread=spread)

    def outlook(self) -> Outlook | None:
        shared = sorted(set.intersection(*(set(series.index) for series in self.values.values())))
        if len(shared) < 2 or self.exact or self._untestable(self._changes()) or self._no_ensembles():
            return None
        paired = {arm: series[shared].to_numpy() for arm, series in self.values.items()}
        joints, _ = self._joints(paired, shared)
        alpha = s.LOOK_ALPHA / len(joints)
        hardest = max(joints, key=lambda joint: _width(joint.seeds.interval(s.PROMISE_LEVEL)))
        error, df, images = _error(hardest, self.region, alpha)
        if not math.isfinite(error) or self._near_chance(shared):
            return None
        effect = join(self.claim, self.region, [joint.interval(s.PROMISE_LEVEL) for joint in joints]).effect
        return Outlook(effect, error * math.sqrt(len(shared)), df, len(shared), images, self.region, alpha)

    # What keeps a claim from being tested.

    def _changes(self) -> list[str]:
        """What `--set` changed: one text if the arms compare, as many as there are commands if they do not."""
        runs = [
            (measure.split_arm(self.own[arm]).name, self.results[place])
            for arm, rows in self.used.items()
            for place in rows["result"].unique()
        ]
        commands = sorted({result.changed for _, result in runs})
        # An arm compares if every other arm's command would have left it as it is.
        if len(commands) > 1 and not all(
            result.meets(name, other.assigned) for name, result in runs for _, other in runs
        ):
            return commands
        return [", ".join(sorted({part for name, run in runs for part in run.changed_of(name).split(", ")} - {""}))]

    def _untestable(self, changes: list[str]) -> str:
        protocols = sorted({protocol for rows in self.used.values() for protocol in rows[r.PROTOCOL]})
        if len(protocols) > 1:
            return f"the arms ran under different protocols: {', '.join(protocols)}"
        if len(changes) > 1:
            return f"the arms ran under different --set: {'; '.join(one or 'nothing' for one in changes)}"
        return _taken_away(self.results, self.claim, self.arms, self.own, self.used)

    def _no_ensembles(self) -> str:
        twos = [arm for arm in self.own if measure.hard_votes_of_two(self.results, self.own[arm], self.claim.quantity)]
        if twos:
            return (
                f"a hard vote of two members is the smaller of two labels, no ensemble: {', '.join(twos)} (run three, "
                f"or compare member_test_accuracy)"
            )
        return ""

    def _near_chance(self, seeds: Sequence[int]) -> bool:
        """Whether no arm has learnt what could tell anything; a level of accuracy tells its own."""
        name, epoch = measure.split_quantity(self.claim.quantity)
        learnt = name == measure.GAP or name.endswith(("accuracy", "loss"))
        if not learnt or (self.claim.kind == "level" and name.endswith("accuracy")):
            return False
        at = r.TEST_ACCURACY if epoch is None else f"{r.TEST_ACCURACY}@{epoch}"
        for full in self.own.values():
            # A prefix has about its whole ensemble's accuracy, and may lack a row of its own.
            accuracies = measure.values(self.results, full, at)
            chance = measure.chance(self.results, full)
            known = accuracies[accuracies.index.isin(seeds)]
            if known.empty or chance is None or known.mean() > s.NEAR_CHANCE * chance:
                return False
        return True

    @staticmethod
    def _waiting(shared: int, seen: int) -> list[str]:
        if seen == shared or shared < s.LOOKS[0]:
            return []
        after = next((n for n in s.LOOKS if n > shared), None)
        return [f"{shared - seen} more seeds wait for the look at {after}" if after else f"the last look is at {seen}"]

    # Direction.

    def _joints(self, paired: dict[str, np.ndarray], seeds: list[int]) -> tuple[list[s.Joint], str]:
        """Each comparison over seeds and images, and where its spread comes from."""
        right = self._right(seeds)
        if self.claim.kind == "ratio":
            ((a, b),) = [tuple(weights) for weights in self.comparisons]
            ratio = s.ratio_effect(paired[a], paired[b])
            if self.exact:
                ratio = dataclasses.replace(ratio, covariance=(0.0, 0.0, 0.0), df=math.inf)
            return [
                s.Joint(ratio, s.image_ratio(right[a], right[b]) if right else None)
            ], "" if self.exact else "own pairs"
        pool, spread = self._pool(len(seeds))
        joints = []
        for weights in self.comparisons:
            effects = np.sum([w * paired[arm] for arm, w in weights.items()], axis=0)
            if self.exact:
                mean = s.Mean(float(effects.mean()), 0.0, math.inf, len(effects))
            elif pool is None:
                mean = s.mean_effect(effects)
            elif abs(sum(weights.values())) > 1e-9:  # one arm's level: the seed's part stays in
                mean = s.pooled_effect(effects, pool.whole_variance, pool.whole_df)
            else:
                mean = s.pooled_effect(effects, _squares(weights) * pool.variance, pool.df)
            images = s.image_effect([right[arm] for arm in weights], list(weights.values())) if right else None
            joints.append(s.Joint(mean, images))
        return joints, "" if self.exact else spread

    def _pool(self, seeds: int) -> tuple[s.Pool | None, str]:
        """The family's spread, None if the claim rests on its own pairs; and which of the two, in words."""
        trainings = [
            self.results[place].training_of(measure.split_arm(self.own[arm]).name)
            for arm, rows in self.used.items()
            for place in rows["result"].unique()
        ]
        # A seed of the smaller is then the first members of the same seed of the larger.
        shared = any(
            one and other and one.key == other.key and one.members != other.members
            for one, other in itertools.combinations(trainings, 2)
        )
        if shared or not all(measure.split_arm(full).whole for full in self.own.values()):
            return None, "own pairs: parts of one training"
        pools = [self.families.pool(rows, self.claim.quantity) for rows in self.used.values()]
        pool = pools[0]
        if pool is None or any(other is not pool for other in pools):
            return None, "own pairs"
        if not pool.equal:
            return None, f"own pairs: the family's spreads differ (Bartlett p = {pool.p:.2g})"
        if pool.df <= seeds - 1:
            return None, "own pairs"
        return pool, f"pooled, {pool.df:.0f} degrees of freedom"

    def _right(self, seeds: list[int]) -> dict[str, np.ndarray] | None:
        """Which test predictions were right (seeds, images), arm by arm, if the claim is on final test accuracy of one
        data set and all labels were kept.
        """
        data = {
            self.results[place].record.dataset_fingerprint for rows in self.used.values() for place in rows["result"]
        }
        if self.claim.quantity != r.TEST_ACCURACY or len(data) > 1:
            return None  # images pair within one data set only
        tables = {arm: measure.right(self.results, full) for arm, full in self.own.items()}
        kept = {arm: table for arm, table in tables.items() if table is not None}
        if len(kept) < len(tables):
            return None
        images = next(iter(kept.values())).index
        for table in kept.values():
            images = images.intersection(table.index)
        return {arm: table.loc[images, seeds].to_numpy().T for arm, table in kept.items()}

    def _judged(self, joints: list[s.Joint], n: int) -> Weighed:
        claim, m = self.claim, len(joints)

        def intervals(alpha: float) -> list[s.Interval]:
            return [joint.interval(alpha / m) for joint in joints]

        def verdict(alpha: float) -> str:
            return judge(claim, self.region, intervals(alpha))

        whole = join(claim, self.region, intervals(s.LOOK_ALPHA))
        weighed = Weighed(verdict(s.LOOK_ALPHA), effect=whole.effect, n=n)
        if not self.exact and n < s.LOOKS[0]:
            return dataclasses.replace(weighed, verdict=s.UNDECIDED, why=f"the first look is at {s.LOOKS[0]} seeds")
        p = s.overall(s.least_alpha(lambda alpha: verdict(alpha) != s.UNDECIDED))
        weighed = dataclasses.replace(weighed, low=whole.low, high=whole.high, p=0.0 if self.exact else p)
        if all(joint.images for joint in joints):
            images = [joint.images.interval(s.LOOK_ALPHA / m) for joint in joints if joint.images]
            over = join(claim, self.region, images)
            weighed = dataclasses.replace(weighed, image_low=over.low, image_high=over.high)
        if self.exact or weighed.verdict != s.UNDECIDED:
            return weighed
        return self._unsettled(weighed, joints, verdict, join(claim, self.region, intervals(s.PROMISE_GATE)))

    def _unsettled(
        self, weighed: Weighed, joints: list[s.Joint], verdict: Callable[[float], str], gate: s.Interval
    ) -> Weighed:
        """What would decide an undecided claim."""
        claim, m = self.claim, len(joints)
        alpha = s.LOOK_ALPHA / m
        hardest = max(joints, key=lambda joint: _width(joint.seeds.interval(s.PROMISE_LEVEL)))
        error, df, images = _error(hardest, self.region, alpha)
        deviation = error * math.sqrt(weighed.n)
        spread_df = None if df <= weighed.n - 1 else df

        def seeds_for(distance: float) -> int | None:
            return s.seeds_to_decide(distance, deviation, weighed.n, spread_df, images, alpha)

        needed = None
        if verdict(s.PROMISE_GATE) != s.UNDECIDED:
            near = join(claim, self.region, [joint.interval(s.PROMISE_LEVEL) for joint in joints])
            needed = seeds_for(_clearance(self.region, near))
        note = None
        if claim.effect is not None and len(joints) == 1:
            note = seeds_for(_distance(self.region, claim.effect))
        why = ""
        seeds_only = [dataclasses.replace(joint, images=None) for joint in joints]
        if judge(claim, self.region, [joint.interval(alpha) for joint in seeds_only]) != s.UNDECIDED:
            why = "the test set is too small, whatever the seeds"
            needed = None
        elif not math.isfinite(deviation):
            why = "its seeds show no spread"
        detectable = s.detectable(deviation, spread_df, images, alpha)
        return dataclasses.replace(weighed, seeds_needed=needed, note_seeds=note, detectable=detectable, why=why)

    # Size.

    def _sized(self, weighed: Weighed, paired: dict[str, np.ndarray], changed: str) -> Weighed:
        """Hold the note's own figure against the prediction interval for one further run."""
        claim = self.claim
        figures = [value for value, _ in claim.figures]
        several = claim.kind == "level" and len(claim.arms) > 1
        if (claim.effect is None and not (several and figures)) or self.arms != claim.arms:
            return weighed
        absolute = measure.split_quantity(claim.quantity)[0] in _OF_THE_MACHINE and claim.kind != "ratio"
        if absolute or any(not part.startswith("path=") for part in filter(None, changed.split(", "))):
            return dataclasses.replace(weighed, size=s.NOT_COMPARABLE)
        if not self.exact and weighed.n < s.LOOKS[0]:
            return weighed
        halves = [self._prediction_half(weights, paired, weighed.n) for weights in self.comparisons]
        if several:
            effects = [float(paired[arm].mean()) for arm in self.arms]
            fits = all(abs(e - f) <= h for e, f, h in zip(effects, figures, halves, strict=True))
            return dataclasses.replace(weighed, size=s.FITS if fits else s.DIFFERS)
        assert claim.effect is not None
        half = max(halves)
        if not math.isfinite(half):
            return weighed
        size = s.FITS if abs(weighed.effect - claim.effect) <= half * (1 + 1e-9) else s.DIFFERS
        return dataclasses.replace(weighed, size=size, size_low=weighed.effect - half, size_high=weighed.effect + half)

    def _prediction_half(self, weights: Weights, paired: dict[str, np.ndarray], n: int) -> float:
        places = rounding_places(self.claim, weights)
        if self.exact:
            return sum(places) / 2
        rounding = sum(map(s.rounding_variance, places))
        variance, df = self._run_variance(weights, paired, n)
        return s.prediction_half(variance, df, n, rounding, len(self.comparisons))

    def _run_variance(self, weights: Weights, paired: dict[str, np.ndarray], n: int) -> tuple[float, float]:
        """The variance of one run's effect, of runs that share no seed, and its degrees of freedom."""
        scale = dict(weights)
        if self.claim.kind == "ratio":  # to first order, each arm counts with its share of the ratio
            (a, b), ratio = tuple(weights), _ratio(paired, weights)
            scale = {a: ratio / paired[a].mean(), b: ratio / paired[b].mean()}
        if not all(measure.split_arm(self.own[arm]).whole for arm in weights):
            effects = np.sum([w * paired[arm] for arm, w in scale.items()], axis=0)
            return float(effects.var(ddof=1)), n - 1
        own = [w * w * float(paired[arm].var(ddof=1)) for arm, w in scale.items()]
        variance = sum(own)
        df = variance**2 / sum(v * v / (n - 1) for v in own) if variance else 0.0
        pool, _ = self._pool(n)
        if pool is None:
            return variance, df
        return max(variance, _squares(scale) * pool.whole_variance), max(df, pool.whole_df)


_OF_THE_MACHINE = (measure.SECONDS_PER_EPOCH, r.SECONDS, r.IMAGES_PER_SECOND, r.PEAK_MEMORY_BYTES)


def _squares(weights: Weights) -> float:
    return sum(w * w for w in weights.values())


def _ratio(paired: dict[str, np.ndarray], weights: Weights) -> float:
    above, below = tuple(weights)
    return float(paired[above].mean() / paired[below].mean())


def comparisons(claim: r.Claim, arms: Sequence[str]) -> list[Weights]:
    """Return the comparisons that a claim is made of, each as its arms' weights; of a ratio above 1, below -1."""
    if claim.kind == "level":
        return [{arm: 1.0} for arm in arms]
    if claim.kind == "within":
        return [_difference(a, b) for a, b in itertools.combinations(arms, 2)]
    if claim.kind == "order":
        steps = list(itertools.pairwise(arms))
        return [_difference(b, a) if claim.expected == "increasing" else _difference(a, b) for a, b in steps]
    if claim.kind == "contrast":
        return [_sum((arms[0], 1), (arms[1], -1), (arms[2], sign), (arms[3], -sign)) for sign in (-1, 1)]
    return [_difference(arms[0], arms[1])]


def _compared(claim: r.Claim, arms: Sequence[str]) -> list[tuple[str, str]]:
    """The arms that are set against each other."""
    if claim.kind == "level":
        return []
    if claim.kind == "within":
        return list(itertools.combinations(arms, 2))
    if claim.kind == "order":
        return list(itertools.pairwise(arms))
    return [(arms[i], arms[i + 1]) for i in range(0, len(arms), 2)]


def _difference(first: str, second: str) -> Weights:
    return {first: 1.0, second: -1.0}


def _sum(*terms: tuple[str, float]) -> Weights:
    weights: dict[str, float] = {}
    for arm, weight in terms:
        weights[arm] = weights.get(arm, 0.0) + weight
    return weights


def region(claim: r.Claim) -> tuple[float, float]:
    """Return the open region in which the effect lies if the claim holds."""
    none = 1.0 if claim.kind == "ratio" else 0.0  # the effect of no difference
    margin = claim.margin or 0.0
    if claim.low is not None or claim.high is not None:
        return -math.inf if claim.low is None else claim.low, math.inf if claim.high is None else claim.high
    if claim.kind == "within":
        return -math.inf, margin
    if claim.kind == "no_worse":
        return (-margin, math.inf) if measure.more_is_better(claim.quantity) else (-math.inf, margin)
    if claim.expected == "equal":
        return none - margin, none + margin
    return (-math.inf, none) if claim.expected == "less" else (none, math.inf)


def judge(claim: r.Claim, region: tuple[float, float], intervals: Sequence[s.Interval]) -> str:
    """Return the verdict of the comparisons' intervals: all must hold, one that does not is enough to contradict."""
    if claim.kind != "level":
        return s.verdict(region, join(claim, region, intervals))
    verdicts = {s.verdict(region, each) for each in intervals}
    if s.CONTRADICTED in verdicts:
        return s.CONTRADICTED
    return s.UNDECIDED if s.UNDECIDED in verdicts else s.REPRODUCED


def join(claim: r.Claim, region: tuple[float, float], intervals: Sequence[s.Interval]) -> s.Interval:
    """Return the claim's own effect: the least step of an order, the largest difference within, the level deepest
    outside its range, a change less another; otherwise there is but one.
    """
    if claim.kind == "level":
        return min(intervals, key=lambda i: min(i.effect - region[0], region[1] - i.effect))
    if claim.kind == "contrast":
        return _absolute(*intervals)
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


def _absolute(difference: s.Interval, total: s.Interval) -> s.Interval:
    """Return |A| - |B| and its range, given A - B and A + B.

    It is min(|A - B|, |A + B|), positive if both have one sign. That it is positive needs both intervals on one side
    of zero, so that no level is lost (an intersection of tests).
    """

    def most(d: float, high_d: float, t: float, high_t: float) -> float:
        return max(min(high_d, high_t), -max(d, t))

    d, t = difference, total
    effect = max(min(d.effect, t.effect), -max(d.effect, t.effect))
    low, high = -most(d.low, d.high, -t.high, -t.low), most(d.low, d.high, t.low, t.high)
    return s.Interval(effect, low, high, d.n)


def _width(interval: s.Interval) -> float:
    return interval.high - interval.low


def _error(joint: s.Joint, region: tuple[float, float], alpha: float) -> tuple[float, float, float]:
    """The standard error over seeds, its degrees of freedom, and half the interval over images, of one comparison."""
    images = _width(joint.images.interval(alpha)) / 2 if joint.images else 0.0
    if isinstance(joint.seeds, s.Mean):
        return joint.seeds.error, joint.seeds.df, images
    # Of a ratio: that of above - bound * below, in units of below.
    bound = min((end for end in region if math.isfinite(end)), key=lambda end: abs(joint.effect - end))
    (aa, ab, bb), below = joint.seeds.covariance, abs(joint.seeds.below)
    variance = aa - 2 * bound * ab + bound**2 * bb if math.isfinite(aa) else math.inf
    return math.sqrt(max(0.0, variance)) / below, joint.seeds.df, images


def _distance(region: tuple[float, float], effect: float) -> float:
    """How far an effect lies from the nearest end of the region."""
    return min(abs(effect - end) for end in region if math.isfinite(end))


def _clearance(region: tuple[float, float], interval: s.Interval) -> float:
    """How far the whole interval keeps from the ends of the region; 0 if it holds one."""
    ends = [end for end in region if math.isfinite(end)]
    if any(interval.low <= end <= interval.high for end in ends):
        return 0.0
    return min(min(abs(interval.low - end), abs(interval.high - end)) for end in ends)


def rounding_places(claim: r.Claim, weights: Weights) -> list[float]:
    """Return the last places, in the effect's unit, of the printed figures that enter a comparison of the claim's arms.

    Without `claim.printed` two figures are taken to be printed to the place of the effect (one of a ratio or level).
    """
    figures = dict(zip(claim.arms, claim.figures, strict=True)) if len(claim.printed) == len(claim.arms) else {}
    if figures and claim.kind == "ratio":
        return [abs(claim.effect or 0.0) * place / abs(value) for value, place in figures.values() if value]
    if figures:
        return [abs(weight) * figures[arm][1] for arm, weight in weights.items()]
    if claim.printed:
        return [claim.figures[0][1]]
    if claim.effect is None:
        return []
    place = rounding(claim.effect, claim.quantity, claim.kind)
    return [place] if claim.kind in ("ratio", "level") else [place, place]


def rounding(effect: float, quantity: str, kind: str = "difference") -> float:
    """Return the unit of the last place of an effect that is known as a number only: 6.64 -> 0.01.

    A number has lost its trailing zeros, so that this is a guess: accuracies are taken to be printed to whole percents
    at least (0.1 is 10 points, 0.0 no point), anything else to whole units at least.
    """
    text = f"{effect:.10g}"
    decimals = len(text.partition(".")[2]) if "e" not in text else 10
    name = measure.split_quantity(quantity)[0]
    fraction = kind != "ratio" and (name == measure.GAP or name.endswith("accuracy"))
    return 10.0 ** -max(decimals, 2 if fraction else 0)


def _taken_away(
    results: Sequence[Results],
    claim: r.Claim,
    arms: Sequence[str],
    own: dict[str, str],
    used: dict[str, pd.DataFrame],
) -> str:
    """ "--set left no difference in epochs": in what two arms should differ, a confounder apart, and no longer do.

    What differs still is then another claim's question, or nothing is left of the claim.
    """
    declared, run, by = {}, {}, "--set"
    for arm, rows in used.items():
        name = measure.split_arm(own[arm]).name
        # A run of before this was recorded says nothing.
        records = [results[place].record for place in rows["result"] if name in results[place].record.declared]
        for record in records[:1]:
            declared[arm] = record.declared[name]
            run[arm] = declared[arm] | record.arms.get(name, {})
            by = "--smoke" if record.smoke else by
    gone = {
        name
        for a, b in _compared(claim, arms)
        if a in declared and b in declared
        # How often training accuracy is measured changes none of the figures that are.
        for name in declared[a].keys() & declared[b].keys() - {*claim.confounded_by, "train_measure_every"}
        if declared[a][name] != declared[b][name] and run[a][name] == run[b][name]
    }
    return f"{by} left no difference in {', '.join(sorted(gone))}" if gone else ""


def _lost(results: Sequence[Results], arms: Sequence[str]) -> list[str]:
    """Trials of these arms that ended without a result: leaving them out unsaid would flatter an arm."""
    names = {(of.study, of.name) for of in map(measure.split_arm, arms)}
    lost = []
    for result in results:
        here = [name for study, name in names if study in (None, result.record.study)]
        rows = result.trials
        lost.append(rows[rows[r.ARM].isin(here) & rows[r.STATUS].isin([r.STOPPED, r.DIVERGED, r.FAILED])])
    return [f"{row[r.ARM]} seed {row[r.SEED]} {row[r.STATUS]}" for _, row in pd.concat(lost).iterrows()]
