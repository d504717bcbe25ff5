"""Show a running study: a live table on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.text import Text

from search.journal import Journal, TrialLog, finished
from search.live_table import BEST, LiveTable, Row
from search.output import span
from search.records import COMPLETED, CURVE_DISTANCE, DIVERGED, FAILED, STATUSES, STOPPED, VAL_ACCURACY
from search.schedulers import EarlyStopping, SuccessiveHalving
from search.study import Study

REFRESH_SECONDS = 0.5
MOST_POINTS = 24  # values kept of a curve: twice as many as a curve has characters
_STYLES = {COMPLETED: "green", STOPPED: "yellow", DIVERGED: "magenta", FAILED: "red"}


class Progress(Callback):
    """Show the progress of `total` trials of `study`; this callback must come after the Recorder, which it reads."""

    def __init__(self, study: Study, journal: Journal, scheduler: EarlyStopping, total: int, slots: int):
        self.study = study
        self.journal = journal
        self.scheduler = scheduler
        self.total = total
        self.slots = slots
        self.running: dict[int, float] = {}
        self.started = time.monotonic()
        # Running sums: adding up a long study at each result would be most of the driver's work.
        self.spent = {log.number: _seconds(log) for log in journal.trials.values()}
        self.spent_in_all = sum(self.spent.values())
        self.ended_trials = sum(finished(log) for log in journal.trials.values())
        self.ended_seconds = sum(self.spent.pop(log.number) for log in journal.trials.values() if finished(log))
        self.curves = {log.number: _curve(study, log) for log in journal.trials.values() if not finished(log)}
        self.best: list[tuple[float, int, Row]] = []  # the best finished trials, with their ranks
        for log in journal.trials.values():
            self._rank(log)
        self.console = Console(highlight=False)
        self.live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Journal

    def start(self) -> None:
        if sys.stdout.isatty():
            self.live = Live(get_renderable=self.render, console=self.console, refresh_per_second=1 / REFRESH_SECONDS)
            self.live.start()

    def stop(self) -> None:
        if self.live:
            self.live.stop()
            self.live = None

    def say(self, text: str) -> None:
        """Print a line about an event, unless the live table shows it."""
        if not self.live:
            self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a line in any case, above the live table if there is one."""
        self.console.print(Text(text), soft_wrap=True)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        log = self.journal.trials[trial.config["trial"]]
        self.running[log.number] = time.monotonic()
        resumed = ""
        if log.results:
            restored = trial.config["restore"] or ""
            epoch = next((epoch for epoch, name in log.checkpoints if restored.endswith(f"/{name}")), None)
            resumed = f", from epoch {epoch}" if epoch else ", from the beginning"
        self.say(f"{log.number:04d} started{resumed}  {log.name[5:]}")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        log = self.journal.trials[trial.config["trial"]]
        value = result.get(self.study.metric, result.get("val_accuracy"))
        curve = self.curves.setdefault(log.number, [])
        curve.append(float("nan") if value is None else float(value))
        if len(curve) > 2 * MOST_POINTS:
            del curve[1:-1:2]
        seconds = result.get("seconds") or 0.0
        self.spent[log.number] = self.spent.get(log.number, 0.0) + seconds
        self.spent_in_all += seconds
        if not self.live:
            rate = result.get("images_per_second")
            self.say(
                f"{log.number:04d} epoch {result['epoch']}/{result['total_epochs']}  {self._figures(result)}"
                + (f"  {rate:,.0f} images/s" if rate else "")
                + f"  ETA {self.eta()}"
            )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        log = self.journal.trials[trial.config["trial"]]
        if finished(log):
            self._ended(trial)
        else:
            self.running.pop(log.number, None)
            self.say(f"{log.number:04d} is tried again: {log.error}")

    def _ended(self, trial: Trial) -> None:
        log = self.journal.trials[trial.config["trial"]]
        self.running.pop(log.number, None)
        if finished(log):
            self.ended_trials += 1
            self.ended_seconds += self.spent.pop(log.number, 0.0)
            self._rank(log)
        reason = f": {log.error}" if log.error else ""
        self.say(f"{log.number:04d} {log.status or 'interrupted'} after epoch {max(log.results, default=0)}{reason}")

    def counts(self) -> dict[str, int]:
        return {status: sum(log.status == status for log in self.journal.trials.values()) for status in STATUSES}

    def eta(self) -> str:
        """Return the time left, if the trials to come take as long as the finished ones did on average."""
        if not self.ended_trials:
            return "after the first trial"
        average = self.ended_seconds / self.ended_trials
        ahead = max(0.0, average * self.total - self.spent_in_all)
        return span(ahead / max(1, min(self.slots, self.total - self.ended_trials)))

    def _rank(self, log: TrialLog) -> None:
        """Keep a finished trial's row if it is one of the best, and drop its curve."""
        curve = self.curves.pop(log.number, None)
        value = log.last.get(self.study.metric) if log.status == COMPLETED else None
        if value is None or value != value:
            return
        rank = (value if self.study.mode == "max" else -value, -log.number)
        if len(self.best) < BEST or rank > self.best[-1][:2]:
            row = self._row(log, curve or _curve(self.study, log), _STYLES[COMPLETED])
            self.best = sorted([*self.best, (*rank, row)], key=lambda one: one[:2], reverse=True)[:BEST]

    def _row(self, log: TrialLog, curve: list[float], style: str = "") -> Row:
        last = log.last
        values = [last.get(self.study.metric, last.get("val_accuracy")), last.get("test_accuracy")]
        told = ["" if x is None else f"{x:.1%}" if self._accuracy else f"{x:.4g}" for x in values[:1]]
        told += ["" if x is None else f"{x:.1%}" for x in values[1:]]
        rate = last.get("images_per_second")
        return Row(
            name=log.name,
            figures=(
                f"{last['epoch']}/{last['total_epochs']}" if last else "0",
                *told,
                "" if rate is None else f"{rate:,.0f}",
            ),
            curve=curve,
            style=style,
        )

    @property
    def _accuracy(self) -> bool:
        return self.study.metric.endswith("accuracy") or self.study.metric == CURVE_DISTANCE

    def render(self) -> LiveTable:
        """Return what the terminal shows now."""
        counts = self.counts()
        done = sum(counts[status] for status in _STYLES)
        spent = span(time.monotonic() - self.started)
        head = [f"{self.study.name}: {done}/{self.total} trials, {spent}, ETA {self.eta()}"]
        ended = [f"{counts[status]} {status}" for status in _STYLES if counts[status]]
        if ended:
            head.append(", ".join(ended))
        if isinstance(self.scheduler.rule, SuccessiveHalving):
            rungs = [
                f"epoch {epoch}: {len(rung)}"
                for bracket in self.scheduler.rule.brackets
                for epoch, rung in bracket.items()
            ]
            if rungs:
                head.append("trials at each rung: " + ", ".join(rungs))
        running = [self.journal.trials[number] for number in sorted(self.running)]
        metric = self.study.metric.removesuffix("_accuracy").replace("_", " ")
        return LiveTable(
            head=head,
            columns=("epoch", {"val": "validation"}.get(metric, metric), "test", "images/s"),
            running=[self._row(log, self.curves.get(log.number, [])) for log in running],
            best=[row for *_, row in self.best],
        )

    def _figures(self, result: dict[str, Any]) -> str:
        parts = []
        labels = {"train_loss": "loss", VAL_ACCURACY: "validation", "test_accuracy": "test", CURVE_DISTANCE: "distance"}
        for name, label in labels.items():
            value = result.get(name)
            if value is not None and value == value:
                parts.append(f"{label} {value:.3f}" if name.endswith("loss") else f"{label} {value:.1%}")
        goal = self.study.metric
        if goal not in labels and (value := result.get(goal)) is not None:
            parts.append(f"{goal} {value:.4g}")
        return "  ".join(parts)


def _curve(study: Study, log: TrialLog) -> list[float]:
    """Return the values of the study's metric by epoch, of a long trial evenly spaced ones."""
    values = [result.get(study.metric, result.get("val_accuracy")) for _, result in sorted(log.results.items())]
    step = max(1, len(values) // MOST_POINTS)
    return [float("nan") if value is None else float(value) for value in (*values[:-1:step], *values[-1:])]


def _seconds(log: TrialLog) -> float:
    return float(sum(result.get("seconds") or 0.0 for result in log.results.values()))
