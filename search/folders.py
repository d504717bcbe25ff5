"""The folders of a study's runs: a new one, named by the time, and the newest."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from search.options import UsageError
from search.records import STUDY_FILE, StudyRecord

RUN_NAME = "%Y%m%d-%H%M%S"


def check_writable(folder: Path) -> None:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"--results must be a folder that can be written, got {folder}")


def new_folder(results: Path, study: str, smoke: bool) -> Path:
    """A folder named by the time, and after every run there is: the newest has the last name, also where the
    clock was set back. Raises UsageError."""
    runs = [stamp for folder in (results / study).glob("*/") if (stamp := _stamp(folder.name))]
    second = datetime.timedelta(seconds=1)
    when = max([datetime.datetime.now(), *(run + second for run in runs)])
    while True:
        folder = results / study / (when.strftime(RUN_NAME) + ("-smoke" if smoke else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            when += second
            continue
        except OSError as error:
            raise UsageError(
                f"--results must be a folder that can be written, got {results}: {error.strerror}"
            ) from None
        return folder


def _stamp(name: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime("-".join(name.split("-")[:2]), RUN_NAME)
    except ValueError:
        return None


def newest_run(results: Path, study: str, *, smoke_only: bool, finished: bool) -> tuple[Path, StudyRecord]:
    """The newest run of the study, of those that have trials to go unless `finished`. Raises UsageError."""
    for folder in sorted((results / study).glob("*/"), reverse=True):
        path = folder / STUDY_FILE
        if not path.is_file():
            continue
        record = StudyRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if (finished or not record.finished) and (record.smoke or not smoke_only):
            return folder, record
    if finished:
        raise UsageError(f"--extend: no run of {study} in {results / study}")
    raise UsageError(f"--resume: no unfinished run of {study} in {results / study}")
