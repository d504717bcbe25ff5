"""The files of a run's folder: whole or not there, and never somewhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.disk import Disk

OUTSIDE = ("/abs/victim", "../victim", "trials/../../victim", "a/../b", "nul\0")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "run" / "trials").mkdir(parents=True)
    return Disk(tmp_path / "run")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside the run's, with something to lose."""
    folder = tmp_path / "victim"
    (folder / "checkpoint_000000").mkdir(parents=True)
    (folder / "file").write_text("precious")
    return folder


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(disk: Disk) -> None:
    for content in (b"first", b"the second one"):
        disk.write("a.txt", content)
        assert disk.read("a.txt") == content
    assert disk.names() == ["a.txt", "trials"]


def test_a_file_that_fails_on_the_way_leaves_the_old_one(disk: Disk) -> None:
    disk.write("a.txt", b"old")

    def fail() -> None:
        with disk.whole("a.txt") as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert disk.read("a.txt") == b"old"
    assert disk.names() == ["a.txt", "trials"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_folder(disk: Disk, name: str) -> None:
    for operation in (disk.read, disk.create, disk.names, disk.remove, disk.remove_tree, disk.is_folder):
        with pytest.raises(ValueError, match="leads out of the run's folder"):
            operation(name)


def test_a_planted_link_is_written_over_and_never_through(disk: Disk, victim: Path) -> None:
    for name in ("study.json", "study.json.tmp", "trials.parquet.tmp"):
        (disk.folder / name).symlink_to(victim / "file")
    disk.write("study.json", b"ours")
    assert disk.read("study.json") == b"ours"
    assert (victim / "file").read_text() == "precious"


def test_a_planted_folder_is_not_entered(disk: Disk, victim: Path) -> None:
    (disk.folder / "predictions").symlink_to(victim)
    (disk.folder / "trials" / "0000").symlink_to(victim)
    with pytest.raises(OSError, match=r"directory|link"):
        disk.write("predictions/000000.parquet", b"ours")
    assert disk.names("trials/0000") == []
    disk.remove_tree("trials/0000/checkpoint_000000")
    disk.remove_tree("trials/0000")
    assert sorted(path.name for path in victim.iterdir()) == ["checkpoint_000000", "file"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(disk: Disk) -> None:
    os.mkfifo(disk.folder / "study.json")
    with pytest.raises(OSError, match="not a plain file"):
        disk.read("study.json")


def test_what_a_crash_left_half_written_is_swept(disk: Disk) -> None:
    disk.write("a.txt", b"whole")
    for name in ("a.txt.0123456789abcdef.tmp", "study.json.tmp"):
        (disk.folder / name).write_bytes(b"half")
    disk.sweep("", "trials", "predictions")
    assert disk.names() == ["a.txt", "trials"]
