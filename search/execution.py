"""Choose how a request's trials are executed: on which engine, with which share of the machine or cluster."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from search.cluster import Cluster
from search.failures import ClusterError, UsageError
from search.fastest import check as check_engine
from search.fastest import choose as choose_engine
from search.local_ray import settle
from search.packing import AUTO
from search.request import Request
from search.resources import Resources, cpu_count
from search.study import Study
from trainables.data.datasets import ImageData
from trainables.training.engine import PLAIN


def engine_of(
    study: Study,
    request: Request,
    data: ImageData,
    resources: Resources,
    configs: list[dict[str, Any]] | None,
    *,
    resumed: bool,
) -> str:
    """Return the engine that the request names, or the fastest one measured on this machine.

    Raises UsageError if options contradict each other, and EngineError if the named engine fails or disagrees with
    plain on this machine.
    """
    if study.foreign:
        return PLAIN  # a hyperparameter called engine is the trainable's own
    elsewhere = request.address is not None  # measurements on this machine do not hold for a cluster
    if elsewhere and request.engine == AUTO:
        raise UsageError(f"--engine auto measures this machine, got {request.told_address} too: name an engine")
    engine = request.engine
    if any("engine" in config for config in (study.param_space, *study.arms.values())):
        own = study.param_space.get("engine")
        if not resumed and engine not in (None, own):
            raise UsageError(f"the study or --set names the engine, got --engine {engine} too: leave one of them out")
        engine = own if isinstance(own, str) else PLAIN
    elif engine is None:
        # A note's figures are compared with figures from the note's own arithmetic.
        engine = PLAIN if request.replay or request.smoke or elsewhere else AUTO
    if engine == AUTO:
        settle()
        return choose_engine(study, data, resources, configs)
    if not elsewhere:
        check_engine(study, data, resources, configs, engine)
    return engine


def routed(study: Study, engine: str) -> Study:
    """Return the study with every trial on the engine; no configuration need name the plain one."""
    return study if engine == PLAIN or "engine" in study.param_space else study.with_fixed({"engine": engine})


def choose_resources(request: Request) -> Resources:
    """Return the CPUs and GPUs of one trial; for `auto`, provisional values until the packing is measured.

    Raises UsageError if the machine has less than a trial asks for.
    """
    cpus, gpus = request.cpus_per_trial, request.gpus_per_trial
    cpus = 1.0 if cpus is None else cpus
    if isinstance(cpus, str) or isinstance(gpus, str):
        check_auto(request)
        return Resources(1.0 if isinstance(cpus, str) else cpus, float(gpus == AUTO))
    if request.address is None:
        there, ours = torch.cuda.device_count(), cpu_count()
        if gpus is None:
            gpus = 1.0 if there else 0.0
        if gpus > there:
            raise UsageError(f"--gpus-per-trial must be at most {there}, the GPUs of this machine, got {gpus:g}")
        if cpus > ours:
            raise UsageError(f"--cpus-per-trial must be at most {ours}, the CPUs of this machine, got {cpus:g}")
    return Resources(cpus, gpus or 0.0)


def check_auto(request: Request) -> None:
    """Raise UsageError if `auto` has nothing to measure: on a cluster, or on a device that the machine lacks."""
    there = torch.cuda.device_count()
    option = "--gpus-per-trial auto" if request.gpus_per_trial == AUTO else "--cpus-per-trial auto"
    if request.address is not None:
        raise UsageError(f"{option} measures this machine, got {request.told_address} too: give a number")
    if request.gpus_per_trial == AUTO and not there:
        raise UsageError(f"{option} needs a GPU that PyTorch sees, this machine has none: leave it out")
    if request.cpus_per_trial == AUTO and there:
        raise UsageError(f"{option} needs a machine without GPUs, this one has {there}: use --gpus-per-trial auto")


def share_of(cluster: Cluster, resources: Resources, request: Request) -> Resources:
    """Return the CPUs and GPUs of one trial on the cluster. Raises ClusterError if no node has as much."""
    if request.address is None:
        return resources
    if request.gpus_per_trial is None and any(node.gpus for node in cluster.nodes):
        resources = dataclasses.replace(resources, gpus_per_trial=1.0)
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if not any(node.cpus >= cpus and node.gpus >= gpus for node in cluster.nodes):
        there = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in cluster.nodes)
        raise ClusterError(f"a trial needs {cpus:g} CPUs and {gpus:g} GPUs, nodes of {request.address} have {there}")
    return resources
