import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import pareto
from analysis.intervals import mean_interval
from analysis.load import load


@pytest.fixture
def run(make_results, make_reported, tmp_path):
    """Five ways not to stand on the front (trials 1-5), two that do, one of them an ensemble."""
    note = make_reported(parameters=1500, test_accuracy=0.5, config={"lr": 0.03})
    study = make_results(reported=[note, make_reported(run="unsaid", test_accuracy=0.9)])
    study.trial(val=[0.3, 0.4], test=0.1, parameters=1000, config={"lr": 0.1, "batch_size": 16, "seed": 7})
    study.trial(val=[0.9], parameters=100, status="stopped", config={"lr": 0.2, "batch_size": 16})
    study.trial(val=[0.9], parameters=100, status="diverged", config={"lr": 9.0, "batch_size": 16})
    study.trial(val=[0.9], test=0.9, parameters=100, protocol="recovery", config={"lr": 0.3})
    study.trial(val=[0.4, 0.39], test=0.99, parameters=1000, config={"lr": 0.4, "batch_size": 16})
    study.trial(val=[0.2, 0.4], test=0.99, parameters=2000, config={"lr": 0.5, "batch_size": 16})
    prefixes = [
        {"members": 1, "val_accuracy": 0.38, "test_accuracy": 0.37, "parameters": 2000},
        {"members": 2, "val_accuracy": 0.37, "test_accuracy": 0.38, "parameters": 4000},
        {"members": 3, "val_accuracy": 0.5, "test_accuracy": 0.49, "parameters": 6000},
        {"members": 4, "val_accuracy": 0.52, "test_accuracy": 0.51, "parameters": 8000},
    ]
    config = {"lr": 0.6, "batch_size": 16, "members": 4}
    study.trial(val=[0.1, 0.52], test=0.51, parameters=8000, config=config, members=prefixes)
    # An earlier epoch's prefix is no candidate.
    study.members.append({"trial_id": 6, "epoch": 1, "members": 1} | dict.fromkeys(prefixes[0], 1))
    return study.write(tmp_path / "run")


def test_the_front_is_what_finished_and_is_not_beaten(run):
    front = pareto.pareto_front(load([run]))
    columns = ["study", "trial", "arm", "members", "parameters", "val_accuracy", "test_accuracy"]
    assert list(front) == [*columns, "config/lr"]  # one batch size in all: nothing to tell rows by
    rows = front[["trial", "members", "parameters", "val_accuracy", "test_accuracy"]].to_numpy().tolist()
    assert rows == [[0, 1, 1000, 0.4, 0.1], [6, 3, 6000, 0.5, 0.49], [6, 4, 8000, 0.52, 0.51]]


def test_rows_equal_in_both_stand_together(make_results, tmp_path):
    study = make_results()
    for parameters in (10, 10, 5):
        study.trial(val=[0.5 if parameters == 10 else 0.4], test=0.5, parameters=parameters)
    assert list(pareto.pareto_front(load([study.write(tmp_path / "run")]))["trial"]) == [2, 0, 1]


def test_agrees_with_the_definition_on_random_rows():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"parameters": rng.integers(1, 30, 200), "val_accuracy": rng.integers(0, 40, 200)})

    def beaten(one):
        smaller = rows[(rows.parameters <= one.parameters) & (rows.val_accuracy >= one.val_accuracy)]
        return ((smaller.parameters < one.parameters) | (smaller.val_accuracy > one.val_accuracy)).any()

    expected = [i for i, one in rows.iterrows() if not beaten(one)]
    assert sorted(pareto.non_dominated(rows).index) == expected


def test_hypervolume_and_knee():
    front = pd.DataFrame({"parameters": [100, 1000, 10000], "val_accuracy": [0.2, 0.5, 0.6]})
    # Three decades of width to 100,000 parameters, one at each accuracy.
    assert pareto.hypervolume(front, 1e5) == pytest.approx(0.2 + 0.5 + 0.6)
    assert pareto.hypervolume(front, 1e3) == pytest.approx(0.2)
    assert pareto.knee(front) == 1
    assert pareto.knee(front[:2]) is None
    assert pareto.knee(front.assign(val_accuracy=[0.2, 0.3, 0.6])) is None


