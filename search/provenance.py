"""Record a run's origin in study.json: the study, the command, the machine, the versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ray.tune.search.sample import Quantized

from search import columns
from search.definition import define
from search.records import StudyRecord
from search.request import Request
from search.resources import cpu_count
from search.results import protocol_of, schema_of
from search.searchers import Proposals
from search.study import Study
from trainables.data.datasets import ImageData

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pyarrow", "plotly", "numpy", "scipy")


def new_record(
    study: Study,
    request: Request,
    data: ImageData,
    folder: Path,
    proposals: Proposals,
    space: Study,
) -> StudyRecord:
    """Return the record of a new run of `study`, which is `space` after the changes of --set, --smoke and others."""
    return StudyRecord(
        study=study.name,
        run=folder.name,
        question=study.question,
        source=study.source,
        trainable=study.trainable.__name__,
        dataset=data.name,
        dataset_fingerprint=data.fingerprint,
        class_names=list(data.class_names),
        images={} if study.foreign else data.described(),
        protocol="replay" if request.replay else protocol_of({} if study.foreign else study.fixed(), study.protocol),
        metric=study.metric,
        mode=study.mode,
        objectives=study.goals,
        epochs=study.epochs,
        samples=proposals.total,
        searcher=study.searcher,
        scheduler=study.scheduler,
        seed=request.seed,
        space={name: domain_name(domain) for name, domain in study.searched().items()},
        fixed=study.fixed(),
        arms={arm: dict(config) for arm, config in study.arms.items()},
        command=("search.api.run " if request.hosted else "python -m search.run ")
        + shlex.join(sys.argv[1:]).encode(errors="backslashreplace").decode(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        commit=commit_of(Path(__file__)),
        machine={"name": machine_name(), "cpus": cpu_count(), "gpus": torch.cuda.device_count()},
        smoke=request.smoke,
        options=request.stored(),
        reported=list(study.reported),
        claims=list(study.claims),
        metrics=columns.as_json(study.metrics),
        definition=define(study, request.space, samples=proposals.total, seed=request.seed),
        columns=schema_of(study).names(),
        declared={arm: space.configured(space.completed(config)) for arm, config in space.arms.items()},
    )


def domain_name(domain: Any) -> str:
    sampler = domain.sampler
    if isinstance(sampler, Quantized):
        sampler = sampler.sampler
    return f"{domain.domain_str} log" if "Log" in type(sampler).__name__ else str(domain.domain_str)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def commit_of(file: Path) -> str | None:
    """Return the commit of the clone that holds `file`; None without git, or if no repository tracks the file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # of a hook
    commands = (["git", "ls-files", "--error-unmatch", file.name], ["git", "rev-parse", "HEAD"])
    try:
        asked = [
            subprocess.run(command, cwd=file.parent, env=environment, capture_output=True, text=True, check=False)
            for command in commands
        ]
    except OSError:
        return None
    return None if any(git.returncode for git in asked) else asked[-1].stdout.strip() or None


def machine_name() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        model = names[0] if names else model
    return f"{cpu_count()} cores, {model}"
