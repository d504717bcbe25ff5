"""Write a run's trials where people keep their logs, from the journal: each trial once, with each of its epochs.

Ray's own loggers begin a new run whenever a trial is begun again, and repeat the epochs since its checkpoint. So each
log is written from the journal by a thread, which tells it what it lacks; every process tells it everything once, and
each kind of log leaves out what an earlier process has written.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search import columns
from search.events import TrialLog
from search.failures import UsageError
from search.output import one_line
from search.records import SECONDS, TRIAL_ID
from search.results import Schema

FOLDER = ".logs"  # folder in RESULTS of the logs that no variable of the environment sends elsewhere
WAIT_SECONDS = 1.0
# Kind of log -> the package that writes it, the command that installs this, and our module and class.
KINDS = {
    "mlflow": ("mlflow", "mlflow-skinny sqlalchemy", "log_mlflow", "MLflowLog"),
    "wandb": ("wandb", "wandb", "log_wandb", "WandbLog"),
    "trackio": ("trackio", "trackio", "log_trackio", "TrackioLog"),
    "tensorboard": ("tensorboardX", "tensorboardX", "log_tensorboard", "TensorBoardLog"),
}
# What these packages would send to their makers about their use; a variable that is set already stays.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Logged:
    """One trial as a log shows it.

    key     the trial's name among all trials of all runs, the same in every process
    config  every hyperparameter
    tags    study, run, question and, as far as there are any, arm and error
    rows    epoch -> the numbers measured in it, of the epochs that this process has not handed over yet
    times   epoch -> when the epoch ended, in seconds since 1970, had the trial trained without a break
    status  how the trial ended, None if it has not
    """

    key: str
    name: str
    study: str
    run: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    rows: Mapping[int, Mapping[str, float]]
    times: Mapping[int, float]
    status: str | None


class Log(ABC):
    """Base of the kinds of logs. `where` says where the log is kept, `runs` holds what is open, by trial.

    A log is made with a folder for its files and the study's name.
    """

    where: str
    runs: dict[str, Any]

    @abstractmethod
    def write(self, trial: Logged) -> None:
        """Add what the log lacks of a trial; the log must not show anything twice that an earlier process wrote."""

    def close(self) -> None:  # noqa: B027 - most kinds leave nothing open
        """Close what the run's end left open."""


def require_installed(kinds: Iterable[str]) -> None:
    """Raise UsageError if a kind of log is unknown, or its package is not installed."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--log must be one of {', '.join(KINDS)}, got {kind!r:.40}")
        package, install = KINDS[kind][:2]
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"--log {kind} needs the package {package}, which is not installed: "
                f"`uv sync --extra {kind}` or `pip install {install}`"
            )


class LogWriter:
    """Write the trials of a run into each of the logs `kinds`, each in a thread of its own, until `stop`.

    A log that fails is reported by `warn` and left as it is; the run goes on, and `--resume` tries the log again.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        results: Path,
        about: Mapping[str, str],
        trials: Mapping[int, TrialLog],
        schema: Schema,
        started: float,
        warn: Callable[[str], None],
    ) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        self.folder = results.absolute() / FOLDER
        self.about = about
        self.trials = trials
        self.schema = schema
        self.started = started
        self.warn = warn
        self.columns = [name for name in columns.of("epochs", schema.own) if name != TRIAL_ID]
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(len(self.kinds) or 1, thread_name_prefix="log")
        self._futures: dict[str, Future[None]] = {}

    def start(self) -> None:
        for name, value in QUIET.items() if self.kinds else ():
            os.environ.setdefault(name, value)
        for kind in self.kinds:
            self._futures[kind] = future = self._pool.submit(self._run, kind)
            future.add_done_callback(functools.partial(self._report, kind))

    def stop(self) -> None:
        """Wait until every log has everything."""
        self._end.set()
        self._pool.shutdown(wait=True)

    def _report(self, kind: str, done: Future[None]) -> None:
        error = done.exception()
        if isinstance(error, Exception):
            self.warn(f"log {kind} is not written any more: {one_line(error)}")

    def _run(self, kind: str) -> None:
        (self.folder / kind).mkdir(parents=True, exist_ok=True)
        _, _, module, name = KINDS[kind]
        log: Log = getattr(importlib.import_module(f"search.{module}"), name)(self.folder / kind, self.about["study"])
        self.warn(f"log        {kind}: {log.where}")
        told: dict[int, tuple[set[int], str | None]] = {}
        with contextlib.closing(log):
            ending = False
            while not ending:
                ending = self._end.wait(WAIT_SECONDS)
                for trial in list(self.trials.values()):
                    epochs, status = list(trial.results), trial.status
                    known, ended = told.get(trial.number, (set(), None))
                    if (new := set(epochs) - known) or status != ended:
                        log.write(self._logged(trial, sorted(new), status))
                        told[trial.number] = (known | new, status)

    def _logged(self, log: TrialLog, epochs: list[int], status: str | None) -> Logged:
        tags = {**self.about, "arm": log.arm, "error": log.error}
        rows = {epoch: self._numbers(log.results[epoch]) for epoch in epochs}
        times, seconds = {}, 0.0
        for epoch in sorted(log.results):
            seconds += log.results[epoch].get(SECONDS) or 0.0
            times[epoch] = self.started + seconds
        return Logged(
            key=f"{self.about['study']}-{self.about['run']}-{log.number:04d}",
            name=log.name,
            study=self.about["study"],
            run=self.about["run"],
            config=dict(self.schema.configured(log.config)),
            tags={name: value for name, value in tags.items() if value},
            rows=rows,
            times=times,
            status=status,
        )

    def _numbers(self, result: Mapping[str, Any]) -> dict[str, float]:
        found = {name: result.get(name) for name in self.columns}
        return {
            name: float(value)
            for name, value in found.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
