from pathlib import Path

import pytest

from search.records import read_reported
from trainables import schedules

REPORTED = Path(__file__).parents[2] / "spaces/reported"


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
