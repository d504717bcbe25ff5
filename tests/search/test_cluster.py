"""Ray here, behind closed doors, and clusters that are joined: two and three nodes on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster as RayCluster

from search import cluster
from search.cluster import connect
from search.failures import ClusterError
from search.run import main

LIMIT = 480  # seconds; what starting a worker on a busy machine may take, and more

# Trials that say on which node they ran and where in its shared memory their images lie, and wait for each other:
# on a busy machine one worker may else run them all before the next has started.
SPACE = """
import dataclasses
import os
import re
import time
from pathlib import Path

import ray
from ray import tune

from search.study import load

toy = load(Path({toy!r}))


class Placed(toy.trainable):
    def setup(self, config, data):
        super().setup(config, data)
        at = data.train_images.ctypes.data
        for line in Path("/proc/self/maps").read_text().splitlines():
            start, end, offset, inode = re.match(r"(\\w+)-(\\w+) \\S+ (\\w+) \\S+ (\\d+)", line).groups()
            if int(start, 16) <= at < int(end, 16):
                self.place = f"{{inode}}+{{at - int(start, 16) + int(offset, 16)}}"
                self.shared = "/dev/shm/" in line
        self.node = ray.get_runtime_context().get_node_id()
        (Path({here!r}) / f"{{self.node}}-{{os.getpid()}}").touch()

    def _begin(self, config):
        super()._begin(config)
        self.trial = config["trial"]

    def step(self):
        while True:
            workers = os.listdir({here!r})
            nodes = {{worker.partition("-")[0] for worker in workers}}
            if {gate}:
                break
            time.sleep(0.1)
        return super().step() | {{"node": self.node, "place": self.place, "shared": self.shared}}


