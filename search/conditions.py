"""Declare a hyperparameter that exists only if another has certain values, and compose configurations that obey this.

A space stays flat, as Ray Tune writes it, and names stay those of the trainable's settings, since columns, `--set` and
arms use the same names: a hyperparameter that another one brings along is wrapped in `when`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.search.sample import Categorical, Domain, Integer

from search.domains import DomainError, domain_edges, domain_holds, plain_domain, same
from search.records import plain


@dataclass(frozen=True)
class Condition:
    """Hold the values of a hyperparameter, `name`, that bring another one along."""

    name: str
    values: tuple[Any, ...]

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration has the hyperparameter, with one of the values."""
        return self.name in config and any(same(config[self.name], value) for value in self.values)

    def __str__(self) -> str:
        return f"{self.name} is {' or '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class When:
    """Hold a domain or a fixed value, and the conditions under which the hyperparameter exists: all must hold."""

    conditions: tuple[Condition, ...]
    value: Any


def when(name: str, values: Any, value: Any) -> When:
    """Declare a hyperparameter that exists only if hyperparameter `name` has a value, or one of a list of values.

    `value` is a Ray Tune domain, a fixed value, or another `when`, whose condition must hold too:

        {"optimizer": tune.choice(["sgd", "adam"]), "momentum": when("optimizer", "sgd", tune.uniform(0, 0.99))}
    """
    if isinstance(values, set | frozenset):
        values = sorted(values, key=repr)  # an order that is the same in every process
    values = plain(values)
    listed = isinstance(values, list | tuple | range)
    own = Condition(name, tuple(plain(each) for each in values) if listed else (values,))
    if isinstance(value, When):
        return When((own, *value.conditions), value.value)
    return When((own,), value)


def plain_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search space whose values, choices and ends are Python's own numbers, text and None."""
    return {str(name): _plain(value) for name, value in space.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, When):
        return When(value.conditions, _plain(value.value))
    return plain_domain(value) if isinstance(value, Domain) else plain(value)


def inner(value: Any) -> Any:
    """Return a hyperparameter's domain or fixed value without its conditions."""
    return value.value if isinstance(value, When) else value


