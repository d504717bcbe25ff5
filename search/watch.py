"""End trials that hang, and stop a run when its time is up or Ray is gone, by a clock that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial

from search.cluster import dead_process
from search.failures import NodeLost
from search.records import SECONDS

GENEROUS = 20.0  # limit of an epoch, as a multiple of the longest epoch expected or seen
FLOOR_SECONDS = 600.0  # least limit of an epoch
LOOK_SECONDS = 5.0  # time between two checks that a node is alive

Clock = Callable[[], float]


def any_node_alive() -> bool:
    return any(node["Alive"] for node in ray.nodes())


class Watch(Callback):
    """End the worker of a trial that for too long has neither finished an epoch nor saved a checkpoint.

    `expected` is how long the longest epoch should take, in seconds. If it is None, nobody measured it: the first
    epoch of the study to end sets it, and until then no worker is ended. `overdue` holds the cause for each trial
    whose worker was ended.

    Raises NodeLost at the end of a step if a process that Ray needs has died, or no node of the cluster is left:
    Ray would wait for a node for ever, or end this process without a message.
    """

    def __init__(
        self,
        expected: float | None,
        *,
        floor: float = FLOOR_SECONDS,
        clock: Clock = time.monotonic,
        kill: Callable[[Any], None] = ray.kill,
        alive: Callable[[], bool] = any_node_alive,
        dead: Callable[[], str | None] = dead_process,
    ) -> None:
        self.expected = expected
        self.floor = floor
        self.clock = clock
        self.kill = kill
        self.alive = alive
        self.dead = dead
        self.looked = clock()
        self.heard: dict[Trial, float] = {}
        self.overdue: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see search.journal.Journal

    def expect(self, seconds: float) -> None:
        self.expected = max(self.expected or 0.0, seconds)

    @property
    def limit(self) -> float | None:
        """Return the seconds that an epoch may take, None if no epoch was measured yet."""
        return None if self.expected is None else max(self.floor, GENEROUS * self.expected)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.heard[trial] = self.clock()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self.heard[trial] = self.clock()
        self.expect(result.get(SECONDS) or 0.0)

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.heard[trial] = self.clock()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.heard.pop(trial, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.heard.pop(trial, None)

    def require_node(self) -> None:
        """Raise NodeLost if no node of the cluster is left, or a process that this node needs is dead."""
        self._require_processes()
        if not self.alive():
            raise NodeLost("Ray's node died: one of its processes was killed, by a person or by the system")

    def _require_processes(self) -> None:
        if name := self.dead():
            raise NodeLost(f"Ray's {name} died: it was killed, by a person or by the system")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        limit, now = self.limit, self.clock()
        self._require_processes()  # at every step: the next call to a dead process of Ray may end this process
        if now - self.looked > LOOK_SECONDS:
            self.looked = now
            self.require_node()
        if limit is None:
            return
        for trial, heard in list(self.heard.items()):
            if now - heard > limit:
                del self.heard[trial]
                self.overdue[trial.config["trial"]] = (
                    f"hangs: nothing heard for {now - heard:.0f} s, and an epoch may take {limit:.0f} s"
                )
                self.kill(trial.temporary_state.ray_actor)


class TimeBudget(tune.Stopper):
    """Stop a run after `seconds`; Ray's own stopper goes by the wall clock, which may be set back."""

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.end = clock() + seconds
        self.over = False  # whether it has stopped the run

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.over = self.clock() >= self.end
        return self.over
