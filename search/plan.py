"""What a study will cost, measured on this machine before anything starts."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search.domains import domain_edges
from search.economy import Configs, Economy
from search.progress import span
from search.records import PARAMETERS
from search.schedulers import make_rule
from search.study import Study, StudyError
from search.tuner import Resources
from trainables.base import build
from trainables.data import ImageData
from trainables.paths import FUSE, PLAIN, features
from trainables.steps import first_steps, prepare_process
from trainables.task import DeviceData, Task

SAMPLED_CONFIGS = 200  # random configurations whose mean cost stands for the study's
SAMPLING_SECONDS = 20.0  # fewer of them, but no fewer than these, where it takes longer to build their networks
FEWEST_CONFIGS = 24
SIMULATED_STUDIES = 20
STEPS = 3  # measured training steps, after one that is not
EVALUATED_IMAGES = 250
A_DAY = 86_400.0


@dataclass(frozen=True)
class Measurement:
    """One configuration, measured: seconds per image and member."""

    config: dict[str, Any]
    train_seconds: float
    evaluate_seconds: float
    parameters: int


@dataclass(frozen=True)
class Cost:
    """What one trial takes: images trained on and images evaluated, each counted once a member; device time."""

    trained: int = 0
    evaluated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.trained + other.trained, self.evaluated + other.evaluated, self.seconds + other.seconds)

    def cells(self) -> str:
        """Cells of a table: millions of images, hours."""
        return f"{self.trained / 1e6:,.2f} | {self.evaluated / 1e6:,.2f} | {self.seconds / 3600:,.2f}"


@dataclass(frozen=True)
class Plan:
    """The cost of a study. `epochs` counts a trial's epochs; seconds are of wall clock and device time.

    `costs` are those of the trials it was made for, in their order, or of a sample of the study.
    """

    trials: int
    slots: int
    epochs: float
    device_seconds: float
    stopped_epochs: float
    stopped_device_seconds: float
    epoch_seconds: float  # of the longest epoch of all
    cheapest: Measurement
    dearest: Measurement
    costs: tuple[Cost, ...] = ()

    @property
    def wall_seconds(self) -> float:
        return self.device_seconds / min(self.slots, self.trials)

    @property
    def stopped_wall_seconds(self) -> float:
        return self.stopped_device_seconds / min(self.slots, self.trials)

    def table(self) -> str:
        """Markdown, for a person."""
        rows = [
            "| | trials | epochs | wall time | device hours |",
            "| --- | ---: | ---: | ---: | ---: |",
            f"| with early stopping | {self.trials} | {self.stopped_epochs:,.0f} | "
            f"{span(self.stopped_wall_seconds)} | {self.stopped_device_seconds / 3600:,.2f} |",
            f"| without | {self.trials} | {self.epochs:,.0f} | {span(self.wall_seconds)} | "
            f"{self.device_seconds / 3600:,.2f} |",
        ]
        return "\n".join([*rows, "", *self.measured()])

    def measured(self) -> list[str]:
        """What the estimate rests on, a line each."""
        lines = [
            f"{kind}: {1 / m.train_seconds:,.0f} images/s training, {1 / m.evaluate_seconds:,.0f} evaluating, "
            f"{m.parameters:,} parameters a member ({_short(m.config)})"
            for kind, m in (("least expensive", self.cheapest), ("most expensive", self.dearest))
        ]
        return [*lines, f"{self.slots} trials side by side"]


def _short(config: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in config.items()
    )


def make_plan(
    study: Study, data: ImageData, resources: Resources, slots: int, configs: list[dict[str, Any]] | None
) -> Plan:
    """Measure a few steps of the least and the most expensive configuration, and scale up.

    `configs` are the trials to run where they are known (a grid, arms); otherwise the study is sampled.
    A configuration's cost is taken as its multiply-adds times the measured time of one.
    """
    prepare_process(resources.cpus_per_trial)
    trials = study.samples if configs is None else len(configs)
    candidates = _sampled(study) if configs is None else [{"epochs": study.epochs, **config} for config in configs]
    device = DeviceData(data, "cuda" if torch.cuda.is_available() and resources.gpus_per_trial else "cpu")
    flops: dict[tuple[Any, ...], int] = {}
    works: list[tuple[int, int, int, dict[str, Any]]] = []
    began = time.monotonic()
    for config in candidates:
        if configs is None and len(works) >= FEWEST_CONFIGS and time.monotonic() - began > SAMPLING_SECONDS:
            candidates = candidates[: len(works)]
            break
        training = build(study.trainable, {**config, "members": 1}, device)
        inputs = training.recipe.test_inputs(device.test_images[:1])
        key = (inputs.shape, *(parameter.shape for parameter in training.members[0].network.parameters()))
        if key not in flops:
            flops[key] = _flops(training.members[0].network, inputs)
        images, evaluated = study.trainable.strategy.work(study.settings(config), training.recipe.task)
        works.append((images, evaluated, flops[key], config))
    ranked = sorted(works, key=lambda w: (w[0] * w[2], -w[3].get("batch_size", 0)))
    cheapest = _measure(study, ranked[0][3], device)
    dearest = _measure(study, ranked[-1][3], device)
    measured = ((cheapest, ranked[0][2]), (dearest, ranked[-1][2]))
    train_flop = float(np.mean([m.train_seconds / f for m, f in measured]))
    evaluate_flop = float(np.mean([m.evaluate_seconds / f for m, f in measured]))
    seconds = [(i * train_flop + e * evaluate_flop) * f for i, e, f, _ in works]
    per_trial = float(np.mean(seconds))
    # Arms, and trials that no early stopping compares, may differ in length.
    lengths = [study.trainable.strategy.trial_epochs(study.settings(config)) for config in candidates]
    epochs = float(np.mean(lengths)) * trials
    epoch_seconds = max(trial / length for trial, length in zip(seconds, lengths, strict=True))
    share = expected_share(study, trials, max(lengths))
    return Plan(
        trials=trials,
        slots=slots,
        epochs=epochs,
        device_seconds=per_trial * trials,
        stopped_epochs=epochs * share,
        stopped_device_seconds=per_trial * trials * share,
        epoch_seconds=epoch_seconds,
        cheapest=cheapest,
        dearest=dearest,
        costs=tuple(Cost(i, e, spent) for (i, e, _, _), spent in zip(works, seconds, strict=True)),
    )


def replay_table(plan: Plan, configs: Configs, economy: Economy) -> str:
    """What a replay costs by arm and in all, as declared and as it is run: Markdown, for a person.

    `plan` is that of `configs`, all declared trials; those that `economy` leaves out cost nothing.
    """
    runs = [id(config) for config, _ in economy.left(configs)]
    arms = list(dict.fromkeys(arm for _, arm in configs))
    declared, run = ({arm: Cost() for arm in arms} for _ in range(2))
    trials = {arm: [0, 0] for arm in arms}
    for (config, arm), cost in zip(configs, plan.costs, strict=True):
        left = id(config) in runs
        declared[arm] += cost
        run[arm] += cost if left else Cost()
        trials[arm] = [trials[arm][0] + left, trials[arm][1] + 1]
    rows = [
        "Images in millions, each counted once a member; hours of one device or share of the CPU.",
        "",
        "| arm | trials | trained | evaluated | hours | declared: trained | evaluated | hours | answered by |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]

    def row(name: str, count: list[int], ran: Cost, asked: Cost, answer: str) -> str:
        number = f"{count[0]}" if count[0] == count[1] else f"{count[0]} of {count[1]}"
        return f"| {name} | {number} | {ran.cells()} | {asked.cells()} | {answer} |"

    for arm in arms:
        known = f"{count} known" if (count := len(economy.known.get(str(arm), {}))) else ""
        rows.append(row(str(arm), trials[arm], run[arm], declared[arm], economy.answered_by.get(str(arm), known)))
    ran, asked = (sum(costs.values(), Cost()) for costs in (run, declared))
    rows.append(row("all", [sum(pair) for pair in zip(*trials.values(), strict=True)], ran, asked, ""))
    wall = span(ran.seconds / max(1, min(plan.slots, len(runs))))
    return "\n".join([*rows, "", f"wall time {wall}", *plan.measured()])


def expected_share(study: Study, trials: int, epochs: int) -> float:
    """The share of all epochs that early stopping trains, simulated with the study's own rule.

    The simulated trials have a fixed, random quality each, and size where that counts, and come one after the
    other; real curves cross, so a real search trains somewhat more or less.
    """
    random = np.random.RandomState(0)
    trained = 0
    for _ in range(SIMULATED_STUDIES):
        rule = make_rule(study.scheduler, grace=study.grace_epochs, epochs=epochs, factor=study.reduction_factor)
        sizes = random.rand(trials) if PARAMETERS in study.objectives else np.zeros(trials)
        for trial, (quality, size) in enumerate(zip(random.rand(trials), sizes, strict=True)):
            for epoch in range(1, epochs + 1):
                trained += 1
                if epoch < epochs and rule.on_result(trial, epoch, quality, size):
                    break
    return trained / (SIMULATED_STUDIES * trials * epochs)


def _sampled(study: Study) -> list[dict[str, Any]]:
    random = np.random.RandomState(0)
    fixed = {**study.fixed(), "epochs": study.epochs}
    return [
        {**fixed, **{name: domain.sample(random_state=random) for name, domain in study.searched().items()}}
        for _ in range(SAMPLED_CONFIGS)
    ]


def _flops(network: nn.Module, inputs: torch.Tensor) -> int:
    """Floating-point operations of one image's forward pass; inputs [1, c, h, w]."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    return int(counter.get_total_flops())


