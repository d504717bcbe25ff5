import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import report


def png(shade):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def row(kind, name, shade, **others):
    return {"kind": kind, "name": name, "trial_id": None, "image": None, "label": None, "predicted": None} | {
        "png": png(shade),
        **others,
    }


@pytest.fixture
def run(make_results, tmp_path):
    study = make_results(class_names=["cat", "dog<", "bird"])
    trial = study.trial(val=[0.1, 0.6], test=0.6, config={"lr": 0.1, "batch_size": 16})
    study.labels(trial, np.array([0, 0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 1, 0, 2]))
    folder = study.write(tmp_path / "run")
    rows = [row("original", "as they are", 1), row("augmented", "crop & jitter", 2)]
    rows += [row("confused", "", 3 + k, trial_id=trial, image=k, label=0, predicted=1) for k in range(2)]
    rows += [row("confused", "", 9, trial_id=trial + 1, image=0, label=2, predicted=1)]
    pd.DataFrame(rows).to_parquet(folder / "pictures.parquet")
    return folder


def test_the_page_shows_the_augmented_and_the_confused_images_by_class_name(run, tmp_path, browser):
    file = tmp_path / "report.html"
    assert report.main([str(run), "-o", str(file)]) == 0
    browser.emulate(width=390)
    browser.open(file)
    shown = browser.run(
        "return [...document.images].map(i => [i.alt, i.complete && i.naturalWidth, i.src.slice(0, 15)])"
    )
    assert [alt for alt, *_ in shown] == [
        "training images, as they are",
        "training images, crop & jitter",
        *["cat, taken for dog<"] * 2,  # the third confused image is another trial's
    ]
    assert all(width == 8 and source == "data:image/png;" for _, width, source in shown)
    assert browser.run("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("content", [b"", b"PAR1 no", None])
def test_a_damaged_file_is_one_line(run, tmp_path, capsys, content):
    if content is None:
        pd.DataFrame([row("original", "x", 1) | {"png": b"<svg onload=alert(1)>"}]).to_parquet(run / "pictures.parquet")
    else:
        (run / "pictures.parquet").write_bytes(content)
    assert report.main([str(run), "-o", str(tmp_path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pictures.parquet" in line
