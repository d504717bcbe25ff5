import ast
import inspect
import shlex

import pytest

from analysis import next
from analysis.load import load
from search import api
from search.options import parser

SPREAD = (0.0, 0.008, -0.008)


@pytest.fixture
def folder(make_results, make_claim, tmp_path):
    """A note's study: a claim that a few seeds more decide, one that none would, one that never ran, one of an hour."""
    arms = {"base": 0.5, "better": 0.52, "same": 0.5, "dear": 0.515, "gone": None}
    study = make_results(
        protocol="replay",
        arms={arm: {"lr": 0.1} for arm in arms},
        options={"set": ["epochs=3"], "engine": "bf16", "data": "/data"},
        command="python -m search.run spaces/batch_size.py --replay --repeats 3",
        claims=[
            make_claim(name="soon", arms=("better", "base")),
            make_claim(name="never", arms=("same", "base")),
            make_claim(name="dear", arms=("dear", "base")),
            make_claim(name="unseen", arms=("gone", "base")),
            make_claim(name="clear", arms=("base", "bad")),
        ],
    )
    arms |= {"bad": 0.2}
    for place, (arm, centre) in enumerate(arms.items()):
        for seed in range(12 if arm in ("base", "same") else 3):
            if centre is not None:
                test = centre + SPREAD[(seed + place) % 3]
                seconds = 1200.0 if arm == "dear" else 60.0
                study.trial(
                    arm=arm,
                    seed=seed,
                    protocol="replay",
                    test=[test],
                    seconds=seconds,
                    config={"arm": arm, "epochs": 3},
                )
    return study.write(tmp_path / "run")


def rows(folder, hours):
    frame, decided = next.plan(load([folder]), hours)
    return frame, decided


def test_seeds_that_decide_most_an_hour_are_taken_and_what_is_hopeless_is_left(folder):
    frame, decided = rows(folder, 0.5)
    run, left = frame[frame["action"] == "run"], frame[frame["action"] == "leave"]
    assert run["hours"].sum() <= 0.5
    assert {"soon", "unseen"} <= {name for names in run["claims"] for name in names.split(", ")}
    assert "dear" not in " ".join(run["arms"])
    assert "never" in list(left["claims"])
    assert left.set_index("claims").loc["never", "hours"] == pytest.approx(2 * 8 / 60)
    assert "clear" not in " ".join(frame["claims"])  # decided
    assert 0 < decided < 3


def test_more_hours_take_dearer_seeds(folder):
    frame, decided = rows(folder, 100)
    assert "dear" in " ".join(frame[frame["action"] == "run"]["arms"])
    assert decided > rows(folder, 0.5)[1]
    assert rows(folder, 1e-3)[0]["action"].tolist().count("run") == 0


def test_the_commands_run_the_seeds_that_are_lacking_under_the_same_changes(folder):
    frame, _ = rows(folder, 0.5)
    for row in frame[frame["action"] == "run"].to_dict("records"):
        words = shlex.split(row["command"])
        assert words[:3] == ["python", "-m", "search.run"]
        options = parser().parse_args(words[3:])
        assert (str(options.space), options.replay, options.engine) == ("spaces/batch_size.py", True, "bf16")
        assert (options.set, str(options.data)) == (["epochs=3"], "/data")
        assert options.arm == row["arms"].split(", ")
        assert (options.seed, options.repeats) == (row["seed"], row["repeats"])
        # An arm that ran goes on with the seeds of the arm beside it; one that did not starts with them.
        assert options.seed == (0 if options.arm == ["gone"] else 3)
        assert "base" not in options.arm


