import csv
import math
from pathlib import Path

import pytest
import torch

from trainables.adaboost import alpha, reweighted, shares

REPORTED = Path(__file__).parents[2] / "spaces" / "reported"


def test_all_24_printed_alphas_follow_from_the_counts_of_correct_images():
    with (REPORTED / "alphas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for row in rows:
        error = 1 - int(row["correct_images"]) / 50_000
        assert alpha("note", error, 100) == pytest.approx(float(row["alpha"]), abs=1e-7), row


def test_samme_alpha_is_the_published_one():
    for error, classes in ((0.2, 2), (0.5, 3), (0.7, 10), (0.98, 100)):
        expected = math.log((1 - error) / error) + math.log(classes - 1)
        assert alpha("samme", error, classes) == pytest.approx(expected)


def test_the_variants_differ_by_the_logarithm_and_the_divider_alone():
    assert alpha("note", 0.6, 100) == pytest.approx(alpha("samme", 0.6, 100) / math.log(2) / 100)


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_member_at_chance_or_below_has_no_vote(variant):
    for classes in (2, 10, 100):
        assert [alpha(variant, error, classes) for error in (1 - 1 / classes, 0.999, 1.0)] == [0.0] * 3
        assert alpha(variant, 1 - 1 / classes - 1e-6, classes) > 0


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_member_without_an_error_decides_alone(variant):
    perfect = alpha(variant, 0.0, 10)
    assert shares([0.7, 0.9, perfect]) == [0.0, 0.0, 1.0]


def test_shares_are_the_alphas_over_their_sum():
    assert shares([1.0, 3.0]) == [0.25, 0.75]
    assert shares([1.0, 0.0, 3.0]) == [0.25, 0.0, 0.75]
    assert shares([0.0]) == [1.0]


def test_note_weights_move_both_ways_and_samme_weights_where_wrong():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    wrong = torch.tensor([True, False, True, False])
    up, down = math.exp(0.5), math.exp(-0.5)
    expected = torch.tensor([0.1 * up, 0.2 * down, 0.3 * up, 0.4 * down], dtype=torch.float64)
    torch.testing.assert_close(reweighted("note", weights, wrong, 0.5), expected / expected.sum())
    expected = torch.tensor([0.1 * up, 0.2, 0.3 * up, 0.4], dtype=torch.float64)
    torch.testing.assert_close(reweighted("samme", weights, wrong, 0.5), expected / expected.sum())


def test_after_a_samme_round_its_member_is_at_chance():
    """What SAMME's weights are for: on them the member that made them says nothing more."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(1000, generator=generator, dtype=torch.float64)
    weights /= weights.sum()
    wrong = torch.rand(1000, generator=generator) < 0.6
    error = weights[wrong].sum().item()
    again = reweighted("samme", weights, wrong, alpha("samme", error, 10))
    assert again[wrong].sum().item() == pytest.approx(0.9)


def test_the_ratios_of_printed_weights_are_those_of_whole_rounds():
    """4.4 prints weights of images right in every round, and wrong in five and three of six."""
    with (REPORTED / "alphas.csv").open(newline="") as file:
        alphas = [float(row["alpha"]) for row in csv.DictReader(file) if row["run"] == "a-4.4-adaboost-unshuffled"]
    histories = {1.3475: "000000", 2.6814: "111101", 2.6743: "101111", 2.0390: "101010"}
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    for round_, weight in enumerate(alphas):
        wrong = torch.tensor([history[round_] == "1" for history in histories.values()])
        weights = reweighted("note", weights, wrong, weight)
    for printed, ratio in zip(histories, (weights / weights[0]).tolist(), strict=True):
        assert ratio == pytest.approx(printed / 1.3475, rel=1e-4)