def changed(space: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space with other domains or fixed values; a hyperparameter keeps its conditions."""
    kept = {
        name: When(old.conditions, value)
        for name, value in changes.items()
        if isinstance(old := space.get(name), When) and not isinstance(value, When)
    }
    return {**space, **changes, **kept}


def replaced(space: Mapping[str, Any], name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a space in which `change` has replaced each value that hyperparameter `name` has or may choose."""

    def of(value: Any) -> Any:
        if isinstance(value, When):
            return When(value.conditions, of(value.value))
        return tune.choice(once(value.categories)) if isinstance(value, Categorical) else change(value)

    def once(values: Sequence[Any]) -> list[Any]:
        return list(dict.fromkeys(map(change, values)))

    def condition(each: Condition) -> Condition:
        return Condition(name, tuple(once(each.values))) if each.name == name else each

    found = {}
    for each, value in space.items():
        own = of(value) if each == name else value
        found[each] = When(tuple(map(condition, own.conditions)), own.value) if isinstance(own, When) else own
    return found


class Space:
    """Hold a search space by what can become of each hyperparameter.

    fixed       hyperparameter -> value that every configuration has
    searched    hyperparameter -> domain, if some configuration has the hyperparameter
    sometimes   hyperparameter -> value that configurations have if the conditions hold
    conditions  hyperparameter -> its conditions, as far as no fixed value decides them

    A hyperparameter whose conditions a fixed value excludes is in none of them. Raises DomainError, after the
    hyperparameter's name and a colon, for conditions that no configuration can be asked for.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self.fixed: dict[str, Any] = {}
        self.searched: dict[str, Domain] = {}
        self.sometimes: dict[str, Any] = {}
        self.conditions: dict[str, tuple[Condition, ...]] = {}
        excluded: set[str] = set()
        self._order = list(_parents_first(space))
        for name in self._order:
            value = space[name]
            left = value.conditions if isinstance(value, When) else ()
            values = {**self.fixed, **self.sometimes}
            if any(each.name in excluded or (each.name in values and not each.holds(values)) for each in left):
                excluded.add(name)
                continue
            if left := tuple(each for each in left if each.name not in self.fixed):
                self.conditions[name] = left
            if isinstance(own := inner(value), Domain):
                self.searched[name] = own
            else:
                (self.sometimes if left else self.fixed)[name] = own
        # In the order in which the space names them.
        self.searched = {name: self.searched[name] for name in space if name in self.searched}
        self.fixed = {name: self.fixed[name] for name in space if name in self.fixed}
        self._order = [name for name in self._order if name in self.searched or name in self.sometimes]

    @property
    def known(self) -> set[str]:
        """Return the hyperparameters that some configuration has."""
        return {*self.fixed, *self.searched, *self.sometimes}

    def compose(self, pick: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """Return a configuration whose searched values `pick` chooses; it is asked only for those that exist."""
        config = dict(self.fixed)
        for name in self._order:
            if all(each.holds(config) for each in self.conditions.get(name, ())):
                config[name] = pick(name, self.searched[name]) if name in self.searched else self.sometimes[name]
        rest = [name for name in (*self.searched, *self.sometimes) if name in config]
        return {**self.fixed, **{name: config[name] for name in rest}}

    def every(self) -> Iterator[dict[str, Any]]:
        """Yield every configuration of a space whose domains are all choices."""
        made: list[dict[str, Any]] = [{}]
        for name in self._order:
            conditions = self.conditions.get(name, ())
            if name in self.searched:
                domain = self.searched[name]
                assert isinstance(domain, Categorical)
                values = domain.categories
            else:
                values = [self.sometimes[name]]
            grown = []
            for config in made:
                exists = all(each.holds({**self.fixed, **config}) for each in conditions)
                grown += [{**config, name: value} for value in values] if exists else [config]
            made = grown
        for config in made:
            yield self.compose(lambda name, _, config=config: config[name])  # type: ignore[misc]

    def edges(self) -> Iterator[dict[str, Any]]:
        """Yield configurations in which every choice, end of a range and conditional value occurs.

        Raises DomainError.
        """
        first = {name: domain_edges(domain)[0] for name, domain in self.searched.items()}
        yield self.compose(lambda name, _: first[name])
        for name in self._order:
            for value in domain_edges(self.searched.get(name)):  # a conditional value needs only its conditions
                chosen = first | self._bringing(name) | {name: value}
                yield self.compose(lambda each, _, chosen=chosen: chosen[each])  # type: ignore[misc]

    def _bringing(self, name: str) -> dict[str, Any]:
        """Return values of other hyperparameters with which `name` exists."""
        found: dict[str, Any] = {}
        for each in self.conditions.get(name, ()):
            found |= self._bringing(each.name) | {each.name: each.values[0]}
        return found


def _parents_first(space: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a space, each after those that its conditions name. Raises DomainError."""
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise DomainError(f"{name}: a condition must not lead back to itself, got {' -> '.join((*above, name))}")
        if name in done:
            return
        value = space[name]
        for each in value.conditions if isinstance(value, When) else ():
            _require_known(name, each, space)
            visit(each.name, (*above, name))
        done[name] = None

    for name in space:
        visit(name, ())
    return iter(done)


def _require_known(name: str, condition: Condition, space: Mapping[str, Any]) -> None:
    """Raise DomainError unless the condition's hyperparameter is one of the space and can have its values."""
    if not isinstance(condition.name, str) or condition.name not in space:
        raise DomainError(
            f"{name}: when must name another hyperparameter of param_space first, got {condition.name!r:.80}"
        )
    if not condition.values:
        raise DomainError(f"{name}: when needs at least one value of {condition.name}, got none")
    other = inner(space[condition.name])
    for value in condition.values:
        if callable(value):
            raise DomainError(f"{name}: when needs the values of {condition.name} themselves, got {value!r:.80}")
        if not isinstance(other, Domain):
            continue
        if not isinstance(other, Categorical | Integer):
            raise DomainError(
                f"{name}: when needs a choice or a range of whole numbers, got {condition.name}, a continuous range"
            )
        if isinstance(other, Categorical):
            there = any(same(value, choice) for choice in other.categories)
        else:
            there = domain_holds(other, value)
        if not there:
            raise DomainError(f"{name}: when needs values that {condition.name} can have, got {value!r:.80}")
