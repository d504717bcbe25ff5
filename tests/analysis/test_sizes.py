"""An arm with runs of several sizes is judged at each, and never pooled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.claims import claims, summary
from analysis.compare import compare, curves
from analysis.ensemble_size import ensemble_sizes
from analysis.load import Results, load
from analysis.sizes import by_size

ACCURACIES = {"single": 0.40, "bagged": 0.46}
DECLARED = {
    "single": {"train_images": None, "members": 1, "batch_size": 16},
    "bagged": {"train_images": None, "members": 6, "batch_size": 16},
}


@pytest.fixture
def results(
    make_results: Callable[..., Any], make_reported: Callable[..., Any], make_claim: Callable[..., Any], tmp_path: Path
) -> list[Results]:
    """The note's own size, a third of its images, and half the members (which leaves the single model as it is)."""
    curve = ({"epoch": 1, "test_accuracy": 0.3}, {"epoch": 2, "test_accuracy": 0.45})
    printed = [make_reported(arm="bagged", test_accuracy=0.46, epochs=2, curve=curve)]
    told = [
        make_claim(name="bagging gains", arms=("bagged", "single")),
        make_claim(name="unknown", arms=("bagged", "third")),
    ]
    folders = []
    for run, changes, ran, lost in (
        ("own", {}, ("single", "bagged"), 0.0),
        ("images", {"train_images": 1000}, ("single", "bagged"), 0.2),
        ("members", {"members": 3}, ("bagged",), 0.02),
    ):
        settings = {
            arm: {**config, **changes, **({"members": 1} if arm == "single" else {})}
            for arm, config in DECLARED.items()
        }
        study = make_results(
            run=run,
            arms=settings | {"third": {}},
            declared=DECLARED,
            fixed=changes,
            options={"set": [f"{name}={value}" for name, value in changes.items()]},
            reported=printed,
            claims=told,
            started=f"2026-01-0{len(folders) + 1}T00:00:00+00:00",
        )
        for seed in range(4):
            for arm in ran:
                accuracy = ACCURACIES[arm] - lost + seed / 1000 + (seed % 2) / 500 * (arm == "single")
                sizes = (1, settings[arm]["members"])
                members = [
                    {"members": size, "val_accuracy": None, "test_accuracy": accuracy, "parameters": 100 * size}
                    for size in range(1, sizes[1] + 1)
                ]
                study.trial(
                    val=[0.1, 0.2], test=[0.3, accuracy], arm=arm, seed=seed, protocol="replay", members=members
                )
        folders.append(study.write(tmp_path / run))
    return load(folders)


def test_a_claim_has_a_row_at_each_size_that_tests_it(results: list[Results]) -> None:
    frame = claims(results)
    gains = frame[frame["claim"] == "bagging gains"]
    assert gains["changed"].tolist() == ["", "members=3", "train_images=1000"]
    assert gains["n"].tolist() == [3, 3, 3]
    # Each by its own runs: the single model of the note's own size is as --set members=3 would have left it.
    assert gains["effect"].tolist() == pytest.approx([0.06, 0.04, 0.06], abs=0.002)
    assert "own/" in gains["trials"].iloc[1]
    assert "members/" in gains["trials"].iloc[1]


def test_a_claim_that_no_size_tests_has_one_row_and_claims_are_counted_once(results: list[Results]) -> None:
    frame = claims(results)
    assert frame["claim"].tolist() == [*["bagging gains"] * 3, "unknown"]
    assert summary(frame).startswith("2 claims at 4 sizes: ")


def test_a_printed_figure_is_compared_with_each_size(results: list[Results]) -> None:
    frame = compare(results)
    test = frame[frame["quantity"] == "test_accuracy"]
    assert sorted(test["changed"]) == ["", "members=3", "train_images=1000"]
    assert set(test["n"]) == {4}
    assert set(curves(results)["changed"]) == {"", "members=3", "train_images=1000"}


def test_ensembles_of_several_sizes_say_which(results: list[Results]) -> None:
    assert set(ensemble_sizes(results)["ensemble"]) == {
        "bagged",
        "bagged (members=3)",
        "bagged (train_images=1000)",
    }


def test_runs_of_one_size_are_left_as_they_are(results: list[Results]) -> None:
    assert by_size(results[:1]) == [results[:1]]
