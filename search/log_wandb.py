"""Keep trials as runs of Weights & Biases; without an account on this machine offline, for `wandb sync`."""

import os
import shutil
from pathlib import Path
from typing import Any

import wandb

from search.log_writer import Log, Logged


class WandbLog(Log):
    def __init__(self, folder: Path, study: str) -> None:
        self.runs, self.folder = {}, Path(os.environ.get("WANDB_DIR") or folder)
        self.project = os.environ.get("WANDB_PROJECT") or study
        self.mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self.where = f"{self.mode}, project {self.project}, files in {self.folder / 'wandb'}"

    def write(self, trial: Logged) -> None:
        if (run := self.runs.get(trial.key)) is None:
            for begun in (self.folder / "wandb").glob(f"offline-run-*-{trial.key}"):
                shutil.rmtree(begun)  # an earlier process's: the whole trial is written again
            how = wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True)
            how = how.model_copy(update={"mode": self.mode, "run_group": trial.run, "run_name": trial.name})
            about: dict[str, Any] = {"project": self.project, "id": trial.key, "dir": str(self.folder)}
            about |= {"config": dict(trial.config), "settings": how, "resume": "allow", "reinit": "create_new"}
            self.runs[trial.key] = run = wandb.init(**about)
        for epoch, row in trial.rows.items():
            run.log(dict(row), step=epoch)  # a server leaves out steps that it has
        if trial.status:
            run.summary.update({**trial.tags, "status": trial.status})
            self.runs.pop(trial.key).finish(exit_code=int(trial.status in ("diverged", "failed")))

    def close(self) -> None:
        for run in self.runs.values():
            run.finish()
        wandb.teardown()  # returns when all is on the disk
