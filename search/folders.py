"""The folders of a study's runs: making a new one, named by the time, and finding the newest."""

from __future__ import annotations

import datetime
import operator
import os
from pathlib import Path

from search.failures import UsageError
from search.records import RUN_NAME, STUDY_FILE, RecordError, StudyRecord, run_order


def check_writable(folder: Path) -> None:
    """Raise UsageError unless `folder` can be written, or made."""
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise not_writable(folder, error) from None
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"--results must be a folder that can be written, got {folder}")


def not_writable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"--results must be a folder that can be written, got {folder}: {error.strerror}")


def new_folder(results: Path, study: str, smoke: bool) -> Path:
    """Make a run's folder, named by the time and sorted after every existing run (`search.records.run_order`).

    Raises UsageError if it cannot be made.
    """
    while True:
        folder = results / study / (_next_name(results / study) + ("-smoke" if smoke else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.exists():  # the name of a parent folder belongs to something that is no folder
                raise UsageError(f"--results must be a folder that can be written, got {results}") from None
            continue
        except OSError as error:
            raise not_writable(results, error) from None
        return folder


def _next_name(study: Path) -> str:
    now = datetime.datetime.now().strftime(RUN_NAME)
    last = max((order for folder in study.glob("*") if (order := run_order(folder.name))[0]), default=("", 0, ""))
    if now > last[0]:
        return now
    try:
        return (datetime.datetime.strptime(last[0], RUN_NAME) + datetime.timedelta(seconds=1)).strftime(RUN_NAME)
    except OverflowError:  # the last second of the calendar is taken
        return f"{last[0]}-{last[1] + 1}"


def read_record(path: Path) -> StudyRecord:
    """Return the record in the file `path`. Raises RecordError if it cannot be read, FileNotFoundError without one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise
    except OSError as error:  # in a folder of results that several users share, a run may be another's
        raise RecordError(f"{path} cannot be read: {error.strerror}") from None
    return StudyRecord.from_json(text, str(path))


def newest_run(results: Path, study: str, *, smoke_only: bool, finished: bool) -> tuple[Path, StudyRecord]:
    """Return the newest run of the study, with `finished` also a finished one; a smoke run if there is no other.

    Raises UsageError if there is none, and RecordError if no newer run can be read.
    """
    found: list[tuple[bool, tuple[str, int, str], Path, StudyRecord | RecordError]] = []
    for folder in (results / study).glob("*/"):
        path = folder / STUDY_FILE
        try:
            record = read_record(path)
        except FileNotFoundError:
            continue
        except RecordError as error:
            smoke = folder.name.endswith("-smoke")
            found += [(not smoke, run_order(folder.name), folder, error)] if smoke or not smoke_only else []
            continue
        if (finished or not record.finished) and (record.smoke or not smoke_only):
            found.append((not record.smoke, run_order(folder.name, record), folder, record))
    if not found:
        option = "--extend needs a run" if finished else "--resume needs an unfinished run"
        raise UsageError(f"{option} of {study}, got none in {results / study}: start one without it")
    *_, folder, newest = max(found, key=operator.itemgetter(0, 1))
    if isinstance(newest, RecordError):
        raise newest
    return folder, newest
