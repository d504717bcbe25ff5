"""Make the record of a run, for tests that read or write study.json."""

from typing import Any

from search.records import StudyRecord


def make_record(**changes: Any) -> StudyRecord:
    """Return the record of an unfinished search of the toy study, with these fields changed."""
    fields: dict[str, Any] = {
        "study": "toy",
        "run": "20260101-100000",
        "question": "?",
        "source": "none",
        "trainable": "Toy",
        "dataset": "digits",
        "dataset_fingerprint": "0",
        "protocol": "search",
        "metric": "val_accuracy",
        "mode": "max",
        "objectives": {"val_accuracy": "max"},
        "epochs": 3,
        "samples": 8,
        "searcher": "tpe",
        "scheduler": "asha",
        "seed": 0,
        "space": {},
        "fixed": {},
        "arms": {},
        "command": "",
        "started": "2026-01-01T10:00:00+00:00",
    }
    return StudyRecord(**fields | changes)
