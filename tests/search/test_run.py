"""What is wrong with a command is one line that says so; nothing is started, nothing is written."""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray import tune
from torch import nn

from search import run as run_module
from search.domains import domain_edges
from search.economy import Economy
from search.execution import choose_resources
from search.failures import UsageError
from search.journal import Journal
from search.options import PLACE, parser
from search.prepare import Prepared, adapt, propose
from search.provenance import commit_of, new_record
from search.records import StudyRecord
from search.request import Request
from search.resources import cpu_count
from search.results import write_record
from search.resume import find_weights, require_journal, with_weights_in
from search.run import main
from search.searchers import make_proposals
from search.study import Study, StudyError, load, when
from search.summary import how_to_go_on
from tests.records import make_record
from trainables.data.datasets import load as load_data
from trainables.image_trainable import image_trainable
from trainables.lenet import LeNetTrainable

ROOT = Path(__file__).parents[2]

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No cache of data sets, no network, no Ray elsewhere; the signal handler as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody answers
    for name in ("no_proxy", "NO_PROXY", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # keeps the proxies of its first request
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def refusal_of(capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_space: Path) -> Refused:
    """Return a function that runs the command on the toy space, or another, and returns its one line of refusal."""
    results = tmp_path / "results"

    def refused(*arguments: str, space: Path = toy_space) -> str:
        before = sorted(results.rglob("*"))
        capsys.readouterr()
        assert main([str(space), "--results", str(results), *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("search.run: ")
        assert sorted(results.rglob("*")) == before
        return line.removeprefix("search.run: ")

    return refused


def lacks(line: str, words: list[str]) -> list[str]:
    return [word for word in words if word not in line]


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "0"], ["--samples", "at least 1", "'0'"]),
        (["--samples", "few"], ["--samples", "whole number", "'few'"]),
        (["--repeats", "-1"], ["--repeats"]),
        (["--time-budget", "30"], ["--time-budget", "s, m, h or d (30m)", "'30'"]),
        (["--time-budget", "0m"], ["--time-budget", "'0m'"]),
        (["--time-budget", "-5m"], ["--time-budget"]),
        (["--time-budget", "half an hour"], ["--time-budget", "'half an hour'"]),
        (["--seed", "-1"], ["--seed"]),
        (["--seed", "100000000000000000000"], ["--seed", "from 0 to", "got '100000000000000000000'"]),
        (["--smoke", "--set", "batch_size=100000000000000000000"], ["batch_size", "at most 64 bits"]),
        (["--seed", "1.5"], ["--seed", "whole number", "'1.5'"]),
        (["--searcher", "bayes"], ["--searcher", "'bayes'", "tpe", "nsga2"]),
        (["--searcher", "hyperopt"], ["--searcher", "'hyperopt'", "tpe, gp", "a search that was killed"]),
        (["--scheduler", "pbt"], ["--scheduler", "'pbt'", "asha"]),
        (["--cpus-per-trial", "0"], ["--cpus-per-trial", "above 0", "'0'"]),
        (["--cpus-per-trial", "nan"], ["--cpus-per-trial", "'nan'"]),
        (["--cpus-per-trial", "0.00001"], ["--cpus-per-trial", "at least 0.0001", "'0.00001'"]),
        (["--gpus-per-trial", "1e-9"], ["--gpus-per-trial", "at least 0.0001", "'1e-9'"]),
        (["--gpus-per-trial", "-1"], ["--gpus-per-trial"]),
        (["--gpus-per-trial", "1.5"], ["--gpus-per-trial", "up to 1 or a whole number", "'1.5'"]),
        (["--colour", "red"], ["unrecognized arguments: --colour red"]),
        (["--smo"], ["unrecognized arguments: --smo"]),
        # What the study or the machine refuses.
        (["--smoke", "--set", "quality"], ["name=value", "'quality'"]),
        (["--smoke", "--set", "speed=3"], ["--set speed=3", "'speed'", "quality"]),
        (["--smoke", "--set", "members=many"], ["--set members=many", "whole number", "'many'"]),
        (["--smoke", "--set", "quality=1.5"], ["--set quality=1.5", "from 0 to 1", "got 1.5"]),
        (["--smoke", "--set", "train_images=5000"], ["train_images", "1294", "got 5000"]),
        (["--smoke", "--set", "test_images=3"], ["test_images", "10", "got 3"]),
        (["--smoke", "--searcher", "grid"], ["--searcher grid", "quality", "--set quality=VALUE"]),
        (["--smoke", "--searcher", "nsga2"], ["nsga2", "several objectives", "val_accuracy"]),
        (["--smoke", *(f"--set={name}" for name in ("quality=1", "members=1", "switch=none"))], ["nothing to search"]),
        (["--smoke", "--replay"], ["toy has no arms to replay"]),
        (["--smoke", "--cpus-per-trial", "4096"], ["--cpus-per-trial must be", f"most {cpu_count()}, ", "got 4096"]),
        (["--smoke", "--gpus-per-trial", "4096"], ["--gpus-per-trial must be", "GPUs of this machine", "got 4096"]),
        (["--smoke", "--resume"], ["--resume needs an unfinished run of toy", "got none in", "results/toy"]),
        (["--smoke", "--extend", "3"], ["--extend needs a run of toy", "got none in", "results/toy"]),
        (["--extend", "0"], ["--extend", "at least 1", "'0'"]),
        # What would have no effect.
        (["--resume", "--extend", "3"], ["--resume and --extend"]),
        (["--resume", "--plan"], ["--plan measures what a new run or an --extend costs", "--resume"]),
        *(([option, ""], [option, "must be a path, got ''"]) for option in ("--known", "--results", "--data")),
        (["--results", "file:///a\0b"], ["--results", "control characters"]),
        (["--repeats", "3"], ["--repeats", "--replay", "3"]),
        (["--replay", "--samples", "3"], ["--replay", "--samples 3", "--repeats"]),
        (["--replay", "--searcher", "random"], ["--replay", "--searcher random"]),
        (["--replay", "--scheduler", "asha"], ["--replay", "--scheduler asha"]),
        (["--searcher", "grid", "--samples", "3"], ["grid", "every combination", "--samples 3"]),
        (["--smoke", "--data", "/nonexistent/place"], ["--smoke runs on scikit-learn's digits", "/nonexistent/place"]),
    ],
)
def test_a_wrong_command_is_refused(refusal_of: Refused, arguments: list[str], words: list[str]) -> None:
    line = refusal_of(*arguments)
    assert lacks(line, words) == [], line


