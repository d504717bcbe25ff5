"""Report what a run gained by early stopping."""

from __future__ import annotations

from collections.abc import Iterable

from search.events import TrialLog
from search.records import COMPLETED, STOPPED, TOTAL_EPOCHS
from search.study import Study


def savings(study: Study, trials: Iterable[TrialLog]) -> str:
    """Return one line: the epochs that stopping saved, and how many finished trials were rightly preferred.

    A finished trial was rightly preferred if it was ahead of the best stopped trial, in the metric that early stopping
    compares, at the epoch at which that trial was stopped; else it would have been stopped instead. The line is empty
    if no trial was stopped.
    """
    logs = list(trials)
    sign = 1 if study.mode == "max" else -1
    stopped = [log for log in logs if log.status == STOPPED and log.last.get(study.rank_by) is not None]
    if not stopped:
        return ""
    saved = sum(int(log.last[TOTAL_EPOCHS]) - max(log.results) for log in stopped)
    whole = sum(int(log.last[TOTAL_EPOCHS]) for log in logs if log.results)
    text = f"stopping saved {saved:,} of {whole:,} epochs"
    best = max(stopped, key=lambda log: (sign * log.last[study.rank_by], -log.number))
    epoch, mark = max(best.results), sign * best.last[study.rank_by]
    values = [log.results[epoch].get(study.rank_by) for log in logs if log.status == COMPLETED and epoch in log.results]
    known = [sign * value for value in values if value is not None]
    if not known:
        return text
    ahead = sum(value > mark for value in known)
    return (
        f"{text}; {ahead} of {len(known)} finished trials were ahead of the best stopped one, {best.number:04d}, "
        f"at its last epoch, {epoch}"
    )
