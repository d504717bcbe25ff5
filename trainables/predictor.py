"""Turn a finished trial's weights (best.pt) into a module that labels images as the trial did."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from trainables.data.pictures import Form, decode_to, fit
from trainables.data.task import DeviceData, Task
from trainables.ensembles.adaboost import shares
from trainables.ensembles.votes import votes, weighted_votes
from trainables.training import checkpoint, engine
from trainables.training.recipe import Recipe, RecipeMaker

BATCH = 125  # images predicted at a time, as a trial does


class PredictorError(ValueError):
    """Weights that do not make a predictor; the message is one line."""


class Predictor(nn.Module):
    """The networks of one trial and their vote, in evaluation mode.

    `networks` are the members; a single model has one. `class_names[i]` is the name of label i; images have `channels`
    (1 gray, 3 RGB) and `size` pixels a side. `alphas` are AdaBoost's weights, None if members vote alike. The
    normalisation is on the device that the predictor was loaded for.
    """

    def __init__(self, recipe: Recipe[Any], networks: Sequence[nn.Module], alphas: Sequence[float] | None) -> None:
        super().__init__()
        self.recipe = recipe
        self.networks = nn.ModuleList(networks)
        self.alphas = alphas
        data = recipe.task.data
        self.class_names: tuple[str, ...] = tuple(data.class_names)
        self.form = Form(data.channels, data.size)
        self.eval()

    @property
    def channels(self) -> int:
        return self.form.channels

    @property
    def size(self) -> int:
        return self.form.size

    def prepare(self, picture: Image.Image | bytes | str | Path) -> torch.Tensor:
        """Return a picture (opened, encoded, or a file's path) as the data set's own were prepared: uint8 [c, h, w].

        Its middle square is resized to `size` pixels a side, if it has another size. Raises PictureError, OSError.
        """
        if isinstance(picture, Image.Image):
            return torch.from_numpy(fit(picture, self.form).copy())
        encoded = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        return torch.from_numpy(decode_to(encoded, self.form).copy())

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the members' outputs [members, n, classes] for uint8 images [n, c, size, size]. Raises ValueError."""
        how = "prepare(picture)[None] is one, torch.stack of several"
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != self.channels:
            raise ValueError(
                f"uint8 images [n, {self.channels}, h, w] required, got {images.dtype} {list(images.shape)}: {how}"
            )
        if images.shape[2:] != (self.size, self.size):
            raise ValueError(
                f"uint8 images [n, {self.channels}, {self.size}, {self.size}] required, got {list(images.shape)}: {how}"
            )
        device, bf16 = self.recipe.device, self.recipe.settings.evaluation == engine.BF16
        outputs = []
        # Prepared images are floats, resized perhaps: all at once would take gigabytes.
        for batch in images.split(BATCH):
            inputs = self.recipe.test_inputs(batch.to(device))
            with engine.precision(bf16, device):
                outputs.append(torch.stack([network(inputs).float() for network in self.networks]))
        return torch.cat(outputs, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities [n, classes] for uint8 images [n, c, h, w]: the members' mean, weighted if boosted."""
        logits = self.logits(images)
        if self.alphas is None:
            return logits.softmax(-1).mean(0)
        weights = torch.tensor(shares(self.alphas), device=logits.device)[:, None, None]
        if self.recipe.settings.vote == "logits":
            return (logits * weights).sum(0).softmax(-1)
        return (logits.softmax(-1) * weights).sum(0)

    @torch.no_grad()
    def labels(self, images: torch.Tensor) -> torch.Tensor:
        """Return the labels int64 [n] that the trial's own vote gives uint8 images [n, c, h, w]."""
        logits, vote = self.logits(images), self.recipe.settings.vote
        if self.alphas is None:
            return votes(logits.softmax(-1), vote)[-1]
        return weighted_votes(logits, vote, [shares(self.alphas)])[-1]


def load_predictor(
    recipe_maker: RecipeMaker,
    weights: bytes | Path,
    config: Mapping[str, Any],
    images: Mapping[str, Any],
    class_names: Sequence[str],
    device: torch.device | str = "cpu",
) -> Predictor:
    """Return the predictor that a trial of this configuration had after its last epoch.

    weights       best.pt, as bytes or a path
    config        the trial's hyperparameters; those left out have their defaults
    images        `images` of study.json, see `trainables.data.image_data.ImageData.described`
    class_names   `class_names` of study.json

    Raises PredictorError, SettingError, OSError.
    """
    content = weights if isinstance(weights, bytes) else weights.read_bytes()
    try:
        state = checkpoint.parse(content)
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything
        # An intact file of an earlier version may hold values of NumPy, in a state of the user's own.
        if isinstance(error, pickle.UnpicklingError) and (asked := re.search(r"GLOBAL (\S+)", str(error))):
            raise PredictorError(
                f"best.pt must hold tensors, numbers and text, got {asked[1]} in a state_dict or an extra state"
            ) from None
        raise PredictorError(f"best.pt is damaged or no file of weights ({type(error).__name__})") from None
    if not (isinstance(state, dict) and isinstance(state.get("members"), list)):
        raise PredictorError("best.pt must hold the members of one trial: this trial trained something else")
    settings_type = recipe_maker.settings_type
    settings = settings_type.from_config(config).without_weights()
    data = DeviceData.like(images, class_names, device)
    nothing = torch.empty(0, dtype=torch.int64, device=data.device)
    recipe = recipe_maker(settings, Task(data, nothing, nothing, nothing))
    networks = []
    for member in state["members"]:
        network = recipe.network()
        try:
            network.load_state_dict(member["network"])
        except (RuntimeError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise PredictorError(f"best.pt does not fit the network of this configuration: {reason}") from None
        networks.append(network.to(data.device, memory_format=recipe.memory_format))  # type: ignore[call-overload]
    return Predictor(recipe, networks, state.get("alphas"))
