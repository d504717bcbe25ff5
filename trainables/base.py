"""The Ray Trainable that every family shares: one trial, one epoch a step."""

from __future__ import annotations

import gc
import math
import os
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from search import columns
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData, Task
from trainables.ensembles.bagging import Bagging
from trainables.ensembles.strategy import Strategy, Training
from trainables.network_memory import meta_copy, one_image_memory
from trainables.predictor import Predictor, load_predictor
from trainables.training import checkpoint
from trainables.training.allocator import forget_peak
from trainables.training.loop import Diverged
from trainables.training.recipe import RecipeMaker
from trainables.training.steps import prepare_process

try:
    import ray
    from ray.tune import Trainable
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "ray":
        raise
    ray = None
    Trainable = object  # setting up and stepping a trial needs nothing from Ray's class

TRIAL = "trial"  # the configuration's trial number
RESTORE = "restore"  # a configuration's checkpoint folder, from which a resumed trial starts, or None


def gpus_of_trial() -> int | None:
    """Return how many GPUs Ray gave the trial of this process, None outside a trial.

    PyTorch cannot say it: from a trial that has none, Ray hides none.
    """
    if ray is None or not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return None
    return len(ray.get_runtime_context().get_accelerator_ids()["GPU"])


class ImageTrainable(Trainable):
    """Train the networks that `recipe` describes and combine them as `strategy` says; subclasses set both.

    The configuration holds the hyperparameters of `recipe.settings_type`, the trial's number under
    "trial" and, for a resumed trial, a checkpoint folder under "restore". A checkpoint holds only tensors and
    numbers, is read without unpickling anything else, and carries its digest. A checkpoint is written after the last
    epoch, and after every epoch that ends at least `checkpoint_seconds` after the previous checkpoint: a crash costs
    a trial at most that time and one epoch, and a trial of short epochs does not spend its time on saving.
    """

    recipe: ClassVar[RecipeMaker]
    strategy: ClassVar[Strategy] = Bagging
    metrics: ClassVar[tuple[columns.Column, ...]] = ()  # a subclass's own, see `search.columns.metric`
    checkpoint_seconds: ClassVar[float] = 10.0

    @classmethod
    def load_network(
        cls,
        weights: bytes | Path,
        config: Mapping[str, Any],
        images: Mapping[str, Any],
        class_names: Sequence[str],
        device: torch.device | str = "cpu",
    ) -> Predictor:
        """Return the module, in evaluation mode, that a trial of this configuration left as `weights` (best.pt).

        `images` and `class_names` are study.json's: the module has the input transform and the class names with it.
        Raises PredictorError or SettingError, with one line. See `trainables.predictor`.
        """
        hyperparameters = {name: value for name, value in config.items() if name not in (TRIAL, RESTORE)}
        return load_predictor(cls.recipe, weights, hyperparameters, images, class_names, device)

    def setup(self, config: dict[str, Any], data: ImageData) -> None:
        # Ray gives each worker as many OpenMP threads as the trial has CPUs.
        prepare_process(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.data = DeviceData(data, "cuda" if torch.cuda.is_available() and gpus_of_trial() != 0 else "cpu")
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
        else:
            forget_peak()
        self.training = build(type(self), config, self.data)
        self.one_image_memory: int | None = None
        self.measured = False
        self.saved = time.monotonic()
        if config.get(RESTORE):
            self.load_checkpoint(config[RESTORE])

    def step(self) -> dict[str, Any]:
        assert self.training is not None
        start = time.perf_counter()
        try:
            metrics = self.training.run_epoch()
        except Diverged as error:
            # A search requires the metrics that it compares; NaN never wins a comparison.
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
        metrics["done"] = self.training.epoch >= self.training.total_epochs
        if not self.measured and (metrics["done"] or self.training.epoch > 1):
            # Not before the first epoch is reported: PyTorch imports for seconds what it needs for this.
            self.one_image_memory, self.measured = _one_image_memory(self.training), True
        metrics["one_image_memory_bytes"] = self.one_image_memory
        late = time.monotonic() - self.saved >= self.checkpoint_seconds
        metrics["should_checkpoint"] = late or metrics["done"]  # Ray's own key
        if problem := columns.wrong(metrics, self.metrics):
            raise ValueError(f"{type(self).__name__} {problem}")
        return metrics

    def _peak_memory(self) -> int:
        if self.data.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Save a checkpoint and return once it can be relied on, since the caller then removes the previous one."""
        saved = super().save(checkpoint_dir)
        if saved.checkpoint.filesystem.type_name == "local":  # object stores verify uploads themselves
            checkpoint.settle(Path(saved.checkpoint.path))
        self.saved = time.monotonic()
        return saved

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.training is not None
        checkpoint.write(Path(checkpoint_dir), checkpoint.dump(self.training.state_dict()))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.training is not None
        content = checkpoint.read(Path(checkpoint_dir))
        self.training.load_state_dict(checkpoint.parse(content))


def build(trainable: type[ImageTrainable], config: dict[str, Any], data: DeviceData) -> Training:
    """Return the training that a configuration describes, without Ray. Raises SettingError."""
    hyperparameters = {name: value for name, value in config.items() if name not in (TRIAL, RESTORE)}
    settings = trainable.recipe.settings_type.from_config(hyperparameters)
    return trainable.strategy(trainable.recipe(settings, Task.of(data, settings)))


def _one_image_memory(training: Training) -> int | None:
    """Return the bytes that one member needs to train on one image, None if they cannot be told without values.

    Measured with all that the trial trains by its last epoch, whichever epoch comes next.
    """
    recipe = training.recipe
    try:
        inputs = recipe.test_inputs(recipe.task.data.test_images[:1])
        network = meta_copy(training.members[0].network)
        recipe.begin_epoch(network, recipe.settings.epochs)
        return one_image_memory(network, tuple(inputs.shape[1:]))
    except Exception:  # noqa: BLE001 - no side figure may cost a trial, and a forward pass without values raises anything
        return None
