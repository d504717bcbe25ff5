"""Write the file that leads Prometheus to a run's metrics, beside ready-made files for Prometheus and Grafana.

All runs of one results folder share `RESULTS/.monitoring/`, each with a file of its own that is removed when the run
ends; Ray's own list of targets, one file for all of a user's runs, holds the newest alone.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.cluster import metrics_addresses, session_folder
from search.disk import Disk

FOLDER = ".monitoring"
TARGETS = f"{FOLDER}/targets"
DASHBOARDS = f"{FOLDER}/grafana/dashboards"
SHIPPED = Path(__file__).parent / "monitoring"
LOOK_SECONDS = 10.0  # time between two looks for nodes that joined late


class Targets(Callback):
    """Name the addresses of a run's metrics in RESULTS/.monitoring/targets/, late nodes included."""

    def __init__(self, results: Path, study: str, run: str) -> None:
        self.disk = Disk(results)
        self.name = f"{TARGETS}/{study}.{run}.json"
        self.written: list[str] = []
        self.copied: set[str] = set()
        self.looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see search.journal.Journal

    def write(self) -> None:
        """Write the run's targets, and the shipped files if they differ; print a line if they cannot be written."""
        try:
            self._look()
            for path in sorted(SHIPPED.rglob("*")):
                if path.is_file():
                    self._copy(path, f"{FOLDER}/{path.relative_to(SHIPPED).as_posix()}")
        except OSError as error:  # the folder may be another user's, with whom this one shares the results
            where = self.disk.folder / FOLDER
            print(f"note       Prometheus may not find this run: {where} cannot be written: {error.strerror}")

    def _look(self) -> None:
        found = metrics_addresses()
        if found != self.written:
            self._make_folder(TARGETS)
            self.disk.write(self.name, json.dumps([{"targets": found}]).encode())
            self.written = found
        session = session_folder()
        for path in session.glob("metrics/grafana/dashboards/default_*.json") if session else ():
            self._copy(path, f"{DASHBOARDS}/ray_{path.name}")

    def _copy(self, path: Path, name: str) -> None:
        if name in self.copied:
            return
        content = path.read_bytes()
        if not (self.disk.is_file(name) and self.disk.read(name) == content):
            self._make_folder(name.rpartition("/")[0])
            self.disk.write(name, content)
        self.copied.add(name)

    def _make_folder(self, name: str) -> None:
        if not self.disk.is_folder(name):
            if "/" in name:
                self._make_folder(name.rpartition("/")[0])
            self.disk.make_folder(name)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if time.monotonic() - self.looked > LOOK_SECONDS:
            with contextlib.suppress(OSError):  # the journal reports a folder that is gone or full
                self._look()
            self.looked = time.monotonic()

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.disk.remove(self.name)
