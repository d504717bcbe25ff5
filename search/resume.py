"""Whether a run may be gone on with: the same study, its own journal, and trials that the study can have."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search.definition import define, differences
from search.events import EventError, check_measured
from search.journal import JOURNAL_FILE, Journal, JournalError
from search.options import UsageError
from search.provenance import domain_name
from search.records import STUDY_FILE, StudyRecord
from search.searchers import Proposals, RecallError
from search.study import Study, StudyError, load

MOST_TOLD = 3
_DECIDES = "and a run goes on only as it began: put it back, or begin a new run"


def require_there(folder: Path) -> None:
    """Raise JournalError if a run has no journal: what is in its tables can be read, but no trial gone on with."""
    if not (folder / JOURNAL_FILE).exists():
        raise JournalError(
            f"{folder} has no {JOURNAL_FILE}: its tables can be read, but it cannot be gone on with; begin a new run"
        )


def require_same(record: StudyRecord, folder: Path, study: Study, space: Path, *, samples: int, seed: int) -> None:
    """Raise UsageError unless `study`, with `samples` trials in all, is what the run in `folder` was begun with.

    A run that is extended may have more trials than it began with: `record.samples` says how many then.
    """
    now = define(study, space, samples=samples, seed=seed)
    then = {**record.definition, "samples": record.samples} if record.definition else _old(record, now)
    if not record.definition:
        now = {**now, "space": {name: domain_name(domain) for name, domain in study.searched().items()}}
        now = {name: value for name, value in now.items() if name in then}
        now["versions"] = {name: value for name, value in now["versions"].items() if name in then["versions"]}
    found = list(itertools.islice(differences(then, now), MOST_TOLD + 1))
    if not found:
        return
    more = "" if len(found) <= MOST_TOLD else "; and more"
    commit = f" (it began on commit {record.commit[:12]})" if record.commit and any("code" in f for f in found) else ""
    raise UsageError(f"{folder} was begun with another study: {'; '.join(found[:MOST_TOLD])}{more}{commit}, {_DECIDES}")


def _old(record: StudyRecord, now: dict[str, Any]) -> dict[str, Any]:
    """What a record of before there were definitions says of its run."""
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
    # What it left out it does not hold the run to.
    tables = {"space": record.space, "constants": record.fixed, "arms": record.arms}
    versions = {name: record.versions[name] for name in now["versions"] if name in record.versions}
    return kept | {name: held for name, held in tables.items() if held} | {"versions": versions}


def require_settled(study: Study, space: Path) -> None:
    """Raise StudyError if the space file says something else each time that it is read."""
    once, again = (define(each, space, samples=each.samples, seed=0) for each in (study, load(space)))
    for found in differences(once, again):
        raise StudyError(
            f"{space}: {found} when the file is read again: a run could not be gone on with, write the value itself"
        )


def require_journal(journal: Journal, record: StudyRecord, study: Study, proposals: Proposals) -> None:
    """Raise JournalError unless the journal is that of the run, and holds trials that the study can have.

    `proposals` learn them on the way, and are of no further use.
    """
    folder = journal.path.parent
    if record.journal and journal.id != record.journal:
        raise JournalError(f"{journal.path} is not the journal that {folder / STUDY_FILE} names: one is another run's")
    if not record.journal and not journal.trials and (rows := _rows(journal)):
        raise JournalError(f"{journal.path} holds no trial, and the tables beside it hold {rows}: it is not their own")
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
