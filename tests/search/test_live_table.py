from __future__ import annotations

import math
import random

import pytest

from search.live_table import BEST, LiveTable, Row, shorten, sparkline

COLUMNS = ("epoch", "validation", "test", "images/s")


def row(number: int, settings: str = "lr=0.0521,members=3,dropout=0.25,batch_size=16,decay=cosine") -> Row:
    figures = ("17/27", "56.2%", "55.9%", "12,345")
    return Row(f"{number:04d}-{settings}", figures, [0.1, 0.3, 0.5], "green")


def table(running: int, best: int = BEST) -> LiveTable:
    head = [
        "alexnet_bagging: 12/32 trials, 14 min, ETA 1.2 h",
        "8 completed, 3 stopped",
        "rungs: " + "epoch 5: 3, " * 20,
    ]
    return LiveTable(head, COLUMNS, [row(k) for k in range(running)], [row(100 + k) for k in range(best)])


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize(("width", "height"), [(80, 23), (60, 12), (200, 60)])
@pytest.mark.parametrize("running", [0, 1, 2, 64])
def test_it_fits_and_keeps_every_figure(width: int, height: int, running: int, ascii_only: bool) -> None:
    lines = [text for text, _ in table(running).lines(width, height, ascii_only=ascii_only)]
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith(("  0", "  1"))]
    assert len(rows) >= min(running, 1) + BEST
    for line in rows:
        for figure in ("17/27", "56.2%", "55.9%", "12,345"):
            assert figure in line
    if ascii_only:
        assert all(line.isascii() for line in lines)
    if running == 64 and height < 60:
        assert any("more running" in line for line in lines)


def test_a_name_is_cut_in_its_middle() -> None:
    (line,) = [text for text, _ in table(1, best=0).lines(80, 23) if text.startswith("  0000")]
    name = line.split()[0]
    assert name.startswith("0000-")
    assert "…" in name
    assert name.endswith("cosine")


@pytest.mark.parametrize("width", range(1, 12))
def test_what_is_cut_has_the_width_asked_for(width: int) -> None:
    assert len(shorten("a name that is long", width)) == width
    assert shorten("short", 11) == "short"


def test_a_curve_rises_with_its_values_whatever_its_length() -> None:
    assert sparkline([0, 0.5, 1], 0, 1) == "▁▅█"
    assert len(sparkline([random.Random(0).random() for _ in range(300)], 0, 1)) == 12
    assert sparkline([math.nan, 1.0], 0, 1) == " █"
    assert sparkline([0.3], 0.3, 0.3) == "▁"
    assert sparkline([], 0, 1) == ""
