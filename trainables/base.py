"""The thin Ray class that every family shares: one trial, one epoch a step."""

from __future__ import annotations

import gc
import math
import os
import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray import tune

from search import columns
from trainables import checkpoint
from trainables.bagging import Bagging
from trainables.data import ImageData
from trainables.loop import Diverged
from trainables.model_size import one_image_memory
from trainables.recipe import RecipeMaker
from trainables.steps import prepare_process
from trainables.strategy import Strategy, Training
from trainables.task import DeviceData, Task

TRIAL = "trial"  # a configuration's trial number
RESTORE = "restore"  # the checkpoint folder that a resumed trial starts from, or None


class ImageTrainable(tune.Trainable):
    """Trains what `recipe` describes, as `strategy` combines it. Subclasses name the two.

    The configuration holds the hyperparameters of `recipe.settings_type`, the trial's number under
    "trial" and, for a resumed trial, a checkpoint folder under "restore". A checkpoint holds tensors and
    numbers only, is read without unpickling anything else, and carries its digest. One is taken after the last
    epoch, and after the first to end `checkpoint_seconds` after the one before: what a crash costs a trial is
    no more than that and an epoch, and a trial of short epochs does not spend its time on saving.
    """

    recipe: ClassVar[RecipeMaker]
    strategy: ClassVar[Strategy] = Bagging
    metrics: ClassVar[tuple[columns.Column, ...]] = ()  # of its own, declared with `search.columns.metric`
    checkpoint_seconds: ClassVar[float] = 10.0

    def setup(self, config: dict[str, Any], data: ImageData) -> None:
        # Ray gives each worker as many OpenMP threads as the trial has CPUs.
        prepare_process(int(os.environ.get("OMP_NUM_THREADS", "1")))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.data = DeviceData(data, device)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.training: Training | None = None
        gc.collect()
        if self.data.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.training = build(type(self), config, self.data)
        self.one_image_memory = _one_image_memory(self.training)
        self.saved = time.monotonic()
        if config.get(RESTORE):
            self.load_checkpoint(config[RESTORE])

    def step(self) -> dict[str, Any]:
        assert self.training is not None
        start = time.perf_counter()
        try:
            metrics = self.training.run_epoch()
        except Diverged as error:
            # Metrics that a search compares must be there; NaN is in no competition.
            return {
                "epoch": self.training.epoch + 1,
                "total_epochs": self.training.total_epochs,
                "diverged": str(error),
                "val_accuracy": math.nan,
                "member_val_accuracy": math.nan,
                "parameters": self.training.parameters,
                "seconds": time.perf_counter() - start,
                "done": True,
            }
        metrics["peak_memory_bytes"] = self._peak_memory()
        metrics["one_image_memory_bytes"] = self.one_image_memory
        metrics["done"] = self.training.epoch >= self.training.total_epochs
        late = time.monotonic() - self.saved >= self.checkpoint_seconds
        metrics["should_checkpoint"] = late or metrics["done"]  # Ray's own word
        if problem := columns.wrong(metrics, self.metrics):
            raise ValueError(f"{type(self).__name__} {problem}")
        return metrics

    def _peak_memory(self) -> int:
        if self.data.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """The previous checkpoint is removed once this returns: not before the new one can be relied on."""
        saved = super().save(checkpoint_dir)
        if saved.checkpoint.filesystem.type_name == "local":  # object stores verify what they are sent
            checkpoint.settle(Path(saved.checkpoint.path))
        self.saved = time.monotonic()
        return saved

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.training is not None
        checkpoint.write(Path(checkpoint_dir), checkpoint.dump(self.training.state_dict()))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.training is not None
        content = checkpoint.read(Path(checkpoint_dir))
        self.training.load_state_dict(checkpoint.parse(content, self.data.device))


def build(trainable: type[ImageTrainable], config: dict[str, Any], data: DeviceData) -> Training:
    """The training that a configuration describes, without Ray. Raises SettingError."""
    hyperparameters = {name: value for name, value in config.items() if name not in (TRIAL, RESTORE)}
    settings = trainable.recipe.settings_type.from_config(hyperparameters)
    return trainable.strategy(trainable.recipe(settings, Task.of(data, settings)))


def _one_image_memory(training: Training) -> int:
    """Bytes that one member takes to train on one image."""
    inputs = training.recipe.test_inputs(training.recipe.task.data.test_images[:1])
    return one_image_memory(training.members[0].network, tuple(inputs.shape[1:]))
