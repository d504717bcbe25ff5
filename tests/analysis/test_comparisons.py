import pytest

from analysis import comparisons


@pytest.mark.parametrize(
    ("effect", "quantity", "kind", "place"),
    [
        (0.0, "test_accuracy", "difference", 0.01),
        (0.1, "test_accuracy", "difference", 0.01),
        (0.2, "gap", "difference", 0.01),
        (0.3, "train_accuracy", "level", 0.01),
        (-0.058, "test_accuracy", "difference", 0.001),
        (0.0439, "test_accuracy", "difference", 0.0001),
        (-51_008, "parameters", "difference", 1),
        (5.0, "seconds_per_epoch", "ratio", 1),
        (6.64, "parameters", "ratio", 0.01),
        (0.017, "train_loss", "difference", 0.001),
        (-9.0, "seconds_per_epoch", "difference", 1),
    ],
)
def test_the_last_place_of_an_effect_that_was_not_kept_as_printed(effect, quantity, kind, place):
    assert comparisons.rounding(effect, quantity, kind) == pytest.approx(place)


def test_printed_figures_carry_their_places(make_claim):
    half = make_claim(arms=("a", "b"), printed=("53 %", "47.2 %"))
    (weights,) = comparisons.comparisons(half, half.arms)
    assert comparisons.rounding_places(half, weights) == pytest.approx([0.01, 0.001])
    ratio = make_claim(arms=("a", "b"), printed=("3010", "4225"), kind="ratio", expected="less")
    (weights,) = comparisons.comparisons(ratio, ratio.arms)
    assert comparisons.rounding_places(ratio, weights) == pytest.approx([1 / 4225, 3010 / 4225**2])
    whole = make_claim(arms=("a", "b"), printed=("4.39 points",))
    assert comparisons.rounding_places(whole, weights) == pytest.approx([0.0001])
