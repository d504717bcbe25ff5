"""The pictures that a run keeps, on the digits and on the spaces' own augmentations."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from search.gallery import EACH, IMAGES, Gallery
from search.records import PICTURES_FILE
from search.study import load
from trainables.data.datasets import load as load_data

ROOT = Path(__file__).parents[2]


def gallery(folder: Path, space: str) -> Gallery:
    return Gallery(folder, load(ROOT / "spaces" / f"{space}.py").as_smoke(), load_data("digits"))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "space", ["alexnet_augmentation", "lenet_flip", "small_alexnet_augmentation", "wide_resnet_sam"]
)
def test_every_way_to_augment_is_a_row_beside_the_images_as_they_are(tmp_path: Path, space: str) -> None:
    made = gallery(tmp_path, space)
    made.begin()
    rows = pq.read_table(tmp_path / PICTURES_FILE).to_pylist()
    assert [row["kind"] for row in rows] == ["original"] + ["augmented"] * (len(rows) - 1)
    assert len(rows) > 1
    assert len({row["png"] for row in rows}) == len(rows)
    (tmp_path / "any").touch()
    assert (tmp_path / PICTURES_FILE).stat().st_mode == (tmp_path / "any").stat().st_mode  # a colleague can read them
    assert {row["name"] for row in rows[1:]} <= set(made.study.arms)
    plain = pixels(rows[0]["png"])
    for row in rows[1:]:
        shown = pixels(row["png"])
        assert shown.shape[0] * IMAGES - shown.shape[1] in range(-2, 3)
        # Normalisation is undone: augmented images are about as bright as the images are.
        assert abs(shown.mean() - plain.mean()) < 60


def test_a_flip_shows_each_image_as_it_is_or_mirrored(tmp_path: Path) -> None:
    made = gallery(tmp_path, "lenet_flip")
    made.begin()
    plain, flipped = (pixels(row["png"]) for row in made.rows)
    side = plain.shape[1] // IMAGES
    mirrored = 0
    for place in range(IMAGES):
        one, other = (each[:, place * side : (place + 1) * side] for each in (plain, flipped))
        same, turned = abs(one - other).max() <= 2, abs(one[:, ::-1] - other).max() <= 2
        assert same or turned
        mirrored += turned and not same
    assert 0 < mirrored < IMAGES


def test_a_study_that_augments_nothing_keeps_no_pictures(tmp_path: Path) -> None:
    gallery(tmp_path, "lenet_batch_size").begin()
    assert not (tmp_path / PICTURES_FILE).exists()


def test_the_searchs_random_numbers_stay_what_they_were(tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(3)
    np.random.seed(3)
    gallery(tmp_path, "alexnet_augmentation").begin()
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()


def test_the_most_confused_pairs_are_kept_with_their_test_images(tmp_path: Path) -> None:
    made = gallery(tmp_path, "lenet_batch_size")
    labels = made.data.test_labels
    predicted = labels.copy()
    eights, ones = np.flatnonzero(labels == 8), np.flatnonzero(labels == 1)
    predicted[eights[:9]] = 1
    predicted[ones[:2]] = 7
    image = np.arange(len(labels))
    columns = {"image": image, "label": labels, "predicted": predicted}
    tables = [pa.table({"trial_id": [number] * len(labels), **columns}) for number in (4, 5)]
    pq.write_table(pa.concat_tables(tables), tmp_path / "predictions.parquet")
    made.end(5, {})
    rows = [row for row in made.rows if row["kind"] == "confused"]
    assert [(row["label"], row["predicted"]) for row in rows] == [(8, 1)] * EACH + [(1, 7)] * 2
    assert {row["trial_id"] for row in rows} == {5}
    for row in rows:
        test = made.data.test_images[row["image"]].transpose(1, 2, 0)
        assert (pixels(row["png"]) == test).all()


def test_a_configuration_that_cannot_be_shown_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery(tmp_path, "alexnet_augmentation").end(0, {"crop_scale": "much"})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no pictures: ")
