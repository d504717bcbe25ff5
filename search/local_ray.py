"""Start a Ray of this process's own, also in a thread while the process imports PyTorch and reads the study.

Ray's processes take as long to start as those imports, so `begin` starts them first, and `start` waits for them.
"""

from __future__ import annotations

import ast
import atexit
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

from search import siblings
from search.doors import LOOPBACK, DoorError, is_loopback, keep_token_private, private_folder, require_token_mode
from search.failures import ClusterError
from search.heap import share_heap
from search.resources import cpu_count, object_store_bytes

JOB_NAME = "job_name"  # the key under which Ray's dashboard looks for a job's name
START_ATTEMPTS = 3  # attempts to start Ray: on a busy machine its processes may miss a deadline that cannot be set


BEGUN_FOR = 60_000 * 32 * 32 * 3  # bytes of a data set, CIFAR's, for which `begin` starts Ray
QUIET = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
# Options with which a command starts no Ray here, or another than `begin` would.
UNLESS = ("-h", "--help", "--plan", "--address", "--listen", "--verbose")

_begun: _Begun | None = None


def begin(arguments: Sequence[str]) -> None:
    """Start Ray in a thread if a command with these arguments is likely to need one; it must then end in `cancel`.

    That needs a space file that gives its study's name and question as plain text, since Ray's job bears them.
    """
    global _begun
    if any(argument.startswith(UNLESS) for argument in arguments) or "RAY_ADDRESS" in os.environ:
        return
    space = next((Path(argument) for argument in arguments if os.path.isfile(argument)), None)
    name = job_name(space) if space else None
    if space and name:
        share_heap()  # before the thread starts
        folder = str(space.resolve().parent)
        _begun = _Begun(JobConfig(_py_driver_sys_path=[folder], metadata={JOB_NAME: name}))
        atexit.register(cancel)


def job_name(space: Path) -> str | None:
    """Return the name of a job that runs the study in a space file, None unless the file has it as plain text."""
    try:
        calls = [node for node in ast.walk(ast.parse(space.read_bytes())) if isinstance(node, ast.Call)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # whoever runs the file says what is wrong
        return None
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "Study":
            given = {word.arg: word.value for word in call.keywords}
            texts = [getattr(given.get(name), "value", None) for name in ("name", "question")]
            if all(isinstance(text, str) for text in texts):
                return ": ".join(map(str, texts))
    return None


def settle() -> None:
    """Wait until the start that `begin` began takes no more processor time, since something is to be measured."""
    if _begun is not None:
        _begun.wait()


def cancel() -> None:
    """End what `begin` began, unless `start` has taken it over."""
    global _begun
    begun, _begun = _begun, None
    if begun is not None:
        begun.wait()
        ray.shutdown()


def start(listen: str, data_bytes: int, about: Mapping[str, str] | None, quiet: dict[str, Any]) -> Any:
    """Return the context of a Ray started here, or of the one that `begin` began if that is as asked.

    Raises ClusterError, DoorError, KeyboardInterrupt.
    """
    global _begun
    asked = job(about)
    if _begun and listen == LOOPBACK and data_bytes <= BEGUN_FOR and quiet == QUIET and _begun.has(asked):
        _begun.wait()
        begun, _begun = _begun, None
        if begun.context is None:
            raise begun.error or ClusterError("Ray did not start on this machine: see the error above")
        return begun.context
    cancel()
    return _start(listen, data_bytes, asked, quiet)


class _Begun:
    """A Ray that starts in a thread of its own."""

    def __init__(self, asked: JobConfig) -> None:
        self.job = asked
        self.folders = tuple(asked._py_driver_sys_path)  # Ray adds to the list
        self.context: Any = None
        self.error: BaseException | None = None
        self.up_or_failed = threading.Event()
        threading.Thread(target=self._run, name="start of Ray", daemon=True).start()

    def _run(self) -> None:
        try:
            self.context = _start(LOOPBACK, BEGUN_FOR, self.job, QUIET)
        except (ClusterError, DoorError) as error:
            self.error = error  # for the thread that waits
        finally:
            self.up_or_failed.set()
        # Linux ends Ray's processes, which are to die with this one, when the thread that started them ends.
        threading.Event().wait()

    def has(self, asked: JobConfig) -> bool:
        """Return whether the job is the one that is asked for, and finds its files."""
        return self.job.metadata == asked.metadata and set(asked._py_driver_sys_path) <= set(self.folders)

    def wait(self) -> None:
        """Wait until Ray is up or has failed, also after Ctrl-C: a Ray cannot be shut down before it is up."""
        try:
            self.up_or_failed.wait()
        except KeyboardInterrupt:
            self.up_or_failed.wait()
            raise


def _start(listen: str, data_bytes: int, about: JobConfig, quiet: Mapping[str, Any]) -> Any:
    if not is_loopback(listen):
        require_token_mode(f"--listen {listen}")
    _require_address_here(listen)
    try:
        keep_token_private()
        folder = private_folder()
    except OSError as error:
        raise ClusterError(f"Ray did not start on this machine: {error}") from error
    bind_beyond_loopback(not is_loopback(listen))
    attempts = START_ATTEMPTS
    while True:
        attempts -= 1
        hangup = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # address="local" starts a Ray of this process's own, whatever Ray runs here and whatever RAY_ADDRESS says.
            return ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host=LOOPBACK,
                _node_ip_address=listen,
                num_cpus=cpu_count(),
                object_store_memory=object_store_bytes(data_bytes),
                job_config=about,
                _temp_dir=str(folder),
                **quiet,
            )
        except Exception as error:
            ray.shutdown()
            if not attempts:
                raise ClusterError(f"Ray did not start on this machine: {error}") from error
        finally:
            # Ray's processes keep SIGHUP blocked: a closed terminal ends this process in order, and not its Ray first.
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
        raise ClusterError(f"--listen must be one IP address of this machine, got {listen}") from None


def bind_beyond_loopback(allowed: bool) -> None:
    """Allow or forbid Ray to bind beyond the loopback interface: if allowed, it replaces 127.0.0.1 by the machine's."""
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "1" if allowed else "0"
    ray_constants.ENABLE_RAY_CLUSTER = allowed


def job(about: Mapping[str, str] | None) -> JobConfig:
    """Return the job's configuration: workers may import files of the space's folder, as this process may."""
    return JobConfig(_py_driver_sys_path=list(siblings.kept()), metadata=dict(about or {}))
