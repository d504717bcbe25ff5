"""Which runs a folder stands for: all that belong together, and none left out unseen."""

import shutil
from collections import Counter

import pandas as pd
import pytest
from hypothesis import strategies as st

from analysis import claims, importance, pareto, report, runs
from analysis.arms import arm_trials
from analysis.load import ResultsError, load
from search import finished


@pytest.fixture
def write(make_results, make_claim, tmp_path):
    """write(path, trials={arm: accuracy}, **record) -> a run's folder under `results`, one trial an arm."""

    def write(path, trials=None, seed=0, protocol="replay", **record):
        folder = tmp_path / "results" / path
        record = {"run": folder.name, "claims": [make_claim()], **record}
        study = make_results(**record)
        for arm, accuracy in ({"small": 0.4} if trials is None else trials).items():
            config = {"lr": 0.1, "batch_size": 16}
            study.trial(val=[0.2, accuracy], test=accuracy, arm=arm, seed=seed, protocol=protocol, config=config)
        return study.write(folder)

    return write


@pytest.fixture
def read(tmp_path):
    """read(path) -> the names of the runs that it stands for, and what is said of it."""

    def read(path=""):
        said = []
        results = load([tmp_path / "results" / path], said.append)
        return [result.record.run for result in results], said

    return read


def test_a_studys_folder_is_all_its_runs(write, read):
    write("batch_size/first", {"small": 0.4})
    write("batch_size/second", {None: 0.3}, protocol="search", started="2026-01-02T10:00:00+00:00")
    runs, (said,) = read("batch_size")
    assert runs == ["first", "second"]
    assert said.endswith("batch_size stands for 2 of 2 runs, of study batch_size (first, second).")


def test_runs_lie_at_any_depth(write, read):
    write("2026/january/gpu/batch_size/first")
    write("elsewhere/second", {"large": 0.3})
    write("third", {None: 0.3}, study="other", run="third")
    runs, (said,) = read()
    assert sorted(runs) == ["first", "second", "third"]
    assert "3 of 3 runs, of 2 studies" in said


def test_a_runs_own_folder_says_nothing(write, read):
    write("batch_size/first")
    assert read("batch_size/first") == (["first"], [])
    assert read("batch_size") == (["first"], [])
    assert read() == (["first"], [])


def test_what_lies_in_a_run_is_its_own(write, read):
    folder = write("batch_size/first")
    shutil.copytree(folder, folder / "checkpoints" / "copy")
    assert read()[0] == ["first"]


LATER = {"run": "later", "started": "2026-02-01T10:00:00+00:00"}


@pytest.mark.parametrize(
    ("other", "runs", "reason"),
    [
        ({"finished": False, **LATER}, ["first"], "later: it has not ended (named itself, it is read)."),
        ({"smoke": True, **LATER}, ["first"], "later: a smoke run."),
        ({"dataset": "cifar100", **LATER}, ["later"], "first: it ran on cifar10 sha256:a"),
        ({"dataset_fingerprint": "other", **LATER}, ["later"], "first: it ran on cifar10 sha256:a"),
        ({"options": {"set": ["epochs=3"]}, **LATER}, ["later"], "first: it ran with nothing changed, "),
        ({"options": {"engine": "bf16"}, **LATER}, ["later"], "later with engine=bf16"),
        ({"protocol": "search", **LATER}, ["later"], "first: it measured under another protocol than"),
    ],
)
def test_what_does_not_go_together_is_left_out_with_its_reason(write, read, other, runs, reason):
    write("batch_size/first")
    protocol = other.pop("protocol", "replay")
    write("batch_size/later", protocol=protocol, **other)
    found, said = read("batch_size")
    assert found == runs
    assert "1 of 2 runs" in said[0]
    assert len(said) == 2
    assert said[1].startswith("Not read: ")
    assert reason in said[1]


EDITED = "its settings or its code were edited between"


@pytest.mark.parametrize(
    "edit",
    [{"arms": {"small": {"lr": 0.2}}}, {"definition": {"code": {"the space": "other"}}}, {"trainable": "Another"}],
)
def test_an_arm_that_was_edited_between_two_runs_is_not_pooled(write, read, edit):
    first = {"arms": {"small": {"lr": 0.1}}, "definition": {"code": {"the space": "one"}}}
    first["declared"] = {"small": {"batch_size": 16}}
    runs = [write(f"batch_size/{run}", **first | changes) for run, changes in (("first", {}), ("later", LATER | edit))]
    found, said = read("batch_size")
    assert found == ["later"]
    assert EDITED in said[1]
    with pytest.raises(ResultsError, match=EDITED):
        arm_trials(load(runs), "small")