def _measure(study: Study, config: dict[str, Any], device: DeviceData) -> Measurement:
    fused = FUSE in features(config.get("path", PLAIN))
    training = build(study.trainable, config if fused else {**config, "members": 1}, device)
    member = training.members[0]
    first_steps(training, 1)
    start = time.perf_counter()
    images = sum(outcome.images for outcome in first_steps(training, STEPS))
    seconds = time.perf_counter() - start
    indices = training.recipe.task.test[:EVALUATED_IMAGES]
    start = time.perf_counter()
    member.probabilities(device.test_images, indices).sum().item()
    return Measurement(
        {name: config[name] for name in study.searched() if name in config},  # an arm names what it changes
        seconds / images,
        (time.perf_counter() - start) / len(indices),
        member.parameters,
    )


def check_fits(study: Study, data: ImageData) -> None:
    """Raises StudyError if the study fixes, or may draw, more images than the data set has."""
    names = ("train_images", "test_images", "validation")
    edges = {name: domain_edges(study.param_space[name]) for name in names if name in study.param_space}
    there = DeviceData(data)
    for values in itertools.product(*edges.values()):
        try:
            Task.of(there, study.settings(dict(zip(edges, values, strict=True))))
        except ValueError as error:
            raise StudyError(str(error)) from None


def how_to_shrink(plan: Plan) -> str:
    return (
        f"an estimated {span(plan.stopped_wall_seconds)} with early stopping ({span(plan.wall_seconds)} without) "
        f"on this machine; to shrink it: fewer trials (--samples N), fewer images (--set train_images=4000), fewer "
        f"epochs (--set epochs=3), or a --time-budget; --plan shows the whole estimate, --yes starts anyway"
    )
