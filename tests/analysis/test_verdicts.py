import math

import numpy as np
import pandas as pd
import pytest

from analysis import claims
from analysis.intervals import LOOK_ALPHA, critical, mean_effect
from analysis.load import load
from analysis.next import plan

SPREAD = (0.0, 0.006, -0.004, 0.003, -0.005)


def trained(arms):
    """The fields of a record that says how its arms were run: as they were declared."""
    return {"arms": arms, "declared": arms}


@pytest.fixture
def verdict_of(make_results, make_claim, tmp_path):
    """verdict_of(claim's changes, {arm: accuracy}, ...) -> its row; each arm has three seeds of an own order."""

    def build(centres, folder="run", record=None, config=None, seeds=3, **changes):
        study = make_results(**{"claims": [make_claim(**changes)], **(record or {})})
        for place, (arm, centre) in enumerate(centres.items()):
            for seed in range(seeds):
                study.trial(
                    arm=arm,
                    seed=seed,
                    protocol="replay",
                    test=[centre + SPREAD[(seed + place) % 5]],
                    train_accuracy=[centre + 0.1],
                    seconds=10 * centre + SPREAD[(2 * seed + place) % 5],
                    parameters=round(1000 * centre),
                    config={"arm": arm} | (config or {}),
                )
        (row,) = claims.claims(load([study.write(tmp_path / folder)])).to_dict("records")
        return row

    return build


def test_arms_of_a_family_lend_each_other_their_spread(verdict_of):
    two = {"a": 0.5, "b": 0.48}
    eight = two | {f"other{i}": 0.3 + i / 100 for i in range(6)}
    # The pair alone has 2 degrees of freedom, eight arms have 14.
    row = verdict_of(eight, arms=("a", "b"))
    assert (row["verdict"], row["spread"]) == ("reproduced", "pooled, 14 degrees of freedom")


def test_a_pair_alone_has_its_own_spread(verdict_of):
    row = verdict_of({"a": 0.5, "b": 0.48}, arms=("a", "b"))
    assert (row["verdict"], row["spread"]) == ("undecided", "own pairs")


def test_a_pool_makes_no_interval_narrower_than_the_pairs_own_spread(verdict_of):
    eight = {"a": 0.5, "b": 0.48} | {f"other{i}": 0.3 for i in range(6)}
    row = verdict_of(eight, arms=("a", "b"))
    own = mean_effect([SPREAD[i] - SPREAD[i + 1] for i in range(3)])
    assert row["high"] - row["effect"] >= critical(14, LOOK_ALPHA) * own.error * (1 - 1e-9)


def test_spreads_that_differ_are_not_pooled(make_results, make_claim, tmp_path):
    rng = np.random.default_rng(0)
    study = make_results(claims=[make_claim(arms=("a", "b"))])
    for arm, spread in {"a": 1e-4, "b": 1e-4, **{f"calm{i}": 1e-4 for i in range(6)}, "wild": 0.1}.items():
        for seed in range(5):
            study.trial(arm=arm, seed=seed, protocol="replay", test=0.5 + spread * rng.normal(), config={"arm": arm})
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    assert row["spread"].startswith("own pairs: the family's spreads differ (Bartlett p = ")
    assert row["high"] - row["low"] < 0.01


def test_another_study_of_the_note_lends_its_spread_and_its_identical_trials(make_results, make_claim, tmp_path):
    def study(name, arms, seeds):
        made = make_results(
            study=name,
            run=name,
            claims=[make_claim(arms=tuple(arms))] if name == "first" else [],
            **trained({arm: {"lr": lr} for arm, (lr, _) in arms.items()}),
        )
        for place, (arm, (config, centre)) in enumerate(arms.items()):
            for seed in seeds:
                test = centre + SPREAD[(seed + place) % 5]
                made.trial(arm=arm, seed=seed, protocol="replay", test=test, config={"lr": config})
        return made.write(tmp_path / name)

    first = study("first", {"a": (0.1, 0.5), "b": (0.2, 0.48)}, (0, 1))
    second = study("second", {"base": (0.1, 0.5), "other": (0.2, 0.48), "third": (0.3, 0.4)}, (1, 2, 3, 4))
    (alone,) = claims.claims(load([first])).to_dict("records")
    assert (alone["n"], alone["why"]) == (2, "the first look is at 3 seeds")
    (row,) = claims.claims(load([first, second])).to_dict("records")
    a = "first/0 first/1 second/second/1 second/second/2 second/second/3"
    b = "first/2 first/3 second/second/5 second/second/6 second/second/7"
    assert (row["n"], row["trials"]) == (5, f"a: {a}; b: {b}")
    assert row["spread"].startswith("pooled, ")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_fingerprint": "sha256:bb"},
        {"trainable": "other"},
        {"options": {"engine": "bf16"}, "arms": {arm: {"arm": arm, "engine": "bf16"} for arm in ("a", "b")}},
        {},
    ],
)
def test_training_that_differs_in_data_trainable_or_engine_is_not_the_same(make_results, make_claim, tmp_path, changes):
    folders = []
    for name, seeds, record in (("first", (0, 1), {}), ("second", (2, 3), changes)):
        made = make_results(
            study=name,
            run=name,
            claims=[make_claim(arms=("a", "b"))],
            **(trained({arm: {"arm": arm} for arm in ("a", "b")}) | record),
        )
        for arm in ("a", "b"):
            for seed in seeds:
                made.trial(arm=arm, seed=seed, protocol="replay", test=0.5, config={"arm": arm})
        folders.append(made.write(tmp_path / name))
    assert list(claims.claims(load(folders))["n"]) == ([2, 2] if changes else [3, 3])  # of four, the first look's


