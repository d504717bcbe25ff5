import itertools
import re
import shutil
import subprocess

import pandas as pd
import pytest

from analysis import claims, latex, tables
from analysis.load import load

EVIDENCE = "analysis/evidence"


def document(text):
    return "\n".join(
        [r"\documentclass{article}", rf"\usepackage{{{latex.PACKAGES}}}", r"\begin{document}", text, r"\end{document}"]
    )


def compiled(text, folder):
    """Compile a table; return TeX's complaints about width in points, by whether a cell or the table is too wide."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex: apt-get install texlive-latex-recommended")
    (folder / "table.tex").write_text(document(text), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    for _ in range(3):  # longtable settles its columns over several runs
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    return [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", done.stdout)]


def frame(columns, rows, seed_text):
    words = itertools.cycle(seed_text.split())
    return pd.DataFrame(
        [[" ".join(itertools.islice(words, length)) for length in columns.values()] for _ in range(rows)],
        columns=list(columns),
    )


TEXT = (
    "the smaller batch_size=16 of alexnet:3, alexnet:6 reaches 56.62 % (2.1 to 4.5) \\ & # $ {x} ~ ^ | [a] ± × ≤ 😀 ü"
)


@pytest.mark.parametrize("columns", [{"a": 1}, {"claim": 14, "n": 1}, {str(k): k for k in range(1, 13)}])
def test_a_table_of_any_width_fits_the_page(columns, tmp_path):
    text = tables.Table(frame(columns, 60, TEXT), "A title_with 50 % & all <that>", ["A note."]).text("tex")
    assert max(compiled(text, tmp_path), default=0) < 5


def test_the_table_of_claims_fits_the_page(tmp_path):
    found = claims.claims(load([EVIDENCE]))
    text = tables.Table(found, "Claims", claims.NOTES, read=claims.readable).text("tex")
    assert r"\begin{landscape}" in text
    assert max(compiled(text, tmp_path), default=0) < 5


def test_a_small_table_has_plain_columns_and_stands_upright():
    text = latex.latex("Title", pd.DataFrame({"trial": ["1"], "accuracy %": ["56.1"]}), [])
    assert "{@{}ll@{}}" in text
    assert "landscape}" not in text.partition("\n")[2]


def test_a_long_word_may_be_broken_and_a_short_one_may_not():
    assert latex.escape("batch_size=16", 5) == r"batch\_\allowbreak{}size=\allowbreak{}16"
    assert latex.escape("batch_size=16", 13) == r"batch\_size=16"
    assert latex.escape("abcdefghij", 5) == r"abcde\allowbreak{}fghij"