def test_a_studys_own_grid_takes_no_number_of_trials(toy: Study) -> None:
    own = dataclasses.replace(toy, searcher="grid", param_space={"members": tune.choice([1, 2, 3])}, scheduler="none")
    with pytest.raises(UsageError, match="toy: its grid runs every combination once, got --samples 2"):
        adapt(own, Request.parse(["space.py", "--samples", "2"]))
    chosen = adapt(own, Request.parse(["space.py", "--samples", "2", "--searcher", "random"]))
    assert (chosen.samples, chosen.searcher) == (2, "random")


def test_a_space_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "search.run: the following arguments are required: space\n"


@pytest.mark.parametrize("results", ["/dev/null/x", "/dev/null", "/proc/results"])
def test_results_must_be_a_folder_that_can_be_written(
    toy_space: Path, capsys: pytest.CaptureFixture[str], results: str
) -> None:
    assert main([str(toy_space), "--smoke", "--results", results]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("search.run: --results must be a folder that can be written, got " + results)


@pytest.mark.parametrize("option", ["--results", "--data", "--weights", "--known"])
def test_a_tilde_is_the_home_folder_also_behind_an_equals_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = parser().parse_args(["~/x.py", f"{option}=~/x y"])
    given = getattr(options, option[2:])
    assert str(given[0] if isinstance(given, list) else given) == f"{tmp_path}/x y"
    assert options.space == tmp_path / "x.py"
    assert parser().parse_args(["x.py", "--data=~nobody-of-this-name/x"]).data == Path("~nobody-of-this-name/x")


@pytest.mark.parametrize("option", ["--results", "--data", "--weights"])
@pytest.mark.parametrize("value", ["a" * 5000, "/".join(["ab"] * 2500), "a\0b", "\udc80", "a\x1b[31mb", "two\nlines"])
def test_a_path_that_cannot_be_is_refused(refusal_of: Refused, toy_space: Path, option: str, value: str) -> None:
    line = refusal_of("--smoke", option, value) if option != "--data" else refusal_of("--yes", option, value)
    assert len(line) < 2100
    assert line.isprintable()


def test_a_space_of_an_impossible_name_is_refused(refusal_of: Refused) -> None:
    for name in ("a" * 5000, "a\0b", "\udc80"):
        line = refusal_of("--smoke", space=Path(f"/tmp/{name}.py"))
        assert "space" in line
        assert line.isprintable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no Ray cluster answers there"]),
        (["--listen", "127.0.0.1"], ["--listen"]),
        (["--engine", "auto"], ["--engine auto"]),
        (["--cpus-per-trial", "auto"], ["--cpus-per-trial auto"]),
    ],
)
def test_an_address_of_the_environment_is_told_as_such(
    refusal_of: Refused, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    line = refusal_of("--smoke", *arguments)
    assert lacks(line, ["RAY_ADDRESS=127.0.0.1:9", *words]) == [], line
    assert "--address" not in line
    line = refusal_of("--smoke", "--address", "127.0.0.1:7", *arguments)
    assert lacks(line, ["--address 127.0.0.1:7", *words]) == [], line
    assert "RAY_ADDRESS" not in line


def test_rays_own_words_for_an_address_keep_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, address in (("local", None), ("", None), ("auto", "auto")):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert Request.parse(["x.py"]).address == address


@pytest.fixture
def read_only(begun: Path) -> Iterator[Path]:
    """An unfinished run on a file system that cannot be written."""
    command = ["mount", "--bind", "-o", "ro", str(begun), str(begun)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield begun
    subprocess.run(["umount", "--lazy", str(begun)], check=True)


def test_results_that_can_only_be_read_are_not_resumed(refusal_of: Refused, read_only: Path) -> None:
    line = refusal_of("--resume")
    assert line == f"--results must be a folder that can be written, got {read_only}: Read-only file system"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), OSError(28, "No space left on device")])