@pytest.mark.parametrize(
    ("quantity", "centres", "verdict"),
    [
        ("test_accuracy", {"a": 0.018, "b": 0.015}, "not tested"),
        ("gap", {"a": 0.018, "b": 0.015}, "not tested"),
        ("test_accuracy", {"a": 0.08, "b": 0.015}, "reproduced"),
        ("parameters", {"a": 0.018, "b": 0.015}, "reproduced"),
    ],
)
def test_arms_near_chance_test_nothing(verdict_of, quantity, centres, verdict):
    row = verdict_of(centres, arms=("a", "b"), quantity=quantity, record={"dataset": "cifar100"})
    assert row["verdict"] == verdict
    if verdict == "not tested":
        assert row["why"] == "not testable at this size: no arm is above 2 % test accuracy, too near chance"
        assert math.isnan(row["p"])


@pytest.mark.parametrize(("classes", "near", "clear"), [(2, 0.62, 0.63), (3, 0.49, 0.51), (10, 0.19, 0.21)])
def test_few_classes_are_tested_once_an_arm_is_a_quarter_of_the_way_from_chance(
    make_results, make_claim, tmp_path, classes, near, clear
):
    for best in (near, clear):
        study = make_results(run=str(best), dataset="mine", claims=[make_claim()])
        labels = np.arange(1000) % classes
        for place, (arm, centre) in enumerate((("small", best), ("large", 1 / classes))):
            for seed in range(5):
                right = np.arange(1000) < round(1000 * (centre + SPREAD[(seed + place) % 5] / 2))
                trial = study.trial(arm=arm, seed=seed, protocol="replay", test=float(right.mean()))
                study.labels(trial, labels, np.where(right, labels, (labels + 1) % classes))
        (row,) = claims.claims(load([study.write(tmp_path / str(best))])).to_dict("records")
        assert row["verdict"] == ("not tested" if best == near else "reproduced")


@pytest.mark.parametrize(("quantity", "verdict"), [("test_accuracy", "reproduced"), ("gap", "not tested")])
def test_a_level_of_accuracy_may_be_chance_and_one_of_a_gap_may_not(verdict_of, quantity, verdict):
    claim = {"arms": ("a",), "kind": "level", "high": 0.1, "quantity": quantity}
    row = verdict_of({"a": 0.012}, **claim, record={"dataset": "cifar100"})
    assert row["verdict"] == verdict


