import math

import numpy as np
import pytest
from scipy import stats

from analysis import intervals
from analysis.intervals import (
    ALPHA,
    LOOK_ALPHA,
    LOOKS,
    UNDECIDED,
    Interval,
    Joint,
    Mean,
    bartlett,
    detectable,
    false_discovery,
    image_interval,
    least_alpha,
    look,
    mean_interval,
    overall,
    prediction_half,
    proportion_interval,
    ratio_interval,
    rounding_variance,
    seeds_to_decide,
    verdict,
)


def test_mean_interval_agrees_with_scipys_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 9), rng.normal(0, 1, 9)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    interval = mean_interval(a - b)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.n == 9


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_one_seed_or_no_spread_says_nothing(values):
    interval = mean_interval(values)
    assert (interval.effect, interval.low, interval.high) == (pytest.approx(0.3), -math.inf, math.inf)
    for region in ((0, math.inf), (-math.inf, 1), (-1, 1)):
        assert verdict(region, interval) == UNDECIDED
    ratio = ratio_interval(values, values)
    assert (ratio.low, ratio.high) == (-math.inf, math.inf)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = dict.fromkeys(("mean", "ratio", "images"), 0)
    for _ in range(1000):
        common = rng.normal(0, 0.1, 4)  # what a seed does to both arms
        a, b = 2 + common + rng.normal(0, 0.1, 4), 1 + common + rng.normal(0, 0.1, 4)
        mean, ratio = mean_interval(a - b), ratio_interval(a, b)
        hits["mean"] += mean.low < 1 < mean.high
        hits["ratio"] += ratio.low < 2 < ratio.high
        hard = rng.random(200)
        images = image_interval([hard < 0.6], [(hard + rng.normal(0, 0.1, 200)) < 0.5])
        hits["images"] += images.low < 0.1 < images.high
    # Three standard errors of 1,000 draws at 95 %.
    assert all(929 <= count <= 971 for count in hits.values()), hits


def test_a_ratio_excludes_one_where_the_difference_excludes_zero():
    rng = np.random.default_rng(2)
    outcomes = set()
    for _ in range(300):
        a, b = rng.normal(1.1, 0.1, 4), rng.normal(1, 0.1, 4)
        difference, ratio = mean_interval(a - b), ratio_interval(a, b)
        outcomes.add((difference.low > 0, ratio.low > 1))
        outcomes.add((difference.high < 0, ratio.high < 1))
    assert outcomes == {(True, True), (False, False)}


def test_a_ratio_by_what_may_be_zero_is_unbounded():
    interval = ratio_interval([1.0, 1.1, 0.9], [0.1, -0.1, 0.05])
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert math.isnan(ratio_interval([1.0, 2.0], [0.0, 0.0]).effect)


def test_image_interval_of_one_seed_agrees_with_agresti_and_min():
    # Their formula from the four counts, each plus a half.
    right_wrong, wrong_right, n = 30, 12, 500
    first = np.arange(n) < right_wrong
    second = (np.arange(n) >= right_wrong) & (np.arange(n) < right_wrong + wrong_right)
    b, c, total = right_wrong + 0.5, wrong_right + 0.5, n + 2
    centre = (b - c) / total
    half = 1.959964 * math.sqrt((b + c) - (b - c) ** 2 / total) / total
    interval = image_interval([first], [second])
    assert interval.effect == pytest.approx((right_wrong - wrong_right) / n)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half))


def test_equal_predictions_still_have_an_image_interval():
    interval = image_interval([[True] * 100], [[True] * 100])
    assert interval.low < 0 < interval.high


@pytest.mark.parametrize(
    ("region", "low", "high", "expected"),
    [
        ((0, math.inf), 0.01, 0.2, "reproduced"),
        ((0, math.inf), 0, 0.2, "undecided"),
        ((0, math.inf), -0.2, 0, "contradicted"),
        ((0, math.inf), -0.2, 0.1, "undecided"),
        ((-math.inf, 0), -0.2, -0.1, "reproduced"),
        ((-0.1, 0.1), -0.05, 0.05, "reproduced"),
        ((-0.1, 0.1), -0.05, 0.15, "undecided"),
        ((-0.1, 0.1), -0.3, 0.3, "undecided"),
        ((-0.1, 0.1), 0.1, 0.3, "contradicted"),
        ((-0.1, 0.1), -0.3, -0.2, "contradicted"),
    ],
)
def test_the_rule(region, low, high, expected):
    over_seeds = Interval(0, low, high, 3)
    assert verdict(region, over_seeds) == expected
    # The test set must not be able to overturn it.
    assert verdict(region, over_seeds, Interval(0, -1, 1, 100)) == "undecided"
    assert verdict(region, over_seeds, over_seeds) == expected


