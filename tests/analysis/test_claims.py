import io
import math
import re

import numpy as np
import pandas as pd
import pytest

from analysis import claims, report
from analysis.intervals import ALPHA, LOOK_ALPHA, LOOKS, RULES, mean_interval
from analysis.load import ResultsError, load

# Test accuracy of the arms: its centre, and how five seeds lie around it.
ARMS = {
    "a": (0.50, (0.0, 0.004, -0.003, 0.002, -0.004)),
    "b": (0.45, (-0.004, 0.002, -0.003, 0.004, 0.0)),
    "c": (0.40, (0.002, -0.001, 0.003, 0.0, -0.002)),
    "d": (0.499, (0.003, -0.002, 0.0, -0.004, 0.002)),
    "e": (0.4975, (-0.001, 0.0, 0.003, 0.001, -0.002)),
    "wide": (0.51, (0.08, -0.06, 0.03, -0.08, 0.05)),
}


@pytest.fixture
def judge_claim(make_results, tmp_path, make_claim):
    """judge_claim(claim's changes, seeds=5, ...) -> the row of that claim."""

    def build(seeds=5, predict=False, record=None, **changes):
        study = make_results(claims=[make_claim(**changes)], **(record or {}))
        for arm, (centre, spread) in ARMS.items():
            for seed in range(seeds):
                test = centre + spread[seed]
                study.trial(
                    arm=arm,
                    seed=seed,
                    protocol="replay",
                    test=[0.2 + centre / 10 + spread[seed], test],
                    train_accuracy=[0.3, 0.9 - spread[seed] / 2],
                    parameters={"a": 100, "b": 150, "d": 101}.get(arm, 200),
                    predict=predict,
                )
        folder = study.write(tmp_path / "run")
        (row,) = claims.claims(load([folder])).to_dict("records")
        return row

    return build


@pytest.mark.parametrize(
    ("changes", "effect", "verdict"),
    [
        ({"arms": ("a", "b")}, 0.05, "reproduced"),
        ({"arms": ("b", "a")}, -0.05, "contradicted"),
        ({"arms": ("a", "d")}, 0.001, "undecided"),
        ({"arms": ("b", "a"), "expected": "less"}, -0.05, "reproduced"),
        ({"arms": ("a", "d"), "expected": "equal", "margin": 0.02}, 0.001, "reproduced"),
        ({"arms": ("a", "b"), "expected": "equal", "margin": 0.02}, 0.05, "contradicted"),
        ({"arms": ("a", "d"), "expected": "equal", "margin": 0.002}, 0.001, "undecided"),
        ({"arms": ("a", "c"), "quantity": "test_accuracy@1"}, 0.01, "reproduced"),
        ({"arms": ("a", "b"), "quantity": "gap", "expected": "less"}, -0.05, "reproduced"),
        ({"kind": "ratio", "arms": ("a", "b")}, 0.4998 / 0.4498, "reproduced"),
        ({"kind": "ratio", "arms": ("a", "b"), "expected": "less"}, 0.4998 / 0.4498, "contradicted"),
        ({"kind": "ratio", "arms": ("a", "d"), "expected": "equal", "margin": 0.05}, 1.002, "reproduced"),
        ({"kind": "ratio", "arms": ("a", "c"), "expected": "equal", "margin": 0.05}, 1.25, "contradicted"),
        ({"kind": "order", "arms": ("c", "b", "a"), "expected": "increasing"}, 0.05, "reproduced"),
        ({"kind": "order", "arms": ("a", "b", "c"), "expected": "decreasing"}, 0.05, "reproduced"),
        ({"kind": "order", "arms": ("a", "b", "c"), "expected": "increasing"}, -0.05, "contradicted"),
        ({"kind": "order", "arms": ("c", "a", "b"), "expected": "increasing"}, -0.05, "contradicted"),
        ({"kind": "order", "arms": ("c", "d", "a"), "expected": "increasing"}, 0.001, "undecided"),
        ({"kind": "within", "arms": ("a", "d"), "margin": 0.02}, 0.001, "reproduced"),
        ({"kind": "within", "arms": ("d", "a", "b"), "margin": 0.09}, 0.05, "reproduced"),
        ({"kind": "within", "arms": ("a", "b", "c"), "margin": 0.05}, 0.1, "contradicted"),
        ({"kind": "within", "arms": ("c", "b", "a"), "margin": 0.101}, 0.1, "undecided"),
    ],
)
def test_every_kind_and_verdict(judge_claim, changes, effect, verdict):
    row = judge_claim(**changes)
    assert row["effect"] == pytest.approx(effect, abs=2e-3)
    assert row["low"] < row["effect"] < row["high"]
    assert (row["verdict"], row["n"]) == (verdict, 5)
    assert (row["p"] > ALPHA) == (verdict == "undecided")
    assert row["q"] == row["p"]  # the only claim
    if verdict == "undecided":
        assert row["detectable"] > 0
    else:
        assert row["seeds_needed"] is None


