"""Tables as a reader sees them."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis import report, tables


def test_a_setting_and_what_was_measured_keep_their_own_columns():
    frame = pd.DataFrame({"epochs": [1, 3], "config/epochs": [15, 15], "lr": [0.1, 0.2]})
    shown = tables.readable(frame)
    assert list(shown) == ["epochs", "epochs (setting)", "lr"]
    assert shown["epochs"].tolist() == ["1", "3"]
    assert shown["epochs (setting)"].tolist() == ["15", "15"]


@pytest.mark.parametrize(
    "columns",
    [
        ["epochs", "config/epochs"],
        ["config/a_b", "config/a b"],
        ["config/val_loss", "val_loss", "validation loss"],
        ["a_b", "a b", "config/a_b", "config/a b", "a b (setting)"],
    ],
)
def test_no_two_headings_are_alike(columns):
    headings = tables.headings(columns)
    assert len(set(headings)) == len(columns)
    frame = pd.DataFrame([[str(i) for i in range(len(columns))]], columns=columns)
    assert tables.readable(frame).to_numpy().tolist() == [[str(i) for i in range(len(columns))]]


def test_an_empty_table_keeps_its_headings():
    assert list(tables.readable(pd.DataFrame(columns=["epochs", "lr"]))) == ["epochs", "lr"]


@pytest.fixture
def run(make_results, tmp_path):
    study = make_results(question="Größer ± 😀?", study="größe")
    for k in range(200):
        study.trial(val=[0.2, 0.4], test=0.4, config={"lr": 0.1, "batch_size": 16 + k})
    return study.write(tmp_path / "run")


def command(*arguments, shell="", **environment):
    line = [sys.executable, "-m", *arguments]
    if shell:
        line = ["bash", "-c", f'set -o pipefail; "$@" {shell}', "bash", *line]
    return subprocess.run(line, capture_output=True, env=os.environ | environment, check=False)


def test_a_terminal_of_few_characters_is_given_escapes(run):
    done = command("analysis.pareto", str(run), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr\\xf6\\xdfe" in done.stdout


def test_a_reader_who_has_seen_enough_ends_the_output_in_peace(run):
    # A page is more than a pipe holds.
    done = command("analysis.pareto", str(run), "--format", "html", shell="| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"<!doctype html>\n", b"")


def test_a_path_with_bytes_that_are_no_character(run, tmp_path):
    folder = os.fsencode(tmp_path) + b"/f\xf6lder"
    os.rename(os.fsencode(run), folder)
    page = tmp_path / "report.html"
    assert report.main([os.fsdecode(folder), "-o", str(page)]) == 0
    assert "f\\udcf6lder" in page.read_text(encoding="utf-8")


def test_a_choice_of_yes_or_no_is_written_as_such():
    """As a row of a table of booleans holds it, too."""
    assert [tables.cell(value) for value in (True, np.bool_(False), np.float64(1), 0)] == ["True", "False", "1", "0"]


def test_a_cell_of_several_lines_stays_in_its_row():
    text = tables.markdown("", pd.DataFrame({"claim": ["A smaller batch\nreaches\r\nmore."]}), ())
    assert text.splitlines()[-1] == "| A smaller batch reaches more. |"