def test_a_run_that_never_started_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_space: Path, error: BaseException
) -> None:
    """Whatever comes between: Ctrl-C while Ray starts, a fault, a full disk."""

    def raises(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("search.run.connect", lambda *_, **__: None)
    monkeypatch.setattr("search.run.share_of", raises)
    command = [str(toy_space), "--smoke", "--results", str(tmp_path / "results")]
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            main(command)
    else:
        assert main(command) == (2 if isinstance(error, OSError) else 130)
    assert not list(tmp_path.rglob("*/toy*"))


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = Path(run_module.__file__)
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # as a hook of another repository sets it
    ask = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    head = subprocess.run(ask, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert commit_of(here) == (head.stdout.strip() or None)
    (tmp_path / "copy.py").touch()
    assert commit_of(tmp_path / "copy.py") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(here) is None
    (tmp_path / "git").write_text("not a program")
    (tmp_path / "git").chmod(0o755)
    assert commit_of(here) is None


def test_a_copy_inside_another_repository_has_no_commit(tmp_path: Path) -> None:
    """As `pip install` puts one into an environment in somebody's clone."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "provenance.py").touch()
    assert commit_of(tmp_path / "provenance.py") is None


def test_a_process_exits_with_status_2_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "search.run", "no_space.py", "--results", str(tmp_path / "results")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "search.run: no such space file: no_space.py\n"
    assert not (tmp_path / "results").exists()


def test_the_old_name_of_an_option_is_refused_with_the_new_one(refusal_of: Refused) -> None:
    assert "--path is now called --engine: --engine bf16" in refusal_of("--path", "bf16")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    shown = [action for action in parser()._actions if action.option_strings and action.help != argparse.SUPPRESS]
    options = [action.option_strings[-1] for action in shown]
    assert lacks(text, [*options, "space"]) == []


# The space


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text + "\nx = = 1\n", ["space.py, line ", "invalid syntax"]),
        (
            lambda text: text.replace("study = Study(", "other = Study("),
            ["space.py", "must define `study = Study(...)`"],
        ),
        (
            lambda text: text.replace("epochs=3", 'metric="test_accuracy"'),
            ["space.py", "'test_accuracy'", "no trial is chosen"],
        ),
        (lambda text: text.replace("epochs=3", "epochs=1 // 0"), ["space.py, line ", "ZeroDivisionError"]),
        (lambda text: text.replace('"quality": tune', '"speed": tune'), ["space.py", "unknown hyperparameter 'speed'"]),
        (lambda text: text.replace("uniform(0.1, 0.9)", "uniform(0.1, 9)"), ["space.py", "quality", "got 9"]),
    ],
)
def test_a_wrong_space_is_refused(
    refusal_of: Refused, tmp_path: Path, toy_space: Path, change: Callable[[str], str], words: list[str]
) -> None:
    space = tmp_path / "space.py"
    text = change(toy_space.read_text())
    assert text != toy_space.read_text()
    space.write_text(text)
    line = refusal_of("--smoke", space=space)
    assert lacks(line, words) == [], line


def test_a_space_that_is_not_there_is_refused(refusal_of: Refused, tmp_path: Path) -> None:
    assert refusal_of(space=tmp_path / "gone.py") == f"no such space file: {tmp_path / 'gone.py'}"


# The data


def image() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """CIFAR-10's layout with twenty images in two training shards and ten in one of test."""
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_shard(folder / f"{name}.parquet", list(range(10)))
    return folder


def write_shard(path: Path, labels: list[int]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": image(), "path": None}] * len(labels), kind)
    pq.write_table(pa.table({"img": images, "label": pa.array(labels, pa.int64())}), path)


def truncate(folder: Path) -> None:
    path = folder / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def test_without_data_and_network_both_ways_out_are_named(refusal_of: Refused) -> None:
    line = refusal_of("--yes")
    assert lacks(line, ["CIFAR-10", "cannot be downloaded", "--data", "--smoke"]) == [], line


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "train-00001-of-00002.parquet").unlink(), ["2 train shards required", "found 1"]),
        (
            lambda folder: (folder / "test-00000-of-00001.parquet").unlink(),
            ["test-00000-of-0000n", "found none"],
        ),
        (truncate, ["test-00000-of-00001.parquet", "intact Parquet file"]),
        (
            lambda folder: write_shard(folder / "train-00001-of-00002.parquet", [*range(9), 10]),
            ["train-00001-of-00002.parquet", "row 9", "0 to 9", "got 10"],
        ),
    ],
)
def test_damaged_data_is_refused(
    refusal_of: Refused, data: Path, spoil: Callable[[Path], Any], words: list[str]
) -> None:
    spoil(data)
    line = refusal_of("--yes", "--data", str(data.parent))
    assert lacks(line, words) == [], line


