"""Where configurations come from: Optuna's samplers, a grid, or a list of arms; all resumable.

Ray's OptunaSearch tells a trial stopped early as COMPLETE with its truncated value, and the value of an
interrupted search depends on a pickled study. Here a stopped trial is told PRUNED, a diverged or failed
one FAIL, and the sampler is seeded anew for each trial from (seed, trial number): with the same results on
record, the next suggestion is the same in every process.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Domain

from search.domains import distribution
from search.journal import Journal, TrialLog, ending, finished
from search.records import COMPLETED, EPOCH, FAILED, STOPPED
from search.study import Study, StudyError

MAX_FAILURES = 1  # a trial that fails twice without a new epoch between is given up
STARTUP_TRIALS = 10  # of TPE: as many random ones before it models anything


class RecallError(StudyError):
    """A trial of an earlier process that the study as it is today cannot have; the message is one line."""


class Proposals(Protocol):
    """A source of configurations that learns from results."""

    total: int

    def propose(self, number: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        """The hyperparameters of trial `number`, its arm, and notes that `recall` will need."""

    def report(self, number: int, result: dict[str, Any]) -> None: ...

    def end(self, number: int, status: str, result: dict[str, Any]) -> None: ...

    def recall(self, log: TrialLog) -> None:
        """Learn a trial of an earlier process. Called in order of number. Raises RecallError."""


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: its own, so that two trials of one configuration are two samples."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) & 0x7FFFFFFF


class OptunaProposals:
    """Optuna's TPE, random or NSGA-II sampler over a study's domains."""

    def __init__(self, study: Study, searcher: str, samples: int, seed: int) -> None:
        self.total = samples
        self.seed = seed
        self.searcher = searcher
        self.fixed = study.fixed()
        self.goals = study.goals
        self.distributions = {name: distribution(domain) for name, domain in study.searched().items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = ["maximize" if mode == "max" else "minimize" for mode in self.goals.values()]
        self.storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(storage=self.storage, directions=directions, study_name=study.name)
        self.study_id = self.storage.get_study_id_from_name(study.name)
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}  # epochs of the trials that run

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = trial_seed(self.seed, number)
        if self.searcher == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self.searcher == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, min(20, self.total // 4)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True, multivariate=True
            )

    def propose(self, number: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        self.study.sampler = self._sampler(number)
        known = set(self.storage.get_study_system_attrs(self.study_id))
        trial = self.study.ask(self.distributions)
        assert trial.number == number
        self._trials[number], self._reported[number] = trial, set()
        # NSGA-II chooses a generation's parents once, from what had finished when it first needed them.
        study_attrs = self.storage.get_study_system_attrs(self.study_id)
        notes = {
            "system_attrs": self._frozen(number).system_attrs,
            "study_attrs": {name: value for name, value in study_attrs.items() if name not in known},
        }
        return {**self.fixed, **trial.params}, None, notes

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def report(self, number: int, result: dict[str, Any]) -> None:
        # With several objectives Optuna has no intermediate values.
        value = result.get(next(iter(self.goals)))
        epoch = int(result[EPOCH])
        # A trial that went back to a checkpoint comes by some epochs twice.
        new = epoch not in self._reported[number]
        if new and len(self.goals) == 1 and value is not None and math.isfinite(value):
            self._reported[number].add(epoch)
            self._trials[number].report(float(value), epoch)

    def end(self, number: int, status: str, result: dict[str, Any]) -> None:
        trial = self._trials.pop(number)
        del self._reported[number]
        if status == COMPLETED and (values := self._values(result)) is not None:
            self.study.tell(trial, values)
        elif status == STOPPED:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _values(self, result: dict[str, Any]) -> list[float] | None:
        """A completed trial's objectives; None if one was not measured."""
        values = [float(result[goal]) for goal in self.goals if result.get(goal) is not None]
        return values if len(values) == len(self.goals) and all(map(math.isfinite, values)) else None

    def recall(self, log: TrialLog) -> None:
        metric = next(iter(self.goals))
        values = None
        intermediate = {}
        if len(self.goals) == 1:
            intermediate = {
                epoch: result[metric] for epoch, result in log.results.items() if result.get(metric) is not None
            }
        state = {COMPLETED: TrialState.COMPLETE, STOPPED: TrialState.PRUNED, None: TrialState.RUNNING}.get(
            log.status, TrialState.FAIL
        )
        if state == TrialState.COMPLETE and (values := self._values(log.last)) is None:
            state = TrialState.FAIL
        attributes = [log.state.get(name, {}) for name in ("system_attrs", "study_attrs")]
        if not all(isinstance(each, dict) for each in attributes):
            raise RecallError(f"trial {log.number} must hold its searcher's notes as objects, got {attributes!r:.80}")
        try:
            trial = create_trial(
                state=state,
                values=values,
                params={name: log.config[name] for name in self.distributions},
                distributions=self.distributions,
                system_attrs=attributes[0],
                intermediate_values=intermediate,
            )
        except (ValueError, TypeError) as error:
            raise RecallError(f"trial {log.number} is not one that the study can have: {error}") from None
        except KeyError as error:
            raise RecallError(f"trial {log.number} lacks {error}, which the study searches") from None
        self.study.add_trial(trial)
        for name, value in attributes[1].items():
            self.storage.set_study_system_attr(self.study_id, name, value)
        if state == TrialState.RUNNING:
            self._trials[log.number] = optuna.Trial(self.study, self._frozen(log.number)._trial_id)
            self._reported[log.number] = set(intermediate)


