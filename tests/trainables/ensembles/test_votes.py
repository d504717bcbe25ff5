import math

import pytest
import torch

from trainables.ensembles.adaboost import shares
from trainables.ensembles.calibration import calibration
from trainables.ensembles.votes import (
    accuracy,
    hard_votes,
    most_votes,
    scores,
    smoothed_divergence,
    soft_votes,
    top_k_accuracy,
    weighted_scores,
    weighted_votes,
)


@pytest.mark.parametrize(
    ("ballots", "classes", "prefixes"),
    [
        ([2], 3, [2]),
        ([2, 1], 3, [2, 1]),  # 1 against 1
        ([2, 1, 2], 3, [2, 1, 2]),
        ([2, 1, 2, 1], 3, [2, 1, 2, 1]),  # 2 against 2
        ([9, 0, 9, 0, 9, 0], 10, [9, 0, 9, 0, 9, 0]),
        ([4, 3, 2, 1, 0], 5, [4, 3, 2, 1, 0]),  # all tied
        ([1, 5, 5, 1, 7, 7], 10, [1, 1, 5, 1, 1, 1]),  # 2 against 2 against 2
        ([0, 99, 99], 100, [0, 0, 99]),  # most votes before the smallest label
    ],
)
def test_most_votes_win_and_ties_go_to_the_smallest_label(ballots, classes, prefixes):
    assert hard_votes(torch.tensor(ballots)[:, None], classes).squeeze(1).tolist() == prefixes


def test_votes_agree_with_a_count_by_hand_on_random_ballots():
    ballots = torch.randint(0, 5, (12, 500), generator=torch.Generator().manual_seed(0))
    found = hard_votes(ballots, 5)
    for members in range(1, 13):
        for image in range(500):
            votes = ballots[:members, image].tolist()
            expected = max(range(5), key=lambda label: (votes.count(label), -label))
            assert found[members - 1, image] == expected


def test_a_tie_among_many_votes_is_still_a_tie():
    counts = torch.tensor([[7, 1_000_000, 1_000_000], [1_000_001, 1_000_000, 0], [0, 0, 0]])
    assert most_votes(counts).tolist() == [1, 0, 0]


@pytest.mark.parametrize(("members", "ideal"), [(3, 0.784), (5, 0.837), (7, 0.874)])
def test_independent_voters_reach_what_arithmetic_says(members, ideal):
    """Note A: voters that are right with probability .7, independently, on two classes."""
    generator = torch.Generator().manual_seed(0)
    images = 200_000
    labels = torch.randint(0, 2, (images,), generator=generator)
    right = torch.rand(members, images, generator=generator) < 0.7
    predictions = torch.where(right, labels, 1 - labels)
    reached = accuracy(hard_votes(predictions, 2)[-1], labels).item()
    assert reached == pytest.approx(ideal, abs=0.0005 + 4 * math.sqrt(ideal * (1 - ideal) / images))


def test_soft_votes_take_the_largest_mean_probability():
    # Two of three members prefer label 1 slightly, one prefers label 0 strongly.
    probabilities = torch.tensor([[[0.4, 0.6, 0.0]], [[0.45, 0.55, 0.0]], [[1.0, 0.0, 0.0]]])
    assert soft_votes(probabilities).squeeze(1).tolist() == [1, 1, 0]
    assert hard_votes(probabilities.argmax(-1), 3).squeeze(1).tolist() == [1, 1, 1]


def test_accuracy_is_the_share_of_right_labels():
    predictions = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]])
    assert accuracy(predictions, torch.tensor([0, 1, 2, 0])).tolist() == [0.75, 0.5]


def test_top_k_counts_a_label_among_the_k_largest():
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    labels = torch.tensor([1, 1])
    assert [top_k_accuracy(values, labels, k) for k in (1, 2, 3, 4)] == [0.0, 0.5, 1.0, 1.0]


def test_top_5_of_fewer_classes_is_all_of_them():
    assert top_k_accuracy(torch.rand(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), 5) == 1.0


# Three members, two images, seven classes.
PROBABILITIES = torch.tensor(
    [
        [[0.0, 0.6, 0.4, 0, 0, 0, 0], [0.4, 0.0, 0.6, 0, 0, 0, 0]],
        [[0.0, 0.6, 0.4, 0, 0, 0, 0], [0.4, 0.0, 0.6, 0, 0, 0, 0]],
        [[0.0, 0.0, 1.0, 0, 0, 0, 0], [0.9, 0.0, 0.1, 0, 0, 0, 0]],
    ]
)
LABELS = torch.tensor([2, 0])