def test_seeds_to_decide_have_the_power_they_promise():
    deviation, distance, seeds = 0.02, 0.025, 3
    n = seeds_to_decide(distance, deviation, seeds)
    rng = np.random.default_rng(3)

    def power(seeds):
        draws = rng.normal(distance, deviation, (4000, seeds))
        return np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < LOOK_ALPHA)

    assert n in LOOKS
    assert power(n) > 0.78
    assert power(LOOKS[LOOKS.index(n) - 1]) < 0.82
    assert seeds_to_decide(0.0, deviation, seeds) is None  # the effect sits on the bound
    assert seeds_to_decide(distance, 0.0, seeds) is None  # no spread to plan with
    assert seeds_to_decide(distance, deviation, 20) is None  # there is no further look
    # Test images that can not tell the effect are not made up for by seeds.
    assert seeds_to_decide(distance, deviation, seeds, images=0.03) is None


@pytest.mark.parametrize(("effect", "own", "images"), [(0.0, True, 0.0), (0.5, True, 0.0), (0.5, False, 0.4)])
def test_seeds_to_decide_an_effect_between_two_bounds_clear_both(effect, own, images):
    """A margin of 1.5 about 0: the interval must fit between its two ends."""
    rng, deviation, margin = np.random.default_rng(4), 0.75, 1.5

    def decided(seeds):
        draws = rng.normal(effect, deviation, (20_000, seeds))
        error, df = draws.std(axis=1, ddof=1) / np.sqrt(seeds), seeds - 1
        if not own:
            df = 30
            error = deviation * np.sqrt(rng.chisquare(df, len(draws)) / df / seeds)
        half = np.hypot(stats.t.ppf(1 - LOOK_ALPHA / 2, df) * error, images)
        return np.mean(np.abs(draws.mean(axis=1)) + half < margin)

    near, far = margin - effect, margin + effect
    n = seeds_to_decide(near, deviation, 3, None if own else 30, images, other=far)
    assert decided(n) > 0.78
    assert decided(LOOKS[LOOKS.index(n) - 1]) < 0.82
    power = intervals.power(near, deviation, n, n - 1 if own else 30, images, other=far)
    assert power == pytest.approx(decided(n), abs=0.03 if images else 0.015)
    wide = intervals.power(near, deviation, n, n - 1, other=1e9)
    assert wide == pytest.approx(intervals.power(near, deviation, n, n - 1), abs=1e-3)  # a bound far away is none


def test_the_detectable_distance_is_decided_at_the_last_look():
    distance = detectable(0.02)
    assert intervals.power(distance, 0.02, 20, 19) == pytest.approx(0.8, abs=1e-3)
    assert math.isnan(detectable(math.inf))


def test_looks():
    assert [look(n) for n in (0, 2, 3, 4, 5, 11, 12, 20, 50)] == [0, 0, 3, 3, 5, 8, 12, 20, 20]


def test_the_looks_together_are_wrong_as_often_as_declared():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(20_000, 20))
    wrong = np.zeros(len(values), bool)
    for n in LOOKS:
        wrong |= stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue < LOOK_ALPHA
    assert wrong.mean() == pytest.approx(ALPHA, abs=0.005)


def test_the_overall_level_of_the_looks_is_not_too_small():
    values = np.random.default_rng(4).normal(size=(200_000, 20))
    least = np.ones(len(values))
    for n in LOOKS:
        least = np.minimum(least, stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue)
    for alpha in (0.0003, 0.00129, 0.004, 0.0129, 0.03, 0.15, 0.4, 0.8):
        share = (least < alpha).mean()
        error = math.sqrt(share / len(values))
        assert overall(alpha) == pytest.approx(share, rel=0.015, abs=3 * error)
    levels = np.geomspace(1e-15, 1, 500)
    told = np.array([overall(level) for level in levels])
    assert (np.diff(told) >= 0).all()
    assert (told <= np.minimum(1, 5 * levels * (1 + 1e-12))).all()
    assert (told >= levels).all()