@pytest.mark.parametrize(
    ("claim", "planned"),
    [
        ({}, True),
        ({"quantity": "test_accuracy@3"}, True),
        ({"quantity": "test_accuracy@4"}, False),
        ({"arms": ("gone@4", "base@3")}, False),
        ({"arms": ("gone:2", "base")}, True),
        ({"arms": ("gone:3", "base")}, False),
        ({"expected": "equal", "margin": 0.02}, False),
        ({"kind": "level", "arms": ("gone",), "low": 0.57, "high": 0.6}, False),
    ],
)
def test_no_seed_is_planned_for_a_claim_that_its_runs_can_never_test(
    make_results, make_claim, tmp_path, claim, planned
):
    study = make_results(
        protocol="replay",
        arms={arm: {"lr": 0.1, "epochs": 3, "members": 2} for arm in ("base", "gone")},
        options={"set": ["epochs=3"]},
        claims=[make_claim(**{"name": "unseen", "arms": ("gone", "base")} | claim)],
    )
    for seed in range(3):
        study.trial(arm="base", seed=seed, protocol="replay", test=[0.4, 0.5, 0.5], seconds=60.0, config={"epochs": 3})
    frame, _ = rows(study.write(tmp_path / "run"), 100)
    assert ("unseen" in list(frame["claims"])) == planned


@pytest.mark.parametrize(
    ("accuracy", "claim", "planned"),
    [
        (0.12, {}, False),
        (0.12, {"quantity": "gap"}, False),
        (0.12, {"kind": "level", "arms": ("gone",), "quantity": "train_loss", "high": 2.2}, True),
        (0.12, {"kind": "ratio", "quantity": "seconds_per_epoch"}, True),
        (0.3, {}, True),
    ],
)
def test_no_seed_is_planned_where_nothing_learns(make_results, make_claim, tmp_path, accuracy, claim, planned):
    study = make_results(
        protocol="replay",
        dataset="cifar10",
        arms={arm: {"lr": 0.1} for arm in ("base", "gone")},
        claims=[make_claim(**{"name": "unseen", "arms": ("gone", "base")} | claim)],
    )
    study.trial(arm="base", seed=0, protocol="replay", test=[accuracy], seconds=60.0)
    frame, _ = rows(study.write(tmp_path / "run"), 100)
    assert ("unseen" in list(frame["claims"])) == planned


def test_one_arm_at_chance_says_nothing_of_a_study_that_learns(make_results, make_claim, tmp_path):
    arms = {arm: {"lr": 0.1} for arm in ("base", "gone", "bad")}
    told = {"protocol": "replay", "dataset": "cifar10", "arms": arms}
    claims = [make_claim(name="unseen", arms=("gone", "base"))]
    folders = []
    for number, arm, accuracy in ((1, "base", 0.4), (2, "bad", 0.1)):
        started = f"2026-01-0{number}T00:00:00+00:00"
        study = make_results(run=str(number), started=started, claims=claims, **told)
        study.trial(arm=arm, seed=0, protocol="replay", test=[accuracy], seconds=60.0)
        folders.append(study.write(tmp_path / str(number)))
    frame, _ = next.plan(load(folders), 100)
    assert "unseen" in list(frame["claims"])


@pytest.fixture
def diverging(make_results, make_claim, tmp_path):
    """diverging(large, changes, **record) -> a run: small with seeds 0 to 2, large with a status for each seed."""

    def build(large, name="run", **record):
        arms = {"small": {"lr": 0.1}, "large": {"lr": 0.2}}
        study = make_results(**{"protocol": "replay", "arms": arms, "claims": [make_claim()], "run": name} | record)
        for arm, ends in (("small", dict.fromkeys(range(3), "completed")), ("large", large)):
            for seed, status in ends.items():
                test = 0.5 + 0.02 * ((seed * 7 + (arm == "large")) % 3 - 1)
                said = {"status": status, "seconds": 60, "config": arms[arm]}
                study.trial(arm=arm, seed=seed, protocol="replay", test=[test], **said)
        return study.write(tmp_path / name)

    return build


def seeds_of(frame):
    """Return the seeds that the commands run, by arm."""
    seeds = {}
    for row in frame[frame["action"] == "run"].to_dict("records"):
        for arm in row["arms"].split(", "):
            seeds.setdefault(arm, set()).update(range(int(row["seed"]), int(row["seed"] + row["repeats"])))
    return seeds


