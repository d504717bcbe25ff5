"""A study's runs in order: the newest is the same for all who ask, whatever the clock did and folders are called."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from analysis import load as analysis
from search import folders
from search.failures import UsageError
from search.folders import check_writable, new_folder, newest_run
from search.records import STUDY_FILE, RecordError, run_order
from search.results import ResultsWriter, write_record
from tests.records import make_record


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    made = {new_folder(tmp_path, "toy", smoke=True) for _ in range(5)}
    assert len(made) == 5
    assert all(folder.parent == tmp_path / "toy" and "-smoke" in folder.name for folder in made)


def test_the_newest_run_has_the_last_name_though_the_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "toy" / "29990101-000000-smoke").mkdir(parents=True)
    (tmp_path / "toy" / "notes").mkdir()
    made = [new_folder(tmp_path, "toy", smoke=smoke) for smoke in (True, False)]
    assert [folder.name for folder in made] == ["29990101-000001-smoke", "29990101-000002"]


@pytest.mark.parametrize("absurd", ["99991231-235959", "99991231-235959-smoke"])
def test_after_the_last_second_there_is_runs_are_counted(tmp_path: Path, absurd: str) -> None:
    (tmp_path / "toy" / absurd).mkdir(parents=True)
    names = [new_folder(tmp_path, "toy", smoke=smoke).name for smoke in (True, False, *[True] * 10)]
    assert names[:3] == ["99991231-235959-2-smoke", "99991231-235959-3", "99991231-235959-4-smoke"]
    assert sorted(names, key=run_order) == names


@pytest.mark.parametrize(
    "name", ["99999999-999999", "00000000-000000", "20260230-000000", "٢٠٢٦٠١٠١-٠٠٠٠٠٠", "-", "x" * 200, "20260101-1"]
)
def test_a_folder_that_is_called_something_else_is_no_run_in_time(tmp_path: Path, name: str) -> None:
    (tmp_path / "toy" / name).mkdir(parents=True)
    assert run_order(name)[0] == ""
    assert new_folder(tmp_path, "toy", smoke=False).name < "2900"


def test_resume_and_analysis_take_the_same_run_for_the_newest(tmp_path: Path) -> None:
    """Names in the order in which the runs began; what the clock said to each is another story."""
    began = ["20260301-000000", "20260301-000001-smoke", "20270101-000000", "99991231-235959", "99991231-235959-2"]
    for number, name in enumerate(began):
        folder = tmp_path / "toy" / name
        folder.mkdir(parents=True)
        write_record(folder, make_record(run=name, started=f"20{50 - number}-01-01T00:00:00+00:00"))
        ResultsWriter(folder).refresh({}, force=True)
        assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0] == folder
        assert analysis.load([tmp_path / "toy"])[-1].path == folder  # the newest comes last
    # Renamed: its record still says when it began.
    last = (tmp_path / "toy" / began[-1]).rename(tmp_path / "toy" / "best")
    assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0] == last
    assert analysis.load([tmp_path / "toy"])[-1].path == last


def test_a_smoke_run_is_gone_on_with_only_if_asked_for_or_alone(tmp_path: Path) -> None:
    for name, smoke in (("20260101-000000", False), ("20260102-000000-smoke", True)):
        folder = tmp_path / "toy" / name
        folder.mkdir(parents=True)
        write_record(folder, make_record(run=name, smoke=smoke))
        assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0].name == "20260101-000000"
    assert newest_run(tmp_path, "toy", smoke_only=True, finished=True)[0] == folder
    (tmp_path / "toy/20260101-000000/study.json").unlink()
    assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0] == folder


def test_a_record_that_cannot_be_read_stands_in_the_way_of_older_runs_only(tmp_path: Path) -> None:
    for name in ("20260101-000000", "20260102-000000", "20260103-000000-smoke"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        (tmp_path / "toy" / name / STUDY_FILE).write_text("{")
    folder = tmp_path / "toy" / "20260102-000000"
    write_record(folder, make_record(run=folder.name))
    assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0] == folder
    with pytest.raises(RecordError, match=r"20260103-000000-smoke/study\.json"):
        newest_run(tmp_path, "toy", smoke_only=True, finished=True)
    (tmp_path / "toy/20260104-000000").mkdir()
    (tmp_path / "toy/20260104-000000" / STUDY_FILE).write_text("{")
    with pytest.raises(RecordError, match=r"20260104-000000/study\.json"):
        newest_run(tmp_path, "toy", smoke_only=False, finished=True)


def test_a_run_of_another_user_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("20260101-000000", "20260102-000000"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        write_record(tmp_path / "toy" / name, make_record(run=name))
    closed = tmp_path / "toy" / "20260102-000000"

    def refused(path: str | Path, *given: Any, kept: Any, **more: Any) -> Any:
        if Path(path).parent == closed:
            raise PermissionError(13, "Permission denied")
        return kept(path, *given, **more)

    # A test that runs as root may read everything.
    for name in ("stat", "open"):
        monkeypatch.setattr(Path, name, functools.partialmethod(refused, kept=getattr(Path, name)))
    with pytest.raises(RecordError, match=r"20260102-000000/study\.json cannot be read: Permission denied"):
        newest_run(tmp_path, "toy", smoke_only=False, finished=True)
    closed = tmp_path / "toy" / "20260101-000000"
    assert newest_run(tmp_path, "toy", smoke_only=False, finished=True)[0].name == "20260102-000000"


def test_results_that_no_file_system_can_hold_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / ("a" * 5000), tmp_path / "/".join(["ab"] * 2500), Path("/dev/null/x")):
        with pytest.raises(UsageError, match="--results must be a folder that can be written, got"):
            check_writable(folder)
    assert folders.not_writable(tmp_path, OSError(28, "No space left on device")).args[0].endswith("left on device")
