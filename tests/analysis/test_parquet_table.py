"""Small files that unpack to gigabytes: refused by what their footer says, before they are read."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import claims, parquet_table
from analysis.load import ResultsError, load

ROWS = 3_000_000


@pytest.fixture
def run(make_results, tmp_path):
    """A run of three trials that kept predictions."""
    study = make_results()
    for seed in range(3):
        study.trial(val=[0.3, 0.4], test=0.41, arm="a", seed=seed, predict=True, members=[MEMBER])
    return study.write(tmp_path / "run")


MEMBER = {"members": 1, "val_accuracy": 0.4, "test_accuracy": 0.41, "parameters": 10}


def repeat(file, rows=ROWS):
    """The file's first row, so many times."""
    table = pq.read_table(file).slice(0, 1)
    many = table.take(pa.array(np.zeros(500_000, np.int64)))
    with pq.ParquetWriter(file, table.schema) as writer:
        for _ in range(rows // len(many)):
            writer.write_table(many)
    assert file.stat().st_size < 10**6


@pytest.mark.parametrize("name", ["trials", "epochs", "members"])
def test_equal_rows_are_refused_by_the_footer(run, name, monkeypatch, capsys):
    repeat(run / f"{name}.parquet")
    monkeypatch.setattr(parquet_table, "MOST_ROWS", ROWS - 1)
    reads = parquet_table.pq.read_table
    monkeypatch.setattr(
        parquet_table.pq, "read_table", lambda file, **x: pytest.fail("read") if name in file.name else reads(file, **x)
    )
    assert claims.main([str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(rf"{name}\.parquet must hold at most 2,999,999 rows, got 3,000,000", said)


def test_a_study_of_ten_thousand_trials_is_read_and_thirty_million_rows_are_not():
    assert 10_000 * 200 < parquet_table.MOST_ROWS < 30_000_000
    assert parquet_table.MOST_VALUES > 10_000 * 200 * 30


def test_a_table_may_be_too_wide(run, monkeypatch):
    monkeypatch.setattr(parquet_table, "MOST_VALUES", 30)
    with pytest.raises(ResultsError, match=r"trials\.parquet must hold at most 30 values, got \d+"):
        load([run])


def test_a_column_may_be_too_long(run, monkeypatch):
    monkeypatch.setattr(parquet_table, "MOST_BYTES", 100)
    with pytest.raises(ResultsError, match=r"trials\.parquet must hold at most 100 bytes, got [\d,]+"):
        load([run])


def test_a_trial_has_no_more_predictions_than_images_are_in_any_data_set(run):
    repeat(run / "predictions.parquet")
    (results,) = load([run])
    with pytest.raises(ResultsError, match=r"predictions\.parquet holds more than 1,000,000 rows with trial_id 0"):
        results.predictions(0)
    assert results.predictions(1).empty


def test_one_long_text_in_every_row_is_not_unpacked(run, monkeypatch):
    file = run / "epochs.parquet"
    table = pq.read_table(file)
    text = pa.array(["x" * 2**20] * len(table))
    pq.write_table(table.append_column("config/name", text), file)
    assert file.stat().st_size < 2**18
    monkeypatch.setattr(parquet_table, "MOST_BYTES", 5 * 2**20)
    with pytest.raises(ResultsError, match=r"holds up to 1,048,576 bytes of text in each of 6 rows of config/name"):
        load([run])


def test_what_is_read_is_what_was_written(run):
    (results,) = load([run])
    assert results.trials["arm"].tolist() == ["a"] * 3
    assert results.trials["status"].tolist() == ["completed"] * 3
    assert results.trials["error"].isna().all()
    assert results.predictions(1)["trial_id"].unique().tolist() == [1]
    assert len(results.predictions(1)) == 2000
