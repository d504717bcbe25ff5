"""Keep trials as runs of Trackio, in TRACKIO_DIR or in the results folder; `trackio show` plots them."""

import datetime
import os
from pathlib import Path

from search.log_writer import Log, Logged


class TrackioLog(Log):
    def __init__(self, folder: Path, study: str) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder))  # read when trackio is imported
        from trackio import TRACKIO_DIR, SQLiteStorage

        self.runs, self.storage, self.project = {}, SQLiteStorage, study
        self.where = f"TRACKIO_DIR={TRACKIO_DIR} trackio show --project {study}"

    def write(self, trial: Logged) -> None:
        # The status is written with a row, and a row whose id is there is left out.
        rows = trial.rows or self.runs.get(trial.key, {})
        times = [datetime.datetime.fromtimestamp(trial.times[epoch], datetime.UTC).isoformat() for epoch in rows]
        self.storage.bulk_log(
            self.project,
            trial.name,
            [dict(row) for row in rows.values()],
            steps=list(rows),
            timestamps=times,
            config={**trial.config, **trial.tags, "status": trial.status or "running"},
            log_ids=[f"{trial.key}-{epoch}" for epoch in rows],
            run_id=trial.key,
        )
        self.runs[trial.key] = {epoch: rows[epoch] for epoch in list(rows)[-1:]}
