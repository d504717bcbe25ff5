"""Keep every trial of a run visible in Ray's metrics, from its start until the run ends."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping

from ray.util.metrics import Gauge

from search.events import TrialLog, finished
from search.records import (
    COMPLETED,
    DIVERGED,
    EPOCH,
    FAILED,
    IMAGES_PER_SECOND,
    RUNNING,
    STOPPED,
    TOTAL_EPOCHS,
    TRAIN_LOSS,
    VAL_ACCURACY,
    VAL_LOSS,
)
from search.study import Study

# Metrics of a trial's last epoch; the study's own metric and objectives come to these.
METRICS = (TOTAL_EPOCHS, TRAIN_LOSS, VAL_LOSS, VAL_ACCURACY, IMAGES_PER_SECOND)
WAITING = "waiting"
STATES = (WAITING, RUNNING, COMPLETED, STOPPED, DIVERGED, FAILED)
# Ended trials that are shown, the latest: each is reported anew in every interval, and OpenTelemetry drops what exceeds
# 2,000 series a gauge.
MOST_ENDED = 200
# Ended trials that later refreshes show for the first time, the latest: each costs the driver 14 KB for good, too much
# for thousands of trials that take less than a second, which no refresh saw running.
MOST_ENDED_UNSEEN = 2


class Gauges:
    """Report a run's trials as gauges, each with the labels `study` and `run`, and `trial` if it belongs to one.

    search_epoch            epochs that the trial has finished, 0 from its start
    search_<metric>         the trial's last epoch: METRICS, the study's metric and objectives
    search_state{state=}    1 for the trial's state, 0 for a state that it has left
    search_best             1 for the best completed trial, 0 for a trial that was the best
    search_trials{state=}   number of trials in each of STATES

    Ray sends a gauge's value to its metrics once and forgets it two intervals later (`metrics_report_interval_ms`), so
    `refresh` must be called at least once an interval. The journal holds what is reported, so a resumed run shows
    the trials of earlier processes too.
    """

    def __init__(
        self, study: Study, run: str, trials: Mapping[int, TrialLog], best: Callable[[], int | None], total: int
    ) -> None:
        self.trials = trials
        self.best = best
        self.total = total
        self.labels = {"study": study.name, "run": run}
        self.metrics = tuple(dict.fromkeys((*METRICS, study.metric, *study.objectives)))
        own = {column.name: column.meaning for column in study.metrics}
        keys = ("study", "run", "trial")
        self.of_trial = {
            name: Gauge(f"search_{name}", description=own.get(name, f"{name} of the trial's last epoch"), tag_keys=keys)
            for name in self.metrics
        }
        self.epoch = Gauge("search_epoch", description="epochs that the trial has finished", tag_keys=keys)
        self.state = Gauge(
            "search_state", description="1: the trial is in this state, 0: it was", tag_keys=(*keys, "state")
        )
        self.is_best = Gauge("search_best", description="1: the best completed trial, 0: it was", tag_keys=keys)
        self.count = Gauge("search_trials", description="trials in this state", tag_keys=("study", "run", "state"))
        self.were: dict[int, set[str]] = {}  # trial -> states that were reported
        self.were_best: set[int] = set()

    def refresh(self) -> None:
        """Set every gauge; another thread may add to the trials meanwhile."""
        logs = list(self.trials.values())
        counts = Counter(log.status or RUNNING for log in logs)
        counts[WAITING] = max(0, self.total - len(logs))
        for state in STATES:
            self.count.set(counts[state], self.labels | {"state": state})
        best = self.best()
        if best is not None:
            self.were_best.add(best)
        shown = {log.number for log in logs if not finished(log)} | self.were_best
        latest = heapq.nlargest(MOST_ENDED, (log.number for log in logs if finished(log)))
        # The first refresh of a resumed run shows the trials of earlier processes.
        unseen = [number for number in latest if number not in self.were] if self.were else []
        shown |= set(latest) - set(unseen[MOST_ENDED_UNSEEN:])
        self.were = {number: self.were.get(number, set()) for number in shown}
        for number in shown:
            self._set(self.trials[number])
        for number in self.were_best:
            self.is_best.set(number == best, self.labels | {"trial": self.trials[number].name})

    def _set(self, log: TrialLog) -> None:
        labels = self.labels | {"trial": log.name}
        last = log.last
        self.epoch.set(float(last.get(EPOCH, 0)), labels)
        for name, gauge in self.of_trial.items():
            value = last.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                gauge.set(float(value), labels)
        now = log.status or RUNNING
        states = self.were[log.number]
        states.add(now)
        for state in states:
            self.state.set(float(state == now), labels | {"state": state})
