"""Choose the first trials of a search: settings that are known to be good, then points spread over the space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.domains import held, same
from search.study import Study

KNOWN_SHARE = 4  # divisor of a search's trials that bounds those with known settings, unless its study names them
# Hyperparameters that decide how a run is measured, not what is trained.
_PROTOCOL = (
    *("seed", "epochs", "engine", "evaluation", "train_images", "test_images", "validation", "test_every_epoch"),
    *("train_measure", "train_measure_every", "test_augmented"),
)


def first_configs(study: Study) -> list[dict[str, Any]]:
    """Return the searched hyperparameters of a search's first trials.

    The configurations are `study.first` if it is given, else the arms with reported figures that lie in the space: each
    searched value within its domain, every other value as the study fixes it.
    """
    domains = study.searched()
    if study.first is not None:
        return [
            {name: held(domains[name], value) if name in domains else value for name, value in config.items()}
            for config in study.first
        ]
    found: list[dict[str, Any]] = []
    for arm in dict.fromkeys(reported.arm for reported in study.reported):
        config = _within(study, study.arms[arm])
        if config is not None and config not in found:
            found.append(config)
    return found[: max(1, study.samples // KNOWN_SHARE)]


def _within(study: Study, arm: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an arm's values of the searched hyperparameters, or None if the arm lies outside of the space."""
    own = study.configured(study.completed(arm))
    whole = study.space.compose(lambda name, _: own[name])
    try:
        drawn = {name: held(domain, whole[name]) for name, domain in study.searched().items() if name in whole}
    except LookupError:
        return None
    alike = all(same(own[name], value) for name, value in study.configured(whole).items() if name not in _PROTOCOL)
    return drawn if alike else None


def sobol_point(distributions: Mapping[str, BaseDistribution], seed: int, number: int) -> dict[str, Any]:
    """Return point `number` of a Sobol sequence scrambled by `seed`; each prefix of the sequence is spread evenly.

    The point depends on the arguments alone (Sobol 1967; scrambling by Owen 1995).
    """
    from scipy.stats import qmc  # imported while Ray starts, see search.run

    sequence = qmc.Sobol(len(distributions), scramble=True, seed=seed)
    with warnings.catch_warnings():
        # Scipy warns of lengths other than powers of two, since the sequence is balanced only at those.
        warnings.simplefilter("ignore")
        point = sequence.fast_forward(number).random()[0] if number else sequence.random()[0]
    return {
        name: value_at(each, float(share)) for (name, each), share in zip(distributions.items(), point, strict=True)
    }


def value_at(within: BaseDistribution, share: float) -> Any:
    """Return the value of a distribution below which `share` of the distribution lies."""
    if isinstance(within, CategoricalDistribution):
        return within.choices[min(int(share * len(within.choices)), len(within.choices) - 1)]
    assert isinstance(within, IntDistribution | FloatDistribution)
    low, high = within.low, within.high
    if isinstance(within, IntDistribution):
        if within.log:
            low, high = math.log(low - 0.5), math.log(high + 0.5)
            return min(max(round(math.exp(low + share * (high - low))), within.low), within.high)
        steps = (high - low) // within.step + 1
        return int(low + within.step * min(int(share * steps), steps - 1))
    if within.step is not None:
        steps = round((high - low) / within.step) + 1
        return min(low + within.step * min(int(share * steps), steps - 1), high)
    if within.log:
        return min(max(math.exp(math.log(low) + share * math.log(high / low)), low), high)
    return low + share * (high - low)
