"""The trials of a run that Ray's metrics show."""

from __future__ import annotations

from search.events import TrialLog
from search.gauges import MOST_ENDED, MOST_ENDED_UNSEEN, Gauges
from tests.search.toy_space import study


def log(number: int, status: str | None) -> TrialLog:
    return TrialLog(number, f"{number:04}", {}, status=status)


def test_a_trial_seen_running_stays_and_of_those_that_ended_unseen_the_latest_are_shown() -> None:
    trials = {0: log(0, None)}
    gauges = Gauges(study, "run", trials, lambda: None, 2000)
    gauges.refresh()
    trials[0].status = "stopped"
    trials |= {number: log(number, "completed") for number in range(1, 101)}
    gauges.refresh()
    shown = {0} | set(range(101 - MOST_ENDED_UNSEEN, 101))
    assert set(gauges.were) == shown
    assert gauges.were[0] == {"running", "stopped"}
    trials |= {number: log(number, "completed") for number in range(101, 101 + MOST_ENDED_UNSEEN)}
    gauges.refresh()
    assert set(gauges.were) == shown | set(range(101, 101 + MOST_ENDED_UNSEEN))


def test_a_resumed_run_shows_the_latest_of_its_earlier_trials_and_the_best() -> None:
    trials = {number: log(number, "completed") for number in range(1000)}
    gauges = Gauges(study, "run", trials, lambda: 3, 2000)
    gauges.refresh()
    assert set(gauges.were) == {3} | set(range(1000 - MOST_ENDED, 1000))
