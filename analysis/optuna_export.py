"""Export a run as an Optuna study in a SQLite file, for optuna-dashboard and every tool that reads Optuna.

Finished trials become COMPLETE, those stopped early PRUNED with their values by epoch, diverged and failed
ones FAIL; a trial still running is left out, and so is one that has finished without an objective, as a replay
without validation images does. The trial's row (arm, seed, test accuracy, ...) is in its user attributes. The Optuna
study is called STUDY/RUN.
"""

from __future__ import annotations

import argparse
import ast
import math
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import sqlalchemy.exc
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis import cli
from analysis.load import Results, ResultsError
from search.records import COMPLETED, CONFIG, DIVERGED, EPOCH, FAILED, STATUS, STOPPED, TRIAL_ID

STATES = {
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}


class NothingLeftError(ResultsError):
    """A run none of whose ended trials can be exported."""


def distributions(result: Results) -> dict[str, BaseDistribution]:
    """Return the searched hyperparameters and their domains, as study.json has them from Ray Tune.

    A domain is written "(low, high)", with " log" if logarithmic, or as a list of choices. Each domain is widened to
    the values that trials have, since arms may lie outside. Raises ResultsError for a domain written otherwise.
    """
    return {name: _distribution(result, name, text) for name, text in result.record.space.items()}


def _distribution(result: Results, name: str, text: str) -> BaseDistribution:
    try:
        domain = ast.literal_eval(text.removesuffix(" log"))
        column = result.trials[CONFIG + name]
    except (ValueError, SyntaxError):
        raise ResultsError(f"{result.path}: a domain is (low, high) or a list, got {text!r} for {name}") from None
    except KeyError:
        raise ResultsError(f"{result.path}: no trial has a column {CONFIG}{name}") from None
    if isinstance(domain, list):
        known = {*map(str, domain)} | {str(None)}
        seen = [_plain(value) for value in column]
        others = [value for value in seen if value not in domain and str(value) not in known]
        return CategoricalDistribution([*domain, *dict.fromkeys(others)])
    if not (isinstance(domain, tuple) and len(domain) == 2):
        raise ResultsError(f"{result.path}: a domain is (low, high) or a list, got {text!r} for {name}")
    values, declared = column.dropna(), str(result.record.definition.get("space", {}).get(name))
    # A column of whole numbers with gaps, of a conditional hyperparameter, is read as floats.
    whole = pd.api.types.is_integer_dtype(column) or (declared.startswith("integer ") and all(values % 1 == 0))
    # Ray's whole numbers end below the upper bound, except in steps (tune.qrandint).
    stepped = "in steps of" in declared
    low = min([domain[0], *values])
    high = max([domain[1] - 1 if whole and not stepped else domain[1], *values])
    log = text.endswith(" log") and low > 0  # an arm may lie outside, at 0
    if whole:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _plain(value: Any) -> Any:
    """Return a cell as Python has it: None for null, no NumPy scalars."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def parameters(row: dict[str, Any], domains: dict[str, BaseDistribution]) -> dict[str, Any]:
    """Return a trial's searched hyperparameters, less those it does not have; `row` comes from trials.parquet."""
    found: dict[str, Any] = {}
    for name, domain in domains.items():
        value = _plain(row[CONFIG + name])
        if isinstance(domain, CategoricalDistribution):
            # A column of mixed types is kept as text.
            matches = [choice for choice in domain.choices if choice == value or str(choice) == str(value)]
            if value is None and not matches:
                continue
            value = matches[0]
        elif value is None:
            continue
        found[name] = int(value) if isinstance(domain, IntDistribution) else value
    return found


def trial(result: Results, row: dict[str, Any], domains: dict[str, BaseDistribution]) -> FrozenTrial:
    """Return a row of trials.parquet as an Optuna trial."""
    record, state = result.record, STATES[row[STATUS]]
    found = parameters(row, domains)
    epochs = result.epochs[result.epochs[TRIAL_ID] == row[TRIAL_ID]]
    by_epoch = dict(zip(epochs[EPOCH], epochs[record.metric], strict=True)) if record.metric in epochs else {}
    return create_trial(
        state=state,
        values=_values(result, row) if state == TrialState.COMPLETE else None,
        params=found,
        distributions={name: domains[name] for name in found},
        intermediate_values={int(e): float(v) for e, v in by_epoch.items() if math.isfinite(v)},
        user_attrs={
            name: _plain(value) for name, value in row.items() if not name.startswith(CONFIG) and pd.notna(value)
        },
    )


