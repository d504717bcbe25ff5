"""A file of commands is run one after the other, each once, whatever stopped the queue before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.campaign import main, read, words_of
from search.failures import UsageError
from search.request import Request
from search.results import write_record
from tests.records import make_record

ROOT = Path(__file__).parents[2]

Queue = Callable[..., Path]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signal handlers as they were."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def write_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_space: Path) -> Queue:
    """Return a function that writes a file of lines, TOY being the toy space's file; runs are in tmp_path/results."""
    monkeypatch.chdir(tmp_path)

    def write(*lines: str) -> Path:
        file = tmp_path / "queue.txt"
        file.write_text("\n".join(line.replace("TOY", str(toy_space)) for line in lines) + "\n")
        return file

    return write


def begun(folder: Path, command: str, *, finished: bool, statuses: tuple[str, ...] = ("completed",)) -> Path:
    """A run of the toy as search.run leaves it behind."""
    folder.mkdir(parents=True)
    record = make_record(
        run=folder.name,
        command=command,
        finished=finished,
    )
    write_record(folder, record)
    (folder / "journal.jsonl").touch()
    pq.write_table(pa.table({"status": list(statuses)}), folder / "trials.parquet")
    return folder


def test_a_line_is_a_command_and_comments_are_not(write_queue: Queue) -> None:
    file = write_queue("# all", "", "TOY --smoke  # first", "python -m search.run TOY --seed 3 --results other")
    first, second = read(file, Path("results"))
    assert (first.number, first.request.smoke, first.request.results) == (3, True, Path("results"))
    assert (second.number, second.request.seed, second.request.results) == (4, 3, Path("other"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("TOY --sampels 3", ["line 2", "--sampels"]),
        ("nowhere.py", ["line 2", "nowhere.py"]),
        ("TOY --resume", ["line 2", "--resume"]),
        ("TOY --plan", ["line 2", "--plan"]),
        ("TOY --repeats 3", ["line 2", "--replay"]),
        ("TOY 'open", ["line 2", "quotation"]),
        ("TOY --seed 0 --smoke", ["line 2", "line 1"]),
    ],
)
def test_a_wrong_line_is_named_before_anything_starts(
    write_queue: Queue, line: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write_queue("TOY --smoke", line))]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert [word for word in words if word not in error] == [], error


