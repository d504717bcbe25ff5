"""Syne Tune's recommended default, CQR with ASHA, as a process that is asked for configurations line by line.

Runs in an environment of its own, with nothing of this project: its bounds on pandas and others are not ours
(`uv venv DIR && uv pip install syne-tune`). tests.benchmarks.ways asks.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings

import numpy as np
import sklearn
import sklearn._loss.loss
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHACQR


def domain(given):
    if "choice" in given:
        return choice(given["choice"])
    whole = isinstance(given["low"], int)
    kind = (lograndint if whole else loguniform) if given["log"] else (randint if whole else uniform)
    return kind(given["low"], given["high"])


def leaf_quantile(values, weights, percentage):
    """scikit-learn's, to the bit, for the weights of 1 that boosting has here; it takes most of the time of a fit."""
    assert (weights == 1).all()
    place = int(np.searchsorted(np.arange(1.0, len(values) + 1), percentage / 100 * len(values)))
    return np.sort(values)[min(place, len(values) - 1)]


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    sklearn._loss.loss._weighted_percentile = leaf_quantile
    answers, sys.stdout = sys.stdout, sys.stderr
    scheduler, trials = None, {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer = None
        if "space" in asked:
            np.random.seed(asked["seed"])
            scheduler = ASHACQR(
                {name: domain(each) for name, each in asked["space"].items()},
                metric="accuracy",
                time_attr="epoch",
                max_t=asked["epochs"],
                do_minimize=False,
                random_seed=asked["seed"],
            )
            epochs = asked["epochs"]
        elif "begin" in asked:
            answer = scheduler.suggest().config
            trials[asked["begin"]] = trial = Trial(asked["begin"], answer, None)
            scheduler.on_trial_add(trial)
        else:
            result = {"accuracy": asked["accuracy"], "epoch": asked["epoch"]}
            trial = trials[asked["result"]]
            if asked["epoch"] == epochs:
                scheduler.on_trial_complete(trial, result)
                answer = True
            else:
                answer = scheduler.on_trial_result(trial, result) == "STOP"
                if answer:
                    scheduler.on_trial_remove(trial)
        print(json.dumps(answer, default=lambda value: value.item()), file=answers, flush=True)


if __name__ == "__main__":
    main()
