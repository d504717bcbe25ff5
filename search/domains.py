"""Convert Ray Tune's search domains: to plain values, to the values that bound each, and to Optuna's distributions."""

from __future__ import annotations

import copy
import math
import warnings
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Normal, Quantized

from search.records import plain

_LARGEST, _SMALLEST = 1e150, 1e-150  # largest end, smallest step: their quotient is still a float
_ON_GRID = 1e-9  # tolerance, in steps, within which an end counts as a multiple of the step


class DomainError(ValueError):
    """Report a domain that cannot be searched, in one line that does not name the hyperparameter."""


def plain_domain(domain: Domain) -> Domain:
    """Return a copy of a domain whose choices, ends and step are Python's own values."""
    domain = copy.copy(domain)
    for name in ("lower", "upper", "categories"):
        if hasattr(domain, name):
            setattr(domain, name, plain(getattr(domain, name)))
    if isinstance(domain.sampler, Quantized):
        domain.sampler = copy.copy(domain.sampler)
        domain.sampler.q = plain(domain.sampler.q)
    return domain


def domain_edges(domain: Any) -> tuple[Any, ...]:
    """Return the values that decide whether a domain is valid: its choices, its two ends, or a fixed value itself.

    The ends are the least and the greatest value that Ray draws; those of a quantized range are multiples of its step.
    Raises DomainError for a domain that holds no value, or that has no counterpart in Optuna.
    """
    if not isinstance(domain, Domain):
        return (domain,)
    _require_searchable(domain)
    if isinstance(domain, Categorical):
        edges = tuple(domain.categories)
        if nested := [each for each in edges if _holds_domain(each)]:
            raise DomainError(
                f"a choice must hold values, got {nested[0]!r:.80}: name each hyperparameter in param_space, and write "
                "those that a choice brings along as when(NAME, VALUE, DOMAIN), from search.study"
            )
    elif (step := _step(domain)) is not None:
        first, last = _multiples(domain, step)
        edges = (_multiple(first, step), _multiple(last, step))
    elif isinstance(domain, Integer):
        edges = (domain.lower, domain.upper - 1)
    else:
        edges = (domain.lower, domain.upper)
    if not edges or (not isinstance(domain, Categorical) and not edges[0] <= edges[1]):
        raise DomainError(f"a domain must hold at least one value, got {_told(domain)}")
    return edges


def distribution(domain: Domain) -> BaseDistribution:
    """Return the Optuna distribution over exactly the values that Ray draws from `domain`. Raises DomainError.

    Ray's own conversion starts a quantized range at its lower end, although Ray draws multiples of the step.
    """
    edges = domain_edges(domain)
    if isinstance(domain, Categorical):
        return CategoricalDistribution(edges)
    low, high = edges
    log, step = isinstance(domain.sampler, LogUniform), _step(domain)
    if isinstance(domain, Integer):
        return IntDistribution(low, high, log=log, step=step or 1)
    if step is None:
        return FloatDistribution(low, high, log=log)
    last = _multiples(domain, step)[1]
    with warnings.catch_warnings():
        # Half a step is added, which Optuna removes with a warning, so that rounding the ends loses no value.
        warnings.simplefilter("ignore")
        return FloatDistribution(low, _multiple(last, step, Decimal("0.5")), step=step)


def on_grid(domain: Domain, value: Any) -> Any:
    """Return a searcher's value as a multiple of the domain's step without the error of computing with floats."""
    step = _step(domain)
    return value if step is None or isinstance(value, int) else _multiple(round(value / step), step)


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a hyperparameter are one value: 0 is 0.0, but neither is False."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def held(domain: Domain, value: Any) -> Any:
    """Return the domain's own value, such as the choice itself, that is the same as `value`.

    Raises LookupError if a searcher may not choose `value`.
    """
    within = distribution(domain)
    if isinstance(within, CategoricalDistribution):
        for choice in within.choices:
            if same(value, choice):
                return choice
        raise LookupError(value)
    assert isinstance(within, IntDistribution | FloatDistribution)
    whole = isinstance(within, IntDistribution)
    if not isinstance(value, int | float) or isinstance(value, bool) or not within.low <= value <= within.high:
        raise LookupError(value)
    if not within._contains(value) or (whole and value != int(value)):
        raise LookupError(value)
    return int(value) if whole else float(value)