def test_two_lines_may_differ_in_their_results_alone(
    write_queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(read(write_queue("TOY", "TOY --results other"), Path("results"))) == 2
    with pytest.raises(UsageError, match="line 2 repeats line 1"):
        read(write_queue("TOY", f"TOY --results {tmp_path}/results"), Path("results"))


def test_a_line_is_done_by_a_run_that_knew_results_of_another_folder(
    write_queue: Queue, tmp_path: Path, toy_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"python -m search.run {toy_space} --replay --known /elsewhere/results"
    begun(tmp_path / "results" / "toy" / "1", command, finished=True)
    queue = write_queue("TOY --replay --known results")
    assert main([str(queue), "--results", str(tmp_path / "results"), "--status"]) == 0
    assert "done" in capsys.readouterr().out


def test_a_restarted_campaign_finds_the_runs_of_results_in_the_home_folder(
    write_queue: Queue, tmp_path: Path, toy_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    begun(tmp_path / "home" / "x" / "toy" / "1", f"python -m search.run {toy_space}", finished=True)
    assert main([str(write_queue("TOY")), "--results=~/x", "--status"]) == 0


def test_a_run_that_may_not_be_read_is_named(
    write_queue: Queue, tmp_path: Path, toy_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results" / "toy" / "1" / "study.json").mkdir(parents=True)  # which root may not read either
    assert main([str(write_queue("TOY")), "--status"]) == 2
    assert "results/toy/1/study.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [[], ["# nothing"]])
def test_a_file_without_commands_is_refused(
    write_queue: Queue, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write_queue(*lines))]) == 2
    assert "must hold a command a line, got none" in capsys.readouterr().err
    assert main(["no-such-file"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["s.py"],
        ["s.py", "--smoke", "--replay", "--repeats", "3", "--arm", "a b", "--arm", "c", "--set", "lr=.1"],
        ["s.py", "--time-budget", "30m", "--cpus-per-trial", "auto", "--gpus-per-trial", "0.5", "-v", "--yes"],
        ["s.py", "--replay", "--arm=-a", "--arm=--b"],
        ["--", "-s.py"],
        ["s.py", "--time-budget", "0.00001s"],
        ["s.py", "--time-budget", "99999999999999999999d", "--address", "10.0.0.1:6379"],
        ["s.py", "--data", "d", "--results", "r", "--engine", "bf16", "--seed", "4", "--searcher", "grid"],
    ],
)
def test_options_are_written_as_they_are_read(words: list[str]) -> None:
    request = Request.parse(words)
    assert Request.parse(words_of(request)) == request


def test_the_status_of_each_line_is_that_of_its_run(
    write_queue: Queue, tmp_path: Path, toy_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_queue("TOY --seed 1", "TOY --seed 2", "TOY --seed 3", "TOY --seed 4", "TOY")
    runs, command = tmp_path / "results" / "toy", f"python -m search.run {toy_space}"
    begun(runs / "1", f"{command} --results results --seed 1", finished=True)
    begun(runs / "2", f"{command} --seed=2", finished=True, statuses=("completed", "failed"))
    begun(runs / "3", f"{command} --seed 3 --results elsewhere", finished=False)
    begun(runs / "4", f"{command} --seed 4 --set quality=1", finished=True)  # another question
    begun(runs / "5", f"{command} --an-option-of-before", finished=True)
    assert main([str(file), "--status"]) == 1
    *rows, summary = capsys.readouterr().out.splitlines()
    states = ["done", "done, some trials failed", "broken off", "to do", "to do"]
    assert [row[6:32].split("  ")[0].strip() for row in rows] == states
    assert summary == "1 done, 1 done, some trials failed, 1 broken off, 2 to do"


def test_finished_lines_are_skipped_and_failures_are_in_the_exit_status(
    write_queue: Queue, tmp_path: Path, toy_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"python -m search.run {toy_space} --seed "
    begun(tmp_path / "results" / "toy" / "1", command + "1", finished=True)
    assert main([str(write_queue("TOY --seed 1"))]) == 0
    begun(tmp_path / "results" / "toy" / "2", command + "2", finished=True, statuses=("failed",))
    assert main([str(write_queue("TOY --seed 2", "TOY --seed 1"))]) == 1
    assert "1 of 2 lines are done, 1 are not" in capsys.readouterr().out


def test_a_line_is_not_resumed_as_another_run(
    write_queue: Queue, tmp_path: Path, toy_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, command = tmp_path / "results" / "toy", f"python -m search.run {toy_space} --seed "
    begun(runs / "1", command + "1", finished=False)
    begun(runs / "2", command + "9", finished=False)
    assert main([str(write_queue("TOY --seed 1"))]) == 1
    assert "--resume would take results/toy/2" in capsys.readouterr().out


# Real runs

SLOW = "TOY --smoke --set wait=5 --samples 2 --scheduler none --set members=1"


def start(file: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "search.campaign", str(file), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # As a shell starts what runs in the background: with Ctrl-C ignored.
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    return subprocess.Popen(command, cwd=file.parent, env=environment, stdout=subprocess.PIPE, text=True, **ignore)


def unfinished(folder: Path) -> bool:
    """Whether a run is under way and has a result."""
    return any('"result"' in journal.read_text() for journal in folder.glob("results/*/*/journal.jsonl"))


@pytest.mark.long
def test_a_killed_queue_goes_on_where_it_stopped(
    write_queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results")
    file = write_queue(SLOW, "TOY --smoke --replay", "TOY --smoke --samples 1 --seed 5")
    process = start(file, "--results", results)
    while not unfinished(tmp_path):
        assert process.poll() is None
        time.sleep(0.2)
    assert main([str(file), "--results", results]) == 2  # not beside the first
    assert main([str(file), "--results", results, "--status"]) == 1
    assert "1 running, 2 to do" in capsys.readouterr().out
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate()
    assert process.returncode == 130, told
    assert main([str(file), "--results", results, "--status"]) == 1
    assert "1 broken off, 2 to do" in capsys.readouterr().out
    process = start(file, "--nice", "5", "--results", results)
    told, _ = process.communicate()
    # The toy has no arms to replay: that line fails, and the one after it runs all the same.
    assert process.returncode == 1, told
    assert "[1/3] resumed" in told
    assert "2 of 3 lines are done, 1 are not" in told
    assert len(list(tmp_path.glob("results/toy/*"))) == 2
    assert main([str(file), "--results", results, "--status"]) == 1
    assert "2 done, 1 to do" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not schedule by session")
def test_a_session_gets_the_niceness_of_the_campaign() -> None:
    script = "from search import campaign; import os; os.nice(7); campaign._lower(int(input()))"
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        subprocess.run([sys.executable, "-c", script], input=str(other.pid), text=True, cwd=ROOT, check=True)
        assert Path(f"/proc/{other.pid}/autogroup").read_text().split()[-1] == "7"
    finally:
        other.kill()
        other.wait()


@pytest.mark.long
def test_a_full_disk_stops_the_queue(write_queue: Queue, small_disk: Path) -> None:
    fills = f"TOY --smoke --set fate=fills --samples 1 --scheduler none --results {small_disk}"
    process = start(write_queue(fills, "TOY --smoke --samples 1"))
    told, _ = process.communicate()
    assert process.returncode == 3, told
    assert "[2/2]" not in told


@pytest.mark.long
def test_a_run_whose_ray_died_is_gone_on_with(write_queue: Queue, tmp_path: Path) -> None:
    process = start(write_queue(SLOW))
    while not unfinished(tmp_path):
        assert process.poll() is None
        time.sleep(0.2)
    (raylet,) = (each for each in psutil.Process(process.pid).children(recursive=True) if each.name() == "raylet")
    raylet.kill()
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert "[1/1] ended with status 3" in told
    assert "[1/1] resumed" in told
