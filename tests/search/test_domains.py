"""Domains as people write them: NumPy's values in them, steps, and those that cannot be searched."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from ray import tune

from search.conditions import plain_space
from search.domains import DomainError, distribution, domain_edges, domain_holds, held
from search.records import plain
from search.searchers import OptunaProposals
from search.study import Study

QUANTIZED = {
    "whole numbers off the grid": lambda: tune.qrandint(10, 128, 8),
    "whole numbers on it": lambda: tune.qrandint(2, 8, 2),
    "below 0": lambda: tune.qrandint(-7, 7, 3),
    "steps of 1": lambda: tune.qrandint(1, 4, 1),
    "a step as a float": lambda: tune.qrandint(16, 64, 16.0),  # type: ignore[arg-type]
    "tenths": lambda: tune.quniform(0.1, 0.7, 0.1),
    "one value": lambda: tune.quniform(0.5, 0.5, 0.1),
    "small": lambda: tune.quniform(1e-4, 3e-3, 1e-4),
    "thirds": lambda: tune.quniform(0, 1, 1 / 3),
    "of numpy": lambda: tune.quniform(np.float64(0.2), np.float64(0.9), np.float64(0.1)),
}


def drawn(domain: Any) -> list[float]:
    random = np.random.RandomState(0)
    return sorted({round(domain.sample(random_state=random), 9) for _ in range(2000)})


@pytest.mark.parametrize("case", QUANTIZED)
def test_a_searcher_draws_the_values_that_ray_draws(case: str) -> None:
    domain = plain_space({"x": QUANTIZED[case]()})["x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        like = distribution(domain)
    assert isinstance(like, (FloatDistribution, IntDistribution))
    assert like.step is not None
    steps = round((like.high - like.low) / like.step)
    values = [like.low + step * like.step for step in range(steps + 1)]
    assert values == pytest.approx(drawn(domain))
    assert domain_edges(domain) == (like.low, like.high)


@pytest.mark.parametrize("searcher", ["tpe", "random", "gp"])
def test_a_quantized_study_proposes_multiples_without_a_warning(toy: Study, searcher: str) -> None:
    space = {"members": tune.qrandint(10, 128, 8), "quality": tune.quniform(0.1, 0.7, 0.1)}
    study = dataclasses.replace(toy, param_space=space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proposals = OptunaProposals(study, searcher, 20, seed=1)
        configs = [proposals.propose(number)[0] for number in range(20)]
    assert {config["members"] % 8 for config in configs} == {0}
    assert all(config["quality"] == round(config["quality"], 1) for config in configs)
    assert len({config["members"] for config in configs}) > 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.qrandint(10, 12, 8), ["at least one value", "(10, 12)", "multiple of 8"]),
        (lambda: tune.qrandint(1, 9, -2), ["step", "-2"]),
        (lambda: tune.qrandint(1, 9, 2.5), ["step", "whole number", "2.5"]),
        (lambda: tune.qrandint(1, 9, 0), ["step", "got 0"]),
        (lambda: tune.randn(0, 1), ["two ends", "tune.uniform"]),
        (lambda: tune.qrandn(0, 1, 0.1), ["two ends", "tune.uniform"]),
        (lambda: tune.uniform(0, 10**400), ["two finite numbers"]),
        (lambda: tune.randint(1, 4.5), ["two whole numbers", "4.5"]),
        (lambda: tune.randint(4, 4), ["at least one value", "(4, 4)"]),
        (lambda: tune.qloguniform(0.1, 1, 0.1), ["logarithmic", "quantized", "tune.choice"]),
        (lambda: tune.sample_from(lambda spec: 1), ["tune.sample_from", "tune.uniform", "tune.choice", "trainable"]),
    ],
)
def test_a_domain_that_cannot_be_searched_says_what_to_write(make: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(DomainError) as caught:
        distribution(make())
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("domain", "value", "own"),
    [
        (tune.choice([0, 0.2]), 0.0, 0),
        (tune.choice([0.0, 1.0]), 1, 1.0),
        (tune.choice([False, 0]), 0, 0),
        (tune.choice([None, "none"]), "none", "none"),
        (tune.randint(1, 9), 4.0, 4),
        (tune.qrandint(8, 64, 8), 16.0, 16),
        (tune.uniform(0, 1), 1, 1.0),
    ],
)
def test_a_domain_holds_what_is_worth_one_of_its_values_and_gives_its_own(domain: Any, value: Any, own: Any) -> None:
    assert domain_holds(domain, value)
    assert (held(domain, value), type(held(domain, value))) == (own, type(own))


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (tune.choice([0, 1]), False),
        (tune.choice([True, False]), 1),
        (tune.choice(["1", None]), 1),
        (tune.randint(1, 9), 4.5),
        (tune.randint(1, 9), 9.0),
        (tune.randint(1, 9), True),
        (tune.randint(1, 9), float("nan")),
        (tune.uniform(0, 1), float("nan")),
        pytest.param(tune.uniform(0, 1), 10**400, id="too large for a float"),
        pytest.param(tune.quniform(0, 1, 0.25), 10**400, id="too large for a step"),
        (tune.qrandint(8, 64, 8), 12.0),
    ],
)
def test_a_domain_holds_no_other_value(domain: Any, value: Any) -> None:
    assert not domain_holds(domain, value)


NUMPY: dict[str, dict[str, Any]] = {
    "scalars": {"lr": np.float64(0.001), "members": np.int64(2), "switch": np.bool_(True), "fate": np.str_("well")},
    "half and single precision": {"lr": np.float32(0.5), "quality": np.float16(0.25), "members": np.uint8(3)},
    "long double": {"lr": np.longdouble(0.5)},
    "arrays without a dimension": {"lr": np.array(0.001), "members": np.array(2)},
    "tensors": {"lr": torch.tensor(0.5), "members": torch.tensor(2)},
    "choices of an array": {"lr": tune.choice(np.geomspace(1e-3, 1e-1, 5)), "members": tune.choice(np.arange(1, 4))},
    "choices of tensors": {"lr": tune.choice(torch.linspace(0.1, 1, 3))},
    "a mixed choice": {"switch": tune.choice([None, np.bool_(True)]), "members": tune.choice([np.int32(1), 2])},
    "ends": {
        "lr": tune.loguniform(np.float64(1e-4), np.float32(0.5)),
        "members": tune.randint(np.int64(1), np.int64(9)),
    },
    "steps": {"members": tune.qrandint(np.int64(10), np.int64(128), np.int64(8))},
}


def kinds(value: Any) -> set[type]:
    if isinstance(value, dict):
        return set().union(*map(kinds, value.values()))
    return {type(value)}


@pytest.mark.parametrize("case", NUMPY)
def test_numpy_values_become_plain_wherever_a_space_is_written(toy: Study, case: str) -> None:
    written = NUMPY[case]
    fixed = {name: value for name, value in written.items() if not isinstance(value, tune.search.sample.Domain)}
    smaller = dataclasses.replace(toy, param_space={**written, "weight_decay": tune.uniform(0, 1)}, arms={"one": fixed})
    for study in (smaller, toy.with_fixed(written), dataclasses.replace(toy, smoke=written).as_smoke()):
        proposals = OptunaProposals(study, "random", 8, seed=0)
        configs = [proposals.propose(number)[0] for number in range(8)]
        assert kinds({str(n): config for n, config in enumerate(configs)}) <= {int, float, bool, str, type(None)}
        json.dumps([configs, study.fixed(), dict(study.arms)])  # as journal and record hold them
        assert "np." not in "".join(domain.domain_str for domain in study.searched().values())
    assert kinds(dict(smaller.arms)) <= {int, float, bool, str, dict, type(None)}


def test_numpy_counts_of_a_study_become_plain(toy: Study) -> None:
    study = dataclasses.replace(toy, epochs=np.int64(4), samples=np.int32(6), smoke={"samples": np.int64(3)})
    assert (type(study.epochs), type(study.samples), type(study.as_smoke().samples)) == (int, int, int)


def test_plain_values_keep_what_they_are_worth() -> None:
    assert plain(np.geomspace(1e-3, 1e-1, 3)) == pytest.approx([0.001, 0.01, 0.1])
    assert plain({np.str_("a"): (np.int8(1), [np.float64(0.1)])}) == {"a": (1, [0.1])}
    text, nothing = "none", None
    assert plain(text) is text
    assert plain(nothing) is None
