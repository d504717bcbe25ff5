"""Disagreement and Q of members: against counts by hand, and where they are not defined."""

import itertools

import pytest
import torch
from hypothesis import given, strategies

from trainables.ensembles.diversity import disagreement, prefix_means, q_statistic


def q_by_hand(one, other):
    """Of two lists of bools; None without a value."""
    pairs = list(zip(one, other, strict=True))
    a, b, c, d = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False)))
    return (a * d - b * c) / (a * d + b * c) if a * d + b * c else None


def mean_by_hand(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


@given(
    strategies.integers(0, 2**32 - 1), strategies.integers(1, 6), strategies.integers(1, 40), strategies.integers(2, 5)
)
def test_every_prefix_has_the_mean_over_its_pairs(seed, members, images, classes):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randint(classes, (members, images), generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    right = predicted == labels
    differ, q = prefix_means(disagreement(predicted)), prefix_means(q_statistic(right))
    for size in range(1, members + 1):
        pairs = list(itertools.combinations(range(size), 2))
        expected = mean_by_hand([(predicted[i] != predicted[j]).double().mean().item() for i, j in pairs])
        assert differ[size - 1] == (None if expected is None else pytest.approx(expected))
        expected = mean_by_hand([q_by_hand(right[i].tolist(), right[j].tolist()) for i, j in pairs])
        assert q[size - 1] == (None if expected is None else pytest.approx(expected))
    assert differ[0] is q[0] is None


def test_the_first_members_figures_do_not_depend_on_the_others():
    predicted = torch.randint(5, (12, 300), generator=torch.Generator().manual_seed(0))
    whole = prefix_means(disagreement(predicted))
    for size in (1, 2, 7):
        assert prefix_means(disagreement(predicted[:size])) == whole[:size]


@pytest.mark.parametrize(
    ("one", "other", "q"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),  # alike
        ([1, 1, 0, 0], [0, 0, 1, 1], -1.0),  # one right where the other errs
        ([1, 1, 0, 0], [1, 0, 1, 0], 0.0),  # independent
        ([1, 1, 1, 1], [1, 0, 1, 0], None),  # one without an error: both products are 0
        ([0, 0, 0, 0], [1, 0, 1, 0], None),  # one that is never right
        ([1, 1, 1, 0], [1, 1, 0, 1], -1.0),
    ],
)
def test_q_of_two_members(one, other, q):
    assert prefix_means(q_statistic(torch.tensor([one, other]).bool())) == [None, q]


def test_a_pair_without_a_q_is_left_out_of_the_mean():
    perfect, alike, other = [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]
    assert prefix_means(q_statistic(torch.tensor([perfect, alike, other]).bool())) == [None, None, 1.0]


def test_independent_members_have_a_q_near_nothing_and_disagree_as_often_as_chance_says():
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(5, 100_000, generator=generator) < 0.7
    assert prefix_means(q_statistic(right))[-1] == pytest.approx(0, abs=0.02)
    predicted = torch.randint(10, (5, 100_000), generator=generator)
    assert prefix_means(disagreement(predicted))[-1] == pytest.approx(0.9, abs=0.005)
