"""The trials of a run that Ray's metrics show."""

from __future__ import annotations

from search.events import TrialLog
from search.gauges import MOST_ENDED, MOST_ENDED_UNSEEN, Gauges
from tests.search.toy_space import study


def log(number: int, status: str | None) -> TrialLog:
    return TrialLog(number, f"{number:04}", {}, status=status)


def test_a_trial_seen_running_stays_and_of_those_that_ended_unseen_the_latest_come_first() -> None:
    trials = {number: log(number, "completed") for number in range(1000)}
    trials[1000] = log(1000, None)
    gauges = Gauges(study, "run", trials, lambda: 3, 2000)
    gauges.refresh()
    latest = set(range(1000 - MOST_ENDED_UNSEEN, 1000))
    assert set(gauges.were) == {3, 1000} | latest
    trials[1000].status = "stopped"
    trials |= {number: log(number, "completed") for number in range(1001, 1001 + MOST_ENDED_UNSEEN)}
    gauges.refresh()
    assert set(gauges.were) == {3, 1000} | latest | set(range(1001, 1001 + MOST_ENDED_UNSEEN))
    assert gauges.were[1000] == {"running", "stopped"}


def test_a_resumed_runs_earlier_trials_come_into_view() -> None:
    trials = {number: log(number, "completed") for number in range(1000)}
    gauges = Gauges(study, "run", trials, lambda: None, 2000)
    for _ in range(MOST_ENDED // MOST_ENDED_UNSEEN):
        gauges.refresh()
    assert set(gauges.were) == set(range(1000 - MOST_ENDED, 1000))