@pytest.mark.parametrize(
    ("vote", "members", "quantity", "tested"),
    [
        ("hard", 2, "test_accuracy", False),
        ("hard", 2, "gap", False),
        ("hard", 2, "parameters", True),
        ("hard", 3, "test_accuracy", True),
        ("probabilities", 2, "test_accuracy", True),
    ],
)
def test_a_hard_vote_of_two_is_never_used(verdict_of, vote, members, quantity, tested):
    config = {"vote": vote, "members": members}
    row = verdict_of({"a": 0.5, "b": 0.3}, arms=("a", "b"), quantity=quantity, config=config)
    assert (row["verdict"] != "not tested") == tested
    if not tested:
        assert row["n"] == 3
        assert math.isnan(row["effect"])
        assert "a hard vote of two members is the smaller of two labels, no ensemble: a, b" in row["why"]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"printed": ("50.1 %", "48.0 %")}, "fits"),
        ({"printed": ("65 %", "48.0 %")}, "differs"),
        ({"effect": 0.0}, "fits"),
        ({"effect": 0.2}, "differs"),
        ({"kind": "ratio", "printed": ("3010", "2900"), "quantity": "seconds_per_epoch"}, "fits"),
        ({"kind": "ratio", "effect": 5.0, "quantity": "seconds_per_epoch"}, "differs"),
        ({"effect": 0.2, "quantity": "seconds_per_epoch"}, "not comparable"),  # of another machine
        ({"effect": 20, "quantity": "parameters"}, "fits"),
        ({"effect": 22, "quantity": "parameters"}, "differs"),
        ({"kind": "ratio", "printed": ("1.04",), "quantity": "parameters"}, "fits"),
        ({"kind": "ratio", "printed": ("1.05",), "quantity": "parameters"}, "differs"),
        ({"kind": "level", "low": 0.3, "printed": ("50 %", "48 %")}, "fits"),
        ({"kind": "level", "low": 0.3, "printed": ("50 %", "60 %")}, "differs"),
        ({"kind": "within", "margin": 0.1, "effect": 0.02}, "fits"),
        ({}, ""),
    ],
)
def test_the_notes_own_figure_fits_or_differs(verdict_of, changes, size):
    row = verdict_of({"a": 0.5, "b": 0.48}, arms=("a", "b"), **changes)
    assert row["size"] == size
    if size == "fits" and changes.get("kind") != "level":
        assert row["size_low"] <= row["note_effect"] <= row["size_high"]


def test_a_changed_run_is_not_comparable_in_size(verdict_of):
    record = {"options": {"set": ["epochs=2"], "engine": "bf16"}}
    assert verdict_of({"a": 0.5, "b": 0.48}, arms=("a", "b"), effect=0.02, record=record)["size"] == "not comparable"


@pytest.mark.parametrize("quantity", ["parameters", "test_accuracy"])
@pytest.mark.parametrize("setting", ["epochs=1", "batch_size=10", "test_images=9", "weights=random", "width=2"])
def test_what_a_network_is_trained_on_changes_none_of_its_parameters(verdict_of, quantity, setting):
    record = {"options": {"set": ["train_images=100", setting]}}
    level = {"kind": "level", "low": 0.1, "high": 600.0}
    row = verdict_of({"a": 0.5, "b": 0.48}, "within", arms=("a", "b"), quantity=quantity, record=record, **level)
    own = quantity == "parameters" and setting != "width=2"
    assert row["verdict"] == ("reproduced" if own else "not tested")
    size = verdict_of({"a": 0.5, "b": 0.48}, arms=("a", "b"), quantity=quantity, effect=20.0, record=record)["size"]
    assert size == ("fits" if own else "not comparable")


def test_another_engine_is_comparable(verdict_of):
    row = verdict_of({"a": 0.5, "b": 0.48}, arms=("a", "b"), effect=0.02, record={"options": {"engine": "bf16"}})
    assert row["size"] == "fits"