study = dataclasses.replace(
    toy, trainable=Placed, epochs=4, samples=8, scheduler="none", dataset="digits",
    param_space={{"quality": tune.uniform(0.1, 0.9), "wait": {wait}}},
)
"""


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def refusal(call: Callable[[], Any], *words: str) -> str:
    start = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        call()
    assert time.monotonic() - start < 15
    line = str(caught.value)
    assert [word for word in words if word not in line] == [], line
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize("address", ["127.0.0.1:{closed}", "127.0.0.1:x", "127.0.0.1", "no.such.host.invalid:1"])
def test_an_address_where_nobody_answers_is_refused_at_once(address: str) -> None:
    address = address.format(closed=closed_port())
    refusal(lambda: connect(address), f"--address {address}: no Ray cluster answers there")


def test_something_else_than_ray_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        refusal(lambda: connect(address), "no Ray cluster answers there")


def test_rays_client_protocol_is_refused() -> None:
    refusal(lambda: connect("ray://127.0.0.1:10001"), "ray://127.0.0.1:10001", "host:port", "not supported")


def test_auto_finds_no_cluster_where_none_was_started(
    tmp_path: Path, toy_space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.services, "find_bootstrap_address", lambda folder: None)
    status = main([str(toy_space), "--smoke", "--address", "auto", "--results", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2
    assert line == (
        "search.run: --address auto: no Ray cluster was started on this machine: start one (`ray start --head`)"
    )
    assert not list(tmp_path.rglob("*.json*"))


def test_other_machines_are_let_in_by_token_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    refusal(lambda: connect(None, listen="192.0.2.1"), "--listen 192.0.2.1", "token", "RAY_AUTH_MODE=disabled")
    refusal(lambda: connect(f"127.0.0.1:{closed_port()}"), "--address", "token", "RAY_AUTH_MODE=disabled")


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "203.0.113.9", "here"])
def test_listening_needs_an_address_of_this_machine(listen: str) -> None:
    refusal(lambda: connect(None, listen=listen), f"one IP address of this machine, got {listen}")


# Clusters, started here


@pytest.fixture
def start_cluster() -> Iterator[Callable[[], RayCluster]]:
    started: list[RayCluster] = []

    def start() -> RayCluster:
        started.append(RayCluster(shutdown_at_exit=False))  # nodes join from a thread, which may set no handler
        add_node(started[0])
        return started[0]

    yield start
    cluster.disconnect()
    for each in started:
        each.shutdown()


def add_node(cluster: RayCluster) -> Any:
    """A node of one CPU; the first is the head. On a busy machine Ray may miss a deadline of its own: again then."""
    for attempt in range(3):
        try:
            return cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False)
        except Exception:
            if attempt == 2:
                raise
    raise AssertionError


def write_space(tmp_path: Path, toy_space: Path, gate: str, wait: float = 0.5) -> Path:
    """`gate`: when a trial goes on, by its number `self.trial`, the `workers` there have been and their `nodes`.

    `wait`: seconds an epoch takes.
    """
    here = tmp_path / "here"
    here.mkdir()
    path = tmp_path / "placed.py"
    path.write_text(SPACE.format(toy=str(toy_space), here=str(here), gate=gate, wait=wait))
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    """What the journal holds so far, also while it is written."""
    path = folder / "journal.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{"trial": event["trial"], **event["result"]} for event in events if event["event"] == "result"]


def only_run(folder: Path) -> Path:
    return next(iter((folder / "toy").glob("*/")), folder / "not there yet")


def completed_once(folder: Path, trials: int) -> None:
    rows = pq.read_table(folder / "trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * trials
    epochs = sorted((result["trial"], result["epoch"]) for result in results(folder))
    assert epochs == [(trial, epoch) for trial in range(trials) for epoch in range(1, 5)]


@pytest.mark.long
def test_two_nodes_share_a_study_and_each_holds_the_data_once(
    start_cluster: Callable[[], RayCluster],
    tmp_path: Path,
    toy_space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two = start_cluster()
    add_node(two)
    look = cluster._look
    with monkeypatch.context() as elsewhere:
        # As a node on another disk would answer.
        elsewhere.setattr(cluster, "_look", lambda marker: look(f"{marker}.elsewhere"))
        assert main([str(toy_space), "--smoke", "--address", two.address, "--results", str(tmp_path / "local")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("search.run: ")]
    assert "does not see" in line
    assert "--results must be a folder that all nodes share" in line
    assert not list((tmp_path / "local").rglob("*.json*"))
    space = write_space(tmp_path, toy_space, gate="len(nodes) >= 2 and len(workers) >= 4")
    status = main([
        *(str(space), "--address", two.address, "--results", (tmp_path / "results").as_uri()),
        *("--cpus-per-trial", "0.5", "--yes"),
    ])  # fmt: skip
    assert status == 0
    folder = only_run(tmp_path / "results")
    completed_once(folder, trials=8)
    assert (folder / "best.pt").exists()
    ran = results(folder)
    nodes = {result["node"] for result in ran}
    assert len(nodes) == 2
    for name in nodes:
        assert len({result["process"] for result in ran if result["node"] == name}) >= 2
        # One place in one shared mapping, whatever the process.
        assert len({result["place"] for result in ran if result["node"] == name}) == 1
    assert all(result["shared"] for result in ran)


@pytest.mark.long
def test_of_three_nodes_one_dies_and_one_joins_late(
    start_cluster: Callable[[], RayCluster], tmp_path: Path, toy_space: Path
) -> None:
    three = start_cluster()
    doomed = add_node(three)
    # A node that joins needs seconds to start its first worker: shorter trials would go to the other's, at hand.
    space = write_space(tmp_path, toy_space, gate="len(nodes) >= (2 if self.trial < 3 else 3)", wait=3)
    late: list[str] = []

    def change() -> None:
        until(lambda: any(result["node"] == doomed.node_id for result in results(only_run(tmp_path))))
        late.append(add_node(three).node_id)
        three.remove_node(doomed, allow_graceful=False)

    changing = threading.Thread(target=change)
    changing.start()
    status = main([str(space), "--address", three.address, "--results", str(tmp_path), "--yes"])
    changing.join()
    assert status == 0
    folder = only_run(tmp_path)
    completed_once(folder, trials=8)
    ran = results(folder)
    assert {result["node"] for result in ran} == {three.head_node.node_id, doomed.node_id, *late}
    moved = {result["trial"] for result in ran if result["node"] == doomed.node_id} & {
        result["trial"] for result in ran if result["node"] != doomed.node_id
    }
    # It went on from its checkpoint, and trained no epoch again that was on record.
    assert moved
    assert all(any(result["trial"] == trial and result["began"] > 0 for result in ran) for trial in moved)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


OPEN = """
import sys
from search import environment
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1",
                                                        "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, ["requires no token", "RAY_AUTH_MODE=token"]),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, ["the cluster's token is required", "get-auth-token"]),
    ],
)
def test_an_open_cluster_and_one_of_another_token_are_refused(settings: dict[str, str], words: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN],
        env={**os.environ, "PYTHONPATH": str(cluster.ROOT), **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address
        refusal(lambda: connect(address), f"--address {address}: ", *words)
    finally:
        process.communicate("", timeout=60)
