"""How a study's training steps are executed: the fastest path that agrees with the plain one on this machine.

A candidate takes one step beside the plain path, from the same weights with the same images; loss and gradient must
agree within the tolerances below. Both go on for some tens of steps, and their losses must stay together (see
search.trajectory). Then both train in turn, and what a trial would take decides, compilation included.
Dropout is off meanwhile, in both: a compiled or fused step draws its masks from another stream.
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

from search.study import Study, StudyError
from search.trajectory import TOO_DEAR, Trajectory, affordable
from search.tuner import Resources
from trainables.base import ImageTrainable, build
from trainables.data import ImageData
from trainables.paths import BF16, COMPILE, FUSE, PATHS, PLAIN, features
from trainables.steps import first_steps, fuses, gradient, losses, other_gradient, prepare_process, without_dropout
from trainables.task import DeviceData

LOSS = 0.02  # of the loss; rounding to bfloat16 changes a mean over a batch by far less
# Rounding is another in each batch and adds to what sets batches apart anyway. A quarter of the distance between two
# batches' gradients adds an eighth to their variance: as much as batches an eighth smaller would. It is for bfloat16,
# and for a GPU, where cuDNN rounds to TF32. Batches may also differ by more than their gradients' norm: it bounds it.
GRADIENT_SHARE = 0.25
MOST = 0.3
# Of the gradient's norm, where both are float32: conv1 of AlexNet by its fold and without differ by a tenth of this.
GRADIENT = 0.01
WORTHWHILE = 1.1  # a path must be this much faster than the plain one: for less no result need depend on a clock
STEPS = 4  # between two looks at the clock, at most
ROUNDS = 5  # of either path, in turn; fewer where SECONDS are over
SECONDS = 2.0
WARM_UP = 3  # steps of a compiled path that are not measured: CUDA graphs are recorded at the second and third
COMPILES_FROM = 60.0  # seconds of a plain trial: a shorter one ends before a compilation has paid


class PathError(StudyError):
    """A path that fails here, or disagrees with the plain one; the message is one line."""


@dataclass(frozen=True)
class Agreement:
    """Relative differences of a path's first step from the plain one's; `another` is another batch's gradient's."""

    loss: float
    gradient: float
    another: float
    further: str = ""  # what the steps after the first showed, or why they were not compared

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
    """A path beside the plain one: seconds of preparation (compilation) and per image, and the plain path's.

    `share` is the median, over rounds in which both took their turn, of what it took of the plain path's time.
    """

    agreement: Agreement
    preparation: float
    seconds: float
    plain: float
    share: float


class Steps:
    """One configuration on one path, step by step; on a path that fuses with all its members, else with one."""

    def __init__(self, study: Study, config: dict[str, Any], path: str, device: DeviceData) -> None:
        changes: dict[str, Any] = {"path": path, "lr": 1e-6}  # steps in place: nothing diverges meanwhile
        if FUSE not in features(path):
            changes["members"] = 1
        self.training = without_dropout(build(study.trainable, {**config, **changes}, device))
        self.lr = study.settings(config).lr

    def run(self, steps: int) -> tuple[float, float]:
        """The first member's loss, and seconds per image."""
        # Of a CPU the process's own time: what else the machine does must not choose.
        clock = time.process_time if self.training.recipe.device.type == "cpu" else time.perf_counter
        start = clock()
        outcomes = first_steps(self.training, steps)
        seconds = clock() - start
        return outcomes[0].loss, seconds / sum(outcome.images for outcome in outcomes)


class Plain:
    """The reference: its first step, and its pace whenever it is asked for."""

    def __init__(self, study: Study, config: dict[str, Any], device: DeviceData) -> None:
        self.steps = Steps(study, config, PLAIN, device)
        batch = self.steps.training.recipe.settings.batch_size
        self.loss, self.seconds = self.steps.run(1)
        self.gradient = gradient(self.steps.training)
        self.another = _distance(other_gradient(self.steps.training), self.gradient)
        if self.seconds * batch < SECONDS:
            self.seconds = self.steps.run(1)[1]  # warm
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
            steps.run(1)  # as the candidate has
            found.append(losses(steps.training, steps.lr, self.compared, backwards=backwards))
        return (found[0], found[1]) if np.isfinite(found).all() else None

    def follow(self, other: Steps, found: Agreement) -> Agreement:
        """Train some tens of steps after the first; raises PathError if the losses part from plain's."""
        if not self.compared:
            return dataclasses.replace(found, further=f"one step compared: {TOO_DEAR}")
        if self.losses is None:
            return dataclasses.replace(found, further="one step compared: plain diverges at its own rate")
        trajectory = Trajectory.of(losses(other.training, other.lr, self.compared), *self.losses)
        if not trajectory.agrees:
            raise PathError(f"disagrees with plain after its first step: {trajectory}")
        return dataclasses.replace(found, further=str(trajectory))

    def agreement(self, other: Steps) -> Agreement:
        """Run the other's first step; raises PathError where it disagrees."""
        loss, _ = other.run(1)
        apart = _distance(gradient(other.training), self.gradient)
        found = Agreement(abs(loss / self.loss - 1), apart, self.another)
        coarse = BF16 in other.training.recipe.features or other.training.recipe.device.type == "cuda"
        limit = min(MOST, GRADIENT_SHARE * self.another) if coarse else GRADIENT
        if not (found.loss <= LOSS and found.gradient <= limit):
            raise PathError(f"disagrees with plain: {found}; allowed {_percent(LOSS)} and {_percent(limit)}")
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
    """The path on which a typical trial ends first on this machine; says what was measured.

    `configs` are the trials to run where they are known. What fails or disagrees is left out and named.
    """
    if not issubclass(study.trainable, ImageTrainable):
        return PLAIN
    device = _device(data, resources)
    config = typical(study, configs)
    settings = study.settings(config)
    try:
        plain = Plain(study, config, device)
        images, _ = study.trainable.strategy.work(settings, plain.steps.training.recipe.task)
    except Exception as error:  # noqa: BLE001 - whatever it is, the trials will meet it and tell
        say(f"path       plain, which could not be measured: {_cause(error)}")
        return PLAIN
    unit = "images/s" if device.device.type == "cuda" else "images per core second"
    best, least = PLAIN, images * plain.seconds / WORTHWHILE
    for path in candidates(device.device.type, settings.members, images * plain.seconds):
        try:
            found = _measure(study, config, path, device, plain)
        except Exception as error:  # noqa: BLE001 - a compiler, a driver or memory may raise anything
            say(f"path       {path} left out: {_cause(error)}")
            continue
        finally:
            _clear(device)
        if found is None:
            continue
        rates = f"{1 / found.seconds:,.0f} {unit}, plain {1 / found.plain:,.0f}"
        say(f"path       {path}: {rates}; {found.agreement}")
        # What disturbs one disturbs the other: the share counts, not the seconds.
        takes = found.preparation + images * plain.seconds * found.share
        if takes < least:
            best, least = path, takes
    say(f"path       {best}" + (" (--path names another)" if best != PLAIN else ""))
    return best


