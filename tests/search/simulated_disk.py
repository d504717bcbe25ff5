"""A disk in memory that can stop between any two operations, lose what was not synced, and be full.

It does what `search.disk.Disk` asks of the system, and nothing else, so that all that the driver makes of these
operations runs as it is. The model is the one that POSIX promises and no more: what was written to a file is there
after a power cut only up to its last fsync, a name only if its folder was synced after it was given; names of one
folder reach the disk in order.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.disk import TEMPORARY, Disk, inside, split


class Crash(BaseException):
    """The process or the machine ends here; nothing after it happens."""


class Node:
    """A file: its content, and what of it is on the disk."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = b""
        self.links = 0


Entry = Node | None  # None is a folder, whose own entries are under its name


class Platter:
    """What outlives a process: folders of names, with those changes to each that are not on the disk yet."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Entry]] = {"": {}}
        self.durable: dict[str, dict[str, Entry]] = {"": {}}
        self.pending: dict[str, list[tuple[str, str, Entry]]] = {}
        self.now = 0.0  # seconds: what the disk does takes time

    def entry(self, name: str) -> Entry:
        folder, last = split(name)
        if folder not in self.folders or last not in self.folders[folder]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.folders[folder][last]

    def change(self, folder: str, old: str, new: str, entry: Entry) -> None:
        """Take a name away ("" for none) and give one, as one step."""
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        names = self.folders[folder]
        for name in filter(None, (old, new)):
            gone = names.pop(name, None)
            if gone is not None:
                gone.links -= 1
        if new:
            names[new] = entry
            if entry is not None:
                entry.links += 1
        self.pending.setdefault(folder, []).append((old, new, entry))

    def sync(self, folder: str, changes: int | None = None) -> None:
        """Let the first `changes` pending changes of a folder's names reach the disk, or all."""
        pending = self.pending.get(folder, [])
        names = self.durable.setdefault(folder, {})
        for old, new, entry in pending[:changes]:
            for name in filter(None, (old, new)):
                names.pop(name, None)
            if new:
                names[new] = entry
        self.pending[folder] = [] if changes is None else pending[changes:]

    def cut_power(self, draw: random.Random) -> None:
        """Lose what did not reach the disk, and keep of the rest as much as chance has it."""
        for folder, pending in self.pending.items():
            self.sync(folder, draw.choice((0, len(pending), draw.randint(0, len(pending)))))
        self.pending = {}
        kept: dict[str, dict[str, Entry]] = {}
        todo = [""]
        while todo:
            folder = todo.pop()
            kept[folder] = dict(self.durable.get(folder, {}))
            for name, entry in kept[folder].items():
                if entry is None:
                    todo.append(f"{folder}/{name}" if folder else name)
                else:
                    entry.content = bytearray(_left(entry, draw))
                    entry.synced = bytes(entry.content)
        self.folders = kept
        self.durable = {folder: dict(names) for folder, names in kept.items()}


def _left(node: Node, draw: random.Random) -> bytes:
    """A file's content after a power cut."""
    now = bytes(node.content)
    if not now.startswith(node.synced):  # shortened since
        return draw.choice((now, node.synced))
    rest = now[len(node.synced) :]
    kept = draw.choice((0, len(rest), draw.randint(0, len(rest))))
    holes = draw.choice((0, 0, 0, draw.randint(0, len(rest) - kept)))  # blocks that were promised and not written
    return node.synced + rest[:kept] + b"\0" * holes