@pytest.mark.parametrize("lost", [{1}, {0, 1, 2}, {0, 1, 2, 3}])
def test_a_seed_that_diverged_is_not_run_again_nor_counted_on(diverging, lost):
    large = {seed: "diverged" if seed in lost else "completed" for seed in range(4)}
    planned = seeds_of(rows(diverging(large), 5)[0])
    assert planned["large"]
    assert not planned["large"] & lost
    small = planned["small"] | {0, 1, 2}
    shared = small & (planned["large"] | set(range(4)) - lost)
    assert len(shared) in next.LOOKS  # as many as a look needs, none of them lost
    assert not planned["small"] & lost  # of no use without the other arm


def test_a_seed_that_failed_or_diverged_once_and_then_finished_is_a_seed(diverging):
    large = {0: "completed", 1: "failed", 2: "completed"}
    assert 1 in seeds_of(rows(diverging(large), 5)[0])["large"]  # a full disk is not its seed's fault
    again = diverging({1: "completed"}, "again", started="2026-01-02T10:00:00+00:00")
    planned = seeds_of(next.plan(load([diverging(large | {1: "diverged"}, "first"), again]), 5)[0])
    assert min(planned["large"]) == 3


def test_a_training_that_diverged_in_another_study_diverges_in_this(diverging):
    declared = {"declared": {"small": {"batch_size": 16}, "large": {"batch_size": 16}}}
    here = diverging({0: "completed", 2: "completed"}, "here", **declared)
    other = {"study": "other", "claims": []}
    there = diverging({1: "diverged"}, "there", **declared | other)
    edited = {"definition": {"code": {"net.py": "other"}}}
    elsewhere = diverging({1: "diverged"}, "elsewhere", **declared | other | edited)
    assert 1 not in seeds_of(next.plan(load([here, there]), 5)[0])["large"]
    assert 1 in seeds_of(next.plan(load([here, elsewhere]), 5)[0])["large"]


def test_one_training_of_two_studies_is_run_and_priced_once(diverging, make_claim):
    declared = {"declared": {"small": {"batch_size": 16}, "large": {"batch_size": 16}}}
    done = dict.fromkeys(range(3), "completed")
    here = diverging(done, "here", **declared)
    there = diverging(done, "there", **declared | {"study": "other", "claims": [make_claim(name="again")]})
    frame, decided = next.plan(load([here, there]), 5)
    run = frame[frame["action"] == "run"]
    assert len(set(run["study"])) == 1
    assert {name for names in run["claims"] for name in names.split(", ")} == {make_claim().name, "again"}
    alone, of_one = next.plan(load([here]), 5)
    assert run["hours"].sum() == pytest.approx(alone["hours"].sum())
    assert decided == pytest.approx(2 * of_one)


@pytest.mark.parametrize(("given", "kept"), [("--results {}", True), ("--results={}", True), ("", False)])
def test_the_commands_write_where_the_runs_lie(make_results, make_claim, tmp_path, given, kept):
    results = tmp_path / "mine"
    study = make_results(
        protocol="replay",
        arms={"base": {"lr": 0.1}, "better": {"lr": 0.2}},
        claims=[make_claim(arms=("better", "base"))],
        command=f"python -m search.run spaces/batch_size.py --replay {given.format(results)}",
    )
    study.trial(arm="base", seed=0, protocol="replay", test=[0.5], seconds=60.0, config={"arm": "base"})
    folder = study.write(results / study.record.study / study.record.run)
    (told, *_) = next.plan(load([folder]), 5)[0]["command"]
    assert (f"--results {results}" in told) == kept
    moved = folder.rename(tmp_path / "moved")
    assert "--results" not in next.plan(load([moved]), 5)[0]["command"].iloc[0]


