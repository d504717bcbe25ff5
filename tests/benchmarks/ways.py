"""The ways of searching that are compared: the platform's own classes, and what people would take instead."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from search.domains import distribution
from search.records import COMPLETED, EPOCH, STOPPED
from search.schedulers import make_rule
from search.searchers import OptunaProposals
from tests.benchmarks.landscapes import Landscape
from tests.benchmarks.simulation import Decision

METRIC = "val_accuracy"
SAMPLES = 256  # announced to a searcher; a budget in epochs ends the search


class NoPauses:
    def close(self) -> None: ...

    def resume(self) -> int | None:
        return None


class Ours(NoPauses):
    """The platform's searcher and scheduler, as the tuner drives them."""

    def __init__(self, landscape: Landscape, seed: int, **changes: Any) -> None:
        study = dataclasses.replace(landscape.study, **changes)
        self.epochs = study.epochs
        self.proposals = OptunaProposals(study, study.searcher, SAMPLES, seed)
        self.rule = make_rule(study.scheduler, grace=study.grace, epochs=study.epochs, factor=study.factor)

    def begin(self, number: int) -> dict[str, Any]:
        return self.proposals.propose(number)[0]

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        result = {EPOCH: epoch, METRIC: accuracy}
        self.proposals.report(number, result)
        if epoch == self.epochs:
            self.proposals.end(number, COMPLETED, result)
            return "go on"
        if self.rule.on_result(number, epoch, accuracy, 0.0):
            self.proposals.end(number, STOPPED, result)
            return "stop"
        return "go on"


class IEpoch(NoPauses):
    """Of every eight random configurations, each trained for an epoch, train the best on (Egele et al. 2023)."""

    OF = 8

    def __init__(self, landscape: Landscape, seed: int) -> None:
        self.random = Ours(landscape, seed, searcher="random", scheduler="none")
        self.round: dict[int, float] = {}
        self.best: list[int] = []
        self.running: set[int] = set()

    def resume(self) -> int | None:
        return self.best.pop() if self.best else None

    def begin(self, number: int) -> dict[str, Any]:
        return self.random.begin(number)

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        if epoch > 1:
            return "go on"
        self.round[number] = accuracy
        if len(self.round) < self.OF:
            return "pause"
        self.best.append(max(self.round, key=lambda each: self.round[each]))
        self.round.clear()
        return "pause"


class Ray(NoPauses):
    """OptunaSearch and ASHAScheduler as Ray Tune's documentation shows them, in Ray's own classes."""

    def __init__(self, landscape: Landscape, seed: int) -> None:
        self.epochs = landscape.epochs
        self.searcher = OptunaSearch(
            OptunaSearch.convert_search_space(landscape.searched), metric=METRIC, mode="max", seed=seed
        )
        self.scheduler = ASHAScheduler(
            "training_iteration", METRIC, "max", max_t=landscape.epochs, grace_period=1, reduction_factor=3
        )
        self.trials: dict[int, Any] = {}

    def begin(self, number: int) -> dict[str, Any]:
        config = self.searcher.suggest(str(number))
        self.trials[number] = SimpleNamespace(trial_id=str(number))
        self.scheduler.on_trial_add(None, self.trials[number])
        return dict(config)

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        result = {"training_iteration": epoch, METRIC: accuracy}
        decision = self.scheduler.on_trial_result(None, self.trials[number], result)
        ended = decision == TrialScheduler.STOP or epoch == self.epochs
        if not ended:
            self.searcher.on_trial_result(str(number), result)
            return "go on"
        self.scheduler.on_trial_complete(None, self.trials[number], result)
        self.searcher.on_trial_complete(str(number), result)
        return "stop"


class Optuna(NoPauses):
    """Optuna's default sampler and one of its pruners, asked and told."""

    def __init__(self, landscape: Landscape, seed: int, pruner: optuna.pruners.BasePruner) -> None:
        self.epochs = landscape.epochs
        self.distributions = {name: distribution(domain) for name, domain in landscape.searched.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=f"s{seed}")
        self.trials: dict[int, optuna.Trial] = {}

    def begin(self, number: int) -> dict[str, Any]:
        self.trials[number] = trial = self.study.ask(self.distributions)
        return dict(trial.params)

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        trial = self.trials[number]
        trial.report(accuracy, epoch)
        if epoch == self.epochs:
            self.study.tell(trial, accuracy)
            return "go on"
        if trial.should_prune():
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return "stop"
        return "go on"


class SyneTune(NoPauses):
    """Syne Tune in a process and an environment of its own (tests.benchmarks.peer_syne_tune), asked line by line."""

    SCRIPT = Path(__file__).with_name("peer_syne_tune.py")

    def __init__(self, landscape: Landscape, seed: int, python: Path) -> None:
        self.process = subprocess.Popen(
            [str(python), str(self.SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        space = {name: described(domain) for name, domain in landscape.searched.items()}
        self._ask({"space": space, "epochs": landscape.epochs, "seed": seed})
        self.landscape = landscape

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.SCRIPT.name} ended with status {self.process.wait()}")
        return json.loads(answer)

    def begin(self, number: int) -> dict[str, Any]:
        config: dict[str, Any] = self._ask({"begin": number})
        return config

    def result(self, number: int, epoch: int, accuracy: float) -> Decision:
        stop = self._ask({"result": number, "epoch": epoch, "accuracy": accuracy})
        return "stop" if stop else "go on"

    def close(self) -> None:
        self.process.communicate()


def described(domain: Any) -> dict[str, Any]:
    """Return a Ray Tune domain as plain values, for a process without Ray."""
    if hasattr(domain, "categories"):
        return {"choice": list(domain.categories)}
    last = domain.upper - 1 if isinstance(domain.upper, int) else domain.upper
    return {"low": domain.lower, "high": last, "log": "Log" in type(domain.sampler).__name__}
