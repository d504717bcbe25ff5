"""Start Ray on this machine, behind closed doors, or join a running cluster."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import ray
from ray._private import ray_constants, services
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoReply, GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.doors import LOOPBACK, DoorError, is_loopback, require_token_mode
from search.failures import ClusterError
from search.heap import return_pages, share_heap
from search.interrupts import handlers_kept
from search.local_ray import bind_beyond_loopback, cancel, job, start

ANSWER_SECONDS = 5.0  # deadline for a cluster's answer; Ray would try for minutes
ROOT = Path(__file__).parent.parent
VITAL = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
PACKAGES = ("search", "spaces", "trainables")  # packages sent to the workers of a joined cluster


@dataclass(frozen=True)
class Node:
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """The cluster a study runs on, and the dashboard's address if it has one."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    address: str  # the GCS's address, at which further machines join: `ray start --address=...`
    metrics: tuple[str, ...] = ()  # host:port of each node's metrics, this node's first

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)


def connect(
    address: str | None,
    folder: Path | None = None,
    *,
    named: str | None = None,
    listen: str = LOOPBACK,
    verbose: bool = False,
    data_bytes: int = 0,
    about: Mapping[str, str] | None = None,
) -> Cluster:
    """Start Ray on this machine (address None), with every port on the interface `listen`, or join `address`.

    `address` is host:port, or "auto" for the cluster that `ray start` started on this machine. `folder`, which
    every node of a joined cluster must see at the same path, will hold the results. A joined cluster, and a Ray that
    listens beyond the loopback interface, must require a token. `named` is how the user gave the address, if not as
    --address. `data_bytes` is the size of the data, for which a Ray started here gets room in its object store.
    `about` is the job's metadata, of which Ray's dashboard shows `job_name`.

    Raises ClusterError if Ray does not start, nothing answers at `address`, or the cluster is not as required.
    """
    return_pages()
    share_heap()  # before Ray's threads start
    level = logging.INFO if verbose else logging.ERROR
    quiet = {"logging_level": level, "log_to_driver": verbose, "configure_logging": True}
    try:
        with handlers_kept():
            if address is not None:
                cancel()  # what `begin` began: the run's record may name the cluster
            context = (
                start(listen, data_bytes, about, quiet)
                if address is None
                else _join(address, named or f"--address {address}", about, quiet)
            )
    except DoorError as error:
        raise ClusterError(str(error)) from None
    cluster = Cluster(nodes(), context.dashboard_url, context.address_info["gcs_address"], tuple(metrics_addresses()))
    if address is not None and folder is not None:
        try:
            _require_shared(folder)
        except ClusterError:
            disconnect()
            raise
    return cluster


def is_own() -> bool:
    """Return whether this process is connected to a Ray that it has started itself."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def disconnect() -> None:
    ray.shutdown()


def nodes() -> tuple[Node, ...]:
    """Return the nodes that are alive now: nodes may have joined late, or died."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive)


def metrics_addresses() -> list[str]:
    """Return host:port of the metrics of each node that is alive, this node's first."""
    here = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"] and node.get("MetricsExportPort", 0) > 0]
    alive.sort(key=lambda node: (node["NodeID"] != here, node["NodeID"]))
    hosts = [node["NodeManagerAddress"] for node in alive]
    return [
        f"[{host}]:{node['MetricsExportPort']}" if ":" in host else f"{host}:{node['MetricsExportPort']}"
        for host, node in zip(hosts, alive, strict=True)
    ]


def dead_process() -> str | None:
    """Return the name of a dead process that Ray needs (VITAL); None if all live or Ray was not started here."""
    node = ray._private.worker._global_node
    dead = {str(kind) for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in VITAL if kind in dead), None)


def session_folder() -> Path | None:
    """Return the folder in which Ray keeps its sockets and logs on this machine; None if there is no Ray."""
    node = ray._private.worker._global_node
    return Path(node.get_session_dir_path()) if node else None


def _join(address: str, named: str, about: Mapping[str, str] | None, quiet: dict[str, Any]) -> Any:
    if "://" in address:
        raise ClusterError(
            f"{named}: host:port or auto is required; Ray's client protocol is not supported: "
            "run the command on a node of the cluster"
        )
    require_token_mode(named)
    found = address
    if address == "auto":
        # This job's address, or the one that `ray start` noted: Ray's search also finds other studies' private Rays.
        found = os.environ.get("RAY_ADDRESS", "").removeprefix("auto") or services.find_bootstrap_address(None)
        if not found:
            raise ClusterError(f"{named}: no Ray cluster was started on this machine: start one (`ray start --head`)")
    try:
        there = _ask(found)
    except ClusterError as error:
        raise ClusterError(f"{named}: {error}") from None
    here = services.find_node_ids()
    hosts = [node.node_manager_address for node in there.node_info_list if node.node_id.hex() in here]
    if not hosts:
        raise ClusterError(
            f"{named}: this machine is not a node of that cluster: run the command on one that is, "
            "or join it first (`ray start --address=...`)"
        )
    bind_beyond_loopback(not is_loopback(hosts[0]))
    try:
        return ray.init(
            address=found,
            runtime_env={"py_modules": [str(ROOT / package) for package in PACKAGES]},
            job_config=job(about),
            **quiet,
        )
    except Exception as error:
        ray.shutdown()
        raise ClusterError(f"{named}: the cluster cannot be joined: {error}") from error


def _ask(address: str) -> GetAllNodeInfoReply:
    """Return the nodes of the cluster at `address`. Raises ClusterError without an answer, or if it needs no token."""
    request = GetAllNodeInfoRequest()
    with grpc.insecure_channel(address) as anonymous:
        try:
            NodeInfoGcsServiceStub(anonymous).GetAllNodeInfo(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError("no Ray cluster answers there") from None
        else:
            raise ClusterError(
                "the cluster requires no token, so that anybody could run code in it: start it with RAY_AUTH_MODE=token"
            )
    with init_grpc_channel(address) as channel:
        try:
            return NodeInfoGcsServiceStub(channel).GetAllNodeInfo(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError(f"no Ray cluster answers there ({error.code().name})") from None
            raise ClusterError(
                "the cluster's token is required, in ~/.ray/auth_token or RAY_AUTH_TOKEN (`ray get-auth-token` "
                "prints it on the cluster)"
            ) from None


def _require_shared(folder: Path) -> None:
    """Raise ClusterError unless all nodes can write in `folder` and have what a trial needs."""
    marker = folder / f".shared-{secrets.token_hex(8)}"
    marker.touch()
    look = ray.remote(num_cpus=0)(_look)
    alive = [node for node in ray.nodes() if node["Alive"]]
    try:
        tasks = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(marker)
            )
            for node in alive
        ]
        for node, task in zip(alive, tasks, strict=True):
            try:
                problem = ray.get(task)
            except ray.exceptions.RayError as error:
                problem = f"cannot run a task: {error}"
            if problem:
                raise ClusterError(f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) {problem}")
    finally:
        marker.unlink()


def _look(marker: str) -> str | None:
    """Return what is wrong with the node on which this task runs, None if nothing is."""
    path = Path(marker)
    if not path.exists():
        return f"does not see {path.parent}: --results must be a folder that all nodes share at one path"
    if not os.access(path.parent, os.W_OK):
        return f"cannot write in {path.parent}: --results must be a folder that all nodes can write"
    try:
        import torch  # noqa: F401
    except ImportError as error:
        return f"lacks what a trial needs: {error}"
    return None
