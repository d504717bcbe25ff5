"""Weigh one claim against our runs: its effect, the intervals, the verdict, and what an undecided claim needs.

The kinds of claims are those of `search.records.Claim`, the rules those of `analysis.intervals`. Every claim is one
or more comparisons of arms, paired by seed and, if labels were kept, by test image.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import intervals as rules
from analysis.arms import (
    EXACT,
    GAP,
    SECONDS_PER_EPOCH,
    arm_trials,
    arm_values,
    chance_accuracy,
    ensemble_sizes,
    hard_votes_of_two,
    right_predictions,
    split_arm,
    split_quantity,
    trial_names,
)
from analysis.comparisons import Weights, compared, comparisons, join, judge, region, rounding_places
from analysis.family import Families
from analysis.further_seeds import Outlook
from analysis.intervals import (
    DIFFERS,
    FITS,
    LOOK_ALPHA,
    LOOKS,
    NOT_COMPARABLE,
    NOT_TESTED,
    PROMISE_GATE,
    PROMISE_LEVEL,
    UNDECIDED,
    Interval,
    Joint,
    Mean,
    Pool,
    clear_of_chance,
    image_effect,
    image_ratio,
    least_alpha,
    look,
    mean_effect,
    overall,
    pooled_effect,
    prediction_half,
    ratio_effect,
    rounding_variance,
    seeds_to_decide,
)
from analysis.load import Results
from analysis.untestable import another_size, other_data, other_machines, resized, taken_away, without_result
from search.records import (
    IMAGES_PER_SECOND,
    PEAK_MEMORY_BYTES,
    PROTOCOL,
    SECONDS,
    TEST_ACCURACY,
    Claim,
    StudyRecord,
)


@dataclass(frozen=True)
class Weighed:
    """Result of weighing one claim against the runs.

    verdict       direction: reproduced, contradicted, undecided or not tested
    effect        mean over the seeds of the last look, in the unit of the quantity (a ratio has none)
    low, high     ends of the interval that decides, over seeds and test images; NaN if there is none
    n             number of seeds behind it
    image_low, image_high   ends of the part over test images alone; NaN if labels were not kept
    p             least overall level at which the verdict would have been reached; NaN before the first look
    size          fits, differs or not comparable: the note's own figure; "" if it prints none or nothing was measured
    size_low, size_high     ends of the prediction interval in which the note's figure would fit
    spread        the runs from which the spread comes
    seeds_needed  number of seeds promised to decide an undecided claim
    note_seeds    number of seeds that decide the claim with 80 % if the note's own figure is the truth
    detectable    least distance from the claim's bound that the last look decides with 80 %
    why           reasons for the verdict, in words
    trials        numbers of the trials behind it, in trials.parquet
    changed       what `--set` made different from the note's own runs; "smoke"; a data set other than the note's
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
    results: Sequence[Results], claim: Claim, study: str, arms: Sequence[str], families: Families | None = None
) -> Weighed:
    """Judge `claim` of `study` on `arms` instead of `claim.arms`, which also differ in the claim's confounders.

    `families` are those of `results`. Raises UnmeasuredError for a quantity that no results folder reports.
    """
    return _Weighing(results, claim, study, arms, families or Families(results)).weighed()


def outlook(
    results: Sequence[Results], claim: Claim, study: str, arms: Sequence[str], families: Families
) -> Outlook | None:
    """Return what further seeds promise for `claim` on `arms`; None if its runs do not say or cannot test it."""
    return _Weighing(results, claim, study, arms, families).outlook()


def needs_learning(claim: Claim) -> bool:
    """Return whether only arms that have learnt something test a claim; a level of accuracy or loss may be chance."""
    name = split_quantity(claim.quantity)[0]
    return name == GAP or (name.endswith(("accuracy", "loss")) and claim.kind != "level")


