"""Searches stopped at any write, on disks that lose what was not synced: none ends otherwise than one left in peace."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest

from search.disk import Disk
from tests.search import simulator
from tests.search.simulate import main
from tests.search.simulated_disk import Crash, Platter, SimulatedDisk

SCHEDULES = 150
SEED = 20261125


def test_schedules_of_crashes_end_as_searches_left_in_peace() -> None:
    for schedule in range(SCHEDULES):
        simulator.play(SEED, schedule)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_schedules() -> None:
    assert main(["--schedules", "10000", "--seed", str(SEED)]) == 0


def fails(monkeypatch: pytest.MonkeyPatch, most: int = 400) -> bool:
    """Whether the schedules find what was broken."""
    simulator.in_peace.cache_clear()
    try:
        for schedule in range(most):
            simulator.play(SEED, schedule)
    except simulator.Fault:
        return True
    finally:
        monkeypatch.undo()
        simulator.in_peace.cache_clear()
    return False


@pytest.mark.long
@pytest.mark.parametrize("broken", ["sync", "sync_folder", "journal"])
def test_a_sync_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    if broken == "journal":
        monkeypatch.setattr("search.journal.Journal.sync", lambda journal: None)
    else:
        monkeypatch.setattr(SimulatedDisk, broken, lambda disk, name="": disk.operate())
    assert fails(monkeypatch)


# The disk itself


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk(Path("/run"), Platter(), random.Random(0))


def contents(disk: SimulatedDisk, name: str, cuts: int = 40) -> set[bytes | None]:
    """What a file may hold after a power cut."""
    found: set[bytes | None] = set()
    for seed in range(cuts):
        platter = copy.deepcopy(disk.platter)
        platter.cut_power(random.Random(seed))
        after = SimulatedDisk(Path("/run"), platter, random.Random(0))
        found.add(after.read(name) if after.is_file(name) else None)
    return found


def test_a_file_written_whole_is_the_old_one_or_the_new_one(disk: SimulatedDisk) -> None:
    disk.write("a", b"old")
    disk.stop = disk.operations + 3  # before the new one has its name
    with pytest.raises(Crash):
        disk.write("a", b"new content")
    assert contents(disk, "a") == {b"old"}
    with pytest.raises(Crash):
        disk.read("a")


def test_what_is_not_synced_may_be_lost_cut_short_or_full_of_holes(disk: SimulatedDisk) -> None:
    file = disk.create("a")
    file.write(b"abc")
    found = contents(disk, "a")
    assert {None, b"", b"abc"} < found
    disk.sync(file)
    disk.sync_folder()
    file.write(b"defghi")
    found = contents(disk, "a")
    assert all(content and content.startswith(b"abc") for content in found)
    assert {b"abc", b"abcdefghi"} < found


def test_a_full_disk_takes_half(disk: SimulatedDisk) -> None:
    file = disk.create("a")
    disk.full = range(disk.operations, disk.operations + 2)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"abc")
    assert b"abc".startswith(disk.read("a"))


def test_it_does_what_a_real_disk_does(disk: SimulatedDisk, tmp_path: Path) -> None:
    real = Disk(tmp_path)
    for each in (disk, real):
        each.make_folder("b")
        each.write("b/x", b"1")
        each.write("b/x", b"22")
        each.make_folder("c")
        each.make_folder("c/d")
        each.write("c/d/y", b"")
        each.remove_tree("c")
        each.remove_tree("nothing")
        each.write("z", b"0")
        each.rename("z", "w")
        each.sync_tree("b")
        each.sweep("")
        for name in ("z", "c/d/y", "d/e"):
            with pytest.raises(FileNotFoundError):
                each.read(name)
        with pytest.raises(FileExistsError):
            each.create("w")
        file = each.append_to("w")
        file.write(b"12")
        file.seek(0)
        assert file.read() == b"012"
        file.truncate(1)
        file.close()
    for name in ("", "b", "c", "c/d"):
        assert disk.names(name) == real.names(name)
        assert not name or disk.is_folder(name) == real.is_folder(name)
    assert disk.read("w") == real.read("w") == b"0"
    assert disk.read("b/x") == real.read("b/x") == b"22"