class Listed:
    """A fixed list of configurations: the points of a grid, or a study's arms.

    A trial is known by its arm and seed, or without an arm by its configuration, never by its place in the list: a
    list in another order goes on with the same trials. Trials alike are told apart by nothing.
    """

    def __init__(self, configs: list[tuple[dict[str, Any], str | None]]) -> None:
        self.configs = configs
        self.total = len(configs)
        self._left = dict.fromkeys(range(self.total))  # places not begun, in order
        self._named = {tuple(config) for config, arm in configs if arm is None}
        self._places: dict[str, deque[int]] = {}
        for place, (config, arm) in enumerate(configs):
            self._places.setdefault(_identity(config, arm, config), deque()).append(place)

    def propose(self, number: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        config, arm = self.configs[self._begin(next(iter(self._left)))]
        return dict(config), arm, {}

    def _begin(self, place: int) -> int:
        del self._left[place]
        config, arm = self.configs[place]
        self._places[_identity(config, arm, config)].remove(place)
        return place

    def report(self, number: int, result: dict[str, Any]) -> None: ...

    def end(self, number: int, status: str, result: dict[str, Any]) -> None: ...

    def recall(self, log: TrialLog) -> None:
        if log.arm is None:
            identities = [_identity(log.config, None, names) for names in self._named if {*names} <= log.config.keys()]
        else:
            identities = [_identity(log.config, log.arm, names) for names in (["seed"], [])]
        for identity in identities:
            if places := self._places.get(identity):
                self._begin(places[0])
                return
        what = log.config if log.arm is None else f"arm {log.arm!r} with seed {log.config.get('seed')}"
        raise RecallError(f"trial {log.number} is of no configuration of the study: {what!s:.200}")


def _identity(config: Mapping[str, Any], arm: str | None, names: Iterable[str]) -> str:
    """What tells a trial of a list from the others, if the list names these hyperparameters of it."""
    if arm is not None:
        return json.dumps([arm, config["seed"] if "seed" in names else None], default=_item)
    return json.dumps([None, {name: config[name] for name in names}], default=_item, sort_keys=True)


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else repr(value)


def grid(study: Study) -> Listed:
    """Every combination of the choices; raises StudyError for a dimension that is not a choice."""
    domains = study.searched()
    for name, domain in domains.items():
        if not isinstance(domain, Categorical):
            raise StudyError(
                f"--searcher grid needs a choice for every hyperparameter, got a continuous range for {name}; "
                f"fix it with --set {name}=VALUE"
            )
    choices: Mapping[str, Domain] = domains
    combinations = itertools.product(*(domain.categories for domain in choices.values()))
    fixed = study.fixed()
    return Listed([({**fixed, **dict(zip(choices, values, strict=True))}, None) for values in combinations])


def make_proposals(study: Study, searcher: str, samples: int, seed: int) -> Proposals:
    """The source that `--searcher` names; raises StudyError."""
    if searcher == "grid":
        return grid(study)
    if searcher == "nsga2" and len(study.goals) < 2:
        raise StudyError("--searcher nsga2 needs a study with several objectives, got one: " + study.metric)
    if not study.searched():
        raise StudyError(f"{study.name}: every hyperparameter is fixed, so there is nothing to search")
    return OptunaProposals(study, searcher, samples, seed)


def decided(log: TrialLog) -> str | None:
    """The status with which a trial ends that has not ended yet, None if it must run on: one that completed
    without a checkpoint of its last weights trains its last epoch again."""
    status = ending(log.last)
    return None if status == COMPLETED and not log.weights_kept else status


class StudySearcher(Searcher):
    """Ray Tune's view of a source of configurations, and the journal's writer of suggestions.

    Trials whose worker was lost come first, then those that an earlier process began, each from its last
    checkpoint and under its own number. `slots` gives the number of trials that may run at once; asking for
    more ahead of time would make suggestions that know less than they could.
    """

    def __init__(
        self,
        proposals: Proposals,
        journal: Journal,
        *,
        epochs: int,
        seed: int,
        slots: Callable[[], int],
        name: Callable[[int, dict[str, Any], str | None], str],
        checkpoint: Callable[[TrialLog], str | None],
    ) -> None:
        super().__init__()
        self.proposals = proposals
        self.journal = journal
        self.epochs = epochs
        self.seed = seed
        self.slots = slots
        self.name = name
        self.checkpoint = checkpoint
        self.live: dict[str, int] = {}
        self.saving: set[int] = set()  # trials whose last result asked for a checkpoint that is not on record yet
        for number, log in sorted(journal.trials.items()):
            if log.status is None and (status := decided(log)):
                # The process was killed between a trial's last result and its end.
                journal.append("end", number, status=status, error=log.last.get("diverged"))
            proposals.recall(log)
        self.waiting = deque(log for _, log in sorted(journal.trials.items()) if not finished(log))

    @property
    def remaining(self) -> int:
        """Trials that this process still has to start."""
        return len(self.waiting) + max(0, self.proposals.total - len(self.journal.trials))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.remaining and not self.live:
            return Searcher.FINISHED
        # While a trial runs there may be one more: itself again, should its worker be lost.
        if not self.remaining or len(self.live) >= self.slots():
            return None
        restore = None
        if self.waiting:
            log = self.waiting.popleft()
            number, config = log.number, log.config
            restore = self.checkpoint(log)
        else:
            number = len(self.journal.trials)
            config, arm, state = self.proposals.propose(number)
            config.setdefault("epochs", self.epochs)
            config.setdefault("seed", trial_seed(self.seed, number))
            name = self.name(number, config, arm)
            self.journal.append("suggest", number, name=name, config=config, arm=arm, state=state)
        self.live[trial_id] = number
        self.saving.discard(number)
        return {**config, "trial": number, "restore": restore}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.proposals.report(self.live[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self.live.pop(trial_id, None)
        if error or number is None:
            return  # `fail` follows, with the cause
        log = self.journal.trials[number]
        status = ending(log.last)
        if status == COMPLETED and number in self.saving:
            return  # interrupted before its weights were kept
        if result is not None and result.get(EPOCH, 0) < max(log.results, default=0):
            return  # interrupted on the way through epochs that are known
        if status:
            self._end(log, status, log.last.get("diverged"))
        # else interrupted: the next `--resume` goes on with it

    def fail(self, number: int, cause: str, *, again: bool = True, counts: bool = True) -> None:
        """A trial raised or its worker was lost: it is tried again, unless all is known that it would tell, it
        has failed as often as allowed since its last new epoch, or `again` is False. What was no fault of the
        trial does not count."""
        log = self.journal.trials[number]
        if status := decided(log):
            self._end(log, status, log.last.get("diverged"))
            return
        self.journal.append("error", number, error=cause, counts=counts)
        if again and log.failures <= MAX_FAILURES:
            self.waiting.appendleft(log)
        else:
            self._end(log, FAILED, cause)

    def _end(self, log: TrialLog, status: str, error: str | None) -> None:
        if status in (COMPLETED, STOPPED):
            # Ray shows a searcher the result that ends a trial only when it has ended.
            self.proposals.report(log.number, log.last)
        self.journal.append("end", log.number, status=status, error=error)
        self.proposals.end(log.number, status, log.last)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Journal

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal holds it."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its journal: python -m search.run SPACE --resume")