def accuracy(arm):
    centre, spread = ARMS[arm]
    return centre + np.array(spread)


def test_a_claim_of_several_comparisons_takes_each_at_a_stricter_level(judge_claim):
    row = judge_claim(kind="order", arms=("c", "b", "a"), expected="increasing")
    # "wide" spreads too differently for the arms to be pooled: each step has its own pairs' spread.
    steps = [mean_interval(accuracy(y) - accuracy(x), 1 - LOOK_ALPHA / 2) for x, y in (("c", "b"), ("b", "a"))]
    assert row["low"] == pytest.approx(min(step.low for step in steps))
    assert row["high"] == pytest.approx(min(step.high for step in steps))


def test_a_largest_less_a_smallest_is_not_negative(judge_claim):
    assert judge_claim(kind="within", arms=("a", "d"), margin=0.02)["low"] == 0


def test_no_number_of_seeds_is_promised_if_nothing_is_seen(judge_claim):
    row = judge_claim(arms=("a", "d"), effect=0.01)
    assert (row["verdict"], row["seeds_needed"]) == ("undecided", None)
    # But what a last look would see is told, and when an effect of the note's size would be decided.
    assert 0 < row["detectable"] < 0.01
    assert row["note_seeds"] in LOOKS


@pytest.mark.parametrize(
    ("seeds", "seen", "why"),
    [
        (1, 1, "the first look is at 3 seeds"),
        (2, 2, "the first look is at 3 seeds"),
        (3, 3, ""),
        (4, 3, "1 more seeds wait for the look at 5"),
        (5, 5, ""),
    ],
)
def test_claims_are_looked_at_with_3_5_8_12_and_20_seeds(judge_claim, seeds, seen, why):
    row = judge_claim(seeds=seeds, arms=("a", "c"))
    assert (row["n"], row["why"]) == (seen, why)
    assert row["verdict"] == ("reproduced" if seen >= 3 else "undecided")
    assert row["effect"] == pytest.approx(np.mean((accuracy("a") - accuracy("c"))[:seen]))


@pytest.mark.parametrize(
    ("changes", "effect", "verdict"),
    [
        ({"kind": "level", "arms": ("a",), "low": 0.45, "high": 0.55}, 0.5, "reproduced"),
        ({"kind": "level", "arms": ("a", "d"), "low": 0.45}, 0.499, "reproduced"),
        ({"kind": "level", "arms": ("a", "d"), "high": 0.45}, 0.5, "contradicted"),
        ({"kind": "level", "arms": ("a", "b"), "low": 0.48}, 0.45, "contradicted"),  # one of them
        ({"kind": "level", "arms": ("a", "d"), "low": 0.499}, 0.4990, "undecided"),
        ({"kind": "level", "arms": ("a",), "quantity": "gap", "high": 0.0}, 0.4, "contradicted"),
        ({"arms": ("a", "b"), "kind": "no_worse", "margin": 0.01}, 0.05, "reproduced"),
        ({"arms": ("b", "a"), "kind": "no_worse", "margin": 0.01}, -0.05, "contradicted"),
        ({"arms": ("d", "a"), "kind": "no_worse", "margin": 0.02}, -0.001, "reproduced"),
        # A larger gap is the worse one.
        ({"arms": ("a", "c"), "kind": "no_worse", "margin": 0.02, "quantity": "gap"}, -0.1, "reproduced"),
        ({"arms": ("c", "a"), "kind": "no_worse", "margin": 0.02, "quantity": "gap"}, 0.1, "contradicted"),
        ({"arms": ("a", "d", "b", "a"), "kind": "contrast", "expected": "less"}, -0.049, "reproduced"),
        ({"arms": ("d", "a", "a", "b"), "kind": "contrast", "expected": "less"}, -0.049, "reproduced"),
        ({"arms": ("d", "a", "a", "b"), "kind": "contrast", "expected": "greater"}, -0.049, "contradicted"),
        ({"arms": ("a", "c", "a", "b"), "kind": "contrast", "expected": "less", "high": -0.01}, 0.05, "contradicted"),
        ({"arms": ("a", "b", "d", "b"), "kind": "contrast", "expected": "less"}, 0.001, "undecided"),
        # A size that the statement names is part of the claim.
        ({"arms": ("a", "b"), "low": 0.02}, 0.05, "reproduced"),
        ({"arms": ("a", "b"), "low": 0.21}, 0.05, "contradicted"),
        ({"arms": ("a", "b"), "low": 0.03, "high": 0.07}, 0.05, "reproduced"),
        ({"arms": ("a", "c"), "low": 0.03, "high": 0.07}, 0.1, "contradicted"),
        ({"arms": ("a", "c"), "kind": "ratio", "low": 4.0, "high": 6.0}, 1.25, "contradicted"),
    ],
)
def test_levels_no_worse_contrasts_and_stated_sizes(judge_claim, changes, effect, verdict):
    row = judge_claim(**changes)
    assert row["effect"] == pytest.approx(effect, abs=3e-3)
    assert row["verdict"] == verdict
    assert row["low"] <= row["effect"] <= row["high"]


