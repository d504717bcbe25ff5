"""Read a run's folder from Python: its tables, its best trial, and the best model, ready to label pictures."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from analysis import figures, load, pareto
from search.definition import BOUND, CALLER, SPACE_CODE, code
from search.journal import JOURNAL_FILE, JournalError, read
from search.records import COMPLETED, CONFIG, EPOCH, NO_DATA, STATUS, TRIAL_ID, StudyRecord, own_code, run_order
from search.study import Study, StudyError
from search.study import load as load_space

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from trainables.predictor import Predictor

BEST_FILE = "best.pt"
COMMAND = "python -m search.run "
LABEL, PROBABILITY = "label", "probability"


class ResultsError(ValueError):
    """Results that cannot answer what was asked; the message is one line."""


class Results:
    """Hold what one run measured, read from its folder.

    `folder` is the run's folder, or a folder above it that holds runs of one study: then the newest run that has
    ended, or the newest. `study` is needed by `load_best` alone, and only if the run's trainable is neither this
    project's nor in the space file that the run was started with; `space` is the file that it was loaded from.

    Raises ResultsError, also for a damaged folder.
    """

    def __init__(self, folder: Path | str, study: Study | None = None, space: Path | None = None) -> None:
        self._run = _newest(Path(folder))
        self._study = study
        self._space = space
        self._predictor: Predictor | None = None

    def __repr__(self) -> str:
        counts = self.trials[STATUS].value_counts()
        return f"<{self.record.study}: {', '.join(f'{n} {status}' for status, n in counts.items())}; {self.path}>"

    @property
    def path(self) -> Path:
        return self._run.path

    @property
    def record(self) -> StudyRecord:
        """Return study.json: the question, the space, the command, versions, class names."""
        return self._run.record

    @property
    def trials(self) -> pd.DataFrame:
        """Return a row for each trial, hyperparameters in columns that begin with "config/", searched ones first.

        Hyperparameters that no trial has are left out.
        """
        found = self._run.trials
        searched = [name for each in self.record.space if (name := CONFIG + each) in found]
        config = [name for name in found if name.startswith(CONFIG) and name not in searched]
        others = [name for name in found if not name.startswith(CONFIG)]
        return found[[*others, *searched, *(name for name in config if found[name].notna().any())]]

    @property
    def epochs(self) -> pd.DataFrame:
        """Return a row for each epoch of each trial."""
        return self._run.epochs

    @property
    def members(self) -> pd.DataFrame:
        """Return a row for each member of each ensemble, of single models none."""
        return self._run.members

    @property
    def best(self) -> pd.Series:
        """Return the row of the finished trial with the best metric, the earliest of equals: best.pt's trial.

        Raises ResultsError if no trial has finished with the metric.
        """
        record, trials = self.record, self.trials
        ended = trials[trials[STATUS] == COMPLETED].sort_values(TRIAL_ID)
        values = ended[record.metric].dropna() if record.metric in ended else ended.index[:0]
        if not len(values):
            raise ResultsError(f"{self.path} has no finished trial with {record.metric}, so none is best")
        return ended.loc[values.idxmax() if record.mode == "max" else values.idxmin()]

    @property
    def best_config(self) -> dict[str, Any]:
        """Return the best trial's hyperparameters, as the trial was given them."""
        try:
            journal = read(self.path.joinpath(JOURNAL_FILE).read_bytes(), self.path / JOURNAL_FILE)
        except (OSError, JournalError) as error:
            raise ResultsError(str(error)) from None
        return dict(journal.trials[int(self.best[TRIAL_ID])].config)

    def pareto(self) -> pd.DataFrame:
        """Return what no other finished trial beats in validation accuracy and parameters, smallest first."""
        return pareto.pareto_front([self._run]).reset_index(drop=True)

    def plot(self, what: str = "epochs") -> go.Figure:
        """Return a figure: "epochs" (the metric of each trial by epoch) or "pareto" (accuracy against parameters)."""
        if what == "pareto":
            rows = pareto.candidates([self._run])
            return figures.pareto(rows, pareto.non_dominated(rows), pd.DataFrame())
        if what != "epochs":
            raise ResultsError(f"plot takes 'epochs' or 'pareto', got {what!r}")
        return self._plot_epochs()

    def _plot_epochs(self) -> go.Figure:
        import plotly.express as express

        metric = self.record.metric
        if metric not in self.epochs:
            raise ResultsError(f"{self.path} measured no {metric} by epoch")
        rows = self.epochs[[TRIAL_ID, EPOCH, metric]].merge(self.trials[[TRIAL_ID, STATUS]], on=TRIAL_ID)
        return express.line(rows, x=EPOCH, y=metric, color=STATUS, line_group=TRIAL_ID, hover_name=TRIAL_ID)

    def load_best(self, device: torch.device | str = "cpu") -> Predictor:
        """Return the best trial's networks and their vote as a `torch.nn.Module` in evaluation mode.

        The module has the input transform (`prepare`), `class_names`, and probabilities [n, classes] as its output for
        uint8 images [n, c, h, w]. Raises ResultsError if there are no weights, or if the trainable is not found.
        """
        file = self.path / BEST_FILE
        if not file.is_file():
            raise ResultsError(f"{self.path} has no {BEST_FILE}: no trial has finished, or it keeps no weights")
        if self.record.dataset == NO_DATA:
            raise ResultsError(
                f"{file} is a tar archive of the last checkpoint of {self.record.trainable}, a Ray Tune trainable of "
                "your own: search.foreign.unpack writes its files into a folder"
            )
        if not self.record.images:
            raise ResultsError(f"{self.path} is of an older version, which did not record how inputs are made")
        trainable = self._trainable()
        try:
            return trainable.load_network(file, self.best_config, self.record.images, self.record.class_names, device)
        except (ValueError, OSError) as error:
            raise ResultsError(f"{file}: {' '.join(str(error).split())}") from error

    def predict(self, pictures: Iterable[Image.Image | bytes | str | Path] | np.ndarray) -> pd.DataFrame:
        """Label pictures with the best model: a row each with label, its probability, and each class's probability.

        A class whose name is another's too, or "label" or "probability", has its number behind it: "crane (517)".

        `pictures` are files' paths, encoded or opened pictures of any size, or an array uint8 [n, c, h, w] of the data
        set's own size. Raises ResultsError for a picture that cannot be read.
        """
        if self._predictor is None:
            self._predictor = self.load_best()
        predictor = self._predictor
        if isinstance(pictures, np.ndarray):
            names: list[Any] = list(range(len(pictures)))
            images = torch.from_numpy(np.ascontiguousarray(pictures))
        else:
            named = [pictures] if isinstance(pictures, Image.Image | bytes | str | Path) else list(pictures)
            names = [str(each) if isinstance(each, str | Path) else place for place, each in enumerate(named)]
            prepared = []
            for name, each in zip(names, named, strict=True):
                try:
                    prepared.append(predictor.prepare(each))
                except (ValueError, OSError) as error:
                    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
                    raise ResultsError(f"{name}: {reason}") from None
            if not prepared:
                raise ResultsError("pictures to label are required, got none")
            images = torch.stack(prepared)
        try:
            with torch.inference_mode():
                probabilities = predictor(images).cpu().numpy()
                labels = predictor.labels(images).cpu().numpy()
        except ValueError as error:
            raise ResultsError(str(error)) from None
        classes = _told_apart(predictor.class_names)
        frame = pd.DataFrame(probabilities, index=pd.Index(names, name="picture"), columns=classes)
        frame.insert(0, LABEL, [classes[label] for label in labels])
        frame.insert(1, PROBABILITY, probabilities[np.arange(len(labels)), labels])
        return frame

    def _trainable(self) -> Any:
        name, files = self.record.trainable, self.record.definition.get("code", {})
        then = own_code(files)
        if self._study is not None:
            place = self._space or Path(getattr(sys.modules[CALLER], "__file__", None) or "notebook")
            now = own_code(code(self._study.trainable, place))
            # The study may stand in another file than it did: what both call by one name is compared.
            self._require_alike(str(self._space or "the given study"), then, now, then.keys() & now.keys())
            return self._study.trainable
        for file in files:
            if not file.startswith("trainables/"):
                continue
            module = importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
            found = getattr(module, name, None)
            if isinstance(found, type) and found.__module__ == module.__name__:
                return found
        space = _space_of(self.record)
        if space is None or not space.is_file():
            raise ResultsError(
                f"{self.path} trained {name}, which is not this project's own: give the study, Results(folder, study), "
                "or its space file, --space FILE" + (f"; its space file {space} is gone" if space else "")
            )
        try:
            study = load_space(space)
        except StudyError as error:
            raise ResultsError(str(error)) from None
        now = own_code(code(study.trainable, space))
        self._require_alike(str(space), then, now, then.keys() | {SPACE_CODE, BOUND})
        return study.trainable

    def _require_alike(self, place: str, then: Mapping[str, str], now: Mapping[str, str], parts: Iterable[str]) -> None:
        """Raise ResultsError if a part of the trainable's code is not the run's: its weights are another network's."""
        for part in sorted(parts):
            if then.get(part) != now.get(part):
                raise ResultsError(
                    f"{place}: {part} is not what {self.path} was begun with: give the study as it was, "
                    "Results(folder, study)"
                )


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return class names that can stand beside the columns `label` and `probability`; a data set may repeat names."""
    often = Counter((LABEL, PROBABILITY, *names))
    return [name if often[name] == 1 else f"{name} ({number})" for number, name in enumerate(names)]


def _newest(folder: Path) -> load.Results:
    try:
        runs = load.load([folder])
    except load.ResultsError as error:
        raise ResultsError(str(error)) from None
    studies = sorted({run.record.study for run in runs})
    if len(studies) > 1:
        raise ResultsError(f"{folder} must hold runs of one study, got {', '.join(studies)}: name a study's folder")
    return max(runs, key=lambda run: run_order(run.path.name, run.record))  # of runs that have ended, if one has


def _space_of(record: StudyRecord) -> Path | None:
    """Return the space file that the run's command named, None if the run was started from Python."""
    if not record.command.startswith(COMMAND):
        return None
    words = shlex.split(record.command.removeprefix(COMMAND))
    return next((Path(word) for word in words if word.endswith(".py") and not word.startswith("-")), None)