def check(
    study: Study, data: ImageData, resources: Resources, configs: Sequence[dict[str, Any]] | None, path: str
) -> None:
    """Raise PathError if a path fails on this machine, disagrees with the plain one or compiles on a CPU."""
    if not issubclass(study.trainable, ImageTrainable):
        return
    if not resources.gpus_per_trial:
        for each in sorted(_named(study, configs) | {path}):
            _refuse_compiling(each)
    if path == PLAIN:
        return
    device = _device(data, resources)
    config = typical(study, configs)
    try:
        plain, other = Plain(study, config, device), Steps(study, config, path, device)
        plain.follow(other, plain.agreement(other))
    except Exception as error:  # noqa: BLE001 - a compiler, a driver or memory may raise anything
        raise PathError(f"path {path}: {_cause(error)}") from None
    finally:
        _clear(device)


def _named(study: Study, configs: Sequence[dict[str, Any]] | None) -> set[str]:
    """Every path that a trial's configuration may name."""
    own = study.param_space.get("path", PLAIN)
    choices = own.categories if isinstance(own, Categorical) else [own]
    return {*choices, *(config["path"] for config in configs or () if "path" in config)}


def _refuse_compiling(path: str) -> None:
    """AlexNet's graph breaks at its folded conv1, inside nn.Sequential, so that nothing of it is compiled at all."""
    if COMPILE in features(path):
        instead = "+".join(part for part in path.split("+") if part != COMPILE) or PLAIN
        raise PathError(
            f"path {path}: compile needs a GPU, and these trials have none: on a CPU it took a minute to compile for "
            f"0.85 to 1.02 times the speed; use {instead}"
        )


def candidates(device: str, members: int, seconds: float) -> list[str]:
    """The paths that may pay: `seconds` are those of a plain trial.

    On a CPU neither compiling (it takes minutes) nor fusing (its cores are busy with one member) was seen to.
    """
    if device == "cpu":
        return [BF16]
    wanted = [path for path in PATHS if path != PLAIN]
    if members == 1:
        wanted = [path for path in wanted if FUSE not in features(path)]
    if seconds < COMPILES_FROM:
        wanted = [path for path in wanted if COMPILE not in features(path)]
    return wanted


def typical(study: Study, configs: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """A configuration in the middle: of the trials where they are known, else of every domain."""
    if configs:
        return {"epochs": study.epochs, **configs[len(configs) // 2]}
    fixed, searched = {**study.fixed(), "epochs": study.epochs}, study.searched()
    try:
        config = {**fixed, **{name: middle(domain) for name, domain in searched.items()}}
        study.settings(config)
    except ValueError:
        # Middles that exclude each other; what is drawn does not.
        random = np.random.RandomState(0)
        config = {**fixed, **{name: domain.sample(random_state=random) for name, domain in searched.items()}}
    return config


def middle(domain: Domain) -> Any:
    """The middle choice, or the value halfway along a range, on its own scale."""
    if isinstance(domain, Categorical):
        return domain.categories[len(domain.categories) // 2]
    sampler = domain.sampler.sampler if isinstance(domain.sampler, Quantized) else domain.sampler
    low, high = domain.lower, domain.upper
    value = (low * high) ** 0.5 if isinstance(sampler, LogUniform) else (low + high) / 2
    return domain.cast(value)


def _measure(study: Study, config: dict[str, Any], path: str, device: DeviceData, plain: Plain) -> Measured | None:
    """None where the path is no other for this study. Raises PathError where it disagrees."""
    own = Steps(study, config, path, device)
    if FUSE in features(path) and not fuses(own.training):
        return None
    start = time.perf_counter()
    agreement = plain.agreement(own)
    if COMPILE in features(path):
        own.run(WARM_UP)
    preparation = time.perf_counter() - start if COMPILE in features(path) else 0.0
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


def _device(data: ImageData, resources: Resources) -> DeviceData:
    prepare_process(resources.cpus_per_trial)
    return DeviceData(data, "cuda" if torch.cuda.is_available() and resources.gpus_per_trial else "cpu")


def _clear(device: DeviceData) -> None:
    if device.device.type == "cuda":
        torch.compiler.reset()  # CUDA graphs hold memory, which is the trials'
        gc.collect()
        torch.cuda.empty_cache()


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(text, 200, placeholder=" ...")