class Handle:
    """An open file. Writes at its end."""

    def __init__(self, disk: SimulatedDisk, node: Node) -> None:
        self.disk = disk
        self.node = node
        self.position = 0
        self.closed = False

    def write(self, content: Any) -> int:
        content = bytes(content)

        def torn() -> None:
            self.node.content += content[: self.disk.draw.randint(0, len(content))]

        self.disk.operate(torn, takes_space=True)
        self.node.content += content
        return len(content)

    def read(self) -> bytes:
        self.disk.look()
        return bytes(self.node.content[self.position :])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = offset if whence == os.SEEK_SET else len(self.node.content) + offset
        return self.position

    def tell(self) -> int:
        return len(self.node.content)

    def truncate(self, length: int) -> None:
        self.disk.operate()
        del self.node.content[length:]

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimulatedDisk(Disk):
    """One process's view of a platter.

    `stop` is the operation in which the process ends, none if 0; `full` are those that find no space.
    """

    def __init__(self, folder: Path, platter: Platter, draw: random.Random) -> None:
        super().__init__(folder)
        self.platter = platter
        self.draw = draw
        self.stop = 0
        self.full = range(0)
        self.operations = 0
        self.dead = False

    def look(self) -> None:
        if self.dead:
            raise Crash

    def operate(self, half: Callable[[], None] | None = None, *, takes_space: bool = False) -> None:
        """Count an operation that changes something. `half` is what is left of it if the process ends in it."""
        self.look()
        self.operations += 1
        self.platter.now += 0.02
        if self.operations == self.stop:
            self.dead = True
            if half is not None:
                half()
            raise Crash
        if takes_space and self.operations in self.full:
            if half is not None:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # What the system does.

    def _folder(self, name: str) -> str:
        return "/".join(inside(name))

    def _node(self, name: str) -> Node:
        self.look()
        entry = self.platter.entry(name)
        if entry is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        return entry

    def read(self, name: str) -> bytes:
        return bytes(self._node(name).content)

    def create(self, name: str) -> Handle:
        folder, last = split(name)
        self.operate(takes_space=True)
        if last in self.platter.folders.get(folder, {}):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        node = Node()
        self.platter.change(folder, "", last, node)
        return Handle(self, node)

    def append_to(self, name: str) -> Handle:
        return Handle(self, self._node(name))

    def lock_folder(self) -> Callable[[], None]:
        return lambda: None

    def lock(self, file: Any) -> None: ...

    def linked(self, file: Any, name: str) -> bool:
        return bool(file.node.links)

    def sync(self, file: Any) -> None:
        self.operate()
        file.node.synced = bytes(file.node.content)

    def sync_file(self, name: str) -> None:
        node = self._node(name)
        self.operate()
        node.synced = bytes(node.content)

    def sync_folder(self, name: str = "") -> None:
        folder = self._folder(name)
        self.operate()
        if folder not in self.platter.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self.platter.sync(folder)

    def names(self, name: str = "") -> list[str]:
        self.look()
        return sorted(self.platter.folders.get(self._folder(name), {}))

    def is_file(self, name: str) -> bool:
        self.look()
        folder, last = split(name)
        return self.platter.folders.get(folder, {}).get(last) is not None

    def is_folder(self, name: str) -> bool:
        self.look()
        return self._folder(name) in self.platter.folders

    def make_folder(self, name: str) -> None:
        folder, last = split(name)
        self.operate(takes_space=True)
        if self.is_folder(name):
            return
        self.platter.change(folder, "", last, None)
        self.platter.folders[self._folder(name)] = {}
        # A folder of this name that was removed before is another one.
        self.platter.pending.pop(self._folder(name), None)
        self.platter.durable[self._folder(name)] = {}

    def rename(self, old: str, new: str) -> None:
        folder, last = split(old)
        node = self._node(old)
        self.operate()
        self.platter.change(folder, last, split(new)[1], node)

    def remove(self, name: str) -> None:
        folder, last = split(name)
        self._node(name)
        self.operate()
        self.platter.change(folder, last, "", None)

    def remove_tree(self, name: str) -> None:
        if not self.is_folder(name):
            return
        for each in self.names(name):
            inner = f"{name}/{each}"
            if self.is_folder(inner):
                self.remove_tree(inner)
            else:
                self.remove(inner)
        folder, last = split(name)
        self.operate()
        self.platter.change(folder, last, "", None)
        del self.platter.folders[self._folder(name)]

    # What is looked at afterwards.

    def left_over(self) -> list[str]:
        """Files and folders that no run may leave behind."""
        return [
            f"{folder}/{name}"
            for folder, names in self.platter.folders.items()
            for name in names
            if name.startswith("checkpoint_") or name.endswith(TEMPORARY)
        ]
