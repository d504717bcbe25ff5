"""Choose the fastest engine for a study's training steps that agrees with the plain engine on this machine.

A candidate takes one step beside the plain engine, from the same weights with the same images; loss and gradient must
agree within the tolerances below. Both go on for some tens of steps, and their losses must stay together (see
search.trajectory). Then both train in turn; the estimated time of a trial, compilation included, decides.
Dropout is off in both meanwhile: a compiled or fused step draws its masks from another stream.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray.tune.search.sample import Categorical, Domain, LogUniform, Quantized

from search.device import device_data
from search.resources import Resources
from search.study import Study, StudyError
from search.trajectory import TOO_DEAR, Trajectory, affordable
from trainables.base import ImageTrainable, build
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData
from trainables.training.engine import BF16, COMPILE, ENGINES, FUSE, PLAIN, emulates_bf16, features
from trainables.training.steps import (
    first_steps,
    fuses,
    gradient,
    losses,
    other_gradient,
    without_dropout,
)

LOSS = 0.02  # tolerated relative difference of the loss; bfloat16 changes a mean over a batch by far less
# Tolerated difference of the gradients for bfloat16, and on a GPU, where cuDNN rounds to TF32: a share of the distance
# between two batches' gradients, and at most MOST of the gradient's norm, which that distance may exceed. Rounding
# differs in each batch and adds to the differences between batches. A quarter of their distance adds an eighth to
# their variance, as much as batches an eighth smaller would.
GRADIENT_SHARE = 0.25
MOST = 0.3
# Tolerated relative difference of gradients if both engines are float32: folding AlexNet's conv1 makes a tenth of it.
GRADIENT = 0.01
WORTHWHILE = 1.1  # speed-up that justifies another engine than plain: below it no result need depend on a clock
STEPS = 4  # most steps between two looks at the clock
ROUNDS = 5  # most rounds of both engines in turn; fewer if they take more than SECONDS
SECONDS = 2.0
WARM_UP = 3  # steps of a compiled engine that are not measured: CUDA graphs are recorded at the second and third
COMPILES_FROM = 60.0  # seconds of the shortest plain trial for which a compilation may pay


class EngineError(StudyError):
    """An engine that fails on this machine or disagrees with the plain one; the message is one line."""


@dataclass(frozen=True)
class Agreement:
    """Relative differences of an engine's first step from plain's; `another` is that of another batch's gradient."""

    loss: float
    gradient: float
    another: float
    further: str = ""  # result of comparing the steps after the first, or why they were not compared

    def __str__(self) -> str:
        further = f"; {self.further}" if self.further else ""
        return (
            f"loss within {_percent(self.loss)}, gradient within {_percent(self.gradient)} "
            f"(another batch's: {_percent(self.another)}){further}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


@dataclass(frozen=True)
class Measured:
    """An engine measured in turn with the plain one.

    preparation  seconds of compilation, 0 without
    seconds      seconds per image of this engine
    plain        seconds per image of the plain engine
    share        median over rounds of this engine's time / the plain engine's
    """

    agreement: Agreement
    preparation: float
    seconds: float
    plain: float
    share: float


class Steps:
    """One configuration on one engine, step by step: all its members if the engine fuses them, else one member."""

    def __init__(self, study: Study, config: dict[str, Any], engine: str, device: DeviceData) -> None:
        changes: dict[str, Any] = {"engine": engine, "lr": 1e-6}  # weights hardly change, so that nothing diverges
        if FUSE not in features(engine):
            changes["members"] = 1
        self.training = without_dropout(build(study.trainable, {**config, **changes}, device))
        self.lr = study.settings(config).lr

    def run(self, steps: int) -> tuple[float, float]:
        """Train some steps, and return the first member's loss and the seconds per image."""
        # On a CPU this process's own time: the machine's other work must not decide.
        clock = time.process_time if self.training.recipe.device.type == "cpu" else time.perf_counter
        start = clock()
        outcomes = first_steps(self.training, steps)
        seconds = clock() - start
        return outcomes[0].loss, seconds / sum(outcome.images for outcome in outcomes)


class Plain:
    """The plain engine as the reference: its first step, its pace, and its losses over some tens of steps."""

    def __init__(self, study: Study, config: dict[str, Any], device: DeviceData) -> None:
        self.steps = Steps(study, config, PLAIN, device)
        batch = self.steps.training.recipe.settings.batch_size
        self.loss, self.seconds = self.steps.run(1)
        self.gradient = gradient(self.steps.training)
        self.another = _distance(other_gradient(self.steps.training), self.gradient)
        if self.seconds * batch < SECONDS:
            self.seconds = self.steps.run(1)[1]  # now that caches are warm
        # Steps between two looks at the clock.
        self.at_once = max(1, min(STEPS, int(SECONDS / (2 * ROUNDS * self.seconds * batch))))
        training = self.steps.training
        batches = len(training.members[0].images) // batch
        self.compared = affordable(self.seconds * batch, batches)  # steps
        self._again = functools.partial(Steps, study, config, PLAIN, device)

    @functools.cached_property
    def losses(self) -> tuple[list[float], list[float]] | None:
        """Return the losses of some tens of steps, and those on other batches; None if plain itself diverges."""
        found = []
        for backwards in (False, True):
            steps = self._again()
            steps.run(1)  # the candidate has taken its first step, too
            found.append(losses(steps.training, steps.lr, self.compared, backwards=backwards))
        return (found[0], found[1]) if np.isfinite(found).all() else None

    def follow(self, other: Steps, found: Agreement) -> Agreement:
        """Train `other` some tens of steps after its first. Raises EngineError if its losses part from plain's."""
        if not self.compared:
            return dataclasses.replace(found, further=f"one step compared: {TOO_DEAR}")
        if self.losses is None:
            return dataclasses.replace(found, further="one step compared: plain diverges at its own rate")
        trajectory = Trajectory.of(losses(other.training, other.lr, self.compared), *self.losses)
        if not trajectory.agrees:
            raise EngineError(f"disagrees with plain after its first step: {trajectory}")
        return dataclasses.replace(found, further=str(trajectory))

    def agreement(self, other: Steps) -> Agreement:
        """Run the first step of `other`. Raises EngineError if it disagrees with plain's."""
        loss, _ = other.run(1)
        apart = _distance(gradient(other.training), self.gradient)
        found = Agreement(abs(loss / self.loss - 1), apart, self.another)
        coarse = BF16 in other.training.recipe.features or other.training.recipe.device.type == "cuda"
        limit = min(MOST, GRADIENT_SHARE * self.another) if coarse else GRADIENT
        if not (found.loss <= LOSS and found.gradient <= limit):
            raise EngineError(f"disagrees with plain: {found}; allowed {_percent(LOSS)} and {_percent(limit)}")
        return found


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def choose(
    study: Study,
    data: ImageData,
    resources: Resources,
    configs: Sequence[dict[str, Any]] | None,
    say: Callable[[str], None] = print,
) -> str:
    """Return the engine on which a typical trial ends first on this machine, and report what was measured.

    `configs` are the trials to run, None if they are not known. An engine that fails or disagrees is left out and
    named.
    """
    if not issubclass(study.trainable, ImageTrainable):
        return PLAIN
    device = device_data(data, resources)
    config = typical(study, configs)
    settings = study.settings(config)
    try:
        plain = Plain(study, config, device)
        images, _ = study.trainable.strategy.work(settings, plain.steps.training.recipe.task)
    except Exception as error:  # noqa: BLE001 - the trials will meet the same error and report it
        say(f"engine     plain, which could not be measured: {_cause(error)}")
        return PLAIN
    unit = "images/s" if device.device.type == "cuda" else "images per core second"
    best, least = PLAIN, images * plain.seconds / WORTHWHILE
    for engine in candidates(device.device.type, settings.members, images * plain.seconds):
        if BF16 in features(engine) and emulates_bf16(device.device):
            say(f"engine     {engine} left out: no bfloat16 instructions here")
            continue
        try:
            found = _measure(study, config, engine, device, plain)
        except Exception as error:  # noqa: BLE001 - a compiler, a driver or memory may raise anything
            say(f"engine     {engine} left out: {_cause(error)}")
            continue
        finally:
            _clear(device)
        if found is None:
            continue
        rates = f"{1 / found.seconds:,.0f} {unit}, plain {1 / found.plain:,.0f}"
        say(f"engine     {engine}: {rates}; {found.agreement}")
        # A disturbance slows both engines in a round: the share counts, not the seconds.
        takes = found.preparation + images * plain.seconds * found.share
        if takes < least:
            best, least = engine, takes
    say(f"engine     {best}" + (" (--engine names another)" if best != PLAIN else ""))
    return best


def check(
    study: Study,
    data: ImageData,
    resources: Resources,
    configs: Sequence[dict[str, Any]] | None,
    engine: str,
    say: Callable[[str], None] = print,
) -> None:
    """Raise EngineError if an engine fails on this machine, disagrees with the plain one or compiles on a CPU.

    Report an engine that this machine has to emulate.
    """
    if not issubclass(study.trainable, ImageTrainable):
        return
    if not resources.gpus_per_trial:
        for each in sorted(_named(study, configs) | {engine}):
            _refuse_compiling(each)
    if engine == PLAIN:
        return
    device = device_data(data, resources)
    config = typical(study, configs)
    try:
        plain, other = Plain(study, config, device), Steps(study, config, engine, device)
        plain.follow(other, plain.agreement(other))
    except Exception as error:  # noqa: BLE001 - a compiler, a driver or memory may raise anything
        raise EngineError(f"engine {engine}: {_cause(error)}") from None
    finally:
        _clear(device)
    if BF16 in features(engine) and emulates_bf16(device.device):
        say(f"engine     {engine}: no bfloat16 instructions here: about 10 times slower than plain")


def _named(study: Study, configs: Sequence[dict[str, Any]] | None) -> set[str]:
    """Return every engine that a trial's configuration may name."""
    own = study.param_space.get("engine", PLAIN)
    choices = own.categories if isinstance(own, Categorical) else [own]
    return {*choices, *(config["engine"] for config in configs or () if "engine" in config)}


def _refuse_compiling(engine: str) -> None:
    """Raise EngineError for an engine that compiles, since these trials run on a CPU.

    AlexNet's graph breaks at its folded conv1, inside nn.Sequential, so that no part of it is compiled.
    """
    if COMPILE in features(engine):
        instead = "+".join(part for part in engine.split("+") if part != COMPILE) or PLAIN
        raise EngineError(
            f"engine {engine}: compile needs a GPU, and these trials have none: on a CPU it took a minute to "
            f"compile for 0.85 to 1.02 times the speed; use {instead}"
        )


def candidates(device: str, members: int, seconds: float) -> list[str]:
    """Return the engines that may be faster than plain; `seconds` is the time of a plain trial.

    On a CPU neither compiling (it takes minutes) nor fusing (one member keeps all cores busy) was ever faster.
    """
    if device == "cpu":
        return [BF16]
    wanted = [engine for engine in ENGINES if engine != PLAIN]
    if members == 1:
        wanted = [engine for engine in wanted if FUSE not in features(engine)]
    if seconds < COMPILES_FROM:
        wanted = [engine for engine in wanted if COMPILE not in features(engine)]
    return wanted


def typical(study: Study, configs: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return a configuration in the middle: of the trials if they are known, else of every domain."""
    if configs:
        return {"epochs": study.epochs, **configs[len(configs) // 2]}
    try:
        config = {"epochs": study.epochs, **study.space.compose(lambda _, domain: middle(domain))}
        study.settings(config)
    except ValueError:
        # The domains' middles exclude each other; a drawn configuration is valid.
        config = next(study.sample(1))
    return config


def middle(domain: Domain) -> Any:
    """Return the middle choice, or the value halfway along a range on its own scale."""
    if isinstance(domain, Categorical):
        return domain.categories[len(domain.categories) // 2]
    sampler = domain.sampler.sampler if isinstance(domain.sampler, Quantized) else domain.sampler
    low, high = domain.lower, domain.upper
    value = (low * high) ** 0.5 if isinstance(sampler, LogUniform) else (low + high) / 2
    return domain.cast(value)


def _measure(study: Study, config: dict[str, Any], engine: str, device: DeviceData, plain: Plain) -> Measured | None:
    """Measure an engine beside plain; None if it does the same for this study. Raises EngineError if it disagrees."""
    own = Steps(study, config, engine, device)
    if FUSE in features(engine) and not fuses(own.training):
        return None
    start = time.perf_counter()
    agreement = plain.agreement(own)
    if COMPILE in features(engine):
        own.run(WARM_UP)
    preparation = time.perf_counter() - start if COMPILE in features(engine) else 0.0
    agreement = plain.follow(own, agreement)
    rounds: list[tuple[float, float]] = []
    start = time.perf_counter()
    while not rounds or (len(rounds) < ROUNDS and time.perf_counter() - start < SECONDS):
        rounds.append((plain.steps.run(plain.at_once)[1], own.run(plain.at_once)[1]))
    return Measured(
        agreement,
        preparation,
        seconds=statistics.median(fast for _, fast in rounds),
        plain=statistics.median(slow for slow, _ in rounds),
        share=statistics.median(fast / slow for slow, fast in rounds),
    )


def _clear(device: DeviceData) -> None:
    if device.device.type == "cuda":
        torch.compiler.reset()  # CUDA graphs hold memory that the trials need
        gc.collect()
        torch.cuda.empty_cache()


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(text, 200, placeholder=" ...")
