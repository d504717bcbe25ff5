"""Count what this machine has for a run: CPUs within cgroups and affinity, and memory for Ray's object store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """The CPUs and GPUs that one trial gets from its machine, or from a node of its cluster."""

    cpus_per_trial: float
    gpus_per_trial: float

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many trials fit side by side, at least 1."""
        fits = cpus / self.cpus_per_trial if self.cpus_per_trial else float("inf")
        if self.gpus_per_trial:
            # A trial never spans two devices with a fraction of each.
            per_device = 1 / self.gpus_per_trial if self.gpus_per_trial <= 1 else 0
            fits = min(fits, gpus * int(per_device) if per_device else gpus / self.gpus_per_trial)
        return max(1, int(fits))


MIB = 1 << 20
STORE_LEAST = 128 * MIB  # smallest object store; Ray refuses less than 75 MiB
STORE_BESIDE_DATA = 256 * MIB  # room for results and weights on their way, and for Ray's own objects
STORE_ON_DISK = 10_000 * 1000 * 1000  # bytes of the largest object store that Ray makes outside /dev/shm
SHARED_MEMORY = Path("/dev/shm")


def cpu_count(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: at least 1, a share of one rounded down.

    It is the least of the machine's CPUs, the CPUs that this process's affinity allows (taskset, cpuset), and
    every quota of the cgroups that hold this process (version 1 or 2, as containers and batch systems set them). Ray
    is started with this number, since Ray's own count ignores affinity and nested cgroups. `root` is the folder that
    holds /proc and /sys.
    """
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return max(1, int(min([there, allowed, *_quotas(root)])))


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use: all of the machine's, or less if a cgroup limits it."""
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

    By default Ray takes a third of the memory, however little the run needs. The size returned has room for the data
    twice and for what travels beside it, within a third of the memory and what /dev/shm has.
    """
    wanted = 2 * data_bytes + STORE_BESIDE_DATA
    bounds = [memory_limit(root) // 3]
    if SHARED_MEMORY.is_dir():
        space = os.statvfs(SHARED_MEMORY)
        # A store that /dev/shm has no room for goes into Ray's folder, unless it is larger than STORE_ON_DISK.
        bounds.append(max(int(space.f_bavail * space.f_frsize * 0.9), STORE_ON_DISK))
    return max(STORE_LEAST, min(wanted, *bounds))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPUs that each cgroup of this process grants, if it limits them."""
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            yield int(quota) / int(period)


def _cgroup_folders(root: Path, controller: str) -> set[Path]:
    """Return the folders of the cgroups that hold this process, from its own up to the mount's top.

    A container sees its own cgroup at the top of the mount, whatever path the host has for that cgroup.
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
    """Return the text of one of the kernel's files, "" if it is missing or this process may not read it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
