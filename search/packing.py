"""Measure how many trials should share a device, for `--gpus-per-trial auto` and `--cpus-per-trial auto`.

Each packing is tried for a few seconds with real training steps of the study's largest configuration, in one process
per trial; the packing that trains most images a second in all finishes most trials an hour.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search import siblings
from search.resources import cpu_count, memory_limit
from search.study import Study, StudyError
from trainables.base import build
from trainables.data.datasets import ImageData, located
from trainables.data.datasets import load as load_data
from trainables.data.task import DeviceData
from trainables.training.steps import first_steps, prepare_process

AUTO = "auto"
SECONDS = 3.0  # measured training time, after one step that is not measured
STEPS = 2  # steps between two looks at the clock
DRAWN = 24  # configurations drawn to find the largest
GPU_TRIALS = (1, 2, 3, 4, 6, 8, 12, 16)
MEMORY_SHARE = 0.9  # share of a device's memory that its trials may take together
WORTHWHILE = 1.03  # speed-up in all that justifies more trials side by side


class PackingError(StudyError):
    """A packing that could not be measured; the message is one line."""


@dataclass(frozen=True)
class Packing:
    """`trials` side by side on one GPU, or on all CPUs of the machine."""

    trials: int
    cpus_per_trial: float
    gpus_per_trial: float


@dataclass(frozen=True)
class Measured:
    """Training images per second of all trials of a packing together, and the peak memory of one."""

    packing: Packing
    images_per_second: float
    peak_memory_bytes: int


def packings(cpus: int, gpus: int, cpus_per_trial: float = 1.0) -> list[Packing]:
    """Return the packings to try, from the fewest trials: on one GPU, or on all CPUs if there is no GPU.

    `cpus_per_trial` counts on GPUs only; each GPU of the machine gets the same number of trials.
    """
    if gpus:
        fit = int(cpus / (cpus_per_trial * gpus))
        # Rounded down, so that n shares always fit on the GPU.
        return [Packing(n, cpus_per_trial, int(10_000 / n) / 10_000) for n in GPU_TRIALS if n == 1 or n <= fit]
    threads = [2**power for power in range(cpus.bit_length())]
    return [Packing(cpus // count, float(count), 0.0) for count in reversed(threads)]


def best(measured: Sequence[Measured]) -> Measured:
    """Return the fastest packing, or the one of fewest trials that is nearly as fast (WORTHWHILE)."""
    fastest = max(one.images_per_second for one in measured)
    return next(
        one
        for one in sorted(measured, key=lambda one: one.packing.trials)
        if one.images_per_second * WORTHWHILE >= fastest
    )


def choose(
    study: Study,
    data: ImageData,
    folder: Path | None,
    configs: Sequence[dict[str, Any]] | None,
    cpus_per_trial: float,
    say: Callable[[str], None] = print,
) -> Packing:
    """Measure and report each packing on this machine, and return the best. Raises PackingError.

    `folder` is where `data` came from; `configs` are the trials to run, None if they are not known; `cpus_per_trial`
    counts only if there is a GPU.
    """
    cpus, gpus = cpu_count(), torch.cuda.device_count()
    config = largest(study, data, configs)
    memory = device_memory()
    measured: list[Measured] = []
    say("trials side by side, measured:")
    for packing in packings(cpus, gpus, cpus_per_trial):
        share = f"{packing.gpus_per_trial:g} GPU" if gpus else f"{packing.cpus_per_trial:g} CPUs"
        what = f"  {packing.trials} with {share} each: "
        if measured and packing.trials * measured[0].peak_memory_bytes > MEMORY_SHARE * memory:
            say(f"{what}left out, needs more than {MEMORY_SHARE:.0%} of {memory / 2**30:.1f} GiB")
            continue
        try:
            found = measure(
                packing, study.trainable, config, study.dataset, folder, size=study.resize, channels=study.channels
            )
        except PackingError as error:
            say(f"{what}left out, {error}")
            continue
        measured.append(found)
        say(
            f"{what}{found.images_per_second:,.0f} images/s in all, "
            f"peak memory of a trial {found.peak_memory_bytes / 2**30:.2f} GiB"
        )
    if not measured:
        raise PackingError(f"{study.name}: no way to share the device could be measured")
    chosen = best(measured).packing
    say(f"chosen: {chosen.trials} side by side")
    return chosen


def device_memory() -> int:
    """Return the bytes of the first GPU's memory, or of the machine's if there is no GPU."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return memory_limit()


def largest(study: Study, data: ImageData, configs: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return the configuration with most parameters, the larger batch if they are equal."""
    configs = list(study.sample(DRAWN)) if configs is None else [{"epochs": study.epochs, **each} for each in configs]
    here = DeviceData(data)

    def size(config: dict[str, Any]) -> tuple[int, int]:
        settings = study.settings(config)
        one = build(study.trainable, {**config, "members": 1}, here).members[0]
        return settings.members * one.parameters, settings.batch_size

    return max(configs, key=size)


def measure(
    packing: Packing,
    trainable: type,
    config: dict[str, Any],
    dataset: str,
    folder: Path | None,
    **form: int | None,
) -> Measured:
    """Train one process per trial of the packing, all at once. Raises PackingError if one fails."""
    from ray import cloudpickle  # a space file may define its own trainable

    dataset, folder = located(dataset, folder)  # the processes run in another folder
    of_data = (dataset, folder and folder.absolute(), form)
    job = cloudpickle.dumps((trainable, config, of_data, "cuda" if packing.gpus_per_trial else "cpu"))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, int(packing.cpus_per_trial))),
        "PYTHONPATH": os.pathsep.join(siblings.search_path()),
    }
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file, tempfile.TemporaryFile("w+") as errors:
        file.write(job)
        file.flush()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "search.packing", file.name],
                env=environment,
                cwd=siblings.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            for _ in range(packing.trials)
        ]
        try:
            for process in processes:
                _line(process)  # wait until the process is ready or has failed
            for process in processes:
                _tell(process)
            found = [_line(process) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        errors.seek(0)
        reason = (errors.read().strip().splitlines() or ["its process ended without a word"])[-1]
    if not all(found):
        raise PackingError(reason)
    results = [json.loads(line) for line in found]
    return Measured(
        packing,
        sum(result["images_per_second"] for result in results),
        max(result["peak_memory_bytes"] for result in results),
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process has failed: its missing line shows it
        process.stdin.write("go\n")
        process.stdin.flush()


def main() -> None:
    """Train as one trial of a packing: print "ready", wait for a line of input, train, print the measurements."""
    trainable, config, (dataset, folder, form), device = pickle.loads(Path(sys.argv[1]).read_bytes())
    prepare_process(int(os.environ["OMP_NUM_THREADS"]))
    training = build(trainable, config, DeviceData(load_data(dataset, folder, **form), device))
    first_steps(training, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        images += sum(outcome.images for outcome in first_steps(training, STEPS))
    seconds = time.perf_counter() - start
    if device == "cuda":
        memory = torch.cuda.max_memory_reserved()
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images_per_second": images / seconds, "peak_memory_bytes": memory}), flush=True)


if __name__ == "__main__":
    main()
