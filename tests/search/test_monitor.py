"""A running study seen from outside: in Prometheus, started with the shipped file, and in Ray's dashboard."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from search.actor_labels import label
from search.disk import Disk
from search.events import TrialLog
from search.targets import FOLDER, SHIPPED, Targets
from tests.analysis.conftest import Browser

ROOT = Path(__file__).parents[2]
LIMIT = 700  # seconds of a run that hangs
APPEARS = 20.0  # seconds in which a trial must appear: a report, a scrape, and what a busy machine adds

SPACE = """
import dataclasses
from ray import tune
from tests.search.toy_space import study as toy

space = {"quality": tune.choice([0.2, 0.4, 0.6, 0.8]), "wait": 5.0}
# The last trial takes 25 s, longer than any may take to appear.
fates = {"broken": "raises", "lost": "diverges", "good": "well"}
study = dataclasses.replace(
    toy, name="seen", question="Who sees this toy?", epochs=5, samples=5, scheduler="none", dataset="digits",
    param_space={"quality": 0.5, "wait": 5.0},
    arms={name: {"quality": 0.5, "fate": fate, "wait": 5.0} for name, fate in fates.items()},
)
"""


def test_a_label_holds_name_epoch_state_and_the_arms_settings() -> None:
    log = TrialLog(3, "0003-good,seed=1", {})
    assert label(log) == "0003-good,seed=1 epoch 0"
    log.results[2] = {"epoch": 2, "total_epochs": 9}
    log.status = "stopped"
    assert label(log, {"lr": 0.1, "members": 3}) == "0003-good,seed=1 epoch 2/9 stopped lr=0.1 members=3"
    assert len(label(log, {"x" * 300: 1})) <= 160


def test_a_list_of_addresses_that_cannot_be_written_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a results folder whose .monitoring another user has made."""
    monkeypatch.setattr("search.targets.metrics_addresses", lambda: ["127.0.0.1:1"])
    monkeypatch.setattr("search.targets.session_folder", lambda: None)

    def refuse(disk: Disk, name: str, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(Disk, "write", refuse)
    Targets(tmp_path, "toy", "run").write()
    told = f"note       Prometheus may not find this run: {tmp_path / FOLDER} cannot be written: Permission denied\n"
    assert capsys.readouterr().out == told


def test_the_prometheus_file_finds_runs_by_their_own_files_alone() -> None:
    text = (SHIPPED / "prometheus.yml").read_text(encoding="utf-8")
    assert re.findall(r"(\S+\.json)", text) == ["targets/*.json", "../../results/.monitoring/targets/*.json"]
    assert "/tmp/ray" not in text


def ask(url: str, token: str | None = None) -> Any:
    """Return a page's JSON, {} if nobody answers there (yet, or any more)."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != 503:  # starting
            raise
    except OSError:
        pass
    return {}


@dataclass
class Seen:
    """What was seen of one run: `journal` and `found` by seconds since the run began."""

    output: str = ""
    status: int = -1
    folder: Path = Path()
    begun: dict[str, float] = field(default_factory=dict)
    found: list[tuple[float, set[str], set[str]]] = field(default_factory=list)  # time, begun before it, in Prometheus
    states: dict[str, set[str]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    best: list[str] = field(default_factory=list)
    panels: dict[str, int] = field(default_factory=dict)  # query of a panel -> most series that it gave
    jobs: list[Any] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    page: str = ""
    targets_after: list[str] = field(default_factory=list)


class Prometheus:
    def __init__(self, config: Path, storage: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        program = shutil.which("prometheus")
        assert program
        self.base = f"http://{address}/api/v1/query?query="
        self.process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={storage}", f"--web.listen-address={address}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def query(self, text: str) -> list[dict[str, Any]]:
        """Answer an instant query, [] while Prometheus starts."""
        found: list[dict[str, Any]] = ask(self.base + urllib.parse.quote(text)).get("data", {}).get("result", [])
        return found

    def trials(self, text: str) -> set[str]:
        return {series["metric"]["trial"] for series in self.query(text)}


def begun_in(folder: Path) -> tuple[set[str], int]:
    """Return the names of the trials that the journal says were started, and how many have ended."""
    names, begun, ended = {}, set(), 0
    path = folder / "journal.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        event = json.loads(line)
        if event["event"] == "suggest":
            names[event["trial"]] = event["name"]
        elif event["event"] == "start":
            begun.add(names[event["trial"]])
        ended += event["event"] == "end"
    return begun, ended


def queries() -> list[str]:
    """Return every query of the shipped Grafana dashboard, for all studies and runs."""
    board = json.loads((SHIPPED / "grafana" / "dashboards" / "search.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [text.replace("$study", ".*").replace("$run", ".*") for text in found]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    if shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus: apt-get install prometheus")
    results, other = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("other")
    (other / "seen.py").write_text(SPACE)
    (other / "output").touch()
    seen = Seen()
    command = [sys.executable, "-m", "search.run", str(other / "seen.py"), "--replay", "--repeats", "2", "--yes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.Popen(
        [*command, "--smoke", "--results", str(results)],
        cwd=ROOT,
        env=environment,
        stdout=(other / "output").open("wb"),
        stderr=subprocess.STDOUT,
    )
    server: Prometheus | None = None
    browser: Browser | None = None
    began = time.monotonic()
    try:
        while run.poll() is None and time.monotonic() - began < LIMIT:
            time.sleep(1)
            now, output = time.monotonic() - began, (other / "output").read_text()
            if server is None and (results / FOLDER / "prometheus.yml").exists():
                server = Prometheus(results / FOLDER / "prometheus.yml", other / "storage")
            address = re.search(r"dashboard  (\S+)", output)
            if server is None or not address:
                continue
            (seen.folder,) = results.glob("seen/*")
            before, ended = begun_in(seen.folder)
            for name in before:
                seen.begun.setdefault(name, now)
            if ended < 6:  # after that the run is at its end, and its metrics may go at any moment
                seen.found.append((now, before, server.trials("ray_search_epoch")))
            for series in server.query("ray_search_state == 1"):
                seen.states.setdefault(series["metric"]["trial"], set()).add(series["metric"]["state"])
            counts = {s["metric"]["state"]: float(s["value"][1]) for s in server.query("ray_search_trials")}
            seen.counts = counts or seen.counts
            seen.best = sorted(server.trials("ray_search_best == 1")) or seen.best
            for query in queries() if len(seen.found) % 5 == 4 else ():
                seen.panels[query] = max(seen.panels.get(query, 0), len(server.query(query)))
            token = (Path.home() / ".ray" / "auth_token").read_text().strip()
            if "epoch 2/" in output and not seen.jobs:
                seen.jobs = ask(f"{address[1]}/api/jobs/", token)
            if "0002 epoch 2/" in output and not seen.page and shutil.which("chromedriver"):
                browser = Browser(shutil.which("chromedriver") or "", shutil.which("chromium") or "")
                browser._cdp("Network.setCookie", name="ray-authentication-token", value=token, url=address[1])
                browser.send("/url", {"url": f"{address[1]}/#/actors"})
                until = time.monotonic() + 15
                while "Repr" not in seen.page and time.monotonic() < until:
                    time.sleep(1)
                    seen.page = browser.run("return document.body.innerText")
            actors = ask(f"{address[1]}/logical/actors", token).get("data", {}).get("actors", {}).values()
            seen.actors += [f"{actor['actorClass']} {actor['reprName']}" for actor in actors]
        seen.status = run.wait(10)
    finally:
        for process in (run, server.process if server else None):
            if process and process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
        if browser:
            browser.close()
    seen.output = (other / "output").read_text()
    seen.targets_after = sorted(path.name for path in (results / FOLDER / "targets").iterdir())
    return seen


@pytest.mark.long
def test_every_trial_is_found_from_its_start_until_the_run_ends(seen: Seen) -> None:
    assert len(seen.begun) == 6, seen.output
    first: dict[str, float] = {}
    for now, before, found in seen.found:
        for name in before:
            if name in found:
                first.setdefault(name, now)
            else:
                age = now - seen.begun[name]
                assert name not in first, f"{name} vanished {age:.0f} s after its start, there were {found}"
                assert age < APPEARS, f"{name} was not found {age:.0f} s after its start"
    assert first.keys() == seen.begun.keys()


@pytest.mark.long
def test_how_trials_ended_and_which_is_best_can_be_seen(seen: Seen) -> None:
    arms: dict[str, set[str]] = {}
    for name, states in seen.states.items():  # of the last trial to end, the run's end may come first
        arms.setdefault(name.split("-")[1].split(",")[0], set()).update(states)
    assert arms == {"good": {"running", "completed"}, "broken": {"running", "failed"}, "lost": {"running", "diverged"}}
    assert seen.counts.keys() == {"waiting", "running", "completed", "stopped", "diverged", "failed"}
    assert sum(seen.counts.values()) == 6
    assert len(seen.best) == 1
    assert "-good," in seen.best[0]


@pytest.mark.long
def test_the_address_is_printed_and_forgotten_with_the_run(seen: Seen) -> None:
    assert re.search(r"metrics    http://127\.0\.0\.1:\d+/metrics", seen.output)
    assert seen.targets_after == []


@pytest.mark.long
def test_every_panel_of_the_dashboard_has_something_to_show(seen: Seen) -> None:
    empty = {query for query, series in seen.panels.items() if not series}
    toy_lacks = ("ray_node_gpus_utilization", "ray_search_images_per_second")
    assert [query for query in empty if not any(metric in query for metric in toy_lacks)] == []


@pytest.mark.long
def test_rays_dashboard_names_the_study_and_shows_each_workers_trial_and_epoch(seen: Seen) -> None:
    assert [job["metadata"]["job_name"] for job in seen.jobs] == ["seen: Who sees this toy?"]
    for name in seen.begun:
        shown = {text for text in seen.actors if text.startswith(f"Toy {name} epoch ")}
        assert shown, name
        assert all("quality=0.5" in text for text in shown)
    assert any(re.search(r"-good,seed=\d epoch [1-5]/5", text) for text in seen.actors)
    assert not [text for text in seen.actors if "ResourceTrainable" in text]


@pytest.mark.long
def test_the_page_of_actors_shows_a_running_trial(seen: Seen) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    assert re.search(r"0002-\S+ epoch [0-5]", seen.page), seen.page
