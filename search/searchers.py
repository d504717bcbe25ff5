"""Propose configurations from Optuna's samplers, a grid or a list of arms, so that a search can be resumed.

Ray's OptunaSearch reports a trial stopped early as COMPLETE with its truncated value, and the value of an interrupted
search depends on a pickled study. Here a stopped trial is reported as PRUNED, a diverged or failed trial as FAIL, and
the sampler is seeded anew for each trial from (seed, trial number): with the same results on record, the next
suggestion is the same in every process.
"""

from __future__ import annotations

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

from search.domains import distribution, on_grid
from search.extrapolation import suggestion
from search.initial_design import first_configs, sobol_point, value_at
from search.journal import Journal, TrialLog, ending, finished
from search.records import COMPLETED, EPOCH, FAILED, STOPPED
from search.study import Study, StudyError

MAX_FAILURES = 1  # most failures without a new epoch between them after which a trial is retried
# Searchers that learn from trials that they did not propose. Optuna's NSGA-II takes parents from its own generations.
LEARNING = ("tpe", "gp")
STARTUP_TRIALS = 10  # ended trials that TPE needs before it models anything


class RecallError(StudyError):
    """Report, in one line, a trial of an earlier process that the study as it is today cannot have."""


class Proposals(Protocol):
    """Propose configurations, and learn from their results."""

    total: int

    def propose(self, number: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        """Return the hyperparameters of trial `number`, the trial's arm, and notes that `recall` will need."""

    def report(self, number: int, result: dict[str, Any]) -> None: ...

    def end(self, number: int, status: str, result: dict[str, Any]) -> None: ...

    def recall(self, log: TrialLog) -> None:
        """Learn a trial of an earlier process; trials must come in order of number. Raises RecallError."""


def trial_seed(seed: int, number: int) -> int:
    """Return a trial's own seed, so that two trials of one configuration are two samples."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) & 0x7FFFFFFF


class OptunaProposals:
    """Propose configurations by Optuna's TPE, Gaussian process, random or NSGA-II sampler over a study's domains."""

    def __init__(self, study: Study, searcher: str, samples: int, seed: int) -> None:
        self.total = samples
        self.seed = seed
        self.searcher = searcher
        self.space = study.space
        self.goals = study.goals
        self.searched = study.searched()
        self.distributions = {name: distribution(domain) for name, domain in self.searched.items()}
        # Optuna's GP and NSGA-II choose only hyperparameters that all trials have: one that a trial lacks stands at the
        # middle of its domain.
        self.whole = searcher in ("gp", "nsga2")
        self.middles = {
            name: on_grid(domain, value_at(self.distributions[name], 0.5))
            for name, domain in (self.searched if self.whole else {}).items()
        }
        self.first = [
            {name: value for name, value in config.items() if name in self.distributions}
            for config in first_configs(study)
        ]
        self.design = study.design
        self.seed_of_design = trial_seed(seed, 0)
        if optuna.logging.get_verbosity() != optuna.logging.WARNING:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = ["maximize" if mode == "max" else "minimize" for mode in self.goals.values()]
        self.storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(storage=self.storage, directions=directions, study_name=study.name)
        self.study_id = self.storage.get_study_id_from_name(study.name)
        for observation in study.observations:
            params = self._params(study.observed(observation))
            self.study.add_trial(
                create_trial(
                    values=[float(observation["values"][goal]) for goal in self.goals],
                    params=params,
                    distributions={name: self.distributions[name] for name in params},
                )
            )
        self.known = len(study.observations)  # Optuna's trials before the search's own
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}  # running trial -> its reported epochs

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = trial_seed(self.seed, number)
        if self.searcher == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self.searcher == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, min(20, self.total // 4)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.searcher == "gp":
                return optuna.samplers.GPSampler(
                    seed=seed, n_startup_trials=STARTUP_TRIALS, deterministic_objective=False
                )
            # With `group`, hyperparameters that only some trials have are modelled from those trials.
            group = bool(self.space.conditions)
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True, multivariate=True, group=group
            )

    def propose(self, number: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        self.study.sampler = self._sampler(number)
        known = set(self.storage.get_study_system_attrs(self.study_id))
        if number < len(self.first):
            self.study.enqueue_trial(self.first[number])
        elif self.design == "sobol" and self.searcher in ("tpe", "gp") and not self._modelled():
            self.study.enqueue_trial(sobol_point(self.distributions, self.seed_of_design, number - len(self.first)))
        elif self.searcher == "gp" and len(self.goals) == 1:
            trials = self.study.get_trials(deepcopy=False)
            self.study.enqueue_trial(suggestion(self.study.sampler, self.study.direction, trials, self.distributions))
        config, trial = self._ask()
        assert trial.number == number + self.known
        self._trials[number], self._reported[number] = trial, set()
        # NSGA-II chooses a generation's parents once, from the trials finished when it first needs parents.
        study_attrs = self.storage.get_study_system_attrs(self.study_id)
        notes = {
            "system_attrs": self._frozen(number).system_attrs,
            "study_attrs": {name: value for name, value in study_attrs.items() if name not in known},
        }
        return config, None, notes

    def _ask(self) -> tuple[dict[str, Any], optuna.Trial]:
        """Return a new configuration, and the trial of it."""
        always = {name: each for name, each in self.distributions.items() if name not in self.space.conditions}
        trial = self.study.ask(self.distributions if self.whole else always)
        changed: dict[str, Any] = {}

        def suggest(name: str, domain: Domain) -> Any:
            value = trial._suggest(name, self.distributions[name])
            if (exact := on_grid(domain, value)) != value:
                changed[name] = exact
            return exact

        config = self.space.compose(suggest)
        changed |= {name: middle for name, middle in self.middles.items() if name not in config}
        for name, value in changed.items():
            within = self.distributions[name]
            self.storage.set_trial_param(trial._trial_id, name, within.to_internal_repr(value), within)
        return config, trial

    def _params(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration as Optuna has it: its searched hyperparameters, and `middles` for those it lacks."""
        searched = {name: config[name] for name in self.distributions if name in config}
        return searched | {name: middle for name, middle in self.middles.items() if name not in config}

    def _modelled(self) -> bool:
        """Return whether enough trials have ended for the sampler to choose by a model."""
        # With several objectives Optuna's GP ignores trials that were stopped.
        ignored = self.searcher == "gp" and len(self.goals) > 1
        known = (TrialState.COMPLETE,) if ignored else (TrialState.COMPLETE, TrialState.PRUNED)
        ended = self.study.get_trials(deepcopy=False, states=known)
        return len(ended) >= STARTUP_TRIALS

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number + self.known]

    def report(self, number: int, result: dict[str, Any]) -> None:
        # With several objectives Optuna has no intermediate values.
        value = result.get(next(iter(self.goals)))
        epoch = int(result[EPOCH])
        # A trial restored from a checkpoint reports some epochs twice.
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
        """Return a completed trial's objectives, or None if one of them was not measured."""
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
            params = self._params(self.space.compose(lambda name, _: log.config[name]))
            trial = create_trial(
                state=state,
                values=values,
                params=params,
                distributions={name: self.distributions[name] for name in params},
                system_attrs=attributes[0],
                intermediate_values=intermediate,
            )
        except (ValueError, TypeError) as error:
            raise RecallError(f"trial {log.number} has values that the study cannot propose: {error}") from None
        except KeyError as error:
            raise RecallError(f"trial {log.number} lacks {error}, which the study searches") from None
        self.study.add_trial(trial)
        for name, value in attributes[1].items():
            self.storage.set_study_system_attr(self.study_id, name, value)
        if state == TrialState.RUNNING:
            self._trials[log.number] = optuna.Trial(self.study, self._frozen(log.number)._trial_id)
            self._reported[log.number] = set(intermediate)