def test_markdown_is_in_percent_and_says_what_finished(run, capsys):
    assert pareto.main([str(run)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Pareto front of batch_size on cifar10: 5 finished of 7 trials\n")
    assert "| batch_size | 6 |  | 3 | 6,000 | 50.00 | 49.00 | 0.6 |" in out


def test_a_partial_run_says_so(make_results, tmp_path, capsys):
    study = make_results(finished=False)
    study.trial(val=[0.5], test=0.5)
    study.trial(val=[0.5], status="running")
    assert pareto.main([str(study.write(tmp_path / "run"))]) == 0
    assert "1 finished of 2 trials; partial" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_programs_read_fractions(run, tmp_path, form, capsys):
    file = tmp_path / f"front.{form}"
    assert pareto.main([str(run), "-o", str(file)]) == 0
    front = pd.read_csv(file) if form == "csv" else pd.read_parquet(file)
    assert list(front["val_accuracy"]) == [0.4, 0.5, 0.52]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((True, "flip", None), ["True", "flip", None]),  # a choice of text in one study, yes or no in the other
        ((0.5, "auto", None), ["0.5", "auto", None]),
        ((True, 2, None), ["True", "2", None]),
        ((1, 0.5, None), [1.0, 0.5, None]),
    ],
)
def test_a_setting_of_another_kind_in_each_study_is_written_as_text(make_results, tmp_path, values, told):
    folders = []
    for place, value in enumerate(values):
        study = make_results(study=f"study{place}")
        study.trial(val=[0.4], test=0.4, parameters=1000, config={"augment": value, "lr": 0.1 + place})
        folders.append(str(study.write(tmp_path / study.record.study)))
    file = tmp_path / "front.parquet"
    assert pareto.main([*folders, "-o", str(file)]) == 0
    written = pq.read_table(file).to_pydict()
    assert written["config/augment"] == told
    assert written["config/lr"] == [0.1, 1.1, 2.1]


def test_reported_points_stand_beside_ours(run, capsys):
    assert pareto.main([str(run), "--reported", "--format", "csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    (note,) = table[table["reported"].notna()].to_dict("records")
    assert (note["reported"], note["parameters"], note["test_accuracy"]) == ("B/16", 1500, 0.5)
    assert note["config/lr"] == 0.03
    assert pd.isna(note["val_accuracy"])
    assert len(table) == 4


def test_latex_escapes(make_results, tmp_path, capsys):
    study = make_results()
    for name in ("50%_a", "b"):
        study.trial(val=[0.5], test=0.5, config={"augment": name})
    assert pareto.main([str(study.write(tmp_path / "run")), "--format", "tex"]) == 0
    out = capsys.readouterr().out
    assert r"50\%\_a" in out
    (columns,) = re.findall(r"\\begin\{longtable\}\{@\{\}(.*)@\{\}\}", out)
    assert re.sub(r">\{[^}]*\}p\{[^}]*\}", "p", columns) == "lllllpll"  # "validation accuracy %" takes two lines


def test_html_needs_no_network(run, capsys):
    assert pareto.main([str(run), "--format", "html", "--reported"]) == 0
    out = capsys.readouterr().out
    assert not re.findall(r"<script[^>]*src|<link|<img", out)
    assert "Plotly.newPlot" in out


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"dataset": "cifar100"}, ("cifar10 ", "cifar100 ")),
        ({"dataset_fingerprint": "sha256:bb"}, ("sha256:aa", "sha256:bb")),
    ],
)
def test_refuses_to_mix_data_sets(run, make_results, tmp_path, capsys, other, named):
    study = make_results(**other)
    study.trial(val=[0.5], test=0.5)
    assert pareto.main([str(run), str(study.write(tmp_path / "other"))]) == 2
    err = capsys.readouterr().err
    assert all(name in err for name in named)
    assert err.count("\n") == 1


def test_refuses_to_mix_protocols(run, make_results, tmp_path, capsys):
    study = make_results(run="replay")
    study.trial(val=[0.5], test=0.5, protocol="50000+10000 best")
    other = study.write(tmp_path / "other")
    assert pareto.main([str(run), str(other)]) == 2
    err = capsys.readouterr().err
    assert "search" in err
    assert "50000+10000 best" in err
    assert pareto.main([str(run), str(other), "--protocol", "search"]) == 0
    assert "| batch_size | 2026-01-01_10-00-00 | 0 |" in capsys.readouterr().out
    assert pareto.main([str(run), "--protocol", "serach"]) == 2
    assert capsys.readouterr().err.endswith("--protocol must be that of a finished trial, search, got serach\n")


