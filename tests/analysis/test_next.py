import shlex

import pytest

from analysis import next
from analysis.load import load
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
