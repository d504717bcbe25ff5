"""What the project asks for, and that it installs as any other package does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = [each for asked in PROJECT["project"]["optional-dependencies"].values() for each in asked]
ASKED = [*PROJECT["project"]["dependencies"], *EXTRAS, *PROJECT["dependency-groups"]["dev"]]
KNOWN = {
    canonicalize_name(each.name): each for each in map(Requirement, PROJECT["tool"]["uv"]["constraint-dependencies"])
}


@pytest.mark.parametrize("asked", ASKED)
def test_each_dependency_has_a_version_known_to_work_within_its_bounds(asked: str) -> None:
    dependency = Requirement(asked)
    known = KNOWN[canonicalize_name(dependency.name)]
    (limit,) = known.specifier
    assert limit.operator == "<="
    assert dependency.specifier.contains(limit.version)


def test_versions_known_to_work_are_names_and_versions_alone() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+<=[0-9a-z.]+", str(known)) for known in KNOWN.values())


def test_no_machine_is_set_up_from_a_lock_that_a_clone_lacks() -> None:
    """`uv.lock` names where packages come from, and is no part of the project."""
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    for path in [*(ROOT / "search" / "cluster_files").iterdir(), ROOT / ".ci" / "run", ROOT / "README.md"]:
        assert not re.search("--(frozen|locked)", path.read_text(encoding="utf-8")), path


def shell(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_installed_into_a_clean_environment_both_commands_work_from_anywhere(tmp_path: Path) -> None:
    """Without git on the PATH too, as in a slim image."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which makes the environment, is not on the PATH")
    source, home, elsewhere = (tmp_path / name for name in ("source", "home", "elsewhere"))
    for name in ("search", "trainables", "spaces", "analysis", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "evidence"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    home.mkdir()
    elsewhere.mkdir()
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    shell(uv, "venv", "-q", tmp_path / "clean", folder=tmp_path, environment=outside)
    python = tmp_path / "clean" / "bin" / "python"
    shell(uv, "pip", "install", "-q", "--python", python, source, folder=tmp_path, environment=outside)
    shutil.copy(ROOT / "spaces" / "lenet_flip.py", elsewhere / "question.py")
    shutil.rmtree(source)
    (tmp_path / "bin").mkdir()
    for name in ("bash", "sh"):  # Ray starts its workers by bash
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    bare = {"PATH": str(tmp_path / "bin"), "HOME": str(home), "TMPDIR": str(tmp_path)}
    printed = shell(
        python, "-m", "search.run", "question.py", "--smoke", "--samples", "2", folder=elsewhere, environment=bare
    )
    assert "2 trials" in printed
    assert "| --- |" in printed  # the Pareto table
    (run,) = elsewhere.glob("results/lenet_flip/*")
    assert (elsewhere / "results/.monitoring/prometheus.yml").is_file()
    assert (elsewhere / "results/.monitoring/grafana/dashboards/search.json").is_file()
    assert '"commit": null' in (run / "study.json").read_text(encoding="utf-8")
    assert "| --- |" in shell(python, "-m", "analysis.pareto", "results/lenet_flip", folder=elsewhere, environment=bare)
