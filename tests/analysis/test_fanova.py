import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator

from analysis.fanova import DEPTH, TREES, Encoding

DOMAINS = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "members": IntDistribution(1, 12, log=True),
    "decay": CategoricalDistribution(["cosine", "constant", None]),
    "width": IntDistribution(8, 64),
    "idle": FloatDistribution(-1, 1),
}
LOGARITHMIC = ("lr", "members")


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_are_optunas(seed):
    rng = np.random.default_rng(seed)
    settings, values = [], []
    for _ in range(60):
        lr, members = float(10 ** rng.uniform(-4, -1)), int(rng.integers(1, 13))
        decay = ["cosine", "constant", None][rng.integers(3)]
        width = int(rng.integers(8, 65))
        idle = float(rng.uniform(-1, 1))
        settings.append({"lr": lr, "members": members, "decay": decay, "width": width, "idle": idle})
        values.append(math.log(lr) * (decay == "cosine") + math.log(members) + width / 16 + rng.normal(0, 0.1))
    # Optuna takes a logarithmic range by its values, so that it is given the logarithms.
    logs = [{name: math.log(one) if name in LOGARITHMIC else one for name, one in each.items()} for each in settings]
    ranges = {
        name: FloatDistribution(math.log(DOMAINS[name].low), math.log(DOMAINS[name].high)) for name in LOGARITHMIC
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.add_trials(
        optuna.create_trial(params=params, distributions=DOMAINS | ranges, value=value)
        for params, value in zip(logs, values, strict=True)
    )
    theirs = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
    expected = optuna.importance.get_param_importances(study, evaluator=theirs)
    encoding = Encoding.of(dict(sorted(DOMAINS.items())))  # Optuna's order, which its forest's draws follow
    shares = encoding.shares(encoding.encode(settings), np.array(values), seed)
    assert dict(zip(encoding.domains, shares, strict=True)) == pytest.approx(expected, abs=1e-9)
    assert shares.sum() == pytest.approx(1)


def test_values_that_are_all_alike_have_no_shares():
    encoding = Encoding.of(DOMAINS)
    settings = [{"lr": 0.01, "members": k, "decay": None, "width": 8, "idle": 0.0} for k in range(1, 6)]
    assert encoding.shares(encoding.encode(settings), np.ones(5), 0).tolist() == [0, 0, 0, 0, 0]


def test_a_logarithmic_range_counts_as_the_search_draws_from_it():
    rng = np.random.default_rng(0)
    domains = {"lr": FloatDistribution(1e-4, 1e-1, log=True), "dropout": FloatDistribution(0, 1)}
    settings = [{"lr": 10 ** rng.uniform(-4, -1), "dropout": rng.uniform()} for _ in range(100)]
    values = [0.2 if one["lr"] < 3e-4 else 0.6 - 0.1 * one["dropout"] for one in settings]
    encoding = Encoding.of(domains)
    lr, dropout = encoding.shares(encoding.encode(settings), np.array(values), 0)
    assert lr > 0.8 > 0.2 > dropout