def test_data_that_is_not_there_is_refused(refusal_of: Refused, tmp_path: Path) -> None:
    assert (
        lacks(refusal_of("--yes", "--data", str(tmp_path / "gone")), ["data folder required", "gone", "nothing"]) == []
    )
    (tmp_path / "empty").mkdir()
    line = refusal_of("--yes", "--data", str(tmp_path / "empty"))
    assert lacks(line, ["CIFAR-10 required in", "found none of them"]) == [], line


def test_more_images_than_the_data_has_are_refused(refusal_of: Refused, data: Path) -> None:
    line = refusal_of("--yes", "--data", str(data.parent), "--set", "train_images=19")
    assert lacks(line, ["train_images", "18 (all)", "got 19"]) == [], line


# Going on


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of an unfinished smoke run."""
    folder = tmp_path / "results" / "toy" / "20260101-100000-smoke"
    folder.mkdir(parents=True)
    Journal(folder).close()
    write_record(folder, record())
    return folder


def record(**changes: Any) -> StudyRecord:
    whole = make_record(
        run="20260101-100000-smoke",
        dataset_fingerprint=load_data("digits").fingerprint,
        smoke=True,
        options=Request.parse(["space.py", "--smoke"]).stored(),
    )
    return dataclasses.replace(whole, **changes)


def test_a_run_in_use_is_not_resumed(refusal_of: Refused, begun: Path) -> None:
    journal = Journal(begun)
    assert refusal_of("--resume") == f"{begun} is in use by another run"
    journal.close()


def test_a_run_on_other_data_is_not_resumed(refusal_of: Refused, begun: Path) -> None:
    write_record(begun, record(dataset_fingerprint="abcdef" * 10))
    line = refusal_of("--resume")
    assert lacks(line, [str(begun), "abcdefabcdef", record().dataset_fingerprint[:12], "scikit-learn"]) == [], line


def test_a_finished_run_is_not_resumed(refusal_of: Refused, begun: Path) -> None:
    write_record(begun, record(finished=True))
    assert "needs an unfinished run of toy" in refusal_of("--resume")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "--samples", "20"], ["samples None", "--samples 20", "--extend"]),
        (["--resume", "--seed", "3"], ["seed 0", "--seed 3"]),
        (["--resume", "--set", "quality=1"], ["set []", "quality=1"]),
        (["--extend", "2", "--scheduler", "none"], ["--extend", "scheduler None", "--scheduler none"]),
    ],
)
def test_a_run_goes_on_as_it_began(refusal_of: Refused, begun: Path, arguments: list[str], words: list[str]) -> None:
    line = refusal_of(*arguments)
    assert lacks(line, [str(begun), *words]) == [], line


@pytest.mark.parametrize(
    ("first", "then", "place"),
    [
        (["--cpus-per-trial", "2", "--gpus-per-trial", "0"], [], (2.0, 0.0, None)),
        (["--cpus-per-trial", "2", "--gpus-per-trial", "0"], ["--cpus-per-trial", "1"], (1.0, 0.0, None)),
        (["--address", "10.0.0.1:6379"], [], (None, None, "10.0.0.1:6379")),
        (["--address", "10.0.0.1:6379"], ["--address", "10.0.0.2:6379"], (None, None, "10.0.0.2:6379")),
        (["--address", "10.0.0.1:6379"], ["--address", "local"], (None, None, None)),
        (["--address", "10.0.0.1:6379"], ["--listen", "10.0.0.3"], (None, None, None)),
    ],
)
def test_a_run_goes_on_with_the_cpus_gpus_and_cluster_that_it_began_with(
    tmp_path: Path, first: list[str], then: list[str], place: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial on another number of threads computes other weights."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = Request.parse(["space.py", *first])
    on_record = StudyRecord.from_json(record(options=asked.stored()).to_json())
    resumed = Request.parse(["space.py", "--resume", *then]).restored(tmp_path, on_record)
    assert (resumed.cpus_per_trial, resumed.gpus_per_trial, resumed.address) == place
    line = how_to_go_on(asked).partition("search.run ")[2]
    if not then:
        told = Request.parse(shlex.split(line))
        assert (told.cpus_per_trial, told.gpus_per_trial, told.address) == place


def test_what_auto_has_measured_is_on_record() -> None:
    request = Request.parse(["space.py", "--cpus-per-trial", "auto"]).sharing(2.0, 0.0)
    assert (request.stored()["cpus_per_trial"], request.stored()["gpus_per_trial"]) == (2.0, None)


def test_a_record_of_before_is_resumed_on_one_cpu_a_trial(tmp_path: Path) -> None:
    options = {name: value for name, value in record().options.items() if name not in PLACE}
    resumed = Request.parse(["space.py", "--resume"]).restored(tmp_path, record(options=options))
    assert choose_resources(resumed).cpus_per_trial == 1


def test_an_extension_of_more_than_a_day_is_refused(
    refusal_of: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "rates.py"
    space.write_text(
        "from ray import tune\nfrom search.study import Study\nfrom trainables.lenet import LeNetTrainable\n"
        "study = Study(name='rates', question='?', source='me', trainable=LeNetTrainable, dataset='digits', epochs=2,\n"
        "              samples=2, param_space={'lr': tune.loguniform(0.001, 0.1)})\n"
    )
    folder = tmp_path / "results" / "rates" / "20260101-100000"
    folder.mkdir(parents=True)
    Journal(folder).close()
    study, request = load(space), Request.parse([str(space), "--engine", "plain"])
    proposals = make_proposals(study, study.searcher, study.samples, request.seed)
    made = new_record(study, request, load_data("digits"), folder, proposals, study)
    write_record(folder, dataclasses.replace(made, finished=True))
    monkeypatch.setattr(run_module, "A_DAY", 1e-9)
    line = refusal_of("--extend", "2", space=space)
    assert lacks(line, ["an estimated", "--time-budget", "--yes starts anyway"]) == [], line


def test_a_plan_of_an_extension_is_of_its_own_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(
        name="rates",
        question="?",
        source="me",
        trainable=LeNetTrainable,
        dataset="digits",
        epochs=1,
        param_space={"lr": tune.loguniform(0.001, 0.1), "train_images": 40},
        arms={"a": {"lr": 0.1}, "b": {"lr": 0.2}},
    )

    def planned(*arguments: str, **more: Any) -> str:
        request = dataclasses.replace(Request.parse(["space.py", *arguments]), **more)
        own = adapt(study, request)
        proposals = propose(own, request)
        data, resources = load_data("digits"), choose_resources(Request.parse(["space.py"]))
        return run_module.plan(Prepared(request, study, own, data, proposals, resources, Economy(), None))

    # What `restored` makes of them: 3 more trials after 5, and 1 more seed after 2.
    assert "| without | 3 | 3 |" in planned("--extend", "3", samples=8)
    assert "| all | 2 |" in planned("--extend", "1", replay=True, repeats=3)


def test_a_replay_refuses_a_seed_that_it_would_replace(refusal_of: Refused, tmp_path: Path, toy_space: Path) -> None:
    space = tmp_path / "armed.py"
    text = (
        "import dataclasses\nfrom pathlib import Path\nfrom search.study import load\n"
        f"toy = load(Path({str(toy_space)!r}))\n"
        "study = dataclasses.replace(toy, arms={'a': {}, 'b': {'seed': 3}})\n"
    )
    space.write_text(text)
    assert lacks(refusal_of("--replay", "--smoke", space=space), ["seed=3 for arm 'b'", "use --seed"]) == []
    asked = ("--replay", "--smoke", "--arm", "a", "--set", "seed=5")
    assert lacks(refusal_of(*asked, space=space), ["seed=5 for arm 'a'", "use --seed"]) == []


def test_a_slow_trial_of_a_ray_tune_trainable_is_not_taken_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "mine.py"
    space.write_text(
        "from ray import tune\nfrom search.study import Study\ndef train(config):\n    tune.report({'score': 1.0})\n"
        "study = Study(name='mine', question='?', source='me', trainable=train, metric='score', epochs=2, samples=2,\n"
        "              reports={'score': 'max'}, param_space={'lr': tune.uniform(0.0, 1.0)})\n"
    )
    limits = []
    monkeypatch.setattr(run_module, "start", lambda ready, watch: limits.append(watch.limit) or 0)
    assert main([str(space), "--smoke", "--results", str(tmp_path)]) == 0
    assert limits == [None]


def test_a_whole_grid_is_not_extended(refusal_of: Refused, begun: Path) -> None:
    write_record(begun, record(finished=True, searcher="grid"))
    assert lacks(refusal_of("--extend", "2"), ["--extend", str(begun), "whole grid"]) == []


def test_a_damaged_record_is_not_resumed(refusal_of: Refused, begun: Path) -> None:
    (begun / "study.json").write_text("{")
    assert lacks(refusal_of("--resume"), [str(begun / "study.json"), "is not JSON"]) == []
    write_record(begun, record(options={"smoke": True}))
    assert lacks(refusal_of("--resume"), [str(begun / "study.json"), "lacks", "searcher"]) == []


def test_a_damaged_journal_is_not_resumed(refusal_of: Refused, begun: Path) -> None:
    (begun / "journal.jsonl").write_text('{"event": "suggest"}\n')
    assert lacks(refusal_of("--resume"), ["journal.jsonl, line 1", "damaged"]) == []


# Pretrained weights


PRETRAINED = """
from ray import tune
from torch import nn

