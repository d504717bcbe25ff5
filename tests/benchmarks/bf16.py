"""python -m tests.benchmarks.bf16 --data DIR [--pairs N --steps S]: what bf16 changes in note A's single AlexNet.

Two tables. Gradients of one batch by bf16 and by plain, at the same weights with the same dropout masks, at the start
and after 300 plain steps, also with parts of the network kept in float32: where a difference comes from. Then losses
of the first S steps in pairs of a seed: bf16 less plain. On the CPU, one thread; about 3 minutes, and with --pairs 8
--steps 500 half an hour more.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from spaces.notes import replay, reported
from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.data.datasets import load
from trainables.data.task import DeviceData
from trainables.ensembles.strategy import Training
from trainables.training.steps import first_steps, losses, prepare_process

RUN = "a-4.1-single-bn"
BATCHES = 40
# What stays in float32: by place in the network and module.
KEPT: dict[str, Callable[[int, nn.Module], bool]] = {
    "nothing": lambda place, module: False,
    "last linear": lambda place, module: place == -1,
    "BatchNorm": lambda place, module: isinstance(module, nn.BatchNorm2d),
    "conv1 and its fold": lambda place, module: place == 0,
    "linears": lambda place, module: isinstance(module, nn.Linear),
    "convolutions": lambda place, module: isinstance(module, nn.Conv2d),
}


class Float32(nn.Module):
    """A module that autocast passes over."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            outputs: torch.Tensor = self.module(inputs.float())
        return outputs


def single(data: DeviceData, seed: int, engine: str) -> Training:
    (run,) = reported(RUN)
    return build(BaggedAlexNet, replay(run, members=1, seed=seed, engine=engine), data)


def with_kept(network: nn.Module, kept: Callable[[int, nn.Module], bool]) -> nn.Module:
    modules = list(copy.deepcopy(network))
    return nn.Sequential(
        *(
            Float32(module) if kept(place if place < len(modules) - 1 else -1, module) else module
            for place, module in enumerate(modules)
        )
    )


def gradients(data: DeviceData, seed: int, steps: int) -> None:
    training = single(data, seed, "plain")
    if steps:
        first_steps(training, steps)
    member, recipe = training.members[0], training.recipe
    networks = {"plain": member.network} | {name: with_kept(member.network, kept) for name, kept in KEPT.items()}
    apart: dict[str, list[float]] = {name: [] for name in KEPT}
    projection: dict[str, list[float]] = {name: [] for name in KEPT}
    sums: dict[str, torch.Tensor] = {}
    for number, positions in enumerate(member.order(2).split(recipe.settings.batch_size)[:BATCHES]):
        batch = member.images[positions]
        inputs, labels = recipe.test_inputs(data.train_images[batch]), data.train_labels[batch]
        found = {}
        for name, network in networks.items():
            torch.manual_seed(number)  # the dropout masks: bf16 draws the same ones
            network.train().zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=name != "plain"):
                logits = network(inputs)
            F.cross_entropy(logits.float(), labels).backward()
            found[name] = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
            sums[name] = sums.get(name, 0) + found[name]
        plain = found["plain"]
        for name in KEPT:
            apart[name].append(float((found[name] - plain).norm() / plain.norm()))
            projection[name].append(float(found[name] @ plain / (plain @ plain)))
    whole = sums["plain"]
    for name in KEPT:
        error = statistics.stdev(projection[name]) / math.sqrt(len(projection[name]))
        of_sum = float(sums[name] @ whole / (whole @ whole))
        print(
            f"| {seed} | {steps} | {name} | {statistics.fmean(apart[name]):.3f} | "
            f"{statistics.fmean(projection[name]):.4f} ± {error:.4f} | {of_sum:.4f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bf16", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    prepare_process(1)
    data = DeviceData(load("cifar100", options.data))
    print("| seed | after steps | kept in float32 | apart | projection on plain's | of the sum of all batches |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for steps in (0, 300):
        for seed in (0, 1):
            gradients(data, seed, steps)
    found: list[float] = []
    for seed in range(options.pairs):
        means = []
        for engine in ("plain", "bf16"):
            training = single(data, seed, engine)
            means.append(statistics.fmean(losses(training, training.recipe.settings.lr, options.steps)))
        found.append(means[1] - means[0])
        print(f"seed {seed}: mean loss of {options.steps} steps, bf16 less plain: {found[-1]:+.4f}", flush=True)
    if len(found) > 1:
        print(f"mean {statistics.fmean(found):+.4f}, standard error {statistics.stdev(found) / len(found) ** 0.5:.4f}")


if __name__ == "__main__":
    main()
