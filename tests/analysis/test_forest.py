import math

import pytest

from analysis import claims, report
from analysis.forest import Row, forest
from analysis.load import load


@pytest.fixture
def judged(make_results, make_claim, tmp_path):
    """judged({arm: each seed's changes of the trial}, claim's changes) -> the folder of the study, its verdicts."""

    def build(arms, **changes):
        study = make_results(claims=[make_claim(arms=tuple(arms)[:2], **changes)])
        for arm, trials in arms.items():
            for seed, trial in enumerate(trials):
                study.trial(arm=arm, seed=seed, protocol="replay", **({"test": [0.5]} | trial))
        folder = study.write(tmp_path / "run")
        return folder, claims.claims(load([folder]))

    return build


def accuracies(*values):
    return [{"test": [value]} for value in values]


def test_an_arm_may_have_a_comma_in_its_name(judged, tmp_path):
    folder, verdicts = judged({"lr .1, m .9": accuracies(0.5, 0.51, 0.505), "large": accuracies(0.4, 0.41, 0.41)})
    assert forest(verdicts).count("reproduced: +9.83 points") == 1
    assert report.main([str(folder), "-o", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        ({}, 0, math.inf),
        ({"expected": "less"}, -math.inf, 0),
        ({"expected": "equal", "margin": 0.02}, -2, 2),
        ({"kind": "no_worse", "margin": 0.01}, -1, math.inf),
        ({"low": 0.05, "high": 0.15}, 5, 15),
        ({"kind": "level", "high": 0.6}, -math.inf, 60),
        ({"kind": "ratio"}, 1, math.inf),
        ({"quantity": "val_recall", "kind": "no_worse", "margin": 0.01}, math.nan, math.nan),  # nothing measures it
    ],
)
def test_where_the_claim_holds_is_shaded(judged, changes, low, high):
    _, verdicts = judged({"a": accuracies(0.5, 0.51), "b": accuracies(0.4, 0.41)}, **changes)
    row = Row.of(verdicts.to_dict("records")[0])
    assert (row.low, row.high) == pytest.approx((low, high), nan_ok=True)
    forest(verdicts)


def test_the_effect_of_clean_arms_is_told_whole(judged):
    arms = {"a": 3_000_000, "b": 2_000_000, "c": 1_500_000}
    _, verdicts = judged(
        {arm: [{"parameters": count}] for arm, count in arms.items()},
        quantity="parameters",
        confounded_by=("lr",),
        clean_arms=("a", "c"),
    )
    assert "reproduced by clean arms: +1,500,000 parameters (" in forest(verdicts)