OTHER_SETTINGS = "that it states is of the note's own settings, and these runs have others"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"expected": "equal", "margin": 0.02}, f"the margin {OTHER_SETTINGS}"),
        ({"kind": "no_worse", "margin": 0.03}, f"the margin {OTHER_SETTINGS}"),
        ({"kind": "within", "margin": 0.03}, f"the margin {OTHER_SETTINGS}"),
        ({"kind": "ratio", "expected": "equal", "margin": 0.5}, f"the margin {OTHER_SETTINGS}"),
        ({"kind": "ratio", "low": 1.2}, f"the size {OTHER_SETTINGS}"),
        ({"kind": "ratio", "expected": "less", "low": 0.0, "high": 0.5}, f"the size {OTHER_SETTINGS}"),
        ({"low": 0.0}, ""),
        ({"kind": "ratio", "low": 1.0}, ""),
        ({"kind": "ratio", "expected": "less", "high": 1.0}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("record", [{"options": {"set": ["epochs=4"]}}, {"smoke": True, "dataset": "digits"}])
def test_a_stated_size_or_margin_says_nothing_of_runs_with_other_settings(verdict_of, record, changes, why):
    small = {"a": 0.300, "b": 0.295, "other": 0.31, "third": 0.32}
    row = verdict_of(small, arms=("a", "b"), record=record, **changes)
    assert (row["verdict"] == "not tested") == bool(why)
    if why:
        assert row["why"] == why
        assert math.isnan(row["effect"])
    own = verdict_of(small, "own", arms=("a", "b"), record={"options": {"engine": "bf16"}}, **changes)
    assert own["verdict"] != "not tested"


def test_a_smoke_run_is_not_held_against_the_notes_figures(verdict_of):
    centres, record = {"a": 0.9, "b": 0.85}, {"smoke": True, "dataset": "digits"}
    row = verdict_of(centres, arms=("a", "b"), printed=("65 %", "56 %"), record=record)
    assert (row["size"], row["changed"]) == ("not comparable", "smoke")
    level = verdict_of(centres, "level", arms=("a",), kind="level", low=0.57, high=0.6, record=record)
    assert (level["verdict"], level["changed"]) == ("not tested", "smoke")
    assert level["why"] == f"the size {OTHER_SETTINGS}"


def test_runs_on_other_data_than_the_notes_are_not_held_against_its_figures(verdict_of, make_reported):
    record = {"dataset": "svhn", "reported": [make_reported(arm="a")]}
    row = verdict_of({"a": 0.9, "b": 0.85}, arms=("a", "b"), effect=0.09, record=record)
    assert (row["size"], row["changed"]) == ("not comparable", "dataset=svhn")


@pytest.mark.parametrize("quantity", ["seconds_per_epoch", "seconds", "images_per_second", "peak_memory_bytes"])
@pytest.mark.parametrize("same", [True, False])
def test_figures_of_two_machines_decide_nothing(make_results, make_claim, tmp_path, quantity, same):
    folders = []
    for arm, seconds, machine in (("a", 10, "H200"), ("b", 30, "H200" if same else "EPYC")):
        declared = trained({each: {"arm": each} for each in ("a", "b")})
        claim = make_claim(arms=("a", "b"), quantity=quantity)
        study = make_results(run=arm, machine={"name": machine, "cpus": 2}, claims=[claim], **declared)
        for seed in range(3):
            speed = {"seconds": seconds + SPREAD[seed], "images_per_second": [1 / seconds + SPREAD[seed]]}
            study.trial(arm=arm, seed=seed, protocol="replay", test=[0.3], config={"arm": arm}, **speed)
        folders.append(study.write(tmp_path / arm))
    (row,) = claims.claims(load(folders)).to_dict("records")
    if same:
        assert row["verdict"] != "not tested"
    else:
        assert (row["verdict"], row["n"]) == ("not tested", 0)
        machines = "name EPYC, cpus 2; name H200, cpus 2"
        assert row["why"] == f"it is measured by the machine, and the runs are of {machines}"


@pytest.mark.parametrize("quantity", ["seconds_per_epoch", "peak_memory_bytes"])
@pytest.mark.parametrize("share", [{"cpus_per_trial": 2.0}, {"gpus_per_trial": 0.5}, {"cpus_per_trial": 1.0}])
def test_figures_of_two_shares_of_one_machine_decide_nothing(make_results, make_claim, tmp_path, quantity, share):
    folders = []
    for arm, seconds, options in (("a", 10, {}), ("b", 30, share)):
        declared = trained({each: {"arm": each} for each in ("a", "b")})
        machine = {"name": "H200", "gpus": 1}
        claim = make_claim(arms=("a", "b"), quantity=quantity)
        study = make_results(run=arm, machine=machine, options=options, claims=[claim], **declared)
        for seed in range(3):
            study.trial(
                arm=arm, seed=seed, protocol="replay", test=[0.3], seconds=seconds + SPREAD[seed], config={"arm": arm}
            )
        folders.append(study.write(tmp_path / arm))
    (row,) = claims.claims(load(folders)).to_dict("records")
    if share == {"cpus_per_trial": 1.0}:  # what a trial has if nothing is said
        assert row["verdict"] != "not tested"
    else:
        ((name, value),) = share.items()
        shared = f"name H200, gpus 1, {name.replace('_', ' ')} {value:g}"
        assert row["why"] == f"it is measured by the machine, and the runs are of name H200, gpus 1; {shared}"


def test_a_time_that_another_studys_run_answers_is_of_that_runs_machine(make_results, make_claim, tmp_path):
    folders = []
    for name, arms, machine in (("one", ("a",), "H200"), ("two", ("b", "other"), "EPYC")):
        claim = make_claim(arms=("a", "b"), quantity="seconds_per_epoch")
        declared = trained({each: {"arm": each} for each in ("a", "b", "other")})
        machine = {"name": machine}
        study = make_results(study=name, run=name, machine=machine, claims=[claim] * (name == "one"), **declared)
        for arm in arms:
            for seed in range(3):
                study.trial(arm=arm, seed=seed, protocol="replay", test=[0.3], seconds=1 + SPREAD[seed], config={})
        folders.append(study.write(tmp_path / name))
    (row,) = claims.claims(load(folders)).to_dict("records")
    assert row["why"] == "it is measured by the machine, and the runs are of name EPYC; name H200"


def test_a_row_near_chance_promises_nothing(verdict_of):
    record, claim = {"dataset": "cifar100"}, {"arms": ("a", "b"), "effect": 0.05}
    row = verdict_of({"a": 0.018, "b": 0.0175}, record=record, **claim)
    assert row["why"] == "not testable at this size: no arm is above 2 % test accuracy, too near chance"
    assert (row["note_seeds"], row["seeds_needed"], row["size"]) == (None, None, "")
    assert math.isnan(row["detectable"])
    assert math.isnan(row["size_low"])
    assert claims.readable(pd.DataFrame([row]))["verdict"][0] == f"not tested; {row['why']}"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "level", "low": 0.57, "high": 0.6, "printed": ("58 %", "59 %")},
        {"kind": "level", "arms": ("a",), "low": 0.57, "high": 0.6, "printed": ("58 %",)},
        {"printed": ("58 %", "40 %")},
    ],
)
def test_without_a_spread_no_figure_fits(make_results, make_claim, tmp_path, changes):
    study = make_results(claims=[make_claim(**({"arms": ("a", "b")} | changes))])
    for arm in ("a", "b"):
        for seed in range(3):
            study.trial(arm=arm, seed=seed, protocol="replay", test=0.3, config={"arm": arm})
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    assert (row["verdict"], row["size"]) == ("undecided", "")


