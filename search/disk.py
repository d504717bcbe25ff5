"""Read and write the files of one run's folder, by relative names: files appear whole, and links are not followed.

A results folder may be shared with a group, so that any name in it may have been planted: no component of a name is
followed if it is a link, and temporary names cannot be guessed. Once `write` or `whole` has returned, the file is on
the disk under its name: after a power cut there is either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"


class Disk:
    """One run's folder. Names are relative, with "/" between their components; "" is the folder itself.

    Every method raises OSError, also if a component of a name is a link, and ValueError for a name that leads out of
    the folder. The methods up to `remove_tree` call the system; the others are made of these.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Open one of the run's folders, and yield its descriptor."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(self.folder, flags)
        try:
            for part in inside(name):
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        folder, last = split(name)
        with self._opened(folder) as descriptor:
            opened = os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=descriptor)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise OSError(errno.EINVAL, "not a plain file", name)
        return opened

    def read(self, name: str) -> bytes:
        # O_NONBLOCK: a planted pipe must not be waited for.
        with os.fdopen(self._open(name, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read()

    def create(self, name: str) -> Any:
        """Open a new file for writing. Raises FileExistsError if there is anything of this name."""
        return os.fdopen(self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb", buffering=0)

    def append_to(self, name: str) -> Any:
        """Open an existing file for reading and appending."""
        return io.FileIO(self._open(name, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK), "a+")

    def lock_folder(self) -> Callable[[], None]:
        """Lock the folder until the returned function is called, or the process ends.

        The lock is on the folder, since it outlives every file in it. On a file system that locks no folders (NFS) it
        stays unlocked. Raises BlockingIOError if another process holds the lock.
        """
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                os.close(descriptor)
                raise
        return _Held(descriptor).release

    def lock(self, file: Any) -> None:
        """Lock an open file until it is closed. Raises BlockingIOError if another process holds the lock."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def linked(self, file: Any, name: str) -> bool:
        """Return whether an open file can still be found by its name: neither it nor a folder above was removed."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.lstat(self.folder / name))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def sync(self, file: Any) -> None:
        """Wait until all that was written to an open file is on the disk."""
        os.fsync(file.fileno())

    def sync_file(self, name: str) -> None:
        descriptor = self._open(name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, name: str = "") -> None:
        """Wait until the names in a folder are on the disk."""
        with self._opened(name) as descriptor:
            os.fsync(descriptor)

    def names(self, name: str = "") -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        try:
            with self._opened(name) as descriptor:
                return sorted(os.listdir(descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def is_file(self, name: str) -> bool:
        return self._is(name, stat.S_ISREG)

    def is_folder(self, name: str) -> bool:
        return self._is(name, stat.S_ISDIR)

    def _is(self, name: str, kind: Any) -> bool:
        folder, last = split(name)
        try:
            with self._opened(folder) as descriptor:
                return bool(kind(os.stat(last, dir_fd=descriptor, follow_symlinks=False).st_mode))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def make_folder(self, name: str) -> None:
        folder, last = split(name)
        with self._opened(folder) as descriptor, contextlib.suppress(FileExistsError):
            os.mkdir(last, dir_fd=descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename a file within its folder, replacing any file of the new name."""
        folder, last = split(old)
        with self._opened(folder) as descriptor:
            os.replace(last, split(new)[1], src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def remove(self, name: str) -> None:
        folder, last = split(name)
        with self._opened(folder) as descriptor:
            os.unlink(last, dir_fd=descriptor)

    def remove_tree(self, name: str) -> None:
        """Remove a folder and its contents; do nothing if the name is a link or no folder."""
        folder, last = split(name)
        with contextlib.suppress(OSError), self._opened(folder) as descriptor:
            shutil.rmtree(last, ignore_errors=True, dir_fd=descriptor)

    # Made of the methods above.

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[Any]:
        """Open a file for writing that gets its name only when it is whole and on the disk."""
        temporary = f"{name}.{secrets.token_hex(8)}{TEMPORARY}"
        file = self.create(temporary)
        try:
            with file:
                yield file
                self.sync(file)
            self.rename(temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(temporary)
            raise
        self.sync_folder(split(name)[0])

    def write(self, name: str, content: bytes | memoryview) -> None:
        with self.whole(name) as file:
            write_all(file, content)

    def sync_tree(self, name: str) -> None:
        """Wait until a folder's files, and its own name, are on the disk."""
        for each in self.names(name):
            if self.is_file(f"{name}/{each}"):
                self.sync_file(f"{name}/{each}")
        while name:
            self.sync_folder(name)
            name = split(name)[0]
        self.sync_folder()

    def sweep(self, *folders: str) -> None:
        """Remove the half-written files that a crash left in these folders."""
        for folder in folders:
            for each in self.names(folder):
                if each.endswith(TEMPORARY):
                    with contextlib.suppress(OSError):
                        self.remove(f"{folder}/{each}" if folder else each)


class _Held:
    """A descriptor that is closed once, at the latest when this object is collected."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int | None = descriptor

    def release(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    __del__ = release


def write_all(file: Any, content: bytes | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def inside(name: str) -> tuple[str, ...]:
    """Return the components of a name. Raises ValueError if the name may lead out of the run's folder."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"{name!r:.80} leads out of the run's folder")
    return parts


def split(name: str) -> tuple[str, str]:
    """Return a name's folder and its last component. Raises ValueError if the name has none or may lead out."""
    parts = inside(name)
    if not parts:
        raise ValueError("the run's folder has no name in itself")
    return "/".join(parts[:-1]), parts[-1]
