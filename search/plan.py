"""Estimate what a study will cost, from measurements on this machine before anything starts."""

from __future__ import annotations

import itertools
import time
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.device import device_data
from search.domains import domain_edges
from search.economy import Configs, Economy
from search.flops import forward_flops
from search.output import span
from search.records import PARAMETERS
from search.request import Request
from search.resources import Resources
from search.schedulers import make_rule
from search.study import Study, StudyError
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData, Task
from trainables.training.engine import FUSE, PLAIN, features
from trainables.training.steps import Diverged, first_steps

SAMPLED_CONFIGS = 200  # random configurations whose mean cost stands for the study's
SAMPLING_SECONDS = 20.0  # limit on building their networks, after FEWEST_CONFIGS of them
FEWEST_CONFIGS = 24
SIMULATED_STUDIES = 20
SIMULATED_TRIALS = 500  # more trials hardly change the share, and take their square in time
STEPS = 3  # measured training steps, after an unmeasured one
EVALUATED_IMAGES = 250
A_DAY = 86_400.0
HARMLESS_LR = 1e-6  # rate at which a few steps hardly change the weights


@dataclass(frozen=True)
class Measurement:
    """Hold what one configuration was measured to take: seconds per image and member."""

    config: dict[str, Any]
    train_seconds: float
    evaluate_seconds: float
    parameters: int


@dataclass(frozen=True)
class Cost:
    """Hold the cost of a trial: images trained on and evaluated, each counted once a member, and device seconds."""

    trained: int = 0
    evaluated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.trained + other.trained, self.evaluated + other.evaluated, self.seconds + other.seconds)

    def cells(self) -> str:
        """Return a table row's cells: millions of images trained on, millions evaluated, hours."""
        return f"{self.trained / 1e6:,.2f} | {self.evaluated / 1e6:,.2f} | {self.seconds / 3600:,.2f}"


@dataclass(frozen=True)
class Plan:
    """Hold the cost of a study: epochs of all trials, seconds of wall clock and of device time.

    `costs` belong to the listed trials, in their order, or to configurations drawn from the study.
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
        """Return the plan as a Markdown table."""
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
        """Return the measurements that the estimate rests on, a line each."""
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
    """Measure a few steps of the least and the most expensive configuration, and scale up to the study.

    `configs` are the trials to run if they are known (a grid, arms); if None, configurations are drawn from the study.
    A configuration's cost is taken as its multiply-adds times the measured time of one multiply-add. Raises
    StudyError, in one line, if a configuration cannot be trained.
    """
    try:
        return _made_plan(study, data, resources, slots, configs)
    except StudyError:
        raise
    except Exception as error:  # noqa: BLE001 - a network, a loss or an augmentation of the user's may raise anything
        reason = " ".join(str(error).split())
        raise StudyError(
            f"{study.name}: a training step failed when its cost was measured{_place(error)}: "
            f"{type(error).__name__}: {reason:.300}"
        ) from None


def _place(error: Exception) -> str:
    """Describe the line that raised, for a person who looks for the mistake."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({frame.filename}, line {frame.lineno})"


def _made_plan(
    study: Study, data: ImageData, resources: Resources, slots: int, configs: list[dict[str, Any]] | None
) -> Plan:
    trials = study.samples if configs is None else len(configs)
    candidates = (
        list(study.sample(SAMPLED_CONFIGS))
        if configs is None
        else [{"epochs": study.epochs, **config} for config in configs]
    )
    device = device_data(data, resources)
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
            flops[key] = forward_flops(training.members[0].network, inputs)
        images, evaluated = study.trainable.strategy.work(study.settings(config), training.recipe.task)
        works.append((images, evaluated, flops[key], config))
    ranked = sorted(works, key=lambda w: (w[0] * w[2], -w[3].get("batch_size", 0)))
    cheapest = _measured(study, ranked[0][3], device)
    dearest = _measured(study, ranked[-1][3], device)
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
    """Return a Markdown table of a replay's cost by arm and in all, as declared and as it will run.

    `plan` was made for `configs`, all declared trials; trials that `economy` leaves out cost nothing.
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
    """Return the share of all epochs that a study with early stopping trains, simulated with the study's own rule.

    Each simulated trial has a fixed random quality, and a random size if parameters are an objective; trials come one
    after the other. Real curves cross, so a real search trains somewhat more or less.
    """
    random = np.random.RandomState(0)
    trials = min(trials, SIMULATED_TRIALS)
    trained = 0
    for _ in range(SIMULATED_STUDIES):
        rule = make_rule(study.scheduler, grace=study.grace, epochs=epochs, factor=study.factor)
        sizes = random.rand(trials) if PARAMETERS in study.objectives else np.zeros(trials)
        for trial, (quality, size) in enumerate(zip(random.rand(trials), sizes, strict=True)):
            for epoch in range(1, epochs + 1):
                trained += 1
                if epoch < epochs and rule.on_result(trial, epoch, quality, size):
                    break
    return trained / (SIMULATED_STUDIES * trials * epochs)


def _measured(study: Study, config: dict[str, Any], device: DeviceData) -> Measurement:
    try:
        return _measure(study, config, device)
    except Diverged:  # a result of its trial, and no fault; its steps take as long at a rate that changes nothing
        return _measure(study, {**config, "lr": HARMLESS_LR}, device)


def _measure(study: Study, config: dict[str, Any], device: DeviceData) -> Measurement:
    fused = FUSE in features(config.get("engine", PLAIN))
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
    """Raise StudyError if the study fixes, or may draw, more images than the data set has."""
    names = ("train_images", "test_images", "validation")
    space = study.space
    given = {
        name: domain for name, domain in {**space.fixed, **space.sometimes, **space.searched}.items() if name in names
    }
    edges = [
        [*({name: value} for value in domain_edges(domain)), *([{}] if name in space.conditions else [])]
        for name, domain in given.items()
    ]
    there = DeviceData(data)
    for chosen in itertools.product(*edges):
        try:
            Task.of(there, study.settings({name: value for each in chosen for name, value in each.items()}))
        except ValueError as error:
            raise StudyError(str(error)) from None


def how_to_shrink(plan: Plan, request: Request) -> str:
    """Return the line that refuses a run of more than a day, with what its command can change."""
    if request.extend:
        ways = "a smaller --extend"
    else:
        fewer = "fewer arms (--arm NAME), fewer seeds (--repeats K)" if request.replay else "fewer trials (--samples N)"
        ways = f"{fewer}, fewer images (--set train_images=4000), fewer epochs (--set epochs=3)"
    return (
        f"an estimated {span(plan.stopped_wall_seconds)} with early stopping ({span(plan.wall_seconds)} without) "
        f"on this machine; to shrink the run: {ways}, or a --time-budget; --plan shows the whole estimate, "
        "--yes starts anyway"
    )
