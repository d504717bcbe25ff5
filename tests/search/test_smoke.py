"""The README's first command, run as a user runs it, and watched while it runs."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from search.records import StudyRecord

ROOT = Path(__file__).parents[2]
SPACE = "spaces/alexnet_bagging.py"
LIMIT = 600  # seconds; a timing belongs in a benchmark, this only ends a hanging run


@dataclass
class Watched:
    status: int
    output: str
    folder: Path
    sockets: set[str] = field(default_factory=set)
    metrics: str = ""
    dashboard_page: int = 0
    dashboard_api: int = 0


def start(results: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "search.run", SPACE, "--results", str(results), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_folder(results: Path) -> Path:
    (folder,) = (results / "alexnet_bagging").iterdir()
    return folder


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses on which a process and its descendants accept connections."""
    found = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError, http.client.HTTPException):  # a gRPC port speaks no HTTP
        return 0, ""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    results = tmp_path_factory.mktemp("results")
    process = start(results, "--smoke")
    assert process.stdout is not None
    lines = []
    seen = Watched(0, "", Path())
    deadline = time.monotonic() + LIMIT
    try:
        for line in process.stdout:
            lines.append(line)
            if "epoch " in line and not seen.dashboard_page:
                dashboard = re.search(r"http://127\.0\.0\.1:\d+", "".join(lines))
                assert dashboard
                seen.dashboard_page = get(dashboard[0])[0]
                seen.dashboard_api = get(dashboard[0] + "/api/cluster_status")[0]
            if "epoch " in line and "search_val_accuracy" not in seen.metrics:
                sockets = listening(process.pid)
                seen.sockets |= {ip for ip, _ in sockets}
                for _, port in sorted(sockets):
                    page = get(f"http://127.0.0.1:{port}/metrics")[1]
                    if "ray_search_val_accuracy" in page:
                        seen.metrics = page
            assert time.monotonic() < deadline, "".join(lines)
        seen.status = process.wait(60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    seen.output = "".join(lines)
    seen.folder = run_folder(results)
    return seen


def test_ends_well_and_says_what_was_found(watched: Watched) -> None:
    assert watched.status == 0, watched.output
    assert "best by val_accuracy" in watched.output
    assert re.search(r"val_accuracy \d+\.\d%, test accuracy \d+\.\d%", watched.output)
    assert "| trial |" in watched.output
    assert f"results    {watched.folder}" in watched.output
    assert "next       python -m search.run" in watched.output


def test_at_least_eight_trials_and_some_stopped_early(watched: Watched) -> None:
    status = pq.read_table(watched.folder / "trials.parquet")["status"].to_pylist()
    assert len(status) >= 8
    assert "stopped" in status
    assert "completed" in status
    assert set(status) <= {"completed", "stopped", "diverged"}


def test_best_is_chosen_by_validation_among_completed(watched: Watched) -> None:
    trials = pq.read_table(watched.folder / "trials.parquet").to_pylist()
    best = max((t for t in trials if t["status"] == "completed"), key=lambda t: (t["val_accuracy"], -t["trial_id"]))
    assert f"trial {best['name']}" in watched.output
    assert f"test accuracy {best['test_accuracy']:.1%}" in watched.output


def test_only_completed_trials_saw_the_test_set(watched: Watched) -> None:
    for trial in pq.read_table(watched.folder / "trials.parquet").to_pylist():
        assert (trial["test_accuracy"] is not None) == (trial["status"] == "completed")
    predictions = pq.read_table(watched.folder / "predictions.parquet").to_pandas()
    trials = pq.read_table(watched.folder / "trials.parquet").to_pandas().set_index("trial_id")
    for number, rows in predictions.groupby("trial_id"):
        assert (rows.predicted == rows.label).mean() == pytest.approx(trials.test_accuracy[number])


def test_smaller_ensembles_are_rows_of_their_own(watched: Watched) -> None:
    members = pq.read_table(watched.folder / "members.parquet").to_pandas()
    trials = pq.read_table(watched.folder / "trials.parquet").to_pandas()
    last = members[members.epoch == members.groupby("trial_id").epoch.transform("max")]
    sizes = last.groupby("trial_id").members.max()
    assert (sizes == trials.set_index("trial_id")["config/members"].loc[sizes.index]).all()
    assert sizes.max() > 1


def test_record_and_best_weights_can_be_read_back(watched: Watched) -> None:
    record = StudyRecord.from_json((watched.folder / "study.json").read_text())
    assert record.finished
    assert record.wall_seconds > 0
    assert record.versions["ray"]
    weights = torch.load(watched.folder / "best.pt", weights_only=True)
    assert weights["epoch"] == record.epochs


def test_every_trial_has_a_readable_folder_with_its_results(watched: Watched) -> None:
    for trial in pq.read_table(watched.folder / "trials.parquet").to_pylist():
        lines = (watched.folder / "trials" / trial["name"] / "result.json").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, trial["epochs"] + 1))


