"""A column is declared once: what is read off a declaration agrees everywhere."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from search import columns

README = Path(__file__).parents[2] / "search" / "README.md"


def test_the_contracts_page_is_made_from_the_declarations() -> None:
    start, end = "<!-- columns -->\n", "<!-- /columns -->"
    assert README.read_text(encoding="utf-8").partition(start)[2].partition(end)[0] == columns.page(), (
        "put what `python -m search.columns` prints between the marks"
    )


@pytest.mark.parametrize("table", columns.TABLES)
def test_every_column_says_what_it_is(table: str) -> None:
    declared = [column for column in columns.COLUMNS if table in column.tables]
    assert len({column.name for column in declared}) == len(declared)
    assert all(column.meaning.endswith((".", "null for one member.")) for column in declared)


def test_nothing_measured_on_test_images_may_be_chosen_by() -> None:
    by_test = [column.name for column in columns.COLUMNS if column.measured_on == "test" and "epochs" in column.tables]
    assert {"member_test_accuracy", "curve_distance", "test_ece"} <= set(by_test)
    assert not set(by_test) & set(columns.choosable())
    assert {"val_accuracy", "val_loss", "parameters", "seconds"} <= set(columns.choosable())


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        ({"val_accuracy": 0.5, "each_val_accuracy": [0.5], "total_epochs": 3, "epoch": 1}, None),
        ({"val_accuracy": math.nan, "train_loss": math.inf, "test_accuracy": None}, None),
        ({"sharpness": 1.0}, None),
        ({"val_acuracy": 0.5}, "declared metrics only, got val_acuracy"),
        ({"val_accuracy": "high"}, "a number as val_accuracy, got 'high'"),
        ({"val_accuracy": True}, "a number as val_accuracy, got True"),
        ({"val_accuracy": 97.7}, "val_accuracy from 0 to 1, got 97.7"),
        ({"parameters": 10.5}, "a whole number as parameters, got 10.5"),
    ],
)
def test_what_a_trainable_reports_is_held_to_the_declarations(reported: dict[str, Any], said: str | None) -> None:
    own = (columns.metric("sharpness", "Of the minimum.", measured_on="training", better="min", unit="nats"),)
    problem = columns.wrong(reported, own)
    assert problem is None if said is None else problem is not None and said in problem


def test_own_metrics_go_through_study_json_and_back() -> None:
    own = (
        columns.metric("sharpness", "Of the minimum.", measured_on="training", better="min", unit="nats", low=-1),
        columns.metric("val_f1", "Macro F1.", measured_on="validation", better="max", needs=("validation",)),
        columns.metric("attempts", "Tries.", measured_on="count", better="min", unit=""),
    )
    assert columns.from_json(json.loads(json.dumps(columns.as_json(own), allow_nan=False))) == own


@pytest.mark.parametrize(
    "declared",
    [None, {}, [1], [{"name": "val_accuracy"}], [{"name": "x"}], [{"name": "a/b", "meaning": ""}], [{"name": 3}]],
)
def test_a_record_that_declares_otherwise_is_refused(declared: Any) -> None:
    with pytest.raises(columns.ColumnError):
        columns.from_json(declared)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "val_accuracy"},
        {"name": "prefix_val_loss"},
        {"name": "a b"},
        {"name": ""},
        {"measured_on": "train"},
        {"better": "higher"},
    ],
)
def test_a_metric_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(columns.ColumnError):
        columns.metric(**{"name": "f1", "meaning": "", "measured_on": "test", "better": "max"} | changes)
