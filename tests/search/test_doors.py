"""Nobody else reads the token, looks into Ray's sessions, or leaves something in them to be run."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from search import doors
from search.doors import DoorError, is_loopback, keep_token_private, private_folder, require_own, require_token_mode

ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, as short a path as it usually has."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_token_is_made_for_its_user_alone(home: Path) -> None:
    keep_token_private()
    token = home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64
    assert mode(token) == 0o600


def test_a_token_that_others_could_read_is_kept_and_closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    keep_token_private()
    assert (token.read_text(), mode(token)) == ("secret", 0o600)
    other = home / "token"
    other.write_text("another")
    other.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    keep_token_private()
    assert (other.read_text(), mode(other)) == ("another", 0o600)


def test_a_token_is_whole_from_the_moment_it_is_there(home: Path) -> None:
    """Two first runs of a user at once: each must find a token, and the same one."""
    code = "from search.doors import keep_token_private; keep_token_private()"
    token = home / ".ray" / "auth_token"
    runs = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ.copy()) for _ in range(8)]
    seen = set()
    while any(run.poll() is None for run in runs):
        with contextlib.suppress(FileNotFoundError):
            seen.add(token.read_text())
    assert [run.returncode for run in runs] == [0] * 8
    assert seen | {token.read_text()} == {token.read_text()}
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_an_empty_token_that_a_killed_start_left_is_replaced(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch()
    keep_token_private()
    assert (len(token.read_text()), mode(token)) == (64, 0o600)


@pytest.mark.parametrize("place", ["/dev/null", "/proc/1/nowhere"])
def test_a_home_that_cannot_be_written_has_its_token_beside_the_sessions(
    home: Path, short: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("HOME", place)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")  # what is set in its place goes with the test
    keep_token_private()
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent == private_folder().parent
    assert (len(token.read_text()), mode(token)) == (64, 0o600)


def test_rays_sessions_are_behind_a_folder_of_the_users(short: Path) -> None:
    folder = private_folder()
    assert folder.parent.parent == short
    assert mode(folder.parent) == 0o700
    folder.parent.chmod(0o755)
    assert private_folder() == folder
    assert mode(folder.parent) == 0o700


@pytest.mark.parametrize("length", [48, 100, 200])
def test_a_folder_too_long_for_a_socket_is_not_used(monkeypatch: pytest.MonkeyPatch, short: Path, length: int) -> None:
    long = short / ("x" * (length - len(str(short)) - 1))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = private_folder()
    assert folder.parent.parent in (Path("/tmp"), Path("/var/tmp"))
    assert mode(folder.parent) == 0o700
    session = folder / "session_2026-11-25_12-00-00_000000_4194304" / "sockets" / "plasma_store"
    assert len(str(session)) <= 107  # what Linux gives the path of a socket


def test_tmpdir_is_named_if_no_folder_is_short_enough(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setattr(doors, "LONGEST_SOCKET", 60)
    with pytest.raises(DoorError, match=rf"TMPDIR must be .* got {short}: set TMPDIR to such a folder"):
        private_folder()


def test_tmpdir_is_named_if_its_disk_is_full(monkeypatch: pytest.MonkeyPatch, small_disk: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    monkeypatch.setattr(doors, "LONGEST_SOCKET", 400)
    with pytest.raises(DoorError, match=rf"TMPDIR must have 16 MiB free for Ray's session, got {small_disk} with 2"):
        private_folder()


def test_a_name_that_somebody_else_took_is_refused(short: Path) -> None:
    theirs = short / "theirs"
    theirs.mkdir()
    (short / f"ray-{os.getuid()}").symlink_to(theirs)
    with pytest.raises(DoorError, match="a folder of your own"):
        private_folder()
    assert not list(theirs.iterdir())


def test_only_ones_own_folder_is_read_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    require_own(tmp_path)
    tmp_path.chmod(0o777)
    with pytest.raises(DoorError, match="must not be writable by every user"):
        require_own(tmp_path)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(DoorError, match="a folder of your own"):
        require_own(tmp_path)


def test_a_token_is_required_unless_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("token", "TOKEN"):
        monkeypatch.setenv("RAY_AUTH_MODE", value)
        require_token_mode("--listen")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(DoorError, match="--listen needs token authentication, got RAY_AUTH_MODE=disabled"):
        require_token_mode("--listen")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.5", False), ("box", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
