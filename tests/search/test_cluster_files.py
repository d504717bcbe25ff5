"""The cluster files of the README: Ray's own check of the one, the fields that KubeRay requires of the other."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from search.options import parser

FOLDER = Path(__file__).parents[2] / "search" / "cluster_files"


def read(name: str) -> dict[str, Any]:
    content = yaml.safe_load((FOLDER / name).read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """As `ray up` reads it. Ray notes the cluster under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return prepare_config(read("machines.yaml"))


def test_machines_hold_to_rays_schema(machines: dict[str, Any]) -> None:
    validate_config(machines)
    assert machines["min_workers" if "min_workers" in machines else "max_workers"] == 2


def starts() -> list[str]:
    config = read("machines.yaml")
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [command for command in commands if "ray start" in command]


def test_machines_start_ray_with_options_it_has_a_token_and_no_open_dashboard() -> None:
    head, worker = starts()
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token " in command
        options = re.sub(r".*ray start ", "", command)
        start.make_context("start", shlex.split(options))
    assert "--dashboard-host=127.0.0.1" in head
    config = read("machines.yaml")
    assert f"--node-ip-address={config['provider']['head_ip']} " in head
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_the_job_has_what_kuberay_requires() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"])  # KubeRay: 47 characters
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == version("ray")  # KubeRay starts what the image has, by what this says
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["groupName"]
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_job_runs_a_command_that_there_is() -> None:
    job = read("rayjob.yaml")
    shell, flag, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, flag) == ("sh", "-c")
    words = shlex.split(script.partition("python -m search.run ")[2])
    options = parser().parse_args(words)
    assert (FOLDER.parents[1] / options.space).is_file()
    assert options.address == "auto"
    mounted = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    for folder in (options.results, options.data):
        assert any(folder.is_relative_to(mount["mountPath"]) for mount in mounted)
