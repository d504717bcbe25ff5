"""The end of a run says what early stopping was worth to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from search.events import TrialLog
from search.records import COMPLETED, STOPPED
from search.savings import savings
from search.study import Study, load


@pytest.fixture
def study(toy_space: Path) -> Study:
    return dataclasses.replace(load(toy_space), metric="val_accuracy", rank_by="val_accuracy")


def trial(number: int, *values: float | None, status: str = COMPLETED, epochs: int = 6) -> TrialLog:
    results = {
        epoch: {"epoch": epoch, "total_epochs": epochs, "val_accuracy": value, "val_loss": value}
        for epoch, value in enumerate(values, start=1)
    }
    return TrialLog(number, f"{number:04d}", {}, results=results, status=status)


TRIALS = (
    trial(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    trial(1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    trial(2, 0.1, 0.1, status=STOPPED),
    trial(3, 0.1, 0.25, status=STOPPED),
)


def test_saved_epochs_and_the_finished_trials_ahead_of_the_best_stopped_one_are_counted(study: Study) -> None:
    assert savings(study, TRIALS) == (
        "stopping saved 8 of 24 epochs; 1 of 2 finished trials were ahead of the best stopped one, 0003, at its last "
        "epoch, 2"
    )


def test_a_metric_that_is_minimised_is_compared_the_other_way(study: Study) -> None:
    loss = dataclasses.replace(study, metric="val_loss", mode="min", rank_by="val_loss")
    assert "1 of 2 finished trials were ahead of the best stopped one, 0002" not in savings(study, TRIALS)
    assert "0 of 2 finished trials were ahead of the best stopped one, 0002" in savings(loss, TRIALS)


def test_nothing_is_said_if_no_trial_was_stopped_or_measured(study: Study) -> None:
    assert savings(study, TRIALS[:2]) == ""
    assert savings(study, ()) == ""
    assert savings(study, [*TRIALS[:1], trial(4, None, status=STOPPED)]) == ""


def test_no_finished_trial_leaves_the_saved_epochs(study: Study) -> None:
    assert savings(study, TRIALS[2:]) == "stopping saved 8 of 12 epochs"