def domain_holds(domain: Domain, value: Any) -> bool:
    """Return whether a searcher may choose this value of a domain."""
    try:
        held(domain, value)
    except LookupError:
        return False
    return True


def _holds_domain(value: Any) -> bool:
    """Return whether a value of a choice is a domain, or settings with names of their own."""
    if isinstance(value, list | tuple):
        return any(map(_holds_domain, value))
    return isinstance(value, Domain | dict)


def _require_searchable(domain: Domain) -> None:
    if isinstance(domain, Function):
        raise DomainError(
            "tune.sample_from gives values that no searcher can choose; write the range or the choice that it draws "
            "from (tune.uniform, tune.randint, tune.choice), and compute what follows from other hyperparameters in "
            "the trainable"
        )
    if not isinstance(domain, (Categorical, Float, Integer)):
        raise DomainError(f"a domain must be a choice, a float or an integer range, got {domain!r}")
    sampler = domain.sampler
    if isinstance(sampler, Quantized):
        if isinstance(sampler.sampler, LogUniform):
            raise DomainError(
                f"a logarithmic range must not be quantized, got {_told(domain)}: write tune.choice of its values"
            )
        sampler = sampler.sampler
    if isinstance(sampler, Normal):
        raise DomainError(
            f"a range must have two ends, got a normal distribution (tune.randn) over {domain.domain_str}: write "
            "tune.uniform"
        )
    if isinstance(domain, Categorical):
        return
    ends = (domain.lower, domain.upper)
    kinds = (int,) if isinstance(domain, Integer) else (int, float)
    if not all(type(end) in kinds and -_LARGEST <= end <= _LARGEST for end in ends):
        what = "two whole numbers" if isinstance(domain, Integer) else "two finite numbers"
        raise DomainError(f"a range must have {what} as its ends, got {_told(domain)}")


def _step(domain: Domain) -> Any:
    """Return the step of a quantized range, or None for any other domain. Raises DomainError."""
    if not isinstance(domain.sampler, Quantized):
        return None
    step = domain.sampler.q
    if type(step) is float and isinstance(domain, Integer) and step.is_integer():
        step = int(step)
    kinds = (int,) if isinstance(domain, Integer) else (int, float)
    if type(step) not in kinds or not _SMALLEST < step <= _LARGEST:
        what = "a whole number of at least 1" if isinstance(domain, Integer) else "a number above 0"
        raise DomainError(f"a quantized range needs {what} as its step, got {step!r}")
    return step


def _multiples(domain: Any, step: Any) -> tuple[int, int]:
    """Return the least and the greatest multiple of `step` in a quantized range, counted in steps."""
    if isinstance(domain, Integer):
        # Ray's own rule: only a step of 1 leaves the upper end out.
        first, last = -(-domain.lower // step), (domain.upper - (step == 1)) // step
    else:
        first, last = math.ceil(domain.lower / step - _ON_GRID), math.floor(domain.upper / step + _ON_GRID)
    if first > last:
        raise DomainError(f"a domain must hold at least one value, got {_told(domain)}, without a multiple of {step}")
    return first, last


def _multiple(count: int, step: Any, more: Decimal = Decimal(0)) -> Any:
    """Return `count` + `more` steps without the error of adding up floats: 3 steps of 0.1 are 0.3."""
    if type(step) is int and not more:
        return count * step
    return float(Decimal(repr(step)) * (count + more))


def _told(domain: Any) -> str:
    step = f" in steps of {domain.sampler.q}" if isinstance(domain.sampler, Quantized) else ""
    return f"{domain.domain_str}{step}"