def test_one_seed_is_undecided_whatever_it_shows(judge_claim):
    row = judge_claim(seeds=1, arms=("a", "c"))
    assert (row["verdict"], row["n"], row["why"]) == ("undecided", 1, "the first look is at 3 seeds")
    assert row["effect"] == pytest.approx(0.1, abs=3e-3)


def test_parameters_are_exact(judge_claim):
    row = judge_claim(seeds=1, arms=("b", "a"), quantity="parameters", kind="ratio")
    assert (row["verdict"], row["effect"], row["low"], row["high"]) == ("reproduced", 1.5, 1.5, 1.5)


def test_exact_claims_make_no_other_claim_a_discovery(make_results, make_claim, tmp_path):
    count = {"arms": ("a", "c"), "quantity": "parameters", "expected": "less"}
    exact = [make_claim(name=f"exact {i}", **count) for i in range(9)]
    confounded = make_claim(name="confounded", **count, confounded_by=("lr",), clean_arms=("a", "b"))
    study = make_results(claims=[*exact, confounded, make_claim(name="seeds", arms=("a", "c"))])
    for arm, (centre, spread) in ARMS.items():
        for seed in range(3):
            test, parameters = centre + 3 * spread[seed], {"a": 100}.get(arm, 200)
            study.trial(arm=arm, seed=seed, protocol="replay", test=test, parameters=parameters)
    frame = claims.claims(load([study.write(tmp_path / "run")]))
    *of_exact, of_seeds = frame.to_dict("records")
    assert all(math.isnan(row["q"]) for row in of_exact)
    assert [row["verdict"] for row in of_exact] == ["reproduced"] * 9 + ["confounded"]
    assert of_seeds["q"] == of_seeds["p"]
    assert claims.discoveries(frame) == (of_seeds["p"] <= ALPHA)


def test_the_memory_of_one_image_is_exact(make_results, make_claim, tmp_path):
    claim = {"quantity": "one_image_memory_bytes", "expected": "less", "effect": -1_500_000}
    study = make_results(claims=[make_claim(**claim)])
    for arm, size in (("small", 2_000_000), ("large", 3_500_000)):
        study.trial(arm=arm, protocol="replay", test=[0.5], one_image_memory_bytes=size)
    frame = claims.claims(load([study.write(tmp_path / "run")]))
    (row,) = frame.to_dict("records")
    assert (row["verdict"], row["n"], row["size"], row["rests_on"]) == ("reproduced", 1, "fits", "")
    assert claims.readable(frame)["ours (95 %)"][0] == "-1,500,000 bytes (-1,500,000 to -1,500,000)"


def test_parameters_within(judge_claim):
    row = judge_claim(seeds=1, arms=("d", "b", "a"), quantity="parameters", kind="within", margin=50)
    assert (row["verdict"], row["effect"]) == ("contradicted", 50)  # not less than its margin


