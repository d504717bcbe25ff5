"""Keep trials as event files of TensorBoard, one whole curve a trial; Ray's own repeat epochs after a crash."""

import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from search.log_writer import Log, Logged


class TensorBoardLog(Log):
    def __init__(self, folder: Path, study: str) -> None:
        self.runs, self.folder, self.where = {}, folder, f"tensorboard --logdir {folder}"
        self.begun: set[str] = set()

    def write(self, trial: Logged) -> None:
        place = self.folder / trial.study / trial.run / trial.name
        if trial.key not in self.begun:
            shutil.rmtree(place, ignore_errors=True)  # an earlier process's curve: the journal holds it whole
            self.begun.add(trial.key)
        if (writer := self.runs.get(trial.key)) is None:
            writer = self.runs[trial.key] = SummaryWriter(str(place))
        for epoch, row in trial.rows.items():
            for name, value in row.items():
                writer.add_scalar(name, value, epoch, walltime=trial.times[epoch])
        writer.flush()
        if trial.status:
            writer.add_text("trial", f"{trial.status}: {dict(trial.config)} {dict(trial.tags)}")
            self.runs.pop(trial.key).close()

    def close(self) -> None:
        for writer in self.runs.values():
            writer.close()