class Listed:
    """Propose a fixed list of configurations: the points of a grid, or a study's arms.

    A trial is identified by its arm and seed, or without an arm by its configuration, never by its place in the list:
    a list in another order continues the same trials. Equal trials are interchangeable.
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
            # A combination without a conditional hyperparameter has fewer names.
            named = sorted(self._named, key=len, reverse=True)
            identities = [_identity(log.config, None, names) for names in named if {*names} <= log.config.keys()]
        else:
            identities = [_identity(log.config, log.arm, names) for names in (["seed"], [])]
        for identity in identities:
            if places := self._places.get(identity):
                self._begin(places[0])
                return
        what = log.config if log.arm is None else f"arm {log.arm!r} with seed {log.config.get('seed')}"
        raise RecallError(f"trial {log.number} has a configuration that the study lacks: {what!s:.200}")


def _identity(config: Mapping[str, Any], arm: str | None, names: Iterable[str]) -> str:
    """Return a key for a listed trial: its arm, and its seed if named, or without an arm the named hyperparameters."""
    if arm is not None:
        return json.dumps([arm, config["seed"] if "seed" in names else None], default=_item)
    return json.dumps([None, {name: config[name] for name in names}], default=_item, sort_keys=True)


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else repr(value)


def grid(study: Study) -> Listed:
    """List every combination of the choices; raise StudyError for a hyperparameter that is not a choice."""
    domains = study.searched()
    for name, domain in domains.items():
        if not isinstance(domain, Categorical):
            raise StudyError(
                f"--searcher grid needs a choice for every hyperparameter, got a continuous range for {name}; "
                f"fix it with --set {name}=VALUE"
            )
    return Listed([(config, None) for config in study.space.every()])


def make_proposals(study: Study, searcher: str, samples: int, seed: int) -> Proposals:
    """Return the source of configurations that `--searcher` names; raise StudyError if the study does not suit it."""
    if study.observations and searcher not in LEARNING:
        raise StudyError(f"--warm-start needs a searcher that learns from it, {' or '.join(LEARNING)}, got {searcher}")
    if searcher == "grid":
        return grid(study)
    if searcher == "nsga2" and len(study.goals) < 2:
        raise StudyError("--searcher nsga2 needs a study with several objectives, got one: " + study.metric)
    if not study.searched():
        raise StudyError(f"{study.name}: every hyperparameter is fixed, so there is nothing to search")
    return OptunaProposals(study, searcher, samples, seed)


def decided(log: TrialLog) -> str | None:
    """Return the final status that an unfinished trial has already earned, or None if the trial must keep running.

    A trial that completed without a checkpoint of its last weights trains its last epoch again.
    """
    status = ending(log.last)
    return None if status == COMPLETED and not log.weights_kept else status


class StudySearcher(Searcher):
    """Present a source of configurations to Ray Tune as a searcher, and write the suggestions to the journal.

    Trials whose worker was lost come first, then trials that an earlier process began, each from its last checkpoint
    and under its own number. `slots` returns the number of trials that may run at once; suggestions made further ahead
    would know less than they could.
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
        """Return the number of trials that this process still has to start."""
        return len(self.waiting) + max(0, self.proposals.total - len(self.journal.trials))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.remaining and not self.live:
            return Searcher.FINISHED
        # None, not FINISHED: a running trial must start again if its worker is lost.
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
            return  # interrupted before the trial's weights were kept
        if result is not None and result.get(EPOCH, 0) < max(log.results, default=0):
            return  # interrupted while the trial repeated known epochs
        if status:
            self._end(log, status, log.last.get("diverged"))
        # else interrupted: the next `--resume` continues the trial

    def fail(self, number: int, cause: str, *, again: bool = True, counts: bool = True) -> None:
        """Retry a failed trial from its last checkpoint, or end it if its outcome is known or no retry is left.

        No retry is left if the trial failed MAX_FAILURES + 1 times without a new epoch, or `again` is False. Failures
        that the trial did not cause must come with `counts` False.
        """
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
            # Ray shows a searcher the result that ends a trial only after the trial has ended.
            self.proposals.report(log.number, log.last)
        self.journal.append("end", log.number, status=status, error=error)
        self.proposals.end(log.number, status, log.last)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Journal

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, since the journal holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is resumed from its journal: python -m search.run SPACE --resume")
