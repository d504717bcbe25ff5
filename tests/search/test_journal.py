"""The journal: what was appended is there again, after any crash, for one process at a time."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.journal import JOURNAL_FILE, Journal, JournalError, TrialLog, ending, finished

ROOT = Path(__file__).parents[2]


def write(folder: Path) -> Journal:
    """A journal of four trials: completed, failed, running with a checkpoint, just suggested."""
    journal = Journal(folder)
    for number in range(4):
        config = {"lr": 0.1 * number, "switch": None, "gray": True}
        journal.append("suggest", number, name=f"000{number}", config=config, arm=None, state={"system_attrs": {}})
    for epoch in (1, 2):
        for number in (0, 1, 2):
            accuracy = np.float32(0.5) if number == 0 else math.nan
            result = {"epoch": epoch, "total_epochs": 2, "val_accuracy": accuracy, "each": (1, 2)}
            journal.append("result", number, result=result)
    journal.append("end", 0, status="completed", error=None)
    journal.append("error", 1, error="out of memory")
    journal.append("end", 1, status="failed", error="out of memory")
    journal.append("checkpoint", 2, path="trials/0002/checkpoint_000001", epoch=2)
    return journal


def test_a_journal_opened_again_holds_what_was_appended(tmp_path: Path) -> None:
    journal = write(tmp_path)
    journal.close()
    again = Journal(tmp_path)
    assert again.trials == journal.trials
    assert again.order == journal.order == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    done, failed, running, suggested = (again.trials[number] for number in range(4))
    assert done.config == {"lr": 0.0, "switch": None, "gray": True}
    assert (done.status, done.last) == (
        "completed",
        {"epoch": 2, "total_epochs": 2, "val_accuracy": 0.5, "each": [1, 2]},
    )
    assert (failed.status, failed.error) == ("failed", "out of memory")
    assert (running.status, running.checkpoints) == (None, [(2, "trials/0002/checkpoint_000001")])
    assert running.last["val_accuracy"] is None  # NaN is no JSON
    assert (suggested.status, suggested.last) == (None, {})
    assert [finished(log) for log in again.trials.values()] == [True, True, False, False]


def test_appending_goes_on_after_opening_again(tmp_path: Path) -> None:
    write(tmp_path).close()
    journal = Journal(tmp_path)
    journal.append("result", 3, result={"epoch": 1, "total_epochs": 3})
    journal.close()
    assert Journal(tmp_path).trials[3].last == {"epoch": 1, "total_epochs": 3}


def test_an_event_is_on_the_disk_before_anything_depends_on_it(tmp_path: Path) -> None:
    journal = write(tmp_path)
    journal.append("result", 3, result={"epoch": 1, "total_epochs": 3})
    content = (tmp_path / JOURNAL_FILE).read_bytes()
    last = content.splitlines()[-1]
    assert last.startswith(b'{"event": "result", "trial": 3, "result": {"epoch": 1, "total_epochs": 3}, "chain": "')


def test_a_torn_last_line_never_happened(tmp_path: Path) -> None:
    write(tmp_path).close()
    path = tmp_path / JOURNAL_FILE
    whole = path.read_bytes()
    last_line = whole[whole.rfind(b"\n", 0, -1) + 1 :]
    for length in range(1, len(last_line)):
        path.write_bytes(whole + last_line[:length])
        journal = Journal(tmp_path)
        assert len(journal.order) == 6
        assert journal.dropped
        assert f"half-written ({length} bytes)" in journal.dropped
        journal.seal()
        journal.close()
        assert path.read_bytes() == whole
    path.write_bytes(whole + last_line[:5])
    journal = Journal(tmp_path)
    journal.append("end", 3, status="failed", error=None)
    journal.close()
    assert Journal(tmp_path).trials[3].status == "failed"


def cut(line: bytes) -> bytes:
    return line[: len(line) // 2]


@pytest.mark.parametrize(
    "spoil",
    [cut, lambda line: b"\0" * len(line), lambda line: b"", lambda line: b"[1]", lambda line: b'{"event": "result"}'],
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    write(tmp_path).close()
    path = tmp_path / JOURNAL_FILE
    lines = path.read_bytes().splitlines()
    lines[6] = spoil(lines[6])
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 7 .*damaged") as caught:
        Journal(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_lost_suggestion_is_damage_too(tmp_path: Path) -> None:
    write(tmp_path).close()
    path = tmp_path / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2 .*damaged"):
        Journal(tmp_path)


OPEN = "import sys; from pathlib import Path; from search.journal import Journal; Journal(Path(sys.argv[1]))"


def open_elsewhere(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OPEN, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_second_process_is_told_that_the_journal_is_in_use(tmp_path: Path) -> None:
    journal = write(tmp_path)
    second = open_elsewhere(tmp_path)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == f"search.journal.JournalError: {tmp_path} is in use by another run"
    journal.close()
    assert open_elsewhere(tmp_path).returncode == 0


def test_the_first_report_of_an_epoch_counts(tmp_path: Path) -> None:
    journal = write(tmp_path)
    journal.append("result", 2, result={"epoch": 2, "total_epochs": 3, "val_accuracy": 0.9})
    journal.append("result", 2, result={"epoch": 3, "total_epochs": 3, "val_accuracy": 0.8})
    assert journal.trials[2].results[2]["val_accuracy"] is None
    assert journal.order.count((2, 2)) == 1
    assert journal.trials[2].last["epoch"] == 3
    journal.close()
    again = Journal(tmp_path)
    assert (again.trials, again.order) == (journal.trials, journal.order)


def test_attempts_count_as_failed_until_there_is_a_new_epoch(tmp_path: Path) -> None:
    journal = write(tmp_path)
    for expected in (1, 2):
        journal.append("error", 2, error="its worker was lost")
        assert journal.trials[2].failures == expected
    journal.append("result", 2, result={"epoch": 2, "total_epochs": 3})  # once more, from a checkpoint
    assert journal.trials[2].failures == 2
    journal.append("result", 2, result={"epoch": 3, "total_epochs": 3})
    assert journal.trials[2].failures == 0
    journal.close()
    assert Journal(tmp_path).trials == journal.trials


def test_a_full_disk_leaves_whole_lines_and_is_told(small_disk: Path) -> None:
    journal = Journal(small_disk)

    def fill() -> None:
        for number in range(10_000):
            journal.append("suggest", number, name="", config={"text": "x" * 500}, arm=None, state={})

    with pytest.raises(JournalError, match=r"journal\.jsonl cannot be written: No space left on device"):
        fill()
    written = len(journal.trials)
    assert 10 < written < 10_000
    # Nothing may follow a hole, even where there is space again.
    with pytest.raises(JournalError, match="No space left"):
        journal.append("end", 0, status="failed", error=None)
    assert journal.trials[0].status is None
    journal.path.with_name("ballast").unlink()
    journal.close()
    again = Journal(small_disk)
    assert len(again.trials) == written
    again.append("end", 0, status="failed", error=None)
    again.close()


def test_the_last_result_is_that_of_the_largest_epoch() -> None:
    log = TrialLog(0, "0000", {}, results={2: {"epoch": 2}, 1: {"epoch": 1}})
    assert log.last == {"epoch": 2}


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({}, None),
        ({"epoch": 1}, None),
        ({"epoch": 1, "done": True}, "stopped"),
        ({"epoch": 3}, "completed"),
        ({"epoch": 3, "done": True}, "completed"),
        ({"epoch": 3, "total_epochs": 6}, None),
        ({"epoch": 3, "total_epochs": 6, "done": True}, "stopped"),
        ({"epoch": 3.0, "done": True}, "completed"),
        ({"epoch": 2, "done": True, "diverged": "loss is nan"}, "diverged"),
        ({"epoch": 3, "done": True, "diverged": "loss is nan"}, "diverged"),
    ],
)
def test_a_trial_ends_as_its_last_result_says(result: dict[str, Any], status: str | None) -> None:
    assert ending({"total_epochs": 3, **result} if result else {}) == status
