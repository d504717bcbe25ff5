"""Who may reach the Ray that this process starts: nobody without the token, nobody through its files."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from ipaddress import ip_address
from pathlib import Path

LOOPBACK = "127.0.0.1"
AUTH_MODE = "RAY_AUTH_MODE"


class DoorError(RuntimeError):
    """A door that would stand open; the message is one line."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_token_mode(for_what: str) -> None:
    """Raises DoorError where the environment switches Ray's token authentication off."""
    mode = os.environ.get(AUTH_MODE, "token")
    if mode.lower() != "token":
        raise DoorError(f"{for_what} needs token authentication, got {AUTH_MODE}={mode}")


def keep_token_private() -> None:
    """Create Ray's token where there is none, and keep the user's file of it to the user.

    Ray writes the file as the umask has it, which usually lets every user of the machine read it.
    Raises OSError.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not named and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    info = path.stat()
    if info.st_uid == os.getuid() and stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o600)


def private_folder() -> Path:
    """A folder for Ray's sessions that no other user of this machine can look into.

    Ray's own /tmp/ray is writable by all, with the sockets and the code of every session in it. Raises DoorError
    where somebody else holds the name.
    """
    folder = Path(tempfile.gettempdir()) / f"ray-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    require_own(folder)
    folder.chmod(0o700)
    # Ray opens the folder it is given to all users: the one above keeps them out.
    return folder / "ray"


def require_own(folder: Path) -> None:
    """Raises DoorError unless `folder` is the user's own: no link, and nobody else may write in it.

    Ray pickles what it keeps there, and to read a pickle is to run it.
    """
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise DoorError(f"{folder} must be a folder of your own, since Ray runs what it finds there")
    if info.st_mode & stat.S_IWOTH:
        raise DoorError(f"{folder} must not be writable by every user, since Ray runs what it finds there")