def test_a_study_run_from_python_goes_on_from_python(make_results, make_claim, tmp_path):
    results = tmp_path / "mine"
    study = make_results(
        protocol="replay",
        arms={"base": {"lr": 0.1, "epochs": 3}, "better": {"lr": 0.2, "epochs": 3}},
        claims=[make_claim(arms=("better", "base"))],
        options={"set": ["epochs=3"], "engine": "bf16", "cpus_per_trial": 2.0, "gpus_per_trial": 0.0},
        command=f"search.api.run /home/u/my_script.py --replay --repeats=3 --results={results}",
    )
    study.trial(arm="base", seed=0, protocol="replay", test=[0.5], seconds=60.0, config={"arm": "base"})
    folder = study.write(results / study.record.study / study.record.run)
    told = next.plan(load([folder]), 5)[0]["command"].iloc[0]
    call = ast.parse(told, mode="eval").body
    assert "my_script" not in told
    given = {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}
    assert given.keys() <= inspect.signature(api.run).parameters.keys()
    assert given["arms"]
    assert given["repeats"] > 0
    assert {name: given[name] for name in ("replay", "set", "engine", "results")} == {
        "replay": True,
        "set": {"epochs": "3"},
        "engine": "bf16",
        "results": str(results),
    }
    assert (given["cpus_per_trial"], given["gpus_per_trial"]) == (2.0, 0.0)


def test_the_commands_repeat_the_replay_and_not_a_later_search(make_results, make_claim, tmp_path):
    arms = {"base": {"lr": 0.1}, "better": {"lr": 0.2}}
    told = {"arms": arms, "claims": [make_claim(arms=("better", "base"))]}
    replay = make_results(protocol="replay", run="1", started="2026-01-01T00:00:00+00:00", **told)
    replay.trial(arm="base", seed=0, protocol="replay", test=[0.5], seconds=60.0, config={"arm": "base"})
    options = {"set": ["epochs=9", "seed=4"], "engine": "bf16"}
    search = make_results(run="2", started="2026-02-01T00:00:00+00:00", options=options, **told)
    search.trial(val=[0.5], test=0.5, seconds=60.0, config={"lr": 0.1})
    replayed, searched = replay.write(tmp_path / "1"), search.write(tmp_path / "2")
    for command in next.plan(load([replayed, searched]), 5)[0]["command"]:
        assert "epochs=9" not in command
        assert "bf16" not in command
    for command in next.plan(load([searched]), 5)[0]["command"]:
        assert "epochs=9" in command
        assert "seed=4" not in command


def test_the_commands_give_a_trial_the_same_share_of_the_machine(make_results, make_claim, tmp_path):
    study = make_results(
        protocol="replay",
        arms={"base": {"lr": 0.1}, "better": {"lr": 0.2}},
        claims=[make_claim(arms=("better", "base"))],
        options={"cpus_per_trial": 2.0, "gpus_per_trial": 0.5},
    )
    study.trial(arm="base", seed=0, protocol="replay", test=[0.5], seconds=60.0, config={"arm": "base"})
    told = next.plan(load([study.write(tmp_path / "run")]), 5)[0]["command"].iloc[0]
    options = parser().parse_args(shlex.split(told)[3:])
    assert (float(options.cpus_per_trial), float(options.gpus_per_trial)) == (2, 0.5)


def test_the_command(folder, capsys):
    assert next.main([str(folder), "--hours", "0.5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("What to run next in 0.5 hours: ")
    assert "| leave | batch_size | never |" in out


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "soon"])
def test_hours_must_be_a_positive_number(folder, hours, capsys):
    with pytest.raises(SystemExit) as ended:
        next.main([str(folder), "--hours", hours])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


ODD = [{"quantity": "val_recall"}, {"quantity": "train_loss", "arms": ("base", "gone:2")}]


@pytest.mark.parametrize("changes", ODD)
def test_a_claim_that_cannot_be_measured_has_no_seeds_planned(make_results, make_claim, tmp_path, changes):
    odd = make_claim(name="odd", **({"arms": ("base", "gone")} | changes))
    study = make_results(
        protocol="replay",
        arms={arm: {"lr": 0.1} for arm in ("base", "other", "gone")},
        claims=[odd, make_claim(arms=("other", "base"), name="soon")],
    )
    for seed in range(3):
        study.trial(arm="base", seed=seed, protocol="replay", test=[0.5 + SPREAD[seed]], seconds=60.0)
    frame, _ = rows(study.write(tmp_path / "run"), 1)
    assert set(frame["claims"]) == {"soon"}
