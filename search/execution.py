"""How the command line's trials are executed: on which path, with which share of the machine or cluster."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import torch

from search.cluster import Cluster, ClusterError
from search.options import UsageError, told_address
from search.packing import AUTO
from search.paths import check as check_path
from search.paths import choose as choose_path
from search.resources import cpu_count
from search.study import Study
from search.tuner import Resources
from trainables.data import ImageData
from trainables.paths import PLAIN


def with_path(
    study: Study,
    options: argparse.Namespace,
    data: ImageData,
    resources: Resources,
    configs: list[dict[str, Any]] | None,
    *,
    resumed: bool,
) -> Study:
    """The study whose steps go the way that `--path` names, or that is measured to be fastest.

    `options.path` is then that way: what the record keeps and `--resume` takes. Raises UsageError, PathError.
    """
    elsewhere = options.address is not None  # nothing measured here holds there
    if elsewhere and options.path == AUTO:
        raise UsageError(f"--path auto measures this machine, got {told_address(options)}")
    if any("path" in config for config in (study.param_space, *study.arms.values())):
        own = study.param_space.get("path")
        if not resumed and options.path not in (None, own):
            raise UsageError(f"the study or --set says what path is, got --path {options.path} too")
        options.path = own if isinstance(own, str) else PLAIN
    elif options.path is None:
        # What a note says is compared with what its own arithmetic gives.
        options.path = PLAIN if options.replay or options.smoke or elsewhere else AUTO
    if options.path == AUTO:
        options.path = choose_path(study, data, resources, configs)
        return routed(study, options.path)
    if not elsewhere:
        check_path(study, data, resources, configs, options.path)
    return routed(study, options.path)


def routed(study: Study, path: str) -> Study:
    """The study with every trial on the path; the plain one is what no configuration need name."""
    return study if path == PLAIN or "path" in study.param_space else study.with_fixed({"path": path})


def choose_resources(options: argparse.Namespace) -> Resources:
    """Raises UsageError where the machine has less than a trial asks for."""
    gpus = options.gpus_per_trial
    if AUTO in (options.cpus_per_trial, gpus):
        check_auto(options)
        # Until it is measured.
        return Resources(1.0 if options.cpus_per_trial == AUTO else options.cpus_per_trial, float(gpus == AUTO))
    if options.address is None:
        there, cpus = torch.cuda.device_count(), cpu_count()
        if gpus is None:
            gpus = 1.0 if there else 0.0
        if gpus > there:
            raise UsageError(f"--gpus-per-trial asks for {gpus:g}, this machine has {there}")
        if options.cpus_per_trial > cpus:
            raise UsageError(f"--cpus-per-trial asks for {options.cpus_per_trial:g}, this machine has {cpus}")
    return Resources(options.cpus_per_trial, gpus or 0.0)


def check_auto(options: argparse.Namespace) -> None:
    """Raises UsageError where there is nothing to measure."""
    there = torch.cuda.device_count()
    option = "--gpus-per-trial auto" if options.gpus_per_trial == AUTO else "--cpus-per-trial auto"
    if options.address is not None:
        raise UsageError(f"{option} measures this machine, got {told_address(options)}")
    if options.gpus_per_trial == AUTO and not there:
        raise UsageError(f"{option} needs a GPU that PyTorch sees, this machine has none")
    if options.cpus_per_trial == AUTO and there:
        raise UsageError(f"{option} is for a machine without GPUs, this one has {there}: try --gpus-per-trial auto")


def share_of(cluster: Cluster, resources: Resources, options: argparse.Namespace) -> Resources:
    """What a trial gets of a joined cluster; raises ClusterError where no node has as much."""
    if options.address is None:
        return resources
    if options.gpus_per_trial is None and any(node.gpus for node in cluster.nodes):
        resources = dataclasses.replace(resources, gpus_per_trial=1.0)
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if not any(node.cpus >= cpus and node.gpus >= gpus for node in cluster.nodes):
        there = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in cluster.nodes)
        raise ClusterError(f"no node of {options.address} has a trial's {cpus:g} CPUs and {gpus:g} GPUs, only {there}")
    return resources
