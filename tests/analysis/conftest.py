"""Made-up results folders in the contract's format, written as real Parquet; and a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from search.records import Claim, Reported, StudyRecord
from tests.records import make_record

TEST_IMAGES = 2000


def made_up_record(**changes: Any) -> StudyRecord:
    record = make_record(
        study="batch_size",
        run="2026-01-01_10-00-00",
        question="Does a smaller batch reach a higher test accuracy?",
        source="note B, section 2",
        trainable="trainables.lenet.LeNet",
        dataset="cifar10",
        dataset_fingerprint="sha256:aa",
        epochs=4,
        space={"lr": "(0.0001, 0.1) log", "batch_size": "[16, 64]"},
        command="python -m search.run spaces/batch_size.py",
        versions={"python": "3.11.7", "torch": "2.13.0"},
        machine={"cpus": 2},
        wall_seconds=61.5,
        finished=True,
    )
    return replace(record, **changes)


@dataclass
class MadeUp:
    """Collects trials and writes them as a results folder."""

    record: StudyRecord
    trials: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)

    def trial(
        self,
        *,
        val: Iterable[float] = (),
        test: float | Iterable[float] | None = None,
        status: str = "completed",
        arm: str | None = None,
        seed: int = 0,
        protocol: str = "search",
        parameters: float | None = 1000,
        config: dict[str, Any] | None = None,
        members: Iterable[dict[str, Any]] = (),
        predict: bool = False,
        seconds: float = 1.0,
        **measured: Any,
    ) -> int:
        """One trial: `val` and a sequence `test` are its epochs; a single `test` is its last epoch's.

        `members` are rows of members.parquet at the last epoch, `predict` keeps labels that score
        exactly `test`; `measured` goes into the trial's row, and as a sequence into its epochs too.
        """
        trial_id = len(self.trials)
        val = list(val)
        test = test if test is None or isinstance(test, (int, float)) else list(test)
        series = {name: list(v) for name, v in measured.items() if isinstance(v, (list, tuple))}
        if isinstance(test, list):
            series["test_accuracy"] = test
        if val:
            series["val_accuracy"] = val
        count = max([len(v) for v in series.values()], default=0)
        for epoch in range(1, count + 1):
            row = {"trial_id": trial_id, "epoch": epoch, "seconds": seconds}
            row |= {name: v[epoch - 1] for name, v in series.items()}
            if not isinstance(test, list):
                row["test_accuracy"] = test if epoch == count else None
            self.epochs.append(row)
        final_test = test[-1] if isinstance(test, list) else test
        best = {}
        if val:
            best = {"best_val_accuracy": max(val), "best_val_epoch": 1 + int(np.argmax(val))}
        if isinstance(test, list):
            best |= {"best_test_accuracy": max(test), "best_test_epoch": 1 + int(np.argmax(test))}
        self.trials.append(
            {
                "trial_id": trial_id,
                "arm": arm,
                "seed": seed,
                "protocol": protocol,
                "status": status,
                "epochs": count,
                "parameters": parameters,
                "seconds": seconds * count,
                "peak_memory_bytes": 10**6,
                "error": None if status in ("completed", "stopped") else "loss is not finite",
                "val_accuracy": val[-1] if val else None,
                "test_accuracy": final_test,
                **best,
                **{f"config/{name}": v for name, v in (config or {}).items()},
                **{name: v[-1] if isinstance(v, (list, tuple)) else v for name, v in measured.items()},
            }
        )
        for row in members:
            self.members.append({"trial_id": trial_id, "epoch": count, **row})
        if predict:
            self.predict(trial_id, final_test)
        return trial_id

    def predict(self, trial_id: int, accuracy: float) -> None:
        """Labels right on the first `accuracy` of the images after a shift by the trial's seed."""
        image = np.arange(TEST_IMAGES)
        label = image % 10
        shift = 37 * self.trials[trial_id]["seed"]
        right = (image + shift) % TEST_IMAGES < round(accuracy * TEST_IMAGES)
        self.labels(trial_id, label, np.where(right, label, (label + 1) % 10))

    def labels(self, trial_id: int, label: Any, predicted: Any, member_predicted: Any = None) -> None:
        frame = pd.DataFrame({"trial_id": trial_id, "image": np.arange(len(label)), "label": label})
        frame["predicted"] = predicted
        if member_predicted is not None:
            frame["member_predicted"] = list(np.asarray(member_predicted))
        self.predictions.append(frame)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "study.json").write_text(self.record.to_json(), encoding="utf-8")
        pd.DataFrame(self.trials).to_parquet(folder / "trials.parquet")
        pd.DataFrame(self.epochs, columns=None if self.epochs else ["trial_id", "epoch"]).to_parquet(
            folder / "epochs.parquet"
        )
        if self.members:
            pd.DataFrame(self.members).to_parquet(folder / "members.parquet")
        if self.predictions:
            pd.concat(self.predictions).to_parquet(folder / "predictions.parquet")
        return folder


@pytest.fixture(scope="session")
def make_results() -> Callable[..., MadeUp]:
    """make_results(**changes of the record) -> an empty MadeUp."""
    return lambda **changes: MadeUp(made_up_record(**changes))


@pytest.fixture(scope="session")
def make_reported() -> Callable[..., Reported]:
    def build(**changes: Any) -> Reported:
        fields = {"run": "B/16", "note": "B", "section": "2", "arm": "small", "dataset": "cifar10"}
        return Reported(**(fields | {"model": "lenet"} | changes))

    return build


@pytest.fixture(scope="session")
def make_claim() -> Callable[..., Claim]:
    def build(**changes: Any) -> Claim:
        fields = {
            "name": "smaller is better",
            "statement": "A smaller batch reaches a higher test accuracy.",
            "source": "note B, section 2",
            "arms": ("small", "large"),
        }
        return Claim(**(fields | changes))

    return build


class Browser:
    """A headless Chromium behind chromedriver, spoken to as the W3C WebDriver standard says."""

    def __init__(self, driver: str, binary: str) -> None:
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        port = next(m[1] for line in self.process.stdout if (m := re.search(r"successfully on port (\d+)", line)))
        self.base = f"http://127.0.0.1:{port}/session"
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options = {"binary": binary, "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.base += "/" + self.send("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def send(self, path: str, body: Any = None, method: str = "POST") -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        self.send("/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        return self.send("/execute/sync", {"script": script, "args": []})

    def emulate(self, *, width: int = 1200, dark: bool = False) -> None:
        self._cdp(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        self._cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        shot = self._cdp("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def errors(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.send("/se/log", {"type": "browser"})]

    def _cdp(self, command: str, **parameters: Any) -> Any:
        return self.send("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        self.send("", method="DELETE")
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or binary is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    browser = Browser(driver, binary)
    yield browser
    browser.close()