def _values(result: Results, row: dict[str, Any]) -> list[float]:
    return [float(row.get(metric, math.nan)) for metric in result.record.objectives]


def without_objective(result: Results) -> int:
    """Return how many of the run's trials finished without an objective of the study."""
    return sum(row[STATUS] == COMPLETED and not _has_values(result, row) for row in result.trials.to_dict("records"))


def _has_values(result: Results, row: dict[str, Any]) -> bool:
    return all(map(math.isfinite, _values(result, row)))


def exported(result: Results) -> list[FrozenTrial]:
    """Return the run's ended trials as Optuna's, less those that finished without an objective.

    Raises NothingLeftError if these are all, and ResultsError for domains that cannot be read.
    """
    ended = [row for row in result.trials.to_dict("records") if row[STATUS] in STATES]
    kept = [row for row in ended if row[STATUS] != COMPLETED or _has_values(result, row)]
    if ended and not kept:
        raise NothingLeftError(f"{result.path}: no trial to export, {_left_out(result)}")
    domains = distributions(result)
    return [trial(result, row, domains) for row in kept]


def _left_out(result: Results) -> str:
    return f"{without_objective(result)} finished without {', '.join(result.record.objectives)}"


def _name(result: Results) -> str:
    return f"{result.record.study}/{result.record.run}"


def export(
    result: Results, storage: str | optuna.storages.BaseStorage, trials: Sequence[FrozenTrial] | None = None
) -> optuna.Study:
    """Write `result` as a new study into `storage` (Optuna's, or its URL). Raises ResultsError.

    `trials`: what `exported` gives, if it is known.
    """
    trials = exported(result) if trials is None else trials
    goals = {"max": "maximize", "min": "minimize"}
    study = optuna.create_study(
        storage=storage,
        study_name=_name(result),
        directions=[goals[goal] for goal in result.record.objectives.values()],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(result.record.objectives))
    for name in ("question", "source", "dataset", "protocol", "command", "objectives"):
        study.set_user_attr(name, getattr(result.record, name))
    study.add_trials(trials)
    return study


def _storage(file: Path) -> optuna.storages.RDBStorage:
    """Open the file by its path: an address would read "?" and "%41" in its name as something else."""
    connect = partial(sqlite3.connect, file, check_same_thread=False)
    return optuna.storages.RDBStorage("sqlite:///export.db", engine_kwargs={"creator": connect})


def write(results: list[Results], args: argparse.Namespace) -> None:
    if args.output.exists():
        raise ResultsError(f"{args.output} exists: name a new file with -o")
    if not args.output.absolute().parent.is_dir():
        raise ResultsError(f"{args.output.parent}: no such folder")
    places: dict[str, Path] = {}
    for result in results:
        if (first := places.setdefault(_name(result), result.path)) is not result.path:
            raise ResultsError(f"each run must be named once, got {_name(result)} in {first} and in {result.path}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    everything, nothing = [], list[str]()  # read first: no file is left of which a part is missing
    for result in results:
        try:
            everything.append((result, exported(result)))
        except NothingLeftError as error:
            nothing.append(str(error))
    if not everything:
        raise ResultsError(nothing[0])
    for result, trials in everything:
        try:
            study = export(result, _storage(args.output), trials)
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise ResultsError(f"{args.output} cannot be written: {error}") from None
        told = f" ({_left_out(result)}: left out)" if without_objective(result) else ""
        print(f"{args.output}: study {study.study_name}, {len(study.trials)} trials{told}")
    for line in (*args.read, *(f"Not exported: {line}." for line in nothing)):
        print(line, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("optuna_export", __doc__, output="FILE.db")
    return cli.run(options, write, argv)


if __name__ == "__main__":
    sys.exit(main())