def test_ray_is_silent(watched: Watched) -> None:
    for noise in ("Trial status", "INFO", "WARNING", "Configuration for experiment", "Traceback"):
        assert noise not in watched.output


def test_no_port_beyond_loopback(watched: Watched) -> None:
    assert watched.sockets
    assert {ip for ip in watched.sockets if not ip.removeprefix("::ffff:").startswith("127.") and ip != "::1"} == set()


def test_dashboard_is_up_and_its_data_need_a_token(watched: Watched) -> None:
    assert watched.dashboard_page == 200
    assert watched.dashboard_api == 401
    assert "ray get-auth-token" in watched.output


def test_gauges_are_in_rays_metrics(watched: Watched) -> None:
    for gauge in ("val_accuracy", "epoch", "images_per_second"):
        assert re.search(rf'ray_search_{gauge}{{.*study="alexnet_bagging".*trial="0000-', watched.metrics), gauge
    assert re.search(r'ray_search_state{.*state="running".*trial="0000-', watched.metrics)
    assert re.search(r"metrics    http://127\.0\.0\.1:\d+/metrics", watched.output)


def until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read the run's output up to the first line that matches."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if re.search(pattern, line):
            return read
    raise AssertionError(f"{pattern} never came:\n{read}")


def kill_tree(process: subprocess.Popen[str]) -> None:
    """kill -9 of the driver and of all it started, as a machine's power cut would."""
    for victim in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(60)


@pytest.mark.long
def test_kill_and_resume_finishes_every_trial_once(tmp_path: Path) -> None:
    process = start(tmp_path, "--smoke", "--samples", "5")
    until(process, r"0002 epoch 1/")
    kill_tree(process)
    folder = run_folder(tmp_path)
    before = (folder / "journal.jsonl").read_text().splitlines()
    finished = {line for line in before if '"event": "end"' in line}
    again = subprocess.run(
        [sys.executable, "-m", "search.run", SPACE, "--resume", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    journal = (folder / "journal.jsonl").read_text().splitlines()
    assert journal[: len(before)] == before
    for event in ("suggest", "end"):
        numbers = [re.search(r'"trial": (\d+)', line)[1] for line in journal if f'"event": "{event}"' in line]  # type: ignore[index]
        assert sorted(numbers) == ["0", "1", "2", "3", "4"]
    for line in finished:
        number = re.search(r'"trial": (\d+)', line)[1]  # type: ignore[index]
        assert f"{int(number):04d} started" not in again.stdout
    status = pq.read_table(folder / "trials.parquet")["status"].to_pylist()
    assert "running" not in status


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_saves_what_is_known_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "--smoke", "--samples", "5")
    output = until(process, r"0001 epoch 1/")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output + rest
    assert "--resume" in rest
    assert "Traceback" not in rest
    trials = pq.read_table(run_folder(tmp_path) / "trials.parquet").to_pylist()
    assert trials[0]["epochs"] >= 1


@pytest.mark.long
def test_a_finished_search_is_extended(tmp_path: Path) -> None:
    process = start(tmp_path, "--smoke", "--samples", "2")
    assert process.wait(LIMIT) == 0
    folder = run_folder(tmp_path)
    before = (folder / "journal.jsonl").read_text()
    process = start(tmp_path, "--smoke", "--extend", "2")
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    assert run_folder(tmp_path) == folder
    assert (folder / "journal.jsonl").read_text().startswith(before)
    trials = pq.read_table(folder / "trials.parquet").to_pydict()
    assert trials["trial_id"] == [0, 1, 2, 3]
    assert set(trials["status"]) <= {"completed", "stopped"}
    record = StudyRecord.from_json((folder / "study.json").read_text())
    assert (record.samples, record.options["samples"], record.finished) == (4, 4, True)


@pytest.mark.long
def test_a_run_that_imports_torchvision_ends_with_what_to_do_next(tmp_path: Path) -> None:
    """torchvision brings Triton, whose bindings list everything that is left when Python ends."""
    command = [sys.executable, "-m", "search.run", "spaces/lenet_best.py", "--smoke", "--results", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip().splitlines()[-1].startswith("next ")
    assert "leaked" not in ran.stderr