@pytest.mark.parametrize("later", [{"a": 1, "b": 1}, {"other0": 1}])
def test_seeds_that_wait_for_the_next_look_move_no_interval(make_results, make_claim, tmp_path, later):
    def row(name, more):
        study = make_results(claims=[make_claim(arms=("a", "b"))])
        for place, (arm, centre) in enumerate({"a": 0.5, "b": 0.48, "other0": 0.4, "other1": 0.3}.items()):
            for seed in range(3 + more.get(arm, 0)):
                test = centre + (SPREAD[(seed + place) % 5] if seed < 3 else 0.05 * (-1) ** place)
                study.trial(arm=arm, seed=seed, protocol="replay", test=test, config={"arm": arm})
        (row,) = claims.claims(load([study.write(tmp_path / name)])).to_dict("records")
        return row

    now, then = row("now", {}), row("then", later)
    assert now["spread"] == then["spread"] == "pooled, 6 degrees of freedom"
    for name in ("n", "effect", "low", "high", "p", "detectable"):
        assert now[name] == then[name]


def test_a_ratio_of_epochs_keeps_what_they_share_out_of_the_prediction_interval(make_results, make_claim, tmp_path):
    claim = make_claim(
        kind="ratio", arms=("small@3", "small@1"), quantity="train_loss", expected="less", printed=("0.5000",)
    )
    study = make_results(claims=[claim])
    ratios = [0.500, 0.502, 0.499, 0.501, 0.498]
    for seed, (first, ratio) in enumerate(zip((1.0, 1.2, 0.8, 1.1, 0.9), ratios, strict=True)):
        losses = [first, 0.7 * first, ratio * first]
        study.trial(arm="small", seed=seed, protocol="replay", test=[0.1, 0.2, 0.3], train_loss=losses)
    (row,) = claims.claims(load([study.write(tmp_path / "run")])).to_dict("records")
    half = critical(4, 0.05) * np.std(ratios, ddof=1) * math.sqrt(1 + 1 / 5)
    assert (row["verdict"], row["size"]) == ("reproduced", "fits")
    assert row["size_high"] - row["effect"] == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(("printed", "size"), [(("50 %",), "fits"), (("60 %",), "differs")])
def test_one_printed_figure_is_that_of_every_arm(verdict_of, printed, size):
    claim = {"kind": "level", "arms": ("a", "b"), "low": 0.4, "printed": printed}
    assert verdict_of({"a": 0.5, "b": 0.505}, **claim)["size"] == size


@pytest.mark.parametrize("quantity", ["parameters", "train_loss"])
def test_a_ratio_to_0_is_not_tested(make_results, make_claim, tmp_path, quantity):
    study = make_results(claims=[make_claim(kind="ratio", quantity=quantity, effect=2.0)])
    for seed in range(5):
        for arm, one in (("small", 1), ("large", 0)):
            measured = {"parameters": one, "train_loss": [0.1 * seed * one]}
            study.trial(arm=arm, seed=seed, protocol="replay", test=[0.5], **measured)
    folder = study.write(tmp_path / "run")
    (row,) = claims.claims(load([folder])).to_dict("records")
    assert (row["verdict"], row["n"], row["size"]) == ("not tested", 5, "")
    assert row["why"] == f"the mean {quantity} of large is 0, and a ratio to 0 is undefined"
    assert math.isnan(row["p"])
    plan(load([folder]), hours=1)
