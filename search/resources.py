"""What this machine has for a run: CPUs as cgroups and affinity leave them, and memory for Ray's object store."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
STORE_LEAST = 128 * MIB  # Ray refuses less than 75 MiB
STORE_BESIDE_DATA = 256 * MIB  # results and weights on their way, and Ray's own objects
STORE_ON_DISK = 10_000 * 1000 * 1000  # the largest that Ray makes outside of /dev/shm
SHARED_MEMORY = Path("/dev/shm")


def cpu_count(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: at least 1, a share of one rounded down.

    The least of the machine's CPUs, of those that the affinity of this process allows (taskset, cpuset), and of
    every quota of the cgroups that hold it (version 1 or 2, as containers and batch systems set them). Ray is
    started with this number, since its own count ignores affinity and nested cgroups. `root` is where /proc and
    /sys lie.
    """
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return max(1, int(min([there, allowed, *_quotas(root)])))


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use: the machine's, or less by a cgroup."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [
        int(text)
        for folder in _cgroup_folders(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name).strip()).isdecimal()
    ]
    return min([there, *(limit for limit in limits if limit)])


def object_store_bytes(data_bytes: int, root: Path = Path("/")) -> int:
    """Return the size to ask for as Ray's object store, for a run on `data_bytes` of images.

    Ray would take a third of the memory, however little the run needs. Asked for is room for the data twice over
    and for what travels beside it, within a third of the memory and what /dev/shm has.
    """
    wanted = 2 * data_bytes + STORE_BESIDE_DATA
    bounds = [memory_limit(root) // 3]
    if SHARED_MEMORY.is_dir():
        space = os.statvfs(SHARED_MEMORY)
        # One that /dev/shm has no room for goes into Ray's folder, unless it is larger than this.
        bounds.append(max(int(space.f_bavail * space.f_frsize * 0.9), STORE_ON_DISK))
    return max(STORE_LEAST, min(wanted, *bounds))


def address_space() -> int | None:
    """Return the limit that `ulimit -v` sets on the address space of each process, in bytes; None without one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _quotas(root: Path) -> Iterator[float]:
    """The CPUs that each cgroup of this process grants, where it limits them."""
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            yield int(quota) / int(period)


def _cgroup_folders(root: Path, controller: str) -> set[Path]:
    """The folders of the cgroups that hold this process, from its own up to the mount's top.

    A container sees its own cgroup at the top of the mount, under whatever path the host has for it.
    """
    paths: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _number, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths |= dict.fromkeys(controllers.split(","), path)
    found = set()
    for line in _read(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _source, options = [*rest.split(" "), "", "", ""][:3]
        if kind == "cgroup2":
            path = paths.get("", "/")
        elif kind == "cgroup" and controller in options.split(","):
            path = paths.get(controller, "/")
        else:
            continue
        top = root / fields.split(" ")[4].lstrip("/")
        folder = top / path.lstrip("/")
        found |= {top, *(each for each in (folder, *folder.parents) if each.is_relative_to(top))}
    return found


def _read(path: Path) -> str:
    """The text of one of the kernel's files, "" if it is not there or not for this process."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
