"""Starting Ray on this machine, behind closed doors, or joining a cluster that runs."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import ray
from ray._private import ray_constants, services
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoReply, GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search import siblings
from search.doors import LOOPBACK, DoorError, is_loopback, keep_token_private, private_folder, require_token_mode
from search.resources import cpu_count, object_store_bytes

START_ATTEMPTS = 3  # on a busy machine one of Ray's processes may miss a deadline that cannot be set
ANSWER_SECONDS = 5.0  # in which a cluster must answer; Ray would try for minutes
ROOT = Path(__file__).parent.parent
PACKAGES = ("search", "spaces", "trainables")  # what the workers of a joined cluster are sent


@dataclass(frozen=True)
class Node:
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """The cluster a study runs on, and the dashboard's address if it has one."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    address: str  # of the GCS: where further machines join, `ray start --address=...`

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)


class ClusterError(RuntimeError):
    """A cluster that cannot be had as asked; the message is one line."""


def connect(
    address: str | None,
    folder: Path | None = None,
    *,
    named: str | None = None,
    listen: str = LOOPBACK,
    verbose: bool = False,
    data_bytes: int = 0,
) -> Cluster:
    """Start Ray on this machine (address None), everything on the interface `listen`; or join `address`.

    `address` is host:port, or "auto" for the cluster that `ray start` started on this machine. `folder`, which
    every node of a joined cluster must see at the same path, will hold the results. Both a joined cluster and
    one that listens beyond the loopback interface must ask for a token. `named` is how the user gave the address, if
    not as --address. `data_bytes` are the data's, for which a Ray started here has room in its object store.

    Raises ClusterError if Ray does not start, nothing answers there, or the cluster is not as required.
    """
    level = logging.INFO if verbose else logging.ERROR
    quiet = {"logging_level": level, "log_to_driver": verbose, "configure_logging": True}
    try:
        context = (
            _start(listen, data_bytes, quiet)
            if address is None
            else _join(address, named or f"--address {address}", quiet)
        )
    except DoorError as error:
        raise ClusterError(str(error)) from None
    cluster = Cluster(nodes(), context.dashboard_url, context.address_info["gcs_address"])
    if address is not None and folder is not None:
        try:
            _require_shared(folder)
        except ClusterError:
            disconnect()
            raise
    return cluster


def disconnect() -> None:
    ray.shutdown()


def nodes() -> tuple[Node, ...]:
    """The nodes as they are now: one may have joined late, or died."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in alive)


def _start(listen: str, data_bytes: int, quiet: dict[str, Any]) -> Any:
    if not is_loopback(listen):
        require_token_mode(f"--listen {listen}")
    _require_address_here(listen)
    try:
        keep_token_private()
        folder = private_folder()
    except OSError as error:
        raise ClusterError(f"Ray did not start on this machine: {error}") from error
    _bind_beyond_loopback(not is_loopback(listen))
    attempts = START_ATTEMPTS
    while True:
        attempts -= 1
        hangup = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # address="local" keeps a Ray that happens to run here, or RAY_ADDRESS, out of it.
            return ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host=LOOPBACK,
                _node_ip_address=listen,
                num_cpus=cpu_count(),
                object_store_memory=object_store_bytes(data_bytes),
                job_config=_job(),
                _temp_dir=str(folder),
                **quiet,
            )
        except Exception as error:
            ray.shutdown()
            if not attempts:
                raise ClusterError(f"Ray did not start on this machine: {error}") from error
        finally:
            # Ray's processes keep it blocked: a terminal that goes away ends this one in order, and not its Ray first.
            signal.pthread_sigmask(signal.SIG_SETMASK, hangup)


def _require_address_here(listen: str) -> None:
    try:
        family = socket.AF_INET6 if ip_address(listen).version == 6 else socket.AF_INET
        unspecified = ip_address(listen).is_unspecified
        with socket.socket(family) as probe:
            probe.bind((listen, 0))
    except (OSError, ValueError):
        unspecified = True
    if unspecified:
        raise ClusterError(f"--listen takes one IP address of this machine, got {listen}") from None


def _bind_beyond_loopback(allowed: bool) -> None:
    """Ray takes 127.0.0.1 for what it says, rather than for the machine's address, only by this setting."""
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "1" if allowed else "0"
    ray_constants.ENABLE_RAY_CLUSTER = allowed


def _job() -> JobConfig:
    """What workers may import beside the project: the files of the space's folder, as this process may."""
    return JobConfig(_py_driver_sys_path=list(siblings.kept()))


def _join(address: str, named: str, quiet: dict[str, Any]) -> Any:
    if "://" in address:
        raise ClusterError(
            f"{named}: host:port or auto is required; Ray's client protocol is not supported: "
            "run the command on a node of the cluster"
        )
    require_token_mode(named)
    found = address
    if address == "auto":
        # What a job is told, or `ray start` noted: Ray's own search would also find another study's private Ray.
        found = os.environ.get("RAY_ADDRESS", "").removeprefix("auto") or services.find_bootstrap_address(None)
        if not found:
            raise ClusterError(f"{named}: no Ray cluster was started on this machine (`ray start --head`)")
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
    _bind_beyond_loopback(not is_loopback(hosts[0]))
    try:
        return ray.init(
            address=found,
            runtime_env={"py_modules": [str(ROOT / package) for package in PACKAGES]},
            job_config=_job(),
            **quiet,
        )
    except Exception as error:
        ray.shutdown()
        raise ClusterError(f"{named}: the cluster cannot be joined: {error}") from error


def _ask(address: str) -> GetAllNodeInfoReply:
    """The nodes of the cluster at `address`. Raises ClusterError if it does not answer, or answers to anybody."""
    request = GetAllNodeInfoRequest()
    with grpc.insecure_channel(address) as anonymous:
        try:
            NodeInfoGcsServiceStub(anonymous).GetAllNodeInfo(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError("no Ray cluster answers there") from None
        else:
            raise ClusterError(
                "the cluster asks nobody for a token, so that anybody could run code in it: start it with "
                "RAY_AUTH_MODE=token"
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
    """Raises ClusterError unless all nodes write in `folder` and have what a trial needs."""
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
    """What is wrong with the node that this runs on."""
    path = Path(marker)
    if not path.exists():
        return f"does not see {path.parent}: --results must be a folder that all nodes share at one path"
    if not os.access(path.parent, os.W_OK):
        return f"must not only see but write {path.parent}: --results is shared by all nodes"
    try:
        import torch  # noqa: F401
    except ImportError as error:
        return f"lacks what a trial needs: {error}"
    return None
