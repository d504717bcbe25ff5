import math

import numpy as np
import pytest
from scipy import stats

from analysis import statistics as s


def test_mean_interval_agrees_with_scipys_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 9), rng.normal(0, 1, 9)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    interval = s.mean_interval(a - b)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.n == 9


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_one_seed_or_no_spread_says_nothing(values):
    interval = s.mean_interval(values)
    assert (interval.effect, interval.low, interval.high) == (pytest.approx(0.3), -math.inf, math.inf)
    for region in ((0, math.inf), (-math.inf, 1), (-1, 1)):
        assert s.verdict(region, interval) == s.UNDECIDED
    ratio = s.ratio_interval(values, values)
    assert (ratio.low, ratio.high) == (-math.inf, math.inf)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = dict.fromkeys(("mean", "ratio", "images"), 0)
    for _ in range(1000):
        common = rng.normal(0, 0.1, 4)  # what a seed does to both arms
        a, b = 2 + common + rng.normal(0, 0.1, 4), 1 + common + rng.normal(0, 0.1, 4)
        mean, ratio = s.mean_interval(a - b), s.ratio_interval(a, b)
        hits["mean"] += mean.low < 1 < mean.high
        hits["ratio"] += ratio.low < 2 < ratio.high
        hard = rng.random(200)
        images = s.image_interval([hard < 0.6], [(hard + rng.normal(0, 0.1, 200)) < 0.5])
        hits["images"] += images.low < 0.1 < images.high
    # Three standard errors of 1,000 draws at 95 %.
    assert all(929 <= count <= 971 for count in hits.values()), hits


def test_a_ratio_excludes_one_where_the_difference_excludes_zero():
    rng = np.random.default_rng(2)
    outcomes = set()
    for _ in range(300):
        a, b = rng.normal(1.1, 0.1, 4), rng.normal(1, 0.1, 4)
        difference, ratio = s.mean_interval(a - b), s.ratio_interval(a, b)
        outcomes.add((difference.low > 0, ratio.low > 1))
        outcomes.add((difference.high < 0, ratio.high < 1))
    assert outcomes == {(True, True), (False, False)}


def test_a_ratio_by_what_may_be_zero_is_unbounded():
    interval = s.ratio_interval([1.0, 1.1, 0.9], [0.1, -0.1, 0.05])
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert math.isnan(s.ratio_interval([1.0, 2.0], [0.0, 0.0]).effect)


def test_image_interval_of_one_seed_agrees_with_agresti_and_min():
    # Their formula from the four counts, each plus a half.
    right_wrong, wrong_right, n = 30, 12, 500
    first = np.arange(n) < right_wrong
    second = (np.arange(n) >= right_wrong) & (np.arange(n) < right_wrong + wrong_right)
    b, c, total = right_wrong + 0.5, wrong_right + 0.5, n + 2
    centre = (b - c) / total
    half = 1.959964 * math.sqrt((b + c) - (b - c) ** 2 / total) / total
    interval = s.image_interval([first], [second])
    assert interval.effect == pytest.approx((right_wrong - wrong_right) / n)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half))


def test_equal_predictions_still_have_an_image_interval():
    interval = s.image_interval([[True] * 100], [[True] * 100])
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
    over_seeds = s.Interval(0, low, high, 3)
    assert s.verdict(region, over_seeds) == expected
    # The test set must not be able to overturn it.
    assert s.verdict(region, over_seeds, s.Interval(0, -1, 1, 100)) == "undecided"
    assert s.verdict(region, over_seeds, over_seeds) == expected


def test_seeds_to_decide_have_the_power_they_promise():
    differences = np.array([0.03, -0.01, 0.02, 0.0])
    n = s.seeds_to_decide(differences, 0.0)
    rng = np.random.default_rng(3)

    def power(seeds):
        draws = rng.normal(differences.mean(), differences.std(ddof=1), (4000, seeds))
        return np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)

    assert n is not None
    assert n > 4
    assert power(n) > 0.78
    assert power(n - 1) < 0.82
    assert s.seeds_to_decide(differences, 0.01) is None  # the effect sits on the bound
    assert s.seeds_to_decide([0.3], 0.0) is None
    assert s.seeds_to_decide([1.0, 1.001], 0.0) == 3  # never fewer than there are


def test_wilson_interval():
    interval = s.proportion_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
