"""Keep a running study visible from outside: its gauges in Ray's metrics, its trials in Ray's dashboard."""

from __future__ import annotations

import threading
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from search.actor_labels import ActorLabels, label
from search.gauges import Gauges
from search.study import Study

REFRESH_SECONDS = 1.0  # well below the interval of reports (search.environment), so that no report lacks a gauge


class Monitor(Callback):
    """Refresh the gauges and the workers' labels in a thread, whatever the driver is busy with."""

    def __init__(self, study: Study, gauges: Gauges) -> None:
        self.study = study
        self.gauges = gauges
        self.labels = ActorLabels(ray.get_runtime_context().gcs_address)
        self.started: dict[int, Trial] = {}
        self.workers: dict[bytes, int] = {}  # actor id -> number of the trial that the worker trains, or trained last
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see search.journal.Journal

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.started[trial.config["trial"]] = trial

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.started.pop(trial.config["trial"], None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.started.pop(trial.config["trial"], None)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self.labels.close()

    def _run(self) -> None:
        while not self._end.wait(REFRESH_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        self.gauges.refresh()
        for number, trial in list(self.started.items()):
            if (actor := trial.temporary_state.ray_actor) is not None:
                self.workers[actor._actor_id.binary()] = number
        trials = {actor: self.gauges.trials[number] for actor, number in self.workers.items()}
        self.labels.show({actor: label(log, self.study.arms.get(log.arm or "")) for actor, log in trials.items()})
