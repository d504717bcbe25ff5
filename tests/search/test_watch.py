"""Durations, by a clock under the test's hand: the wall clock may jump, the one that counts may not."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from search.failures import NodeLost
from search.watch import FLOOR_SECONDS, GENEROUS, LOOK_SECONDS, TimeBudget, Watch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def trial(number: int) -> Any:
    """What a watch knows of a Ray trial; by identity, as Ray's are."""
    one: Any = Hashable()
    one.config, one.temporary_state = {"trial": number}, SimpleNamespace(ray_actor=f"worker {number}")
    return one


class Hashable(SimpleNamespace):
    __hash__ = object.__hash__


def test_a_trial_that_is_silent_for_too_long_is_ended_and_the_others_are_not() -> None:
    clock, killed = Clock(), []
    watch = Watch(60.0, clock=clock, kill=killed.append, alive=lambda: True)
    silent, busy = trial(0), trial(1)
    for one in (silent, busy):
        watch.on_trial_start(0, [], one)
    limit = GENEROUS * 60.0
    for tell in (watch.on_trial_save, lambda *event: watch.on_trial_result(*event, {"seconds": 60.0})):
        clock.now += 0.5 * limit - 1
        watch.on_step_end(0, [])
        tell(0, [], busy)
    assert killed == []
    clock.now += 10
    watch.on_step_end(0, [])
    watch.on_step_end(0, [])
    assert killed == ["worker 0"]
    assert watch.overdue == {0: f"hangs: nothing heard for {limit + 8:.0f} s, and an epoch may take {limit:.0f} s"}


def test_a_trial_that_has_ended_is_not_waited_for() -> None:
    clock, killed = Clock(), []
    watch = Watch(0.0, clock=clock, kill=killed.append, alive=lambda: True)
    ended, failed = trial(0), trial(1)
    for one in (ended, failed):
        watch.on_trial_start(0, [], one)
    watch.on_trial_complete(0, [], ended)
    watch.on_trial_error(0, [], failed)
    clock.now += 1e9
    watch.on_step_end(0, [])
    assert killed == []


@pytest.mark.parametrize(
    ("expected", "seen", "limit"),
    [
        (None, [], None),  # nobody knows yet
        (0.0, [], FLOOR_SECONDS),
        (1.0, [2.0], FLOOR_SECONDS),
        (100.0, [], GENEROUS * 100),
        (100.0, [300.0, 200.0], GENEROUS * 300),  # the plan was too hopeful
        (None, [100.0], GENEROUS * 100),
    ],
)
def test_the_limit_is_generous_and_never_below_its_floor(
    expected: float | None, seen: list[float], limit: float | None
) -> None:
    watch = Watch(expected)
    for seconds in seen:
        watch.on_trial_result(0, [], trial(0), {"seconds": seconds})
    assert watch.limit == limit


def test_a_wall_clock_set_back_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    budget, watch, killed = TimeBudget(60.0, clock=clock), Watch(0.0, clock=clock, alive=lambda: True), []
    watch.kill = killed.append
    watch.on_trial_start(0, [], trial(0))
    monkeypatch.setattr(time, "time", lambda: -1e9)
    clock.now += 59
    assert not budget.stop_all()
    clock.now += 1
    assert budget.stop_all()
    clock.now += FLOOR_SECONDS
    watch.on_step_end(0, [])
    assert len(killed) == 1


def test_a_run_whose_nodes_are_gone_is_halted() -> None:
    clock = Clock()
    nodes = iter([True, False])
    watch = Watch(None, clock=clock, alive=lambda: next(nodes))
    clock.now += LOOK_SECONDS + 1
    watch.on_step_end(0, [])
    watch.on_step_end(0, [])
    clock.now += LOOK_SECONDS + 1
    with pytest.raises(NodeLost, match="Ray's node died"):
        watch.on_step_end(0, [])


def test_durations_go_by_a_clock_that_cannot_be_set() -> None:
    assert TimeBudget(1.0).clock is Watch(None).clock is time.monotonic
