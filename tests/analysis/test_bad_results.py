"""Whatever a results folder has become: an answer, or one line that says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from analysis import claims, compare, importance, pareto, report

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "pareto": pareto.main,
    "compare": compare.main,
    "claims": claims.main,
    "importance": importance.main,
    "report": report.main,
}
TABLES = ("trials", "epochs", "members", "predictions")
FILES = ("study.json", *(f"{table}.parquet" for table in TABLES))


@pytest.fixture(scope="module")
def good(
    make_results: Callable[..., Any],
    make_reported: Callable[..., Any],
    make_claim: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A replay and a search of ensembles in one folder, with everything that a folder can hold."""
    arms = {"small": {"batch_size": 16}, "large": {"batch_size": 64}}
    curve = tuple({"epoch": epoch, "test_accuracy": 0.2 * epoch, "train_accuracy": None} for epoch in (1, 2))
    study = make_results(
        arms=arms, reported=[make_reported(test_accuracy=0.4, epochs=2, curve=curve)], claims=[make_claim()]
    )
    for seed in range(2):
        for arm, accuracy in (("small", 0.4), ("large", 0.3)):
            members = [
                {"members": size, "val_accuracy": accuracy, "test_accuracy": accuracy, "parameters": 100 * size}
                for size in (1, 2)
            ]
            study.trial(
                val=[0.2, accuracy], test=accuracy, arm=arm, seed=seed, config=arms[arm], predict=True, members=members
            )
    for number in range(6):
        study.trial(val=[0.1, 0.2 + number / 20], test=0.2, config={"batch_size": 16, "lr": 0.01 * (number + 1)})
    study.trial(val=[0.1], status="stopped", config={"batch_size": 16, "lr": 0.5})
    return study.write(tmp_path_factory.mktemp("results") / "run")


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[str, Path], None]:
    def answer(command: str, folder: Path) -> None:
        output = tmp_path / "answer.html"
        output.unlink(missing_ok=True)
        capsys.readouterr()
        status = COMMANDS[command]([str(folder), "-o", str(output)])
        lines = capsys.readouterr().err.splitlines()
        assert status in (0, 2)
        assert output.exists() == (status == 0)
        if status == 2:
            (line,) = lines
            assert line.startswith("python -m analysis.")
        else:
            page = output.read_text(encoding="utf-8")
            # As an element, or in a figure's JSON, where Plotly would make a link of it.
            assert LINK not in page
            assert "\\u003ca href" not in page

    return answer


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "bad")


def test_the_folder_is_good_before_it_is_spoilt(good: Path, tmp_path: Path) -> None:
    for command in COMMANDS.values():
        assert command([str(good), "-o", str(tmp_path / "answer.html")]) == 0


def test_any_bytes(examine: Callable[..., None], answer: Callable[..., None], good: Path, bad: Path) -> None:
    def check(command: str, file: str, at: int, bytes_: bytes, cut: bool) -> None:
        content = (good / file).read_bytes()
        at %= len(content)
        (bad / file).write_bytes(content[:at] + bytes_ + (b"" if cut else content[at + len(bytes_) :]))
        answer(command, bad)
        (bad / file).write_bytes(content)

    examine(
        check,
        share=0.5,
        command=st.sampled_from(sorted(COMMANDS)),
        file=st.sampled_from(FILES),
        at=st.one_of(st.integers(0, 10**6), st.integers(-3000, -1)),
        bytes_=st.one_of(st.binary(max_size=3), st.sampled_from([b"null", b"[]", b"{}", b'""', b"-1", b"NaN"])),
        cut=st.booleans(),
    )


LINK = '<a href="http://x">'  # must be seen as it is, in text, tables and figures
TEXTS = ("a/b", "a:2", "a@1", LINK, "x\0", "|\n$%", "é" * 300)
VALUES = (None, float("nan"), float("inf"), -1, 2**62, "text", "", True, b"bytes", [1], "completed", "small", *TEXTS)


def test_any_column(examine: Callable[..., None], answer: Callable[..., None], good: Path, bad: Path) -> None:
    def check(command: str, table: str, column: int, value: Any, rows: int, drop: bool) -> None:
        path = bad / f"{table}.parquet"
        frame = pd.read_parquet(good / path.name)
        name = frame.columns[column % len(frame.columns)]
        if drop:
            frame = frame.drop(columns=name)
        else:
            frame[name] = [value] * len(frame)
        frame.iloc[:rows].to_parquet(path)
        answer(command, bad)
        shutil.copy(good / path.name, path)

    examine(
        check,
        share=0.5,
        command=st.sampled_from(sorted(COMMANDS)),
        table=st.sampled_from(TABLES),
        column=st.integers(0, 30),
        value=st.sampled_from(VALUES),
        rows=st.sampled_from([0, 1, 5, 10**6]),
        drop=st.booleans(),
    )


def test_any_number_of_rows(examine: Callable[..., None], answer: Callable[..., None], good: Path, bad: Path) -> None:
    def check(command: str, table: str, row: int, times: int, statistics: bool, counted: bool) -> None:
        path = bad / f"{table}.parquet"
        rows = pq.read_table(good / path.name)
        many = rows.take(pa.array(np.full(times, row % len(rows))))
        if counted:
            many = many.set_column(0, "trial_id", pa.array(np.arange(times)))
        pq.write_table(pa.concat_tables([rows, many]), path, write_statistics=statistics)
        answer(command, bad)
        shutil.copy(good / path.name, path)

    examine(
        check,
        share=0.2,
        command=st.sampled_from(sorted(COMMANDS)),
        table=st.sampled_from(TABLES),
        row=st.integers(0, 10**4),
        times=st.sampled_from([1, 2, 1000, 300_000]),
        statistics=st.booleans(),
        counted=st.sampled_from([False, False, True]),
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


JSON = st.recursive(
    st.one_of(
        st.sampled_from([None, True, 0, -1, 1, 0.5, 10**400, 2**63, "", "max", "small", "val_accuracy", *TEXTS]),
        # Half a character: JSON can write it, UTF-8 cannot.
        st.sampled_from(["\ud83d", "a\udc00b"]),
        st.floats(),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["epoch", "a", "arms"]), inner)
    ),
    max_leaves=4,
)


def test_any_record(examine: Callable[..., None], answer: Callable[..., None], good: Path, bad: Path) -> None:
    file = bad / "study.json"
    whole = json.loads((good / file.name).read_text(encoding="utf-8"))
    where = [place for place in places(whole) if place]

    def check(command: str, place: tuple[Any, ...], value: Any, how: str) -> None:
        spoilt = json.loads(json.dumps(whole))
        *path, last = place
        inner = spoilt
        for key in path:
            inner = inner[key]
        if how == "drop":
            del inner[last]
        elif how == "rename" and isinstance(inner, dict):
            inner[str(value)] = inner.pop(last)
        else:
            inner[last] = value
        file.write_text(json.dumps(spoilt), encoding="utf-8")
        answer(command, bad)

    # What a curve and a claim hold is read by nobody else.
    deep = [place for place in where if place[0] in ("reported", "claims", "arms", "space")]
    examine(
        check,
        share=0.5,
        command=st.sampled_from(sorted(COMMANDS)),
        place=st.one_of(st.sampled_from(where), st.sampled_from(deep)),
        value=JSON,
        how=st.sampled_from(["set", "set", "set", "drop", "rename"]),
    )


def test_any_missing_file(answer: Callable[..., None], good: Path, tmp_path: Path) -> None:
    for file in FILES:
        folder = shutil.copytree(good, tmp_path / file)
        (folder / file).unlink()
        for command in COMMANDS:
            answer(command, folder)
