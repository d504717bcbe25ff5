"""Likelihood, calibration error and Brier score: against torch-uncertainty's, and against loops by hand."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies

from tests.trainables.ensembles.torch_uncertainty_figures import MEMBERS, example
from trainables.ensembles.calibration import calibration
from trainables.ensembles.votes import scores

FIGURES = Path(__file__).with_name("torch_uncertainty_figures.py")
COMMAND = ["uv", "run", "--isolated", "--no-project", "--with", "torch-uncertainty[cpu]==0.13.0", "python"]
# What `COMMAND FIGURES` printed on 2026-11-25 (torch 2.15.0, torchmetrics 1.9.0).
TORCH_UNCERTAINTY = {
    "loss": [8.689705848693848, 1.9346030950546265, 1.7695989608764648, 1.7130305767059326],
    "ece": [0.5808188915252686, 0.2060011327266693, 0.10490714758634567, 0.04972877725958824],
    "brier": [1.207638144493103, 0.838580846786499, 0.7715936303138733, 0.7484224438667297],
    "disagreement": [None, 0.6616666913032532, 0.6699999570846558, 0.6627777814865112],
}


def ours():
    found = scores(*example(), "hard")
    lists = {"loss": "losses", "ece": "eces", "brier": "briers", "disagreement": "disagreements"}
    return {name: found[f"prefix_{plural}"] for name, plural in lists.items()}


def agree(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert len(values) == MEMBERS
        for value, expected in zip(values, other[name], strict=True):
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-6)), name


def test_figures_are_those_of_torch_uncertainty():
    agree(ours(), TORCH_UNCERTAINTY)


@pytest.mark.long
def test_torch_uncertainty_still_says_so():
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH: nothing makes torch-uncertainty's own environment")
    done = subprocess.run([*COMMAND, str(FIGURES)], capture_output=True, text=True, timeout=900)
    if done.returncode and ("error sending request" in done.stderr or "dns error" in done.stderr):
        pytest.skip(f"the package registry is out of reach: {done.stderr.splitlines()[0]}")
    assert not done.returncode, done.stderr
    agree(json.loads(done.stdout.splitlines()[-1]), ours())


def by_hand(probabilities, labels):
    """Loss, calibration error and Brier score of lists, image by image and bin by bin."""
    images = range(len(labels))
    loss = -sum(math.log(max(probabilities[i][labels[i]], 1e-30)) for i in images) / len(labels)
    brier = sum(
        sum((p - (label == k)) ** 2 for k, p in enumerate(row))
        for row, label in zip(probabilities, labels, strict=True)
    ) / len(labels)
    bins = {}
    for row, label in zip(probabilities, labels, strict=True):
        confidence = max(row)
        bins.setdefault(int(confidence * 15), []).append((confidence, row.index(confidence) == label))
    ece = 0.0
    for inside in bins.values():
        certain = sum(confidence for confidence, _ in inside) / len(inside)
        right = sum(hit for _, hit in inside) / len(inside)
        ece += len(inside) / len(labels) * abs(certain - right)
    return loss, ece, brier


@given(
    strategies.integers(0, 2**32 - 1),
    strategies.integers(1, 60),
    strategies.integers(2, 12),
    strategies.sampled_from([0.1, 1.0, 5.0, 40.0]),
)
def test_figures_are_what_a_slow_loop_finds(seed, images, classes, sharpness):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (torch.randn(images, classes, generator=generator) * sharpness).softmax(1)
    labels = torch.randint(classes, (images,), generator=generator)
    found = [figure.item() for figure in calibration(probabilities, labels)]
    assert found == pytest.approx(by_hand(probabilities.tolist(), labels.tolist()), rel=1e-5, abs=1e-6)
    assert found[0] >= 0
    assert 0 <= found[1] <= 1
    assert 0 <= found[2] <= 2


def test_probabilities_that_rounding_put_above_1_keep_the_figures_within_their_bounds():
    above = torch.eye(10) * torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    wrong, right = (calibration(above, labels) for labels in (torch.arange(10).roll(1), torch.arange(10)))
    assert (wrong.ece.item(), wrong.brier.item()) == (1.0, 2.0)
    assert right.loss.item() == 0


def test_a_predictor_that_is_always_right_and_certain_has_nothing_to_answer_for():
    certain = torch.eye(10)
    assert [figure.item() for figure in calibration(certain, torch.arange(10))] == [0.0, 0.0, 0.0]


def test_a_predictor_that_is_always_wrong_and_certain_is_the_worst():
    loss, ece, brier = (figure.item() for figure in calibration(torch.eye(10), torch.arange(10).roll(1)))
    assert (loss, ece, brier) == (pytest.approx(-math.log(1e-30)), 1.0, 2.0)


def test_guessing_among_a_hundred_classes_is_calibrated():
    """Chance: ln 100 nats, a confidence of .01 that is right as often, a Brier score of .99."""
    uniform = torch.full((100, 100), 0.01)
    loss, ece, brier = (figure.item() for figure in calibration(uniform, torch.arange(100)))
    assert loss == pytest.approx(math.log(100))
    assert ece == pytest.approx(0, abs=1e-7)
    assert brier == pytest.approx(0.99)