def test_a_confounded_claim_shows_its_clean_arms(judge_claim):
    row = judge_claim(arms=("a", "b"), confounded_by=("rate",), clean_arms=("d", "a"))
    assert row["verdict"] == "confounded"
    assert row["effect"] == pytest.approx(0.05, abs=1e-3)
    assert row["clean_verdict"] == "undecided"
    assert row["clean_effect"] == pytest.approx(-0.001, abs=1e-3)
    assert row["q"] == row["clean_p"] > ALPHA


def test_a_confounder_that_was_set_away_is_none_any_more(judge_claim):
    told = {"arms": ("a", "b"), "confounded_by": ("members", "lr"), "clean_arms": ("a", "c")}
    declared = {"a": {"members": 6, "lr": 0.1}, "b": {"members": 1, "lr": 0.2}, "c": {"members": 6, "lr": 0.2}}
    row = judge_claim(record={"declared": declared, "arms": {arm: {"members": 2} for arm in declared}}, **told)
    assert (row["verdict"], row["confounded_by"]) == ("confounded", "lr")
    assert (row["effect"], row["clean_effect"]) == (pytest.approx(0.05, abs=1e-3), pytest.approx(0.1, abs=1e-3))


def test_a_claim_without_a_confounder_left_has_its_own_verdict(judge_claim):
    told = {"arms": ("a", "b"), "confounded_by": ("members",), "clean_arms": ("a", "c")}
    declared = {"a": {"members": 6, "lr": 0.1}, "b": {"members": 1, "lr": 0.2}, "c": {"members": 6, "lr": 0.2}}
    row = judge_claim(record={"declared": declared, "arms": {arm: {"members": 2} for arm in declared}}, **told)
    assert (row["verdict"], row["confounded_by"], row["clean_arms"]) == ("reproduced", "", "")
    assert math.isnan(row.get("clean_effect", math.nan))


def test_a_smoke_run_that_took_the_difference_away_is_named(judge_claim):
    declared = {"a": {"epochs": 200}, "b": {"epochs": 400}}
    told = {"declared": declared, "arms": {arm: {"epochs": 2} for arm in declared}, "smoke": True}
    assert judge_claim(record=told, arms=("a", "b"))["why"] == "--smoke left no difference in epochs"


SET_AWAY = "--set left no difference in "


@pytest.mark.parametrize(
    ("told", "now", "why", "clean_why"),
    [
        ({}, {"members": 2}, SET_AWAY + "members", None),
        ({}, {"members": 2, "lr": 0.1}, SET_AWAY + "lr, members", None),
        ({}, {"epochs": 2}, "", None),
        # The clean arms are asked by themselves.
        ({"confounded_by": ("members",), "clean_arms": ("a", "c")}, {"lr": 0.1}, SET_AWAY + "lr", SET_AWAY + "lr"),
    ],
)
def test_a_claim_whose_difference_was_set_away_is_not_tested(judge_claim, told, now, why, clean_why):
    declared = {"a": {"members": 6, "lr": 0.1}, "b": {"members": 1, "lr": 0.2}, "c": {"members": 6, "lr": 0.2}}
    row = judge_claim(record={"declared": declared, "arms": dict.fromkeys(declared, now)}, arms=("a", "b"), **told)
    assert row["why"] == why
    assert math.isnan(row["effect"]) == bool(why)
    assert row["verdict"] == ("confounded" if told else "not tested" if why else "reproduced")
    if told:
        assert row["clean_why"] == clean_why


def test_how_often_training_accuracy_is_measured_is_no_difference(judge_claim):
    declared = {"a": {"lr": 0.1, "train_measure_every": 5}, "b": {"lr": 0.2, "train_measure_every": 1}}
    told = {"declared": declared, "arms": {arm: {"train_measure_every": 2} for arm in declared}}
    assert judge_claim(record=told, arms=("a", "b"))["verdict"] == "reproduced"