class _Weighing:
    def __init__(
        self,
        results: Sequence[Results],
        claim: Claim,
        study: str,
        arms: Sequence[str],
        families: Families,
    ) -> None:
        self.results, self.claim, self.arms, self.families = results, claim, tuple(arms), families
        self.own = {arm: arm if "/" in arm else f"{study}/{arm}" for arm in arms}
        self.values = {arm: arm_values(results, full, claim.quantity) for arm, full in self.own.items()}
        self.used = {arm: arm_trials(results, full) for arm, full in self.own.items()}
        self.comparisons = comparisons(claim, arms)
        self.region = region(claim)
        self.exact = split_quantity(claim.quantity)[0] in EXACT
        self.of_the_machine = split_quantity(claim.quantity)[0] in _OF_THE_MACHINE

    def weighed(self) -> Weighed:
        trials = "; ".join(f"{arm}: {trial_names(rows, self.results)}" for arm, rows in self.used.items())
        lost = without_result(self.results, list(self.own.values()))
        changes = self._changes()
        changed = ", ".join(filter(None, [*changes[:1], *other_data(self._records())]))
        if reason := self._untestable(changes):
            return Weighed(NOT_TESTED, why="; ".join([reason, *lost]), trials=trials, changed=changed)
        shared = sorted(set.intersection(*(set(series.index) for series in self.values.values())))
        if not shared:
            missing = [arm for arm, series in self.values.items() if series.empty]
            reason = f"no {self.claim.quantity} of {', '.join(missing)}" if missing else "the arms share no seed"
            return Weighed(NOT_TESTED, why="; ".join([reason, *lost]), trials=trials, changed=changed)
        if reason := self._no_ensembles() or another_size(self.claim, changed):
            told = "; ".join([reason, *lost])
            return Weighed(NOT_TESTED, n=len(shared), why=told, trials=trials, changed=changed)
        seeds = shared[: look(len(shared)) or None]
        paired = {arm: series[seeds].to_numpy() for arm, series in self.values.items()}
        if reason := self._undefined(paired):
            told = "; ".join([reason, *lost])
            return Weighed(NOT_TESTED, n=len(seeds), why=told, trials=trials, changed=changed)
        joints, spread = self._joints(paired, seeds)
        weighed = self._judged(joints, len(seeds))
        why = [*([weighed.why] if weighed.why else []), *self._waiting(len(shared), len(seeds)), *lost]
        if self._near_chance(seeds):
            weighed = Weighed(NOT_TESTED, effect=weighed.effect, low=weighed.low, high=weighed.high, n=weighed.n)
            why = [
                f"not testable at this size: no arm is above {self._nearest()} test accuracy, too near chance",
                *lost,
            ]
        else:
            weighed = self._sized(weighed, paired, changed)
        return dataclasses.replace(weighed, why="; ".join(why), trials=trials, changed=changed, spread=spread)

    def outlook(self) -> Outlook | None:
        shared = sorted(set.intersection(*(set(series.index) for series in self.values.values())))
        if len(shared) < 2 or self.exact or self._untestable(self._changes()) or self._no_ensembles():
            return None
        paired = {arm: series[shared].to_numpy() for arm, series in self.values.items()}
        if self._undefined(paired):
            return None
        joints, _ = self._joints(paired, shared)
        alpha = LOOK_ALPHA / len(joints)
        hardest = max(joints, key=lambda joint: _width(joint.seeds.interval(PROMISE_LEVEL)))
        error, df, images = _error(hardest, self.region, alpha)
        if not math.isfinite(error) or self._near_chance(shared):
            return None
        effect = join(self.claim, self.region, [joint.interval(PROMISE_LEVEL) for joint in joints]).effect
        return Outlook(effect, error * math.sqrt(len(shared)), df, len(shared), images, self.region, alpha)

    # Reasons why a claim cannot be tested.

    def _records(self) -> list[StudyRecord]:
        """Return the records of the runs that have trials of the arms."""
        return [self.results[place].record for rows in self.used.values() for place in rows["result"].unique()]

    def _changes(self) -> list[str]:
        """Return what `--set` changed: one text if the arms compare, one for each command if they do not."""
        runs = [
            (split_arm(self.own[arm]).name, self.results[place])
            for arm, rows in self.used.items()
            for place in rows["result"].unique()
        ]
        commands = sorted({result.changed for _, result in runs})
        # Arms compare if every arm is as the other arms' commands would have left it.
        if len(commands) > 1 and not all(
            result.meets(name, other.assigned) for name, result in runs for _, other in runs
        ):
            return commands
        return [", ".join(sorted({part for name, run in runs for part in run.changed_of(name).split(", ")} - {""}))]

    def _untestable(self, changes: list[str]) -> str:
        protocols = sorted({protocol for rows in self.used.values() for protocol in rows[PROTOCOL]})
        if len(protocols) > 1:
            return f"the arms ran under different protocols: {', '.join(protocols)}"
        if len(changes) > 1:
            return f"the arms ran under different --set: {'; '.join(one or 'nothing' for one in changes)}"
        if reason := self.of_the_machine and other_machines(self._records()):
            return reason
        return taken_away(self.results, self.claim, self.arms, self.own, self.used)

    def _no_ensembles(self) -> str:
        twos = [arm for arm in self.own if hard_votes_of_two(self.results, self.own[arm], self.claim.quantity)]
        if twos:
            return (
                f"a hard vote of two members is the smaller of two labels, no ensemble: {', '.join(twos)} (run three, "
                f"or compare member_test_accuracy)"
            )
        for a, b in compared(self.claim, self.arms):
            first, second = split_arm(self.own[a]), split_arm(self.own[b])
            one = dataclasses.replace(first, members=None) == dataclasses.replace(second, members=None)
            if one and ensemble_sizes(self.results, self.own[a]) & ensemble_sizes(self.results, self.own[b]):
                return f"{a} and {b} are the same members"
        return ""

    def _undefined(self, paired: dict[str, np.ndarray]) -> str:
        below = self.arms[-1]
        if self.claim.kind != "ratio" or paired[below].mean():
            return ""
        return f"the mean {self.claim.quantity} of {below} is 0, and a ratio to 0 is undefined"

    def _near_chance(self, seeds: Sequence[int]) -> bool:
        """Return whether no arm has learnt enough to test the claim; a level of accuracy or loss may be chance."""
        epoch = split_quantity(self.claim.quantity)[1]
        if not needs_learning(self.claim):
            return False
        at = TEST_ACCURACY if epoch is None else f"{TEST_ACCURACY}@{epoch}"
        for full in self.own.values():
            # A prefix has about the accuracy of its whole ensemble, and may lack a row of its own.
            accuracies = arm_values(self.results, full, at)
            chance = chance_accuracy(self.results, full)
            known = accuracies[accuracies.index.isin(seeds)]
            if known.empty or chance is None or known.mean() > clear_of_chance(chance):
                return False
        return True

    def _nearest(self) -> str:
        chances = {chance for full in self.own.values() if (chance := chance_accuracy(self.results, full))}
        return " or ".join(f"{100 * clear_of_chance(chance):.3g} %" for chance in sorted(chances))

    @staticmethod
    def _waiting(shared: int, seen: int) -> list[str]:
        if seen == shared or shared < LOOKS[0]:
            return []
        after = next((n for n in LOOKS if n > shared), None)
        return [f"{shared - seen} more seeds wait for the look at {after}" if after else f"the last look is at {seen}"]

    # Direction.

    def _joints(self, paired: dict[str, np.ndarray], seeds: list[int]) -> tuple[list[Joint], str]:
        """Return each comparison over seeds and images, and the source of its spread in words."""
        right = self._right(seeds)
        if self.claim.kind == "ratio":
            ((a, b),) = [tuple(weights) for weights in self.comparisons]
            ratio = ratio_effect(paired[a], paired[b])
            if self.exact:
                ratio = dataclasses.replace(ratio, covariance=(0.0, 0.0, 0.0), df=math.inf)
            return [Joint(ratio, image_ratio(right[a], right[b]) if right else None)], "" if self.exact else "own pairs"
        pool, spread = self._pool(len(seeds))
        joints = []
        for weights in self.comparisons:
            effects = np.sum([w * paired[arm] for arm, w in weights.items()], axis=0)
            if self.exact:
                mean = Mean(float(effects.mean()), 0.0, math.inf, len(effects))
            elif pool is None:
                mean = mean_effect(effects)
            elif abs(sum(weights.values())) > 1e-9:  # the level of one arm keeps the seed's part
                mean = pooled_effect(effects, pool.whole_variance, pool.whole_df)
            else:
                mean = pooled_effect(effects, _squares(weights) * pool.variance, pool.df)
            images = image_effect([right[arm] for arm in weights], list(weights.values())) if right else None
            joints.append(Joint(mean, images))
        return joints, "" if self.exact else spread

    def _pool(self, seeds: int) -> tuple[Pool | None, str]:
        """Return the family's spread, None if the claim rests on its own pairs; and which of the two, in words."""
        trainings = [
            self.results[place].training_of(split_arm(self.own[arm]).name)
            for arm, rows in self.used.items()
            for place in rows["result"].unique()
        ]
        # A smaller ensemble then has the first members of the larger one with the same seed.
        shared = any(
            one and other and one.key == other.key and one.members != other.members
            for one, other in itertools.combinations(trainings, 2)
        )
        if shared or not all(split_arm(full).whole for full in self.own.values()):
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
        """Return which test predictions were right (seeds, images), by arm.

        None unless the claim is on final test accuracy on one data set and all labels were kept.
        """
        data = {
            self.results[place].record.dataset_fingerprint for rows in self.used.values() for place in rows["result"]
        }
        if self.claim.quantity != TEST_ACCURACY or len(data) > 1:
            return None  # images pair within one data set only
        tables = {arm: right_predictions(self.results, full) for arm, full in self.own.items()}
        kept = {arm: table for arm, table in tables.items() if table is not None}
        if len(kept) < len(tables):
            return None
        images = next(iter(kept.values())).index
        for table in kept.values():
            images = images.intersection(table.index)
        return {arm: table.loc[images, seeds].to_numpy().T for arm, table in kept.items()}

    def _judged(self, joints: list[Joint], n: int) -> Weighed:
        claim, m = self.claim, len(joints)

        def intervals(alpha: float) -> list[Interval]:
            return [joint.interval(alpha / m) for joint in joints]

        def verdict(alpha: float) -> str:
            return judge(claim, self.region, intervals(alpha))

        whole = join(claim, self.region, intervals(LOOK_ALPHA))
        weighed = Weighed(verdict(LOOK_ALPHA), effect=whole.effect, n=n)
        if not self.exact and n < LOOKS[0]:
            return dataclasses.replace(weighed, verdict=UNDECIDED, why=f"the first look is at {LOOKS[0]} seeds")
        p = overall(least_alpha(lambda alpha: verdict(alpha) != UNDECIDED))
        weighed = dataclasses.replace(weighed, low=whole.low, high=whole.high, p=0.0 if self.exact else p)
        if all(joint.images for joint in joints):
            images = [joint.images.interval(LOOK_ALPHA / m) for joint in joints if joint.images]
            over = join(claim, self.region, images)
            weighed = dataclasses.replace(weighed, image_low=over.low, image_high=over.high)
        if self.exact or weighed.verdict != UNDECIDED:
            return weighed
        return self._unsettled(weighed, joints, verdict, join(claim, self.region, intervals(PROMISE_GATE)))

    def _unsettled(
        self, weighed: Weighed, joints: list[Joint], verdict: Callable[[float], str], gate: Interval
    ) -> Weighed:
        """Return the result of an undecided claim with what would decide it."""
        claim, m = self.claim, len(joints)
        alpha = LOOK_ALPHA / m
        hardest = max(joints, key=lambda joint: _width(joint.seeds.interval(PROMISE_LEVEL)))
        error, df, images = _error(hardest, self.region, alpha)
        deviation = error * math.sqrt(weighed.n)
        spread_df = None if df <= weighed.n - 1 else df

        def seeds_for(effect: float) -> int | None:
            near, far = _distances(self.region, effect)
            return seeds_to_decide(near, deviation, weighed.n, spread_df, images, alpha, far)

        needed = None
        if verdict(PROMISE_GATE) != UNDECIDED:
            near = join(claim, self.region, [joint.interval(PROMISE_LEVEL) for joint in joints])
            if not any(near.low <= end <= near.high for end in self.region):
                needed = seeds_for(min(near.low, near.high, key=lambda end: _distances(self.region, end)[0]))
        note = None
        if claim.effect is not None and len(joints) == 1:
            note = seeds_for(claim.effect)
        why = ""
        seeds_only = [dataclasses.replace(joint, images=None) for joint in joints]
        if judge(claim, self.region, [joint.interval(alpha) for joint in seeds_only]) != UNDECIDED:
            why = "the test set is too small, whatever the seeds"
            needed = None
        elif not math.isfinite(deviation):
            why = "the claim's seeds show no spread"
        detectable = rules.detectable(deviation, spread_df, images, alpha)
        return dataclasses.replace(weighed, seeds_needed=needed, note_seeds=note, detectable=detectable, why=why)

    # Size.

    def _sized(self, weighed: Weighed, paired: dict[str, np.ndarray], changed: str) -> Weighed:
        """Compare the note's own figure with the prediction interval for one further run."""
        claim = self.claim
        figures = [value for value, _ in claim.figures]
        several = claim.kind == "level" and len(claim.arms) > 1
        if (claim.effect is None and not (several and figures)) or self.arms != claim.arms:
            return weighed
        if (self.of_the_machine and claim.kind != "ratio") or resized(changed, claim.quantity):
            return dataclasses.replace(weighed, size=NOT_COMPARABLE)
        if not self.exact and weighed.n < LOOKS[0]:
            return weighed
        halves = [self._prediction_half(weights, paired, weighed.n) for weights in self.comparisons]
        if not all(map(math.isfinite, halves)):
            return weighed  # without a spread any figure would fit
        if several:
            effects = [float(paired[arm].mean()) for arm in self.arms]
            each = figures if len(figures) > 1 else figures * len(effects)  # one figure is that of every arm
            fits = all(abs(e - f) <= h for e, f, h in zip(effects, each, halves, strict=True))
            return dataclasses.replace(weighed, size=FITS if fits else DIFFERS)
        assert claim.effect is not None
        half = max(halves)
        size = FITS if abs(weighed.effect - claim.effect) <= half * (1 + 1e-9) else DIFFERS
        return dataclasses.replace(weighed, size=size, size_low=weighed.effect - half, size_high=weighed.effect + half)

    def _prediction_half(self, weights: Weights, paired: dict[str, np.ndarray], n: int) -> float:
        places = rounding_places(self.claim, weights)
        if self.exact:
            return sum(places) / 2
        rounding = sum(map(rounding_variance, places))
        variance, df = self._run_variance(weights, paired, n)
        return prediction_half(variance, df, n, rounding, len(self.comparisons))

    def _run_variance(self, weights: Weights, paired: dict[str, np.ndarray], n: int) -> tuple[float, float]:
        """Return the variance of one run's effect, for runs that share no seed, and its degrees of freedom."""
        scale = dict(weights)
        if self.claim.kind == "ratio":  # to first order, d(a / b) = (da - ratio * db) / b
            a, b = tuple(weights)
            below = float(paired[b].mean())
            scale = {a: 1 / below, b: -float(paired[a].mean()) / below**2}
        if not all(split_arm(self.own[arm]).whole for arm in weights):
            effects = np.sum([w * paired[arm] for arm, w in scale.items()], axis=0)
            return float(effects.var(ddof=1)), n - 1
        own = [w * w * float(paired[arm].var(ddof=1)) for arm, w in scale.items()]
        variance = sum(own)
        df = variance**2 / sum(v * v / (n - 1) for v in own) if variance else 0.0
        pool, _ = self._pool(n)
        if pool is None:
            return variance, df
        return max(variance, _squares(scale) * pool.whole_variance), max(df, pool.whole_df)