def test_a_pool_is_what_arms_and_seeds_leave_unexplained():
    rng = np.random.default_rng(5)
    table = rng.normal(size=(4, 5)) + np.arange(4)[:, None] + 3 * rng.normal(size=5)
    residual = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    pool = intervals.pool(table)
    assert pool.df == pytest.approx(12)
    assert pool.variance == pytest.approx(np.square(residual).sum() / 12)
    assert pool.whole_variance == pytest.approx(np.mean(table.var(axis=1, ddof=1)))
    assert 4 < pool.whole_df < 6  # seeds that move all arms alike are hardly more than one arm's
    # Without the seeds' part the arms' variances are sixteen draws, as in scipy's test.
    alone = intervals.pool(rng.normal(size=(2, 40)) * [[1], [9]])
    assert not alone.equal or alone.p > 0.9  # of two arms the residuals mirror each other


def test_a_pool_of_arms_with_other_seeds_each():
    table = np.full((3, 6), np.nan)
    rng = np.random.default_rng(6)
    table[0, :4], table[1, 1:5], table[2, 2:] = rng.normal(size=(3, 4))
    pool = intervals.pool(table)
    assert pool.df == pytest.approx(12 - 3 - 6 + 1)
    assert intervals.pool(table[:1]) is None
    assert intervals.pool(np.ones((3, 4))) is None


def test_bartlett_agrees_with_scipy():
    rng = np.random.default_rng(7)
    groups = [rng.normal(size=n) * spread for n, spread in ((5, 1), (8, 1.5), (6, 3))]
    variances, df = np.array([g.var(ddof=1) for g in groups]), np.array([len(g) - 1 for g in groups])
    assert bartlett(variances, df) == pytest.approx(stats.bartlett(*groups).pvalue)
    assert bartlett(np.array([0.0, 1.0]), df[:2]) == 0.0


def test_variances_that_are_equal_but_for_rounding_are_equal():
    rng = np.random.default_rng(0)
    pools = [intervals.pool(rng.normal(0, scale, (2, n))) for scale in (0.01, 1, 100) for n in (3, 5) * 50]
    # Of two arms the residuals mirror each other.
    assert [pool.p for pool in pools] == pytest.approx([1.0] * len(pools), abs=1e-6)
    assert all(pool.equal for pool in pools)


def test_seeds_and_images_enter_one_interval():
    joint = Joint(Mean(0.1, 0.01, 4, 5), Mean(0.1, 0.02, math.inf, 1000))
    interval = joint.interval(0.05)
    half = math.hypot(stats.t.ppf(0.975, 4) * 0.01, stats.norm.ppf(0.975) * 0.02)
    assert (interval.low, interval.high) == pytest.approx((0.1 - half, 0.1 + half))


def test_p_is_the_level_at_which_the_verdict_turns():
    mean = Mean(0.1, 0.04, 4, 5)
    alpha = least_alpha(lambda alpha: mean.interval(alpha).low > 0)
    assert alpha == pytest.approx(2 * stats.t.sf(0.1 / 0.04, 4), rel=1e-6)
    assert overall(LOOK_ALPHA) == pytest.approx(ALPHA)
    assert least_alpha(lambda alpha: False) == 1.0


def test_a_true_figure_of_the_note_lies_in_the_prediction_interval():
    rng = np.random.default_rng(8)
    outside = []
    for _ in range(4000):
        ours, note = rng.normal(size=4), np.round(rng.normal() / 0.5) * 0.5
        half = prediction_half(ours.var(ddof=1), 3, 4, rounding_variance(0.5))
        outside.append(abs(note - ours.mean()) > half)
    assert 0.03 < np.mean(outside) < 0.06


def test_q_values():
    p = np.array([0.001, math.nan, 0.04, 0.03, 0.5])
    assert false_discovery(p) == pytest.approx([0.004, math.nan, 0.0533333, 0.0533333, 0.5], nan_ok=True)


def test_wilson_interval():
    interval = proportion_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
