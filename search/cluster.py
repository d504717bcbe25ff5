"""Starting Ray on this machine, behind closed doors, or joining a cluster that runs."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

import ray

ANSWER_SECONDS = 5.0  # in which a cluster must accept a connection


@dataclass(frozen=True)
class Cluster:
    """The cluster a study runs on: CPUs and GPUs in all, and the dashboard's address if it has one."""

    cpus: float
    gpus: float
    dashboard: str | None
    local: bool


class ClusterError(RuntimeError):
    """A cluster that cannot be had as asked; the message is one line."""


def connect(address: str | None, *, verbose: bool = False) -> Cluster:
    """Start Ray on this machine (address None), everything on the loopback interface; or join `address`.

    Raises ClusterError if Ray does not start, or nothing answers there.
    """
    level = logging.INFO if verbose else logging.ERROR
    quiet = {"logging_level": level, "log_to_driver": verbose, "configure_logging": True}
    if address is None:
        # address="local" keeps a Ray that happens to run here, or RAY_ADDRESS, out of it.
        try:
            context = ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        except Exception as error:
            ray.shutdown()
            raise ClusterError(f"Ray did not start on this machine: {error}") from error
    else:
        try:
            if ":" in address:
                _require_answer(address)
            context = ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(f"--address {address}: no Ray cluster answers there: {error}") from None
    resources = ray.cluster_resources()
    return Cluster(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        dashboard=context.dashboard_url,
        local=address is None,
    )


def _require_answer(address: str) -> None:
    """Raises OSError, or ValueError for what is no host:port. Ray would try for minutes, and log each try."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


def disconnect() -> None:
    ray.shutdown()
