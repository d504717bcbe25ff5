"""Keep trials as runs of MLflow, at MLFLOW_TRACKING_URI or in a database of the results folder."""

import logging
import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from search.log_writer import Log, Logged

KEY = "search.trial"  # tag by which a later process finds a trial's run
STATUS = {"running": "RUNNING", "completed": "FINISHED", "stopped": "KILLED", "diverged": "FAILED", "failed": "FAILED"}


class MLflowLog(Log):
    def __init__(self, folder: Path, study: str) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.runs, self.where = {}, os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        # No model is registered; without a registry's address mlflow-skinny would refuse a database.
        self.client = MlflowClient(self.where, registry_uri="http://127.0.0.1")
        found = self.client.get_experiment_by_name(study)
        self.experiment = found.experiment_id if found else self.client.create_experiment(study)

    def write(self, trial: Logged) -> None:
        if (run_id := self.runs.get(trial.key)) is None:
            found = self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{trial.key}'", max_results=1)
            if found and trial.status and found[0].data.tags.get("status") == trial.status:
                return  # an earlier process wrote all of it
            for begun in found:  # its process was killed: the whole trial is written again
                self.client.delete_run(begun.info.run_id)
            run = self.client.create_run(self.experiment, tags={KEY: trial.key}, run_name=trial.name)
            self.runs[trial.key] = run_id = run.info.run_id
            self.client.log_batch(run_id, params=[Param(name, str(value)) for name, value in trial.config.items()])
        for epoch, row in trial.rows.items():
            time = round(1000 * trial.times[epoch])
            self.client.log_batch(run_id, [Metric(name, value, time, epoch) for name, value in row.items()])
        status = trial.status or "running"
        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in {**trial.tags, "status": status}.items()])
        self.client.update_run(run_id, STATUS[status])
