"""The signals that end a run in order, also after Ray has started and set handlers of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from search.interrupts import end_in_order, handlers_kept

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def as_ray_does(number: int, frame: Any) -> None:
    """Handle SIGTERM as `ray.init` has it handled."""
    sys.exit(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_ends_as_by_ctrl_c_after_ray_has_set_its_handler(number: signal.Signals) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_in_order()
    with handlers_kept():
        signal.signal(signal.SIGTERM, as_ray_does)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def start_ray_and_be_ended() -> None:
    with handlers_kept():
        signal.signal(signal.SIGTERM, as_ray_does)
        signal.raise_signal(signal.SIGTERM)


def test_a_run_ends_as_by_ctrl_c_while_ray_starts() -> None:
    end_in_order()
    with pytest.raises(KeyboardInterrupt):
        start_ray_and_be_ended()


def test_an_exit_for_another_reason_stays_one() -> None:
    with pytest.raises(SystemExit, match="3"), handlers_kept():
        sys.exit(3)


def test_an_ignored_hangup_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_in_order()
    with handlers_kept():
        signal.signal(signal.SIGTERM, as_ray_does)
    signal.raise_signal(signal.SIGHUP)
