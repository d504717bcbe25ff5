"""Machines that fail under a study on a real Ray: what each costs is a cause, an attempt, never a result."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search.checkpoints import RAY_FOLDER
from search.cluster import Cluster, connect, disconnect
from search.failures import Halted, cause_of
from search.journal import JOURNAL_FILE, Journal
from search.resources import Resources
from search.searchers import Listed
from search.study import Study
from search.tuner import Outcome, run_study
from search.watch import Watch
from trainables.data.datasets import ImageData
from trainables.training import checkpoint

Run = Callable[..., Outcome]
Config = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield connect(None)
    disconnect()


@pytest.fixture(scope="module")
def run_trials(cluster: Cluster, toy: Study, tiny_data: ImageData) -> Run:
    """Return a function that runs configurations in order, `slots` of them side by side."""

    def run(configs: list[Config], journal: Journal, slots: int = 1, **options: Any) -> Outcome:
        return run_study(
            toy,
            Listed([(config, f"arm{n}") for n, config in enumerate(configs)]),
            tiny_data,
            journal,
            journal.path.parent,
            seed=0,
            scheduler="none",
            resources=Resources(1 / slots, 0),
            slots=lambda: slots,
            **options,
        )

    return run


def statuses(outcome: Outcome) -> list[str | None]:
    return [log.status for _, log in sorted(outcome.trials.items())]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / JOURNAL_FILE).read_bytes().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.mark.long
def test_a_trial_that_hangs_fails_and_the_others_go_on(run_trials: Run, tmp_path: Path) -> None:
    watch = Watch(0.0, floor=8.0)
    outcome = run_trials([{"fate": "hangs"}, {}, {}], Journal(tmp_path), slots=2, watch=watch)
    assert statuses(outcome) == ["failed", "completed", "completed"]
    hanging = outcome.trials[0]
    assert hanging.error is not None
    assert hanging.error.startswith("hangs: nothing heard for")
    assert list(hanging.results) == [1]
    assert len(events(tmp_path, "error")) == 1  # it would hang again


@pytest.mark.long
def test_a_trial_out_of_memory_is_tried_once_more_then_fails_with_the_cause(run_trials: Run, tmp_path: Path) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome = run_trials([{"fate": "hogs"}, {}], Journal(tmp_path))
    assert statuses(outcome) == ["failed", "completed"]
    error = outcome.trials[0].error
    assert error is not None
    assert error.startswith("out of memory: ")
    assert "Unable to allocate" in error
    assert [event["trial"] for event in events(tmp_path, "error")] == [0, 0]
    assert f"0000 is tried again: {error}" in output.getvalue()


def begun(folder: Path, epochs: int) -> Journal:
    """A run killed after trial 0's second of three epochs, whose first checkpoint Ray had not removed yet."""
    journal = Journal(folder)
    config = {"quality": 0.5, "epochs": epochs, "seed": 1}
    journal.append("suggest", 0, name="0000-arm0", config=config, arm="arm0", state={})
    journal.append("start", 0, folder="0000-arm0")
    for epoch in (1, 2):
        result = {"epoch": epoch, "total_epochs": epochs, "val_accuracy": epoch / 10, "began": 0}
        journal.append("result", 0, result=result)
        path = folder / RAY_FOLDER / "0000-arm0" / f"checkpoint_00000{epoch - 1}"
        path.mkdir(parents=True)
        checkpoint.write(path, f"0.5 {epoch}".encode())
        journal.append("checkpoint", 0, epoch=epoch, path=path.relative_to(folder).as_posix())
    return journal


def truncate(path: Path) -> None:
    file = path / checkpoint.CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:-1])


def flip(path: Path) -> None:
    file = path / checkpoint.CHECKPOINT_FILE
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


@pytest.mark.long
@pytest.mark.parametrize(("damaged", "began"), [([], 2), ([2], 1), ([1, 2], 0)])
def test_a_trial_goes_back_to_the_newest_whole_checkpoint(
    run_trials: Run, tmp_path: Path, damaged: list[int], began: int
) -> None:
    journal = begun(tmp_path, 3)
    for epoch, spoil in zip(damaged, (truncate, flip), strict=False):
        spoil(tmp_path / journal.trials[0].checkpoints[epoch - 1][1])
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome = run_trials([{}], journal)
    assert statuses(outcome) == ["completed"]
    results = outcome.trials[0].results
    assert [results[epoch]["began"] for epoch in (1, 2, 3)] == [0, 0, began]
    assert results[2]["val_accuracy"] == 0.2  # the first report counts
    for epoch in damaged:
        assert f"0000 cannot go on from epoch {epoch}: " in output.getvalue()
    assert f"0000 started, from {f'epoch {began}' if began else 'the beginning'}" in output.getvalue()
    assert not list(tmp_path.rglob("checkpoint_*"))
    assert (tmp_path / "best.pt").read_text() == "0.5 3"


def more_space(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


@pytest.mark.long
def test_a_disk_full_under_a_checkpoint_halts_the_run_and_costs_nothing(run_trials: Run, small_disk: Path) -> None:
    configs: list[Config] = [{"fate": "fills"}, {}]
    journal = Journal(small_disk)
    with pytest.raises(Halted, match="No space left on device"):
        run_trials(configs, journal)
    assert journal.trials[0].status is None
    assert events(small_disk, "error") == []
    journal.close()
    more_space(small_disk)
    again = Journal(small_disk)
    assert statuses(run_trials(configs, again)) == ["completed", "completed"]
    assert again.trials[0].results[3]["began"] == 1
    again.close()


@pytest.mark.long
def test_a_disk_full_under_the_results_halts_the_run_and_costs_nothing(
    run_trials: Run, small_disk: Path, tmp_path: Path
) -> None:
    configs: list[Config] = [{"quality": n / 100} for n in range(1, 9)]
    (small_disk / "ballast").write_bytes(bytes((4 << 20) - (64 << 10)))
    journal = Journal(small_disk)
    with pytest.raises(Halted, match="No space left on device"):
        run_trials(configs, journal)
    journal.close()
    known = len(events(small_disk, "result"))
    more_space(small_disk)
    again = Journal(small_disk)
    assert len(again.order) == known
    assert statuses(run_trials(configs, again)) == ["completed"] * 8
    again.close()
    undisturbed = Journal(tmp_path)
    run_trials(configs, undisturbed)

    def measured(journal: Journal) -> list[Any]:
        logs = journal.trials.values()
        return [(log.name, log.config, {e: r["val_accuracy"] for e, r in log.results.items()}) for log in logs]

    assert measured(again) == measured(undisturbed)


# Without Ray


LOST = """Failure # 1 (occurred at 2026-11-22_11-40-00)
The actor died unexpectedly before finishing this task.
    class_name: Toy
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""
RAISED = """Failure # 1 (occurred at 2026-11-22_11-40-00)
ray::Toy.train() (pid=1, ip=127.0.0.1)
  File "x.py", line 1, in step
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (RAISED + "RuntimeError: the toy is broken\n", "RuntimeError: the toy is broken"),
        (LOST, "its worker was lost: killed by a person or by the system, perhaps for want of memory"),
        (
            RAISED + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "out of memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        (
            RAISED + "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\n",
            "out of memory: RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes",
        ),
        (
            LOST.replace("died. Worker exit type: SYSTEM_ERROR", "died. Worker exit detail: Owner's node has crashed."),
            "its node was lost",
        ),
        ("", "no error message"),
    ],
)
def test_a_cause_is_one_line(text: str, cause: str) -> None:
    assert cause_of(text) == cause
    assert "\n" not in cause_of(text)
