"""Write small data sets of real pictures, as users have them, for tests."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def digits(n: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return the first n of scikit-learn's digits below `classes`, gray uint8 [n, 8, 8], and their labels."""
    data = load_digits()
    chosen = np.flatnonzero(data.target < classes)[:n]
    return np.rint(data.images[chosen] * (255 / 16)).astype(np.uint8), data.target[chosen].astype(np.int64)


def crops(side: tuple[int, int], n: int) -> dict[str, list[np.ndarray]]:
    """Return n crops (height, width) of each of scikit-learn's two photographs, RGB uint8."""
    random = np.random.RandomState(0)
    found = {}
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        tops = random.randint(0, photo.shape[0] - side[0], n)
        lefts = random.randint(0, photo.shape[1] - side[1], n)
        found[name] = [photo[t : t + side[0], x : x + side[1]] for t, x in zip(tops, lefts, strict=True)]
    return found


def write_digits(folder: Path, n: int = 60, classes: int = 3) -> Path:
    """Write gray 8 x 8 PNG files, one folder a class: folder/0/000.png, ..."""
    for place, (image, label) in enumerate(zip(*digits(n, classes), strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        (folder / str(label) / f"{place:03d}.png").write_bytes(png(image))
    return folder


def write_photos(folder: Path, side: tuple[int, int], n: int = 10, form: str = "png") -> Path:
    """Write crops of two photographs, one folder a class."""
    for name, pictures in crops(side, n).items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / name / f"{place}.{form}")
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array in MNIST's format, gzipped if the name ends in .gz."""
    content = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion(raw: Path, ending: str = "", n: int = 60) -> dict[str, Any]:
    """Write Fashion-MNIST-like gray 28 x 28 files of scikit-learn's digits; return the arrays."""
    images, labels = digits(n, 10)
    large = np.stack([np.asarray(Image.fromarray(image).resize((28, 28))) for image in images])
    arrays = {
        "train-images-idx3-ubyte": large[:-20],
        "train-labels-idx1-ubyte": labels[:-20],
        "t10k-images-idx3-ubyte": large[-20:],
        "t10k-labels-idx1-ubyte": labels[-20:],
    }
    for name, array in arrays.items():
        write_idx(raw / f"{name}{ending}", array)
    return arrays
