"""How many trials share a device: measured, for `--gpus-per-trial auto` and `--cpus-per-trial auto`.

Each way to share is tried for a few seconds with real training steps of the study's largest configuration, in as many
processes as it has trials; the one that trains most images a second in all finishes most trials an hour.
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

import numpy as np
import torch

from search.resources import cpu_count, memory_limit
from search.study import Study, StudyError
from trainables.base import build
from trainables.data import ImageData
from trainables.data import load as load_data
from trainables.steps import first_steps, prepare_process
from trainables.task import DeviceData

AUTO = "auto"
SECONDS = 3.0  # of training that are measured, after one step that is not
STEPS = 2  # between two looks at the clock
DRAWN = 24  # configurations among which the largest is looked for
GPU_TRIALS = (1, 2, 3, 4, 6, 8, 12, 16)
MEMORY_SHARE = 0.9  # of a device's, that its trials may take together
WORTHWHILE = 1.03  # more trials side by side must train this much faster in all


class PackingError(StudyError):
    """A way to share the device could not be measured; the message is one line."""


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
    """The ways to share that are tried, from the fewest trials: of one GPU, or without one of all CPUs.

    `cpus_per_trial` are those of a trial on a GPU, of which each of the machine's has as many trials.
    """
    if gpus:
        fit = int(cpus / (cpus_per_trial * gpus))
        # Rounded down, so that as many shares always fit.
        return [Packing(n, cpus_per_trial, int(10_000 / n) / 10_000) for n in GPU_TRIALS if n == 1 or n <= fit]
    threads = [2**power for power in range(cpus.bit_length())]
    return [Packing(cpus // count, float(count), 0.0) for count in reversed(threads)]


def best(measured: Sequence[Measured]) -> Measured:
    """The fastest in all; fewer trials where more are hardly faster."""
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
    """Measure and tell each way to share this machine's device; returns the best. Raises PackingError.

    `folder` is where `data` came from; `configs` are the trials to run where they are known; `cpus_per_trial`
    counts where there is a GPU.
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
            found = measure(packing, study.trainable, config, study.dataset, folder)
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
    """Bytes of the first GPU, or of the machine where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return memory_limit()


def largest(study: Study, data: ImageData, configs: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """The configuration with most parameters, the larger batch where they are equal."""
    if configs is None:
        random = np.random.RandomState(0)
        fixed, searched = study.fixed(), study.searched()
        draws = DRAWN if searched else 1
        configs = [
            {**fixed, **{name: domain.sample(random_state=random) for name, domain in searched.items()}}
            for _ in range(draws)
        ]
    here = DeviceData(data)

    def size(config: dict[str, Any]) -> tuple[int, int]:
        settings = study.settings(config)
        one = build(study.trainable, {**config, "members": 1}, here).members[0]
        return settings.members * one.parameters, settings.batch_size

    dearest: dict[str, Any] = max(configs, key=size)
    return {"epochs": study.epochs, **dearest}


def measure(packing: Packing, trainable: type, config: dict[str, Any], dataset: str, folder: Path | None) -> Measured:
    """Train in as many processes as the packing has trials, all at once. Raises PackingError if one fails."""
    from ray import cloudpickle  # a space file may define its own trainable

    job = cloudpickle.dumps((trainable, config, dataset, folder, "cuda" if packing.gpus_per_trial else "cpu"))
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, int(packing.cpus_per_trial)))}
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file, tempfile.TemporaryFile("w+") as errors:
        file.write(job)
        file.flush()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "search.packing", file.name],
                env=environment,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            for _ in range(packing.trials)
        ]
        try:
            for process in processes:
                _line(process)  # it is ready, or has failed
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
    with contextlib.suppress(BrokenPipeError):  # a process that failed has said so by its silence
        process.stdin.write("go\n")
        process.stdin.flush()


def main() -> None:
    """One trial of a packing: says when it is ready, and trains when told."""
    trainable, config, dataset, folder, device = pickle.loads(Path(sys.argv[1]).read_bytes())
    prepare_process(int(os.environ["OMP_NUM_THREADS"]))
    training = build(trainable, config, DeviceData(load_data(dataset, folder), device))
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
