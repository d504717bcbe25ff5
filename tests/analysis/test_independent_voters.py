"""The vote of independent members: the note's figures, a simulation, and how the real vote breaks ties."""

import math

import numpy as np
import pytest

from analysis.independent_voters import correlations, vote_accuracy


@pytest.mark.parametrize(("members", "printed"), [(3, 0.784), (5, 0.837), (7, 0.874)])
def test_the_notes_figures(members, printed):
    assert vote_accuracy(members, 0.7, 2) == pytest.approx(printed, abs=0.0005)


@pytest.mark.parametrize(
    ("members", "accuracy", "classes"),
    [(2, 0.5, 10), (3, 0.5, 10), (4, 0.3, 3), (6, 0.4, 100), (12, 0.1, 100), (9, 0.55, 5)],
)
def test_the_model_is_what_a_simulated_vote_finds(members, accuracy, classes):
    """Ties go to the smallest label, as our ensembles have it; right labels are uniform."""
    rng = np.random.default_rng(0)
    images = 100_000
    labels = rng.integers(classes, size=images)
    wrong = (labels + rng.integers(1, classes, (members, images))) % classes
    votes = np.where(rng.random((members, images)) < accuracy, labels, wrong)
    counts = np.stack([(votes == label).sum(0) for label in range(classes)])
    reached = (counts.argmax(0) == labels).mean()
    assert vote_accuracy(members, accuracy, classes) == pytest.approx(reached, abs=4 * math.sqrt(0.25 / images))


def test_one_or_two_members_are_a_single_one():
    """A vote of two is the smaller label: right as often as either."""
    for classes in (2, 10, 100):
        for accuracy in (0.0, 0.3, 1.0):
            assert vote_accuracy(1, accuracy, classes) == pytest.approx(accuracy)
            assert vote_accuracy(2, accuracy, classes) == pytest.approx(accuracy)


def test_chance_stays_chance_and_anything_better_ends_at_certainty():
    for members in (3, 8, 25, 171, 400):
        assert vote_accuracy(members, 0.1, 10) == pytest.approx(0.1)
    assert vote_accuracy(171, 0.001, 1000) == pytest.approx(0.001)
    assert vote_accuracy(60, 0.2, 100) > 0.99


def test_correlation_is_of_being_right_on_the_same_images():
    rng = np.random.default_rng(0)
    shared = rng.random(50_000) < 0.6
    independent = rng.random((3, 50_000)) < 0.6
    assert correlations(np.stack([shared, shared, ~shared])) == pytest.approx([math.nan, 1, -1 / 3], nan_ok=True)
    assert correlations(independent)[1:] == pytest.approx([0, 0], abs=0.02)


def test_a_member_that_is_always_right_correlates_with_nobody():
    right = np.array([[True, True, True], [True, False, True], [True, False, True]])
    assert correlations(right) == pytest.approx([math.nan, math.nan, 1.0], nan_ok=True)
