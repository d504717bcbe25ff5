"""The best trial's confusions bear the classes' names."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from analysis.confusions import confusions, main
from analysis.load import load
from analysis.report import report


@pytest.fixture
def animals(make_results, tmp_path):
    """A search whose better trial takes two of four cats and one of four dogs for a fox."""
    run = make_results(class_names=["cat", "dog", "fox <b>"])
    label = np.repeat([0, 1, 2], 4)
    for val, predicted in ((0.5, np.zeros(12, int)), (0.9, np.array([0, 0, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2]))):
        run.labels(run.trial(val=[val], test=0.5, config={"lr": val, "batch_size": 16}), label, predicted)
    return run.write(tmp_path / "animals" / "20260101-100000")


def test_pairs_are_named_counted_and_sorted(animals) -> None:
    (result,) = load([animals])
    rows = confusions(result)
    assert rows.values.tolist() == [[1, "cat", "fox <b>", 2, 0.5], [1, "dog", "fox <b>", 1, 0.25]]


def test_the_command_and_the_report_show_the_names(animals, capsys) -> None:
    assert main([str(animals)]) == 0
    assert "| 1 | cat | fox <b> | 2 | 50.0 |" in capsys.readouterr().out
    assert main([str(animals), "--format", "csv"]) == 0
    assert "cat,fox <b>,2,0.5" in capsys.readouterr().out
    page = report(load([animals]))
    assert "What is taken for what" in page
    assert "fox &lt;b&gt;" in page


def test_two_studies_whose_runs_have_one_name_are_told_apart(animals, tmp_path, capsys) -> None:
    other = tmp_path / "others" / "20260101-100000"
    shutil.copytree(animals, other)
    record = json.loads((other / "study.json").read_text())
    (other / "study.json").write_text(json.dumps(record | {"study": "others"}))
    assert main([str(animals), str(other), "--format", "csv"]) == 0
    studies = [line.partition(",")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(set(studies)) == 2


def test_records_without_names_show_numbers(animals) -> None:
    record = json.loads((animals / "study.json").read_text())
    record["class_names"] = []
    (animals / "study.json").write_text(json.dumps(record))
    (result,) = load([animals])
    assert confusions(result)["class"].tolist() == ["0", "1"]


def test_a_run_without_labels_has_none(make_results, tmp_path) -> None:
    run = make_results()
    run.trial(val=[0.5], test=0.5)
    (result,) = load([run.write(tmp_path / "none" / "20260101-100000")])
    assert isinstance(confusions(result), pd.DataFrame)
    assert confusions(result).empty
