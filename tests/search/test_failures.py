"""Which of a run's two folders failed: the one that did is blamed, whatever the error says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from search.disk import Disk
from search.failures import NodeLost, halted_by

FULL = "OSError: [Errno 28] No space left on device"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """What Ray has in its session folder, as far as it matters."""
    folder = tmp_path / "session_2026-11-25_12-00-00_000000_1"
    (folder / "sockets").mkdir(parents=True)
    for name in ("sockets/raylet", "gcs_server_port_44ef", "metrics_agent_port_44ef"):
        (folder / name).touch()
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Disk:
    (tmp_path / "run").mkdir()
    return Disk(tmp_path / "run")


def test_an_error_of_the_trial_halts_nothing_and_leaves_nothing(session: Path, results: Disk) -> None:
    assert halted_by("RuntimeError: the toy is broken", results, session) is None
    assert halted_by("RuntimeError: the toy is broken", results, None) is None
    assert results.names() == []


def test_a_raylet_that_died_took_its_socket_and_swept_nothing(session: Path, results: Disk) -> None:
    (session / "sockets" / "raylet").unlink()
    assert halted_by("The actor died unexpectedly", results, session) is None


def test_a_swept_session_is_known_though_ray_made_its_folders_again(session: Path, results: Disk) -> None:
    shutil.rmtree(session)
    (session / "sockets").mkdir(parents=True)
    (session / "logs").mkdir()
    halted = halted_by(FileNotFoundError(2, "No such file or directory", "/elsewhere"), results, session)
    assert isinstance(halted, NodeLost)
    assert str(halted).startswith(
        f"Ray's session folder {session} was removed or moved while the run went on: set TMPDIR"
    )


def test_results_that_are_gone_are_named(session: Path, results: Disk) -> None:
    results.folder.rename(results.folder.with_name("elsewhere"))
    halted = halted_by(FULL, results, session)
    assert str(halted) == f"the results folder {results.folder} was removed or moved while the run went on"


def test_the_folder_whose_disk_is_full_is_named(session: Path, results: Disk, small_disk: Path) -> None:
    (small_disk / "more").write_bytes(bytes((2 << 20) - (64 << 10)))
    full = Disk(small_disk)
    assert (
        str(halted_by("?", full, session))
        == f"the results folder {small_disk} cannot be written: {FULL.partition('] ')[2]}"
    )
    (small_disk / "gcs_server_port_44ef").touch()
    halted = halted_by("?", results, small_disk)
    assert isinstance(halted, NodeLost)
    assert str(halted).startswith(
        f"Ray's session folder {small_disk} cannot be written: {FULL.partition('] ')[2]}: set TMPDIR"
    )


def test_a_disk_that_was_full_for_a_moment_is_told_as_such(session: Path, results: Disk) -> None:
    assert str(halted_by(f"Traceback\n{FULL}\n", results, session)) == (
        f"a disk was full for a moment, and is not now: {FULL}"
    )