SEARCHES = {"trials": {None: 0.4}, "protocol": "search"}
NETWORK = {"definition": {"code": {"net.py": "one", "trainables/x.py": "one"}}}


@pytest.mark.parametrize("edit", [{"definition": {"code": {"net.py": "other"}}}, {"trainable": "Another"}])
def test_searches_of_an_edited_network_are_no_seeds_of_one_setting(write, read, capsys, edit):
    first = write("batch_size/first", seed=0, **SEARCHES, **NETWORK)
    later = write("batch_size/later", seed=1, **SEARCHES | NETWORK | LATER | edit)
    found, said = read("batch_size")
    assert found == ["later"]
    edited = f"its searched network was another than in {later}: its code was edited between"
    assert said[1] == f"Not read: {first}: {edited}."
    assert pareto.main([str(first), str(later)]) == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    assert f"{first} cannot stand beside another run of its study, {edited}: name one of them" in caught.err
    assert caught.err.count("\n") == 1


@pytest.mark.parametrize(
    "same",
    [
        NETWORK,
        {"definition": {"code": {"net.py": "one", "trainables/x.py": "new", "search/y.py": "new"}}},
        {"definition": {}},  # an older record does not say
    ],
)
def test_searches_of_one_network_are_pooled(write, read, same):
    runs = [
        write(f"batch_size/{run}", seed=seed, **SEARCHES | {"trials": {None: accuracy}} | changes)
        for seed, (run, accuracy, changes) in enumerate([("first", 0.4, NETWORK), ("later", 0.5, LATER | same)])
    ]
    assert read("batch_size")[0] == ["first", "later"]
    assert pareto.candidates(load(runs))["behind"].tolist() == [2, 2]


def test_arms_that_were_not_edited_are_pooled_whatever_else_was(write, read):
    first = {"arms": {"small": {"lr": 0.1}}, "declared": {"small": {"batch_size": 16}, "large": {"batch_size": 16}}}
    write("batch_size/first", **first)
    more = {"arms": {"small": {"lr": 0.1}, "large": {"lr": 0.3}}, "definition": {"code": {"trainables/x.py": "new"}}}
    write("batch_size/later", **first | more | LATER)
    assert read("batch_size")[0] == ["first", "later"]


def test_what_a_changed_run_measured_of_other_arms_stays(write, read):
    write("batch_size/first", {"small": 0.4})
    write("batch_size/later", {"large": 0.4}, options={"set": ["epochs=3"]}, **LATER)
    assert read()[0] == ["first", "later"]


def test_a_copy_counts_once(write, read, tmp_path):
    folder = write("batch_size/first")
    shutil.copytree(folder, tmp_path / "results" / "backup" / "batch_size" / "first")
    runs, said = read()
    assert runs == ["first"]
    assert "a copy of" in said[1]


def test_a_link_to_the_newest_is_not_another_run(write, read, tmp_path):
    folder = write("batch_size/first")
    (folder.parent / "latest").symlink_to(folder.name)
    (folder.parent / "round").symlink_to(tmp_path)
    assert read() == (["first"], [])


def test_a_study_that_goes_on_is_read_while_it_does(write, read):
    write("batch_size/first", finished=False)
    assert read()[0] == ["first"]


def test_a_finished_smoke_run_does_not_displace_an_unfinished_run_on_the_studys_own_data(write, read, tmp_path):
    digits = {"smoke": True, "dataset": "digits", "dataset_fingerprint": "sha256:dd"}
    write("batch_size/20260101-100000", {None: 0.9}, protocol="search", finished=False)
    smoke = write("batch_size/20260102-100000-smoke", {None: 0.9}, protocol="search", **digits)
    runs, said = read("batch_size")
    assert runs == ["20260101-100000"]
    assert said[1] == f"Not read: {smoke}: a smoke run."
    assert finished.Results(tmp_path / "results" / "batch_size").record.run == "20260101-100000"
    write("batch_size/20251231-100000", {None: 0.9}, protocol="search")
    assert read("batch_size")[0] == ["20251231-100000"]
    assert finished.Results(tmp_path / "results" / "batch_size").record.run == "20251231-100000"