def test_several_runs_are_told_apart(run, make_results, tmp_path):
    study = make_results(run="second")
    study.trial(val=[0.3], test=0.5, parameters=10)
    front = pareto.pareto_front(load([run, study.write(tmp_path / "other")]))
    assert front.iloc[0][["run", "trial"]].tolist() == ["second", 0]


def test_trials_without_validation_are_counted_not_ranked(make_results, tmp_path, capsys):
    study = make_results()
    study.trial(test=[0.5, 0.6], parameters=10)
    assert pareto.main([str(study.write(tmp_path / "run"))]) == 0
    out = capsys.readouterr().out
    assert "Finished without a validation accuracy, so not ranked: 1 trials." in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nowhere"],
        ["RUN", "--format", "xml"],
        ["RUN", "-o", "front.what"],
        ["RUN", "--format", "parquet"],
        ["RUN", "-o", "nowhere/front.csv"],
        ["RUN", "--reference", "-1"],
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(run, arguments, capsys):
    try:
        status = pareto.main([str(run) if a == "RUN" else a for a in arguments])
    except SystemExit as left:  # argparse leaves by itself
        status = left.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("python -m analysis.pareto: ")


def test_runs_as_a_program(run):
    command = [sys.executable, "-m", "analysis.pareto"]
    good, bad = (subprocess.run([*command, path], capture_output=True, text=True) for path in (run, "nowhere"))
    assert (good.returncode, good.stderr) == (0, "")
    assert "| batch_size | 0 |" in good.stdout
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "python -m analysis.pareto: nowhere: no such folder\n"


def test_a_setting_with_several_seeds_has_an_interval(make_results, tmp_path):
    study = make_results()
    for seed, accuracy in enumerate((0.5, 0.52, 0.51)):
        study.trial(val=[accuracy], test=0.5, parameters=100, seed=seed, config={"lr": 0.1, "seed": seed})
    study.trial(val=[0.4], test=0.4, parameters=50, seed=7, config={"lr": 0.2, "seed": 7})
    rows = pareto.candidates(load([study.write(tmp_path / "run")]))
    expected = mean_interval([0.5, 0.52, 0.51])
    assert (
        rows.loc[rows["config/lr"] == 0.1, pareto.INTERVAL].to_numpy().tolist()
        == [pytest.approx([expected.low, expected.high, 3])] * 3
    )
    assert rows.loc[rows["config/lr"] == 0.2, pareto.INTERVAL].isna().all(axis=None)  # one seed has none


@pytest.mark.parametrize(("alpha", "known"), [(None, True), (0.7, False)])
def test_the_members_of_one_run_are_as_many_single_models_unless_boosted(make_results, tmp_path, alpha, known):
    own = (0.3, 0.34, 0.29)
    prefixes = [
        {"members": k, "val_accuracy": 0.3 + k / 100, "test_accuracy": 0.3, "parameters": 10 * k, "alpha": alpha}
        | {"own_val_accuracy": value}
        for k, value in enumerate(own, 1)
    ]
    study = make_results()
    study.trial(val=[0.33], test=0.3, parameters=30, config={"members": 3, "lr": 0.1}, members=prefixes)
    rows = pareto.candidates(load([study.write(tmp_path / "run")])).set_index("members")
    assert ("behind" in rows) == known
    if known:
        interval = mean_interval(own)
        assert rows.loc[1, pareto.INTERVAL].tolist() == pytest.approx([interval.low, interval.high, 3])
        assert rows.loc[2:, "behind"].isna().all()


def test_trials_without_a_parameter_count_are_said_to_lack_it(make_results, tmp_path, capsys):
    study = make_results()
    study.trial(val=[0.5], test=0.5, parameters=None)
    assert pareto.main([str(study.write(tmp_path / "run"))]) == 0
    said = capsys.readouterr().out
    assert "Finished without a parameter count, so not ranked: 1 trials." in said
    assert "without a validation accuracy" not in said


def test_a_knee_among_several_runs_names_its_run(make_results, tmp_path, capsys):
    for name, gain in (("one", 0.0), ("two", 0.1)):
        study = make_results(run=name)
        for place, accuracy in enumerate((0.2, 0.45, 0.5)):
            study.trial(val=[accuracy + gain], test=0.3, parameters=1000 * 10**place, config={"lr": 0.1 + place})
        study.write(tmp_path / name)
    assert pareto.main([str(tmp_path)]) == 0
    assert "Knee: trial 1 of run two, members 1, 10,000 parameters." in capsys.readouterr().out
