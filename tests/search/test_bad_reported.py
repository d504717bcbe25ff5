"""Whatever stands in the reported CSVs: the runs, or one line that says what is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from search.records import RecordError, Reported, read_reported

RUNS = """run,note,section,arm,dataset,model,members,test_accuracy,config/lr,config/shuffle
a-1,A,4.1,one,cifar10,alexnet,1,0.5,0.03,True
a-2,A,4.2,two,cifar10,alexnet,,0.6,,
"""
CURVES = """run,epoch,test_accuracy
a-1,2,0.5
a-1,1,0.25
"""
CELLS = st.one_of(
    st.sampled_from(["", "nan", "-1", "1e999", "9" * 5000, "True", "a-1", '"', "run", "epoch"]), st.text(max_size=8)
)


def read(folder: Path, runs: bytes, curves: bytes) -> None:
    (folder / "runs.csv").write_bytes(runs)
    (folder / "curves.csv").write_bytes(curves)
    refusal = ""
    found: dict[str, Reported] = {}
    try:
        found = read_reported(folder)
    except RecordError as error:
        refusal = str(error)
    assert all(isinstance(run, Reported) and name == run.run for name, run in found.items())
    assert len(refusal.splitlines()) <= 1
    assert bool(found) or ".csv" in refusal or runs.count(b"\n") <= 1


def with_cell(text: str, row: int, column: int, cell: str) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    row %= len(rows)
    rows[row][column % len(rows[row])] = cell
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def test_any_cell(examine: Callable[..., None], tmp_path: Path) -> None:
    def check(row: int, column: int, cell: str, curve: bool) -> None:
        if curve:
            read(tmp_path, RUNS.encode(), with_cell(CURVES, row, column, cell))
        else:
            read(tmp_path, with_cell(RUNS, row, column, cell), CURVES.encode())

    places = st.integers(0, 20)
    examine(check, share=5, row=places, column=places, cell=CELLS, curve=st.booleans())


def test_any_bytes(examine: Callable[..., None], tmp_path: Path) -> None:
    def check(at: int, bytes_: bytes, cut: bool, curve: bool) -> None:
        good = (CURVES if curve else RUNS).encode()
        at %= len(good)
        bad = good[:at] + bytes_ + (b"" if cut else good[at + len(bytes_) :])
        read(tmp_path, *((RUNS.encode(), bad) if curve else (bad, CURVES.encode())))

    places = st.integers(0, 300)
    examine(check, share=5, at=places, bytes_=st.binary(max_size=4), cut=st.booleans(), curve=st.booleans())


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name, content in (("curves.csv", CURVES), ("runs.csv", RUNS)):
        with pytest.raises(RecordError, match=f"{name} cannot be read"):
            read_reported(tmp_path)
        (tmp_path / name).write_text(content)