def test_the_test_images_can_keep_a_claim_undecided(make_results, make_claim, tmp_path):
    # A point apart and hardly a spread over seeds; but the arms differ on half of only 2,000 images.
    rng = np.random.default_rng(0)
    rank = {"a": rng.permutation(2000), "b": rng.permutation(2000)}
    study = make_results(claims=[make_claim(arms=("a", "b"))])
    for arm, right in (("a", (1000, 1001, 1002)), ("b", (981, 980, 982))):
        for seed, count in enumerate(right):
            trial = study.trial(arm=arm, seed=seed, test=[count / 2000])
            study.labels(trial, np.ones(2000, int), (rank[arm] < count).astype(int))
    folder = study.write(tmp_path / "run")
    (row,) = claims.claims(load([folder])).to_dict("records")
    assert row["low"] < row["image_low"] < 0 < row["image_high"] < row["high"]
    assert (row["verdict"], row["why"]) == ("undecided", "the test set is too small, whatever the seeds")
    (folder / "predictions.parquet").unlink()
    (row,) = claims.claims(load([folder])).to_dict("records")
    assert row["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"arms": ("a", "b")}, 0.05),
        ({"kind": "ratio", "arms": ("a", "c")}, 1.25),
        ({"kind": "order", "arms": ("c", "b", "a"), "expected": "increasing"}, 0.05),
        ({"kind": "within", "arms": ("b", "c", "a"), "margin": 0.2}, 0.10),
    ],
)
def test_every_kind_has_an_interval_over_images(judge_claim, changes, effect):
    row = judge_claim(predict=True, **changes)
    assert row["image_low"] < effect < row["image_high"]
    assert row["verdict"] == "reproduced"


def test_trials_behind_a_verdict_are_named(judge_claim):
    assert judge_claim(arms=("a", "c"), seeds=2)["trials"] == "a: 0 1; c: 4 5"


@pytest.fixture
def write_two_runs(make_results, make_claim, tmp_path):
    def build(first=None, second=None):
        folders = []
        for run, seeds, changes in (("one", (0, 1), first or {}), ("two", (1, 2), second or {})):
            protocol = changes.pop("trial_protocol", "replay")
            study = make_results(run=run, claims=[make_claim(arms=("a", "b"))], **changes)
            for arm in ("a", "b"):
                for seed in seeds:
                    centre, spread = ARMS[arm]
                    study.trial(arm=arm, seed=seed, protocol=protocol, test=[centre + spread[seed]])
            folders.append(study.write(tmp_path / run))
        return folders

    return build


def test_runs_of_a_study_are_pooled(write_two_runs):
    (row,) = claims.claims(load(write_two_runs())).to_dict("records")
    assert row["n"] == 3
    assert row["trials"] == "a: one/0 one/1 two/0 two/1; b: one/2 one/3 two/2 two/3"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dataset": "digits"}, "cifar10 .*; digits "),
        ({"dataset_fingerprint": "sha256:bb"}, "sha256:aa .*sha256:bb"),
        ({"trial_protocol": "search"}, "one protocol, got replay, search"),
    ],
)
def test_what_differs_in_data_or_protocol_is_not_pooled(write_two_runs, changes, named):
    with pytest.raises(ResultsError, match=named):
        claims.claims(load(write_two_runs(second=changes)))


def test_other_studies_stand_beside_each_other(write_two_runs):
    rows = claims.claims(load(write_two_runs(second={"study": "other", "dataset": "digits"})))
    assert list(rows["study"]) == ["batch_size", "other"]


def test_what_did_not_finish_is_said(make_results, make_claim, tmp_path):
    study = make_results(claims=[make_claim(arms=("a", "b"))])
    for seed in (0, 1, 2):
        study.trial(arm="a", seed=seed, test=[0.5])
    study.trial(arm="b", seed=0, status="diverged")
    study.trial(arm="b", seed=1, test=[0.4], protocol="recovery")
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    assert (row["verdict"], row["n"]) == ("not tested", 0)
    assert math.isnan(row["effect"])
    assert row["why"] == "no test_accuracy of b; b seed 0 diverged"


def test_arms_under_different_protocols_are_not_compared(make_results, make_claim, tmp_path):
    study = make_results(claims=[make_claim(arms=("a", "b"))])
    for seed in (0, 1):
        study.trial(arm="a", seed=seed, test=[0.5 + seed / 100], protocol="replay")
        study.trial(arm="b", seed=seed, test=[0.4 - seed / 100], protocol="search")
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    assert (row["verdict"], row["why"]) == ("not tested", "the arms ran under different protocols: replay, search")


