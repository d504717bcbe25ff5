"""How much of a machine a run may use: cgroups of both versions, affinity, and Ray agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.resources import STORE_BESIDE_DATA, STORE_LEAST, cpu_count, memory_limit, object_store_bytes

ROOT = Path(__file__).parents[2]
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
UNLIMITED = {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}


def kernel(root: Path, mounts: str, cgroup: str, files: dict[str, str]) -> Path:
    """The files of a kernel whose limits are as given."""
    for name, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(48)))


QUOTAS = {
    "version 2, in a container": (V2, "0::/\n", {"cpu.max": "150000 100000"}, 1),
    "version 2, half a CPU": (V2, "0::/\n", {"cpu.max": "50000 100000"}, 1),
    "version 2, no limit": (V2, "0::/\n", {"cpu.max": "max 100000"}, 48),
    "version 2, a job's own": (V2, "0::/slurm/job7\n", {"slurm/job7/cpu.max": "400000 100000"}, 4),
    "version 2, a parent's": (
        V2,
        "0::/user.slice/run.scope\n",
        {"user.slice/cpu.max": "300000 100000", "user.slice/run.scope/cpu.max": "max 100000"},
        3,
    ),
    "version 2, the host's path": (V2, "0::/docker/0a1b\n", {"cpu.max": "200000 100000"}, 2),
    "version 1, in a container": (
        V1,
        "4:cpu,cpuacct:/docker/0a1b\n0::/\n",
        {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        2,
    ),
    "version 1, a job's own": (
        V1,
        "4:cpu,cpuacct:/batch/7\n",
        {
            **{f"cpu,cpuacct/{name}": text for name, text in UNLIMITED.items()},
            "cpu,cpuacct/batch/7/cpu.cfs_quota_us": "600000",
            "cpu,cpuacct/batch/7/cpu.cfs_period_us": "100000",
        },
        6,
    ),
    "nothing": ("", "", {}, 48),
    "something else": (V2, "what\n\0\n", {"cpu.max": "lots"}, 48),
}


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize("case", QUOTAS)
def test_cpus_are_those_that_cgroups_and_affinity_leave(tmp_path: Path, case: str) -> None:
    mounts, cgroup, files, cpus = QUOTAS[case]
    root = kernel(tmp_path, mounts, cgroup, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cpu_count(root) == cpus


COUNT = [sys.executable, "-c", "from search.resources import cpu_count; print(cpu_count())"]


def test_affinity_counts() -> None:
    allowed = min(os.sched_getaffinity(0))
    command = ["import os", f"os.sched_setaffinity(0, {{{allowed}}})", COUNT[-1]]
    done = subprocess.run([*COUNT[:-1], "\n".join(command)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.fixture
def one_cpu() -> Iterator[Path]:
    """A cgroup of this machine with one CPU's time."""
    top = Path("/sys/fs/cgroup")
    old = (top / "cpu").is_dir()
    group = (top / "cpu" if old else top) / f"test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("cpu.cfs_quota_us" if old else "cpu.max")).write_text("100000" if old else "100000 100000")
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield group
    group.rmdir()


def test_a_real_cgroup_counts(one_cpu: Path) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one CPU is all this machine has")
    enter = f"import os; open('{one_cpu}/cgroup.procs', 'w').write(str(os.getpid()))\n"
    done = subprocess.run([*COUNT[:-1], enter + COUNT[-1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("mounts", "cgroup", "name"),
    [(V2, "0::/\n", "memory.max"), (V1_MEMORY, "5:memory:/\n", "memory/memory.limit_in_bytes")],
)
def test_memory_is_what_a_cgroup_leaves(tmp_path: Path, mounts: str, cgroup: str, name: str) -> None:
    root = kernel(tmp_path, mounts, cgroup, {f"sys/fs/cgroup/{name}": str(1 << 30)})
    assert memory_limit(root) == 1 << 30
    (root / "sys/fs/cgroup" / name).write_text("max" if "max" in name else str(2**63 - 4096))
    assert memory_limit(root) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_object_store_has_room_for_the_data_and_no_more_than_a_machine_can_give(tmp_path: Path) -> None:
    data = 60_000 * 3 * 32 * 32
    assert object_store_bytes(data) >= min(2 * data + STORE_BESIDE_DATA, memory_limit() // 3)
    assert object_store_bytes(0) == STORE_BESIDE_DATA
    small = kernel(tmp_path, V2, "0::/\n", {"sys/fs/cgroup/memory.max": str(600 << 20)})
    assert object_store_bytes(data, small) == 200 << 20
    (small / "sys/fs/cgroup/memory.max").write_text(str(100 << 20))
    assert object_store_bytes(data, small) == STORE_LEAST
