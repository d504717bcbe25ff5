"""The folders of a study's runs: making a new one, named by the time, and finding the newest."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from search.failures import UsageError
from search.records import RUN_NAME, STUDY_FILE, StudyRecord, run_order


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


def newest_run(results: Path, study: str, *, smoke_only: bool, finished: bool) -> tuple[Path, StudyRecord]:
    """Return the newest run of the study, with `finished` also a finished one. Raises UsageError if there is none."""
    found = []
    for folder in (results / study).glob("*/"):
        path = folder / STUDY_FILE
        if path.is_file():
            found.append((folder, StudyRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))))
    for folder, record in sorted(found, key=lambda run: run_order(run[0].name, run[1]), reverse=True):
        if (finished or not record.finished) and (record.smoke or not smoke_only):
            return folder, record
    if finished:
        raise UsageError(f"--extend needs a run of {study}, got none in {results / study}: start one without it")
    raise UsageError(
        f"--resume needs an unfinished run of {study}, got none in {results / study}: start one without it"
    )