def test_a_damaged_run_among_others_is_named(write, read):
    write("batch_size/first")
    folder = write("batch_size/later", {"large": 0.4}, **LATER)
    (folder / "trials.parquet").write_bytes(b"PAR1")
    runs, said = read()
    assert runs == ["first"]
    assert f"Not read: {folder / 'trials.parquet'} cannot be read" in said[1]
    (folder.parent / "first" / "study.json").write_text("{")
    with pytest.raises(ResultsError, match="none of 2 runs can be read"):
        read()


def test_a_named_run_is_read_whatever_else_is(write, tmp_path):
    first = write("batch_size/first")
    write("batch_size/later", options={"set": ["epochs=3"]}, **LATER)
    said = []
    results = load([first, tmp_path / "results" / "batch_size" / "later"], said.append)
    assert [result.record.run for result in results] == ["first", "later"]
    assert said == []


def test_one_run_by_two_paths(write, tmp_path):
    run = write("batch_size/first")
    with pytest.raises(ResultsError, match="once"):
        load([tmp_path / "results", run])


def test_a_folder_too_large_to_be_one_of_results(write, read, monkeypatch):
    write("batch_size/first")
    monkeypatch.setattr(runs, "MOST_FOLDERS", 1)
    with pytest.raises(ResultsError, match="more than 1 folders"):
        read()


def test_commands_say_which_runs_they_read(write, tmp_path, capsys):
    for seed in range(3):
        trials = {"small": 0.4 + seed / 1000, "large": 0.3 - seed / 1000}
        write(f"batch_size/{seed}", trials, seed=seed, started=f"2026-01-0{seed + 1}")
    write("batch_size/4", smoke=True)
    root = str(tmp_path / "results")
    for command in (claims.main, pareto.main):
        assert command([root]) == 0
        said = capsys.readouterr().out
        assert f"{root} stands for 3 of 4 runs, of study batch_size (0, 1, 2)." in said
        assert "4: a smoke run." in said
    assert claims.main([root, "--format", "csv"]) == 0
    caught = capsys.readouterr()
    assert "reproduced" in caught.out  # three runs of a seed each
    assert "a smoke run" in caught.err
    assert report.main([root, "-o", str(tmp_path / "report.html")]) == 0
    assert "a smoke run" in capsys.readouterr().err
    assert "a smoke run" in (tmp_path / "report.html").read_text()


def test_importance_tells_of_the_searches_among_them(make_results, write, tmp_path, capsys):
    write("batch_size/replay")
    write("batch_size/short", {None: 0.2}, study="short")
    study = make_results(run="search")
    for k in range(20):
        study.trial(val=[k / 20], test=0.5, config={"lr": 0.01 * (k + 1), "batch_size": 16})
    study.write(tmp_path / "results" / "batch_size" / "search")
    assert importance.main([str(tmp_path / "results"), "--resamples", "2", "--permutations", "2"]) == 0
    said = capsys.readouterr().out
    assert "val_accuracy of batch_size/search (20 finished searched trials)" in said
    assert "1 of the runs replayed arms and searched nothing." in said
    assert "short: importance needs 20 finished searched trials with val_accuracy, got 1: 19 more." in said


def test_every_run_is_read_or_named(examine, write, tmp_path):
    """Whatever lies in a folder: each run is read, or said to be left out."""
    kind = st.fixed_dictionaries(
        {
            "study": st.sampled_from(["a", "b"]),
            "started": st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
            "finished": st.sampled_from([True, True, False]),
            "smoke": st.sampled_from([False, False, True]),
            "dataset": st.sampled_from(["cifar10", "cifar10", "digits"]),
            "options": st.sampled_from([{}, {}, {"set": ["epochs=2"]}]),
            "trials": st.sampled_from([{"small": 0.4}, {"large": 0.4}, {None: 0.3}]),
        }
    )

    def check(kinds, depth):
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        runs = [write("/".join(["x"] * depth + [f"run{i}"]), **one) for i, one in enumerate(kinds)]
        said = []
        results = load([tmp_path / "results"], said.append)
        left_out = [run for run in runs if any(line.startswith(f"Not read: {run}:") for line in said)]
        assert Counter([*left_out, *(result.path for result in results)]) == Counter(runs)
        assert {result.record.study for result in results} == {one["study"] for one in kinds}
        for study in ("a", "b"):
            pooled = [result for result in results if result.record.study == study]
            trials = pd.concat([x.trials.assign(changed=x.changed) for x in pooled] or [pd.DataFrame()])
            if len(trials):  # one arm, one way
                assert (trials.groupby(trials["arm"].fillna("/"))["changed"].nunique() == 1).all()

    examine(check, share=0.2, kinds=st.lists(kind, min_size=1, max_size=5), depth=st.integers(0, 5))