_OF_THE_MACHINE = (SECONDS_PER_EPOCH, SECONDS, IMAGES_PER_SECOND, PEAK_MEMORY_BYTES)


def _squares(weights: Weights) -> float:
    return sum(w * w for w in weights.values())


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _error(joint: Joint, region: tuple[float, float], alpha: float) -> tuple[float, float, float]:
    """Return one comparison's standard error over seeds, its degrees of freedom, and half its interval over images."""
    images = _width(joint.images.interval(alpha)) / 2 if joint.images else 0.0
    if isinstance(joint.seeds, Mean):
        return joint.seeds.error, joint.seeds.df, images
    # A ratio's error is that of above - bound * below, in units of below.
    bound = min((end for end in region if math.isfinite(end)), key=lambda end: abs(joint.effect - end))
    (aa, ab, bb), below = joint.seeds.covariance, abs(joint.seeds.below)
    variance = aa - 2 * bound * ab + bound**2 * bb if math.isfinite(aa) else math.inf
    return math.sqrt(max(0.0, variance)) / below, joint.seeds.df, images


def _distances(region: tuple[float, float], effect: float) -> tuple[float, float]:
    """Return how far an effect lies from the nearest end of the region, and, if it lies inside, from the other end."""
    least, most = region
    near, far = sorted((abs(effect - least), abs(effect - most)))
    return near, far if least < effect < most else math.inf
