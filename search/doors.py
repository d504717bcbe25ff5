"""Close the doors of the Ray that this process starts: nobody reaches it without the token or through its files."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path

LOOPBACK = "127.0.0.1"
AUTH_MODE = "RAY_AUTH_MODE"
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # most bytes of a UNIX socket's path
IN_SESSION = len("/session_2026-11-25_12-00-00_000000_4194304/sockets/plasma_store")  # length of Ray's longest name
LEAST_SPACE = 16 << 20  # bytes that Ray's logs and sockets take before a trial has begun


class DoorError(RuntimeError):
    """A door that would stand open; the message is one line."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_token_mode(for_what: str) -> None:
    """Raise DoorError if the environment switches Ray's token authentication off."""
    mode = os.environ.get(AUTH_MODE, "token")
    if mode.lower() != "token":
        raise DoorError(f"{for_what} needs token authentication, got {AUTH_MODE}={mode}: unset {AUTH_MODE}")


def keep_token_private() -> None:
    """Create Ray's token if there is none, and make its file readable by the user alone.

    Ray itself writes the file with the umask's permissions, which usually let every user of the machine read it. If
    the home folder cannot be written, the token lies beside Ray's sessions, and RAY_AUTH_TOKEN_PATH names it.
    Raises OSError, DoorError.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        path = Path(named)
    else:
        path = Path(os.path.expanduser("~")) / ".ray" / "auth_token"
        try:
            _make_token(path)
        except OSError:
            path = private_folder().parent / "auth_token"
            _make_token(path)
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    info = path.stat()
    if info.st_uid == os.getuid() and stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o600)


def _make_token(path: Path) -> None:
    """Write a token to `path` unless one is there; the file appears whole, since another start may read it at once."""
    if path.exists() and path.stat().st_size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".auth_token-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        if path.exists() and not path.stat().st_size:  # left empty by a start that was killed
            os.replace(name, path)
        else:
            with contextlib.suppress(FileExistsError):  # another start was first, and its token counts
                os.link(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def private_folder() -> Path:
    """Return a folder for Ray's sessions that no other user of this machine can look into.

    Ray's own /tmp/ray, with the sockets and the code of every session, is writable by all. The private folder lies in
    the folder for temporary files, or in /tmp or /var/tmp if that path is too long for a socket. Raises DoorError
    if somebody else holds the name, or no folder will do; OSError if no folder can be written.
    """
    given = Path(tempfile.gettempdir())
    name = f"ray-{os.getuid()}"
    fitting = [
        place
        for place in (given, Path("/tmp"), Path("/var/tmp"))
        if len(os.fsencode(place / name / "ray")) <= LONGEST_SOCKET - IN_SESSION and os.access(place, os.W_OK | os.X_OK)
    ]
    if not fitting:
        longest = LONGEST_SOCKET - IN_SESSION - len(f"/{name}/ray")
        raise DoorError(
            f"TMPDIR must be a folder that can be written, with a path of at most {longest} bytes since Ray's sockets "
            f"lie in it, got {given}: set TMPDIR to such a folder"
        )
    space = os.statvfs(fitting[0])
    if space.f_blocks and space.f_bavail * space.f_frsize < LEAST_SPACE:
        raise DoorError(
            f"TMPDIR must have {LEAST_SPACE >> 20} MiB free for Ray's session, got {fitting[0]} with "
            f"{space.f_bavail * space.f_frsize >> 20} MiB: set TMPDIR to a folder on another disk"
        )
    folder = fitting[0] / name
    folder.mkdir(mode=0o700, exist_ok=True)
    require_own(folder)
    folder.chmod(0o700)
    # Ray opens the folder that it is given to all users: the parent folder keeps them out.
    return folder / "ray"


def require_own(folder: Path) -> None:
    """Raise DoorError unless `folder` is the user's own, no link, and not writable by every user.

    Ray keeps pickles there, and reading a pickle runs it.
    """
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise DoorError(f"{folder} must be a folder of your own, since Ray runs the pickles that it finds there")
    if info.st_mode & stat.S_IWOTH:
        raise DoorError(f"{folder} must not be writable by every user, since Ray runs the pickles that it finds there")