from search.study import Study
from trainables.pretrained import PretrainedTrainable

study = Study(
    name="pretrained", question="Which?", source="none", trainable=PretrainedTrainable, dataset="digits",
    param_space={"model": tune.choice(["resnet18", "vgg19"]), "lr": tune.loguniform(1e-4, 1e-2)},
    arms={"scratch": {"weights": "random"}, "tuned": {"model": "vgg19"}},
    smoke={"weights": "random"},
)
"""


@pytest.fixture
def pretrained_space(tmp_path: Path) -> Path:
    path = tmp_path / "pretrained.py"
    path.write_text(PRETRAINED)
    return path


def test_weights_that_are_not_in_the_folder_are_named(
    refusal_of: Refused, pretrained_space: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    line = refusal_of("--weights", str(folder), space=pretrained_space)
    assert line == f"pretrained: resnet18-f37072fd.pth not found in {folder}"
    # The arm that starts from random weights needs none, the other one does.
    line = refusal_of("--replay", "--weights", str(folder), space=pretrained_space)
    assert line == f"pretrained: vgg19-dcbb9e9d.pth not found in {folder}"


@pytest.mark.parametrize("searched", [False, True])
def test_a_run_whose_folder_of_weights_was_moved_goes_on_with_the_new_one(
    refusal_of: Refused, pretrained_space: Path, tmp_path: Path, searched: bool
) -> None:
    """It is the same study, and its unfinished trials find their weights."""
    if searched:
        text = PRETRAINED.replace('"lr":', '"weights": tune.choice(["random", None]), "lr":')
        pretrained_space.write_text(text)
    space, old, new = str(pretrained_space), tmp_path / "old", tmp_path / "new"
    folder = tmp_path / "results" / "pretrained" / "20260101-100000"
    folder.mkdir(parents=True)
    asked = Request.parse([space, "--weights", str(old), "--engine", "plain"])
    study = adapt(load(pretrained_space), asked)
    proposals = make_proposals(study, study.searcher, study.samples, 0)
    write_record(folder, new_record(study, asked, load_data("digits"), folder, proposals, study))
    journal = Journal(folder)
    for number in range(6):
        config, arm, state = proposals.propose(number)
        journal.append("suggest", number, name=f"{number:04d}", config=config, arm=arm, state=state)
    journal.close()
    line = refusal_of("--resume", "--weights", str(new), space=pretrained_space)
    assert line == f"pretrained: resnet18-f37072fd.pth not found in {new}"  # as if it were begun there

    moved = with_weights_in(StudyRecord.from_json((folder / "study.json").read_text()), new)
    study = adapt(load(pretrained_space), Request.parse([space, "--resume"]).restored(folder, moved))
    journal = Journal(folder, begun=True)
    find_weights(journal.trials.values(), moved)
    require_journal(journal, moved, study, make_proposals(study, study.searcher, study.samples, 0))
    kept = {log.config["weights"] for log in journal.trials.values()}
    assert kept == ({"random", str(new)} if searched else {str(new)})
    journal.close()


def test_offline_weights_are_refused_with_where_they_were_looked_for(
    refusal_of: Refused, pretrained_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    line = refusal_of(space=pretrained_space)
    assert lacks(line, [f"resnet18-f37072fd.pth not in {tmp_path}/hub/checkpoints", "https://"]) == [], line


def test_weights_need_networks_that_take_them_and_a_whole_run(
    refusal_of: Refused, pretrained_space: Path, tmp_path: Path
) -> None:
    line = refusal_of("--weights", str(tmp_path))
    assert line.startswith(f"toy must have pretrained networks to take weights, got {tmp_path}: ")
    line = refusal_of("--smoke", "--weights", str(tmp_path), space=pretrained_space)
    assert lacks(line, ["--weights", "smoke run", str(tmp_path)]) == [], line


def test_a_hyperparameter_of_ones_own_called_weights_takes_no_folder() -> None:
    def small(classes: int, channels: int, size: int, weights: str = "none") -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))

    own = Study(
        name="own",
        question="?",
        source="me",
        trainable=image_trainable(small),
        dataset="digits",
        epochs=1,
        param_space={"lr": tune.loguniform(1e-3, 1e-1), "weights": tune.choice(["none", "hinge"])},
    )
    with pytest.raises(StudyError, match="own must have pretrained networks to take weights, got /weights"):
        own.with_weights("/weights")


def test_weights_go_to_what_is_pretrained(pretrained_space: Path) -> None:
    study = load(pretrained_space).with_weights("/weights")
    assert study.fixed()["weights"] == "/weights"
    assert {arm: config["weights"] for arm, config in study.arms.items()} == {"scratch": "random", "tuned": "/weights"}


def test_random_weights_stay_random_wherever_a_study_says_so(pretrained_space: Path) -> None:
    study = load(pretrained_space)

    def given(space: dict[str, Any], **changes: Any) -> Study:
        return dataclasses.replace(study, param_space=space, **changes).with_weights("/weights")

    either = {"weights": tune.choice(["random", None, "/old"]), "lr": tune.loguniform(1e-4, 1e-2)}
    searched = given(
        {**either, "momentum": when("weights", ["/old", None], tune.choice([0.5, 0.9]))},
        first=[{"weights": None}, {"weights": "random"}],
    )
    assert domain_edges(searched.searched()["weights"]) == ("random", "/weights")
    assert {config["weights"] for config in searched.sample(30) if "momentum" in config} == {"/weights"}
    assert searched.first == [{"weights": "/weights"}, {"weights": "random"}]
    scratch = given({"weights": "random", "lr": 0.1}, arms={"slow": {"lr": 0.01}, "tuned": {"weights": None}})
    assert scratch.fixed()["weights"] == "random"
    of_arms = {arm: scratch.configured(scratch.completed(config))["weights"] for arm, config in scratch.arms.items()}
    assert of_arms == {"slow": "random", "tuned": "/weights"}


def test_weights_that_only_some_configurations_declare_are_refused_a_folder(pretrained_space: Path) -> None:
    space = {"model": tune.choice(["resnet18", "vgg19"]), "weights": when("model", "vgg19", "random")}
    study = dataclasses.replace(load(pretrained_space), param_space=space)
    with pytest.raises(StudyError, match="weights exists only if model is 'vgg19', so --weights would not reach"):
        study.with_weights("/weights")
    assert study.with_set(["model=vgg19"]).with_weights("/weights").fixed()["weights"] == "random"