@pytest.mark.parametrize(
    ("vote", "prefixes", "predicted"), [("hard", [0.0, 0.0, 0.0], [1, 2]), ("soft", [0.0, 0.0, 1.0], [2, 0])]
)
def test_scores_of_members_alone_and_together(vote, prefixes, predicted):
    found = scores(PROBABILITIES, LABELS, vote)
    assert found["prefix_accuracies"] == prefixes
    assert found["accuracy"] == prefixes[-1]
    assert found["member_accuracies"] == [0.0, 0.0, 1.0]
    assert found["predicted"].tolist() == predicted
    assert found["member_predicted"].tolist() == [[1, 2], [1, 2], [2, 0]]
    # Either vote's loss is that of the mean probabilities: .6 and 1.7 / 3.
    assert found["loss"] == pytest.approx(-(math.log(0.6) + math.log(1.7 / 3)) / 2)
    assert found["top5_accuracy"] == 1.0


def test_scores_count_a_label_among_the_five_largest_mean_probabilities():
    mean = torch.tensor([0.02, 0.28, 0.10, 0.05, 0.15, 0.20, 0.20 - 1e-3])
    shift = torch.tensor([0.5, -0.5, 0, 0, 0, 0, 0])
    # Either member alone ranks label 1 or label 0 otherwise than both together do.
    probabilities = torch.stack([mean + shift, mean - shift])[:, None].expand(2, 7, 7)
    found = scores(probabilities, torch.arange(7), "soft")
    assert found["top5_accuracy"] == pytest.approx(5 / 7)
    assert found["accuracy"] == pytest.approx(1 / 7)


def test_the_loss_of_an_impossible_label_is_large_and_finite():
    certain = torch.tensor([[[1.0, 0.0]]])
    assert scores(certain, torch.tensor([1]), "hard")["loss"] == pytest.approx(-math.log(1e-30))


def test_prefixes_do_not_depend_on_the_members_after_them():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(12, 200, 10, generator=generator).softmax(-1)
    labels = torch.randint(0, 10, (200,), generator=generator)
    for vote in ("hard", "soft"):
        whole = scores(probabilities, labels, vote)
        prefixes = [name for name in whole if name.startswith("prefix_")]
        assert len(prefixes) == 6
        for members in (1, 2, 7):
            few = scores(probabilities[:members], labels, vote)
            assert [few[name] for name in prefixes] == [whole[name][:members] for name in prefixes]


@pytest.mark.parametrize("vote", ["hard", "soft"])
def test_every_prefixs_probabilities_are_the_mean_of_its_members(vote):
    """Also a hard vote's: its labels alone would have no calibration."""
    generator = torch.Generator().manual_seed(1)
    probabilities = (3 * torch.randn(5, 300, 10, generator=generator)).softmax(-1)
    labels = torch.randint(0, 10, (300,), generator=generator)
    found = scores(probabilities, labels, vote)
    for size in range(1, 6):
        expected = [figure.item() for figure in calibration(probabilities[:size].double().mean(0), labels)]
        got = [found[name][size - 1] for name in ("prefix_losses", "prefix_eces", "prefix_briers")]
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert found["loss"] == found["prefix_losses"][-1]


@pytest.mark.parametrize("vote", ["hard", "probabilities", "logits"])
def test_a_weighted_votes_prefixes_have_the_probabilities_of_their_own_weights(vote):
    generator = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(4, 300, 10, generator=generator)
    labels = torch.randint(0, 10, (300,), generator=generator)
    votes = [shares([0.9, 0.5, 0.1, 0.4][:size]) for size in range(1, 5)]
    found = weighted_scores(logits, labels, vote, votes)
    for size, weights in enumerate(votes, 1):
        outputs = logits if vote == "logits" else logits.softmax(-1)
        mean = sum(weight * output for weight, output in zip(weights, outputs.double(), strict=False))
        probabilities = mean.softmax(-1) if vote == "logits" else mean
        expected = [figure.item() for figure in calibration(probabilities, labels)]
        got = [found[name][size - 1] for name in ("prefix_losses", "prefix_eces", "prefix_briers")]
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)
        if vote != "hard":
            assert found["prefix_accuracies"][size - 1] == accuracy(probabilities.argmax(-1), labels).item()
    assert torch.equal(found["predicted"], weighted_votes(logits, vote, votes)[-1])


def test_the_divergence_from_a_smoothed_target_is_its_cross_entropy_less_its_entropy():
    probabilities = torch.randn(7, 100, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = torch.arange(7) * 3
    cross_entropy = 0.0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        cross_entropy -= sum((0.9 if k == label else 0.1 / 99) * math.log(p) for k, p in enumerate(row)) / 7
    # .7846 nats: what note C's printed loss lacks.
    assert smoothed_divergence(probabilities, labels, 0.1) == pytest.approx(cross_entropy - 0.7846, abs=1e-4)


def test_the_divergence_is_zero_at_the_target_and_the_loss_without_smoothing():
    target = torch.full((3, 5), 0.05).fill_diagonal_(0.8)
    assert smoothed_divergence(target, torch.arange(3), 0.2) == pytest.approx(0, abs=1e-6)
    result = scores(target[None], torch.arange(3), "hard")
    assert torch.equal(result["probabilities"], target)
    assert smoothed_divergence(target, torch.arange(3), 0.0) == pytest.approx(result["loss"])