def test_arms_without_a_common_seed_are_not_paired(make_results, make_claim, tmp_path):
    study = make_results(claims=[make_claim(arms=("a", "b"))])
    study.trial(arm="a", seed=0, test=[0.5])
    study.trial(arm="b", seed=1, test=[0.4])
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    assert (row["verdict"], row["why"]) == ("not tested", "the arms share no seed")


def test_the_command(judge_claim, tmp_path, capsys):
    judge_claim(arms=("a", "b"), effect=0.03, confounded_by=("rate",), clean_arms=("a", "d"))
    assert claims.main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("batch_size on cifar10, 1 claims: 1 confounded (0 with q at most 0.05)\n")
    assert RULES in out
    assert "| confounded by rate; clean arms: +0.10 points (" in out
    assert "| 5 | .989 | .989 | +3.00 (differs) | a, b | test accuracy, difference | own pairs: " in out
    assert claims.main([str(tmp_path / "run"), "--format", "csv"]) == 0
    (row,) = pd.read_csv(io.StringIO(capsys.readouterr().out)).to_dict("records")
    assert row["effect"] == pytest.approx(0.05, abs=1e-3)


def test_a_study_without_claims(make_results, tmp_path, capsys):
    study = make_results()
    study.trial(val=[0.5], test=0.5)
    assert claims.main([str(study.write(tmp_path / "run"))]) == 0
    assert "no claims" in capsys.readouterr().out


def test_a_smoke_run_says_that_it_is_one(judge_claim, tmp_path, capsys):
    judge_claim(arms=("a", "b"), record={"smoke": True})
    assert claims.main([str(tmp_path / "run")]) == 0
    assert "its figures say nothing else" in capsys.readouterr().out


def test_an_arm_of_another_study_is_told_where_both_are_given(make_results, tmp_path, make_claim):
    small = make_results(study="small", run="one", claims=[make_claim(arms=("a", "large/a"), expected="less")])
    large = make_results(study="large", run="two", dataset="cifar100", dataset_fingerprint="sha256:bb")
    for seed, spread in enumerate((0.0, 0.004, -0.003)):
        small.trial(arm="a", seed=seed, protocol="replay", test=0.5 + spread, predict=True)
        large.trial(arm="a", seed=seed, protocol="replay", test=0.6 - spread, predict=True)
    large.trial(arm="a", seed=3, protocol="replay", status="diverged")
    folders = [study.write(tmp_path / study.record.run) for study in (small, large)]
    (row,) = claims.claims(load(folders)).to_dict("records")
    assert (row["verdict"], row["n"]) == ("reproduced", 3)
    assert row["effect"] == pytest.approx(-0.1, abs=2e-3)
    assert math.isnan(row["image_low"])  # their test images are not the same
    assert row["why"] == "a seed 3 diverged"
    (alone,) = claims.claims(load(folders[:1])).to_dict("records")
    assert (alone["verdict"], alone["why"]) == ("not tested", "no test_accuracy of large/a")


def test_runs_that_were_changed_say_so_and_do_not_mix(make_results, tmp_path, make_claim):
    def run(name, changes):
        study = make_results(run=name, claims=[make_claim(arms=("a", "b"))], options={"set": changes})
        for arm, test in (("a", 0.5), ("b", 0.4)):
            study.trial(arm=arm, protocol="replay", test=test)
        return study.write(tmp_path / name)

    small = run("small", ["train_images=2000", "epochs=3"])
    (row,) = claims.claims(load([small])).to_dict("records")
    assert row["changed"] == "epochs=3, train_images=2000"
    assert claims.readable(claims.claims(load([small])))["changed"].tolist() == ["epochs=3, train_images=2000"]
    whole = run("whole", [])
    assert "changed" not in claims.readable(claims.claims(load([whole])))
    both = claims.claims(load([small, whole]))
    assert both["changed"].tolist() == ["", "epochs=3, train_images=2000"]
    assert both["n"].tolist() == [1, 1]  # and not two


def test_arms_of_two_studies_changed_differently_are_undecided(make_results, tmp_path, make_claim):
    small = make_results(
        study="small", run="one", claims=[make_claim(arms=("a", "large/a"))], options={"set": ["epochs=3"]}
    )
    large = make_results(study="large", run="two")
    for study in (small, large):
        study.trial(arm="a", protocol="replay", test=0.5)
    row = claims.claims(load([study.write(tmp_path / study.record.run) for study in (small, large)])).iloc[0]
    assert (row["verdict"], row["why"]) == ("not tested", "the arms ran under different --set: nothing; epochs=3")


