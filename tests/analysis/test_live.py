import re
import subprocess
import sys
import time

import pytest

from analysis import live

RELOADS = "location.reload()"


@pytest.fixture
def study(make_results):
    study = make_results(finished=False, question="Does it live?")
    study.trial(val=[0.1, 0.2], test=0.2, config={"lr": 0.1, "batch_size": 16})
    study.trial(val=[0.3], status="running", config={"lr": 0.1, "batch_size": 16})
    return study


def start(folder, file, *arguments):
    command = [sys.executable, "-m", "analysis.live", str(folder), "-o", str(file), "--every", "1", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    assert true()


def text(file):
    return file.read_text(encoding="utf-8") if file.exists() else ""


def test_the_page_follows_the_run_and_stands_still_once_it_has_ended(study, tmp_path):
    file, folder = tmp_path / "page.html", tmp_path / "run"
    process = start(folder, file, "--until-closed")  # before the run has a folder
    try:
        time.sleep(2)
        assert process.poll() is None
        study.write(folder)
        wait_until(lambda: "2 trials: 1 completed, 1 running" in text(file))
        assert RELOADS in text(file)
        study.trials[1]["status"] = "completed"
        study.trials[1]["test_accuracy"] = 0.3
        study.record.finished = True
        for old in folder.iterdir():
            old.unlink()
        folder.rmdir()
        study.write(folder)
        wait_until(lambda: "2 trials: 2 completed" in text(file))
        process.stdin.close()
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert "Partial" not in text(file)
    assert RELOADS not in text(file)
    assert [each.name for each in tmp_path.glob("page.html*")] == ["page.html"]


def test_it_ends_by_itself_with_the_run(study, tmp_path):
    study.record.finished = True
    file = tmp_path / "page.html"
    assert live.main([str(study.write(tmp_path / "run")), "-o", str(file)]) == 0
    assert RELOADS not in text(file)


def test_a_run_that_never_comes_is_one_line(tmp_path):
    process = start(tmp_path / "nothing", tmp_path / "page.html", "--until-closed")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(r"python -m analysis.live: .*nothing.*\n", said)


def test_a_first_page_that_cannot_be_is_one_line(study, tmp_path, capsys):
    folder = study.write(tmp_path / "run")
    for results, file, said in (
        (tmp_path / "rum", tmp_path / "page.html", "rum: no such folder"),
        (folder, tmp_path / "nowhere" / "page.html", "nowhere"),
    ):
        process = start(results, file)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 2
        assert re.fullmatch(rf"python -m analysis.live: .*{said}.*\n", err)
    with pytest.raises(SystemExit):
        live.main([str(folder), "-o", str(tmp_path / "page.html"), "--every", "-1"])
    assert "--every needs a second or more, got -1" in capsys.readouterr().err


def test_what_hinders_a_later_page_is_said_once(study, tmp_path):
    file, folder = tmp_path / "page.html", tmp_path / "run"
    process = start(study.write(folder), file)
    try:
        wait_until(lambda: "2 trials" in text(file))
        folder.rename(tmp_path / "away")
        time.sleep(4)  # some rounds
        assert process.poll() is None
        study.record.finished = True
        study.write(tmp_path / "again").rename(folder)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert re.fullmatch(r"python -m analysis.live: .*run: no such folder\n", err)
    assert RELOADS not in text(file)


def test_a_reader_keeps_what_is_unfolded_when_the_page_loads_itself(study, tmp_path, browser):
    file = tmp_path / "page.html"
    assert live.write([str(study.write(tmp_path / "run"))], file, 3)
    browser.emulate()
    browser.open(file)
    opened = browser.run(
        "window.first = true; const fold = document.querySelector('details.part:not([open])'); fold.open = true;"
        "fold.scrollIntoView(); return [...document.querySelectorAll('details')].map(d => d.open)"
    )
    wait_until(lambda: not browser.run("return window.first === true"))
    again = "return document.readyState === 'complete' && [...document.querySelectorAll('details')].map(d => d.open)"
    wait_until(lambda: browser.run(again) == opened, 10)
