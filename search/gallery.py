"""Keep a few pictures with a run: training images as they are augmented, and test images that the best trial confuses.

Written into the run's folder, since analysis has neither the data set nor PyTorch. Augmented images are what a recipe
hands to its network, with the normalisation undone.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from search.disk import Disk
from search.output import one_line
from search.records import PICTURES_FILE
from search.study import Study
from trainables.base import RESTORE, TRIAL, ImageTrainable
from trainables.data.datasets import ImageData
from trainables.data.task import DeviceData, Task

IMAGES = 8  # training images in a row of the gallery
ROWS = 8  # most ways to augment that are shown
PAIRS, EACH = 8, 4  # pairs of classes most often confused, and test images of each
SEED = 0  # of the pictures alone: no trial draws from it
_TYPES = {"kind": pa.string(), "name": pa.string(), "trial_id": pa.int64(), "image": pa.int32()}
SCHEMA = pa.schema({**_TYPES, "label": pa.int16(), "predicted": pa.int16(), "png": pa.binary()})
# What a recipe of somebody else's can raise on images that it was not made for.
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError, NotImplementedError, OSError)

Row = dict[str, Any]


class Gallery:
    """The pictures of one run; a picture that cannot be made is a line, and costs the search nothing else."""

    def __init__(self, folder: Path, study: Study, data: ImageData) -> None:
        self.folder, self.study, self.data = folder, study, data
        self.rows: list[Row] = []

    def begin(self) -> None:
        """Keep training images as each arm, or each end of a search's space, augments them; equal ones once."""
        self._try(lambda: augmented(self.study, self.data, configurations(self.study)))

    def end(self, number: int, config: Mapping[str, Any]) -> None:
        """Keep what the best trial, by its number and configuration, augments and confuses."""
        self._try(lambda: confused(self.folder, self.data, number))
        self._try(lambda: augmented(self.study, self.data, {f"best trial, {number}": config}))

    def _try(self, make: Callable[[], list[Row]]) -> None:
        try:
            with untouched():
                rows = make()
            held = {row["png"] for row in self.rows}
            if new := [row for row in rows if row["png"] not in held]:
                self.rows += new
                write(self.folder / PICTURES_FILE, self.rows)
        except REFUSALS as error:
            print(f"no pictures: {one_line(error)}")


def configurations(study: Study) -> Mapping[str, Mapping[str, Any]]:
    """Return the study's arms; without any, every choice and every end of a range, named by what differs."""
    if study.arms:
        return study.arms
    first, *others = study.space.edges()
    named = {"the study's settings": first}
    for config in others:
        changes = (f"{name}={value}" for name, value in config.items() if first.get(name) != value)
        named.setdefault(", ".join(changes) or "the study's settings", config)
    return named


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Leave the random generators as they were: the search draws from them."""
    numpy = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        np.random.set_state(numpy)


def augmented(study: Study, data: ImageData, configs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return rows of training images: as they are, and as each configuration that augments hands them on."""
    if study.foreign or not issubclass(study.trainable, ImageTrainable):
        return []  # somebody's own, of which nobody knows what it does with images
    chosen = np.linspace(0, len(data.train_images) - 1, IMAGES).astype(int)
    few = DeviceData.like(data.described(), data.class_names)
    few.train_images = torch.from_numpy(data.train_images[chosen])
    few.train_labels = torch.from_numpy(data.train_labels[chosen])
    places, none = torch.arange(IMAGES), torch.empty(0, dtype=torch.int64)
    pixels = few.train_images.float() / 255
    known: list[torch.Tensor] = []
    rows = []
    for name, config in configs.items():
        own = {key: value for key, value in study.completed(config).items() if key not in (TRIAL, RESTORE)}
        settings = study.settings(own)
        recipe = study.trainable.recipe(settings, Task(few, places, none, none))
        plain = recipe.test_inputs(few.train_images).float()
        generator = torch.Generator().manual_seed(SEED)
        inputs = recipe.train_inputs(recipe.training_images(), generator).float()
        if inputs.shape == plain.shape and torch.equal(inputs, plain):
            continue
        shown = as_pixels(inputs, plain, pixels)
        if not any(shown.shape == other.shape and torch.equal(shown, other) for other in known):
            known.append(shown)
            rows.append(_row("augmented", name, strip(shown)))
        if len(rows) == ROWS:
            break
    return [_row("original", "as they are", strip(pixels)), *rows] if rows else []


def as_pixels(inputs: torch.Tensor, plain: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Undo the inputs' normalisation: return them [n, c, h, w] in [0, 1].

    `plain` are the inputs in evaluation, `pixels` the images: channel by channel their mean and spread tell the scale.
    """
    if plain.shape[1] != pixels.shape[1]:
        pixels = pixels.mean(dim=1, keepdim=True)
    over = (0, 2, 3)
    spread = plain.std(dim=over) / pixels.std(dim=over).clamp(min=1e-6)
    shift = plain.mean(dim=over) - spread * pixels.mean(dim=over)
    return ((inputs - shift[:, None, None]) / spread.clamp(min=1e-6)[:, None, None]).clamp(0, 1)


def strip(images: torch.Tensor) -> bytes:
    """Return images [n, c, h, w] in [0, 1] side by side as PNG, reduced to 64 pixels if they are larger."""
    if images.shape[-1] > 64:
        images = torch.nn.functional.interpolate(images, size=(64, 64), mode="area")
    gap = torch.nn.functional.pad(images, (1, 1, 1, 1), value=1.0)
    return png((torch.cat(list(gap), dim=2) * 255).round().to(torch.uint8).numpy())


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels [c, h, w] as PNG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def confused(folder: Path, data: ImageData, number: int) -> list[Row]:
    """Return test images of the classes that a trial confuses most often, a few of each pair."""
    file = folder / "predictions.parquet"
    if not file.exists():
        return []
    table = pq.read_table(
        file, columns=["image", "label", "predicted"], filters=[("trial_id", "=", number)]
    ).to_pydict()
    images, labels, predicted = (np.array(table[name], dtype=np.int64) for name in ("image", "label", "predicted"))
    if len(images) and (images.max() >= len(data.test_labels) or not (data.test_labels[images] == labels).all()):
        return []  # the predictions are of other test images
    wrong = np.flatnonzero(labels != predicted)
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    rows = []
    for place in np.argsort(-counts, kind="stable")[:PAIRS]:
        label, other = (int(value) for value in pairs[:, place])
        for one in wrong[(labels[wrong] == label) & (predicted[wrong] == other)][:EACH]:
            picture = torch.from_numpy(data.test_images[images[one]])[None]
            if picture.shape[-1] > 64:
                picture = torch.nn.functional.interpolate(picture.float(), size=(64, 64), mode="area").to(torch.uint8)
            row = {"trial_id": number, "image": int(images[one]), "label": label, "predicted": other}
            rows.append(_row("confused", "", png(picture[0].numpy())) | row)
    return rows


def _row(kind: str, name: str, picture: bytes) -> Row:
    return {"kind": kind, "name": name, "trial_id": None, "image": None, "label": None, "predicted": None} | {
        "png": picture
    }


def write(file: Path, rows: list[Row]) -> None:
    """Replace the file in one step."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), stream)
    Disk(file.parent).write(file.name, stream.getbuffer())