@pytest.mark.parametrize(
    ("config", "quantity", "rests"),
    [
        ({"optimizer": "sgd"}, "test_accuracy", "lr, momentum"),
        ({"optimizer": "sgd", "lr": 0.1}, "test_accuracy", "momentum"),
        ({"optimizer": "adam"}, "test_accuracy", "lr"),
        ({"optimizer": "sgd", "lr": 0.1, "momentum": 0.0}, "test_accuracy", ""),
        ({"optimizer": "sgd"}, "parameters", ""),
    ],
)
def test_a_verdict_says_on_which_unprinted_settings_it_rests(judge_claim, make_reported, config, quantity, rests):
    runs = [make_reported(run=arm, arm=arm, config=config) for arm in ("a", "other")]
    row = judge_claim(arms=("a", "c"), quantity=quantity, record={"reported": runs})
    assert row["rests_on"] == rests
    said = claims.readable(pd.DataFrame([row]))["verdict"][0]
    assert ("; rests on the " + rests.replace(", ", " and ") + " taken, not printed" in said) == bool(rests)


UNMEASURED = {
    "another metric": ({"quantity": "val_recall", "margin": 0.1, "expected": "equal"}, "got 'val_recall'"),
    "of first members": ({"quantity": "train_loss", "arms": ("a", "b:2")}, "b:2' must be one of .* 'train_loss'"),
    "no member": ({"arms": ("a:0", "b")}, "got 'a:0'"),
    "clean arms": ({"quantity": "gap", "confounded_by": ("lr",), "clean_arms": ("a", "b:2")}, "train_accuracy for an"),
}


@pytest.mark.parametrize("case", UNMEASURED)
def test_a_claim_that_cannot_be_measured_leaves_the_others_their_verdicts(make_results, make_claim, tmp_path, case):
    changes, why = UNMEASURED[case]
    told = [make_claim(arms=("a", "b")), make_claim(name="odd", **({"arms": ("a", "b")} | changes))]
    study = make_results(claims=told)
    for arm in ("a", "b"):
        centre, spread = ARMS[arm]
        for seed in range(3):
            members = [{"members": k, "val_accuracy": 0.3, "test_accuracy": 0.3, "parameters": k} for k in (1, 2)]
            study.trial(arm=arm, seed=seed, protocol="replay", test=[centre + spread[seed]], members=members)
    folder = study.write(tmp_path / "run")
    good, odd = claims.claims(load([folder])).to_dict("records")
    assert (good["verdict"], odd["verdict"], odd["n"]) == ("reproduced", "not tested", 0)
    assert re.search(why, odd["why"])
    assert claims.main([str(folder)]) == 0
    page = tmp_path / "page.html"
    assert report.main([str(folder), "-o", str(page)]) == 0
    assert "2 claims: 1 reproduced, 1 not tested" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("quantity", "kind", "shown"),
    [
        ("seconds", "difference", " s"),
        ("seconds_per_epoch", "level", " s"),
        ("images_per_second", "difference", " images/s"),
        ("peak_memory_bytes", "difference", " bytes"),
        ("val_ece", "difference", ""),
        ("test_brier", "level", ""),
        ("test_disagreement", "difference", ""),
        ("test_kl_loss", "difference", " nats"),
        ("val_accuracy", "level", " %"),
        ("gap", "level", " points"),
        ("test_top5_accuracy@3", "difference", " points"),
        ("parameters", "difference", " parameters"),
        ("seconds", "ratio", ""),
    ],
)
def test_an_effect_has_its_quantitys_unit(quantity, kind, shown):
    assert claims.unit(quantity, kind) == shown


@pytest.mark.parametrize(
    ("q", "shown"),
    [(0.0503, ".0503"), (0.05004, ".05004"), (0.05, ".050"), (0.0497, ".050"), (0.0123, ".012"), (0.3, ".300")],
)
def test_a_probability_shows_on_which_side_of_the_limit_it_lies(judge_claim, q, shown):
    row = judge_claim(arms=("a", "b")) | {"q": q, "p": q}
    (read,) = claims.readable(pd.DataFrame([row])).to_dict("records")
    assert (read["p"], read["q"]) == (shown, shown)
