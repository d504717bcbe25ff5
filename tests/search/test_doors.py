"""Nobody else reads the token, looks into Ray's sessions, or leaves something in them to be run."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from search.doors import DoorError, is_loopback, keep_token_private, private_folder, require_own, require_token_mode


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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


def test_rays_sessions_are_behind_a_folder_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_folder()
    assert folder.parent.parent == tmp_path
    assert mode(folder.parent) == 0o700
    folder.parent.chmod(0o755)
    assert private_folder() == folder
    assert mode(folder.parent) == 0o700


def test_a_name_that_somebody_else_took_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / f"ray-{os.getuid()}").symlink_to(theirs)
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
