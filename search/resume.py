"""Check that a run may be resumed: it needs the same study, its own journal, and trials that the study can have."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search.definition import define, define_space, differences, without_seed
from search.events import EventError, TrialLog, check_measured
from search.failures import UsageError
from search.journal import JOURNAL_FILE, Journal, JournalError
from search.provenance import domain_name
from search.records import STUDY_FILE, StudyRecord
from search.searchers import Proposals, RecallError
from search.set_order import OtherOrderLoader
from search.study import Study, StudyError, load

MOST_TOLD = 3
# Settings of searches whose record lacks them, because they began before these were recorded.
_BEFORE: dict[str, Any] = {"grace_epochs": 1, "reduction_factor": 3, "initial_design": "random", "first": []}
_DECIDES = "and a run continues only as it began: change the study back, or begin a new run"


def require_there(folder: Path) -> None:
    """Raise JournalError if a run has no journal: its tables can be read, but its trials cannot be continued."""
    if not (folder / JOURNAL_FILE).exists():
        raise JournalError(
            f"{folder} has no {JOURNAL_FILE}: its tables can be read, but the run cannot be resumed; begin a new run"
        )


def as_recorded(study: Study, record: StudyRecord) -> Study:
    """Return the study with the defaults that held when the run began, and with its hyperparameters and objectives in
    their order, which decides what a searcher proposes.

    Raises StudyError if the study's space is another than the run's, so that what the run knew does not lie in it.
    """
    held = {**_BEFORE, **record.definition}
    changes = {name: held[name] for name in _BEFORE if getattr(study, name) is None}
    changes |= {
        "param_space": _in_order(study.param_space, record.space),
        "objectives": _in_order(study.objectives, record.objectives),
        "observations": held.get("observations", ()),
    }
    try:
        return dataclasses.replace(study, **changes)
    except StudyError:
        now = {name: value for name, value in define_space(study).items() if name in held}
        for found in differences({name: held[name] for name in now}, now):
            raise StudyError(f"{record.study}/{record.run} was begun with another study: {found}, {_DECIDES}") from None
        raise


def with_weights_in(record: StudyRecord, folder: Path) -> StudyRecord:
    """Return the record of a run with --weights, whose folder has been moved to `folder`, with its new path.

    The path stands in the definition and in each arm: a moved folder makes no other study.
    """
    old, new = record.options.get("weights"), str(folder.absolute())
    if not isinstance(old, str) or old == new:
        return record

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: moved(item) for name, item in value.items()}
        if isinstance(value, list):
            return [moved(item) for item in value]
        # A domain's text has the path in quotes.
        return new if value == old else value.replace(repr(old), repr(new)) if isinstance(value, str) else value

    changes = {name: moved(getattr(record, name)) for name in ("arms", "fixed", "space", "definition")}
    return dataclasses.replace(record, options={**record.options, "weights": new}, **changes)


def find_weights(logs: Iterable[TrialLog], record: StudyRecord) -> None:
    """Give the trials of a run with --weights the folder that its record names, where they were begun with another."""
    for log in logs:
        if record.options.get("weights") and log.config.get("weights", "random") != "random":
            log.config["weights"] = record.options["weights"]


def _in_order(values: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """Return a mapping in which the names that are in `order` follow each other in that order, in their places."""
    listed = iter([name for name in order if name in values])
    known = set(order)
    names = [next(listed) if name in known else name for name in values]
    return {name: values[name] for name in names}


def require_same(record: StudyRecord, folder: Path, study: Study, space: Path, *, samples: int, seed: int) -> None:
    """Raise UsageError unless `study`, with `samples` trials in all, is the study that the run in `folder` began with.

    An extended run may have more trials than it began with: `record.samples` is their number.
    """
    now = define(study, space, samples=samples, seed=seed)
    then = {**_BEFORE, **record.definition, "samples": record.samples} if record.definition else _old(record, now)
    # Before 2026-11-30 an arm kept the seed that its note prints.
    if "arms" in then:
        then["arms"] = {arm: without_seed(config) for arm, config in then["arms"].items()}
    # A run is held only to the versions that its record states.
    now["versions"] = {name: held for name, held in now["versions"].items() if name in then.get("versions", {})}
    if not record.definition:
        now = {**now, "space": {name: domain_name(domain) for name, domain in study.searched().items()}}
        now = {name: value for name, value in now.items() if name in then}
    found = list(itertools.islice(differences(then, now), MOST_TOLD + 1))
    if not found:
        return
    more = "" if len(found) <= MOST_TOLD else "; and more"
    commit = f" (it began on commit {record.commit[:12]})" if record.commit and any("code" in f for f in found) else ""
    raise UsageError(f"{folder} was begun with another study: {'; '.join(found[:MOST_TOLD])}{more}{commit}, {_DECIDES}")


def _old(record: StudyRecord, now: dict[str, Any]) -> dict[str, Any]:
    """Return what a record written before there were definitions says of its run."""
    kept = {
        "dataset": record.dataset,
        "epochs": record.epochs,
        "samples": record.samples,
        "metric": record.metric,
        "mode": record.mode,
        "objectives": {name: mode for name, mode in record.objectives.items() if name != record.metric},
        "searcher": record.searcher,
        "scheduler": record.scheduler,
        "seed": record.seed,
        "trainable": record.trainable,
    }
    # A run is held only to what its record states.
    tables = {"space": record.space, "constants": record.fixed, "arms": record.arms}
    versions = {name: record.versions[name] for name in now["versions"] if name in record.versions}
    return kept | {name: held for name, held in tables.items() if held} | {"versions": versions}


def require_settled(study: Study, space: Path) -> None:
    """Raise StudyError if the space file declares another study each time that it is read, or in each process."""

    def changes(again: Study) -> Iterator[str]:
        one, other = (define(each, space, samples=each.samples, seed=0) for each in (study, again))
        return differences(one, other)

    for by_order in changes(load(space, OtherOrderLoader)):
        for found in changes(load(space)):
            raise StudyError(
                f"{space}: {found} when the file is read again, so a run could not be resumed: write the value itself"
            )
        raise StudyError(
            f"{space}: {by_order} in another process, since a set of text has another order in each, so a run could "
            "not be resumed: write a list"
        )


def require_journal(journal: Journal, record: StudyRecord, study: Study, proposals: Proposals) -> None:
    """Raise JournalError unless the journal belongs to the run and holds only trials that the study can have.

    `proposals` learns these trials, so the caller must not use it again.
    """
    folder = journal.path.parent
    if record.journal and journal.id != record.journal:
        raise JournalError(
            f"{journal.path} is not the journal that {folder / STUDY_FILE} names: one of the two files belongs to "
            "another run"
        )
    if not record.journal and not journal.trials and (rows := _rows(journal)):
        raise JournalError(
            f"{journal.path} holds no trial, but the tables beside it hold {rows}: they belong to different runs"
        )
    if len(journal.trials) > proposals.total:
        raise JournalError(
            f"{journal.path} holds {len(journal.trials)} trials, more than the {proposals.total} of the study"
        )
    for number, log in sorted(journal.trials.items()):
        try:
            study.settings(log.config)
            for result in log.results.values():
                check_measured(result, study.metrics)
            proposals.recall(log)
        except (EventError, RecallError, ValueError) as error:
            raise JournalError(f"{journal.path}: trial {number} does not fit the study: {error}") from None


def _rows(journal: Journal) -> int:
    try:
        return int(pq.read_metadata(pa.BufferReader(journal.disk.read("trials.parquet"))).num_rows)
    except (OSError, pa.ArrowException):
        return 0
