"""What a person sees while a study runs: a live table on a terminal, one line per event elsewhere; and the
same figures as gauges in Ray's metrics."""

from __future__ import annotations

import sys
import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.util.metrics import Gauge
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.journal import Journal, TrialLog, finished
from search.recorder import best_trial
from search.records import COMPLETED, CURVE_DISTANCE, DIVERGED, FAILED, STATUSES, STOPPED
from search.schedulers import EarlyStopping, SuccessiveHalving
from search.study import Study

REFRESH_SECONDS = 0.5
_STYLES = {COMPLETED: "green", STOPPED: "yellow", DIVERGED: "magenta", FAILED: "red"}


def span(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


class Progress(Callback):
    """`total` trials of `study`; must come after the Recorder, whose journal it shows."""

    def __init__(self, study: Study, journal: Journal, scheduler: EarlyStopping, total: int, slots: int):
        self.study = study
        self.journal = journal
        self.scheduler = scheduler
        self.total = total
        self.slots = slots
        self.running: dict[int, float] = {}
        self.started = time.monotonic()
        # Sums kept up to date: adding up a long study at each result would be most of the driver's work.
        self.spent = {log.number: _seconds(log) for log in journal.trials.values()}
        self.spent_in_all = sum(self.spent.values())
        self.ended_trials = sum(finished(log) for log in journal.trials.values())
        self.ended_seconds = sum(self.spent.pop(log.number) for log in journal.trials.values() if finished(log))
        self.console = Console(highlight=False)
        self.live: Live | None = None
        tags = ("study", "trial")
        self.gauges = {
            metric: Gauge(f"search_{metric}", description=text, tag_keys=tags)
            for metric, text in (
                ("val_accuracy", "validation accuracy of the trial's last epoch"),
                ("epoch", "epochs the trial has finished"),
                ("images_per_second", "training images per second in the trial's last epoch"),
            )
        }

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
        """An event, where there is no table that shows it."""
        if not self.live:
            self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """What must be seen in any case; above the table, where there is one."""
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
        for metric, gauge in self.gauges.items():
            value = result.get(metric)
            if value is not None and value == value:
                gauge.set(float(value), {"study": self.study.name, "trial": log.name})
        seconds = result.get("seconds") or 0.0
        self.spent[log.number] = self.spent.get(log.number, 0.0) + seconds
        self.spent_in_all += seconds
        if not self.live:
            rate = result.get("images_per_second")
            self.say(
                f"{log.number:04d} epoch {result['epoch']}/{result['total_epochs']}  {_figures(result)}"
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
        reason = f": {log.error}" if log.error else ""
        self.say(f"{log.number:04d} {log.status or 'interrupted'} after epoch {max(log.results, default=0)}{reason}")

    def counts(self) -> dict[str, int]:
        return {status: sum(log.status == status for log in self.journal.trials.values()) for status in STATUSES}

    def eta(self) -> str:
        """Time left if the trials to come cost as much as the finished ones did on average."""
        if not self.ended_trials:
            return "after the first trial"
        average = self.ended_seconds / self.ended_trials
        ahead = max(0.0, average * self.total - self.spent_in_all)
        return span(ahead / max(1, min(self.slots, self.total - self.ended_trials)))

    def render(self) -> Group:
        counts = self.counts()
        running = [self.journal.trials[number] for number in sorted(self.running)]
        head = Text(f"{self.study.name}: ", style="bold")
        done = sum(counts[status] for status in _STYLES)
        head.append(f"{done}/{self.total} trials", style="default")
        for status, style in _STYLES.items():
            if counts[status]:
                head.append(f"  {counts[status]} {status}", style=style)
        head.append(f"  {span(time.monotonic() - self.started)}, ETA {self.eta()}")
        lines: list[Any] = [head]
        best = best_trial(self.study, self.journal)
        if best is not None:
            lines.append(
                Text(f"best so far: {self.journal.trials[best].name}  {_figures(self.journal.trials[best].last)}")
            )
        if isinstance(self.scheduler.rule, SuccessiveHalving):
            rungs = [
                f"epoch {epoch}: {len(rung)}"
                for bracket in self.scheduler.rule.brackets
                for epoch, rung in bracket.items()
            ]
            if rungs:
                lines.append(Text("trials at each rung: " + ", ".join(rungs), style="dim"))
        table = Table(box=None, pad_edge=False)
        for column, justify in (
            ("trial", "left"),
            ("epoch", "right"),
            ("validation", "right"),
            ("images/s", "right"),
        ):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for log in running:
            last = log.last
            value = last.get("val_accuracy")
            rate = last.get("images_per_second")
            table.add_row(
                log.name,
                f"{last['epoch']}/{last['total_epochs']}" if last else "0",
                "" if value is None else f"{value:.1%}",
                "" if rate is None else f"{rate:,.0f}",
            )
        return Group(*lines, table)


def _figures(result: dict[str, Any]) -> str:
    parts = []
    labels = {"train_loss": "loss", "val_accuracy": "validation", "test_accuracy": "test", CURVE_DISTANCE: "distance"}
    for name, label in labels.items():
        value = result.get(name)
        if value is not None and value == value:
            parts.append(f"{label} {value:.3f}" if name.endswith("loss") else f"{label} {value:.1%}")
    return "  ".join(parts)


def _seconds(log: TrialLog) -> float:
    return float(sum(result.get("seconds") or 0.0 for result in log.results.values()))
