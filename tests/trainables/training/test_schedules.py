import math
from pathlib import Path

import pytest
import torch

from search.records import read_reported
from trainables.training import schedules

REPORTED = Path(__file__).parents[3] / "spaces/reported"


def test_every_printed_rate_of_note_a():
    checked = 0
    for run in read_reported(REPORTED).values():
        if run.note != "A":
            continue
        decay = getattr(schedules, run.config["decay"])
        for point in run.curve:
            if point["lr"] is not None:
                rate = run.config["lr"] * decay(point["epoch"], run.epochs)
                assert point["lr"] == pytest.approx(rate, abs=0.5e-4 + 1e-9), (run.run, point["epoch"])
                checked += 1
    assert checked == 67  # of four runs, two of either decay


def test_exponential_takes_a_step_every_four_epochs():
    factors = [schedules.exponential(epoch, 30) for epoch in range(1, 14)]
    assert factors == pytest.approx([1] * 4 + [0.8] * 4 + [0.64] * 4 + [0.512])


def test_cosine_falls_from_one_over_a_half_towards_zero():
    factors = [schedules.cosine(epoch, 20) for epoch in range(1, 22)]
    assert factors[0] == 1
    assert factors[10] == pytest.approx(0.5)
    assert factors[19] > 0
    assert factors[20] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)


def test_constant_stays():
    assert {schedules.constant(epoch, 20) for epoch in range(1, 21)} == {1.0}


def test_steps_fall_at_20_50_70_and_85_percent():
    multiples = [schedules.steps(epoch, 200) for epoch in range(1, 201)]
    assert multiples == pytest.approx([1] * 40 + [0.2] * 60 + [0.04] * 40 + [0.008] * 30 + [0.0016] * 30)
    # Of any number of epochs: the last before a step, the first after it.
    assert [schedules.steps(epoch, 10) for epoch in (2, 3, 5, 6, 7, 8, 9, 10)] == pytest.approx(
        [1, 0.2, 0.2, 0.04, 0.04, 0.008, 0.008, 0.0016]
    )
    assert schedules.steps(1, 1) == 1


def test_smooth_exponential_has_fallen_by_the_factor_after_the_period():
    """Note E: from .001 to .0001 in 60 epochs; and .9995 every 10 of 704 steps an epoch."""
    multiples = [schedules.smooth_exponential(epoch, 0.1, 60) for epoch in (1, 31, 61, 121)]
    assert multiples == pytest.approx([1, math.sqrt(0.1), 0.1, 0.01])
    assert schedules.smooth_exponential(2, 0.9995, 10 / 704) == pytest.approx(0.9995**70.4)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_plateau_is_torchs(patience):
    accuracies = [round(x, 1) for x in torch.rand(200, generator=torch.Generator().manual_seed(0)).tolist()]
    accuracies += [1.0 + i / 10 for i in range(5)] + [1.4] * 7  # a rise, then a plateau
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.9, patience=patience - 1, threshold=0, threshold_mode="abs", eps=0
    )
    for finished in range(1, len(accuracies) + 1):
        reference.step(accuracies[finished - 1])
        expected = optimizer.param_groups[0]["lr"]
        assert schedules.plateau(accuracies[:finished], patience, factor=0.9) == pytest.approx(expected), finished
    assert expected < 0.9**10


def test_plateau_waits_for_patience_epochs_without_a_new_best():
    assert [schedules.plateau(accuracies, 2) for accuracies in ([], [0.5], [0.5, 0.5], [0.5, 0.6, 0.5])] == [1] * 4
    assert schedules.plateau([0.5, 0.5, 0.4], 2) == pytest.approx(0.1)
    assert schedules.plateau([0.5, 0.5, 0.4, 0.6, 0.6, 0.6], 2) == pytest.approx(0.01)
