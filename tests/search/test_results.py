"""The results folder keeps its contract: exact columns and types, whole files at any moment."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.load import load
from search import columns
from search.journal import TrialLog
from search.records import STUDY_FILE, TABLES, StudyRecord
from search.results import CHUNK, ResultsWriter, Schema, protocol_of, write_record
from tests.records import make_record

LABELS = np.array([0, 1, 2, 0, 1, 2])


def epoch(number: int, members: int = 1, **metrics: Any) -> dict[str, Any]:
    accuracies = [0.1 * number + 0.01 * member for member in range(1, members + 1)]
    return {
        "epoch": number,
        "total_epochs": 3,
        "lr": 0.1,
        "train_loss": 1 / number,
        "val_accuracy": accuracies[-1],
        "each_val_accuracy": accuracies[::-1],
        "prefix_val_accuracy": accuracies,
        "prefix_parameters": [100 * member for member in range(1, members + 1)],
        "parameters": 100 * members,
        "seconds": 2.0,
        "peak_memory_bytes": 5_000,
        **metrics,
    }


def trial(number: int, results: list[dict[str, Any]], status: str | None, **fields: Any) -> TrialLog:
    config = fields.pop("config", {"lr": 0.1, "seed": 40 + number, "epochs": 3})
    by_epoch = {result["epoch"]: result for result in results}
    return TrialLog(number, f"{number:04d}", config, results=by_epoch, status=status, **fields)


@pytest.fixture
def trials() -> dict[int, TrialLog]:
    """One of every status; trial 0 is an ensemble of three."""
    tested = {
        "test_accuracy": 0.31,
        "prefix_test_accuracy": [0.3, 0.33, 0.31],
        "each_test_accuracy": [0.3, 0.29, 0.28],
        "done": True,
    }
    lost = epoch(2, val_accuracy=None, diverged="loss is nan", done=True)
    return {
        0: trial(0, [epoch(1, 3), epoch(2, 3), epoch(3, 3, **tested)], "completed", arm="nine"),
        1: trial(1, [epoch(1, done=True)], "stopped"),
        2: trial(2, [epoch(1), lost], "diverged", error="loss is nan"),
        3: trial(3, [], "failed", error="out of memory"),
        4: trial(4, [epoch(1)], None),
    }


SETTINGS = {"lr": "float64", "seed": "int64", "epochs": "int64", "shuffle": "bool", "norm": "string"}
DEFAULTS = {"lr": 1.0, "shuffle": True, "norm": None}


def schema(**changes: Any) -> Schema:
    return replace(Schema((), SETTINGS, lambda config: DEFAULTS | config), **changes)


def refresh(folder: Path, trials: dict[int, TrialLog], of: Schema | None = None) -> ResultsWriter:
    writer = ResultsWriter(folder, schema=of or schema())
    writer.refresh(trials, force=True)
    return writer


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{table}.parquet").to_pylist()


def types_in(file: Path) -> dict[str, str]:
    schema = pq.read_schema(file)
    types = [str(each).replace("element: ", "").replace("double", "float64") for each in schema.types]
    return dict(zip(schema.names, types, strict=True))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("results", ["some", "none"])
def test_a_table_has_the_declared_columns_and_types(
    tmp_path: Path, trials: dict[int, TrialLog], table: str, results: str
) -> None:
    refresh(tmp_path, trials if results == "some" else {})
    declared = {name: column.type for name, column in columns.of(table).items()}
    settings = {f"config/{name}": kind for name, kind in SETTINGS.items()} if table == "trials" else {}
    assert types_in(tmp_path / f"{table}.parquet") == declared | settings


def test_a_trial_is_a_row_of_its_last_and_best_figures(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    refresh(tmp_path, trials)
    done, stopped, diverged, failed, running = rows(tmp_path, "trials")
    assert [done["status"], stopped["status"], diverged["status"]] == ["completed", "stopped", "diverged"]
    assert [failed["status"], running["status"]] == ["failed", "running"]
    assert [row["epochs"] for row in (done, stopped, diverged, failed, running)] == [3, 1, 2, 0, 1]
    assert (done["arm"], done["seed"], done["config/seed"], done["config/lr"]) == ("nine", 40, 40, 0.1)
    assert (done["val_accuracy"], done["test_accuracy"], done["train_loss"]) == (pytest.approx(0.33), 0.31, 1 / 3)
    assert (done["seconds"], done["parameters"], done["peak_memory_bytes"]) == (6.0, 300, 5_000)
    assert (done["best_val_accuracy"], done["best_val_epoch"]) == (done["val_accuracy"], 3)
    assert (diverged["val_accuracy"], diverged["error"]) == (None, "loss is nan")
    assert (diverged["best_val_accuracy"], diverged["best_val_epoch"]) == (pytest.approx(0.11), 1)
    assert (failed["error"], failed["seconds"], failed["val_accuracy"]) == ("out of memory", 0.0, None)
    assert {row["protocol"] for row in (done, stopped, diverged, failed, running)} == {"search"}


def test_the_best_of_one_look_at_the_test_set_is_no_best(tmp_path: Path) -> None:
    once = trial(0, [epoch(1), epoch(2), epoch(3, test_accuracy=0.3)], "completed")
    always = trial(1, [epoch(e, test_accuracy=a) for e, a in ((1, 0.2), (2, 0.4), (3, 0.3))], "completed")
    refresh(tmp_path, {0: once, 1: always})
    first, second = rows(tmp_path, "trials")
    assert (first["test_accuracy"], first["best_test_accuracy"], first["best_test_epoch"]) == (0.3, None, None)
    assert (second["test_accuracy"], second["best_test_accuracy"], second["best_test_epoch"]) == (0.3, 0.4, 2)


@pytest.mark.parametrize(
    ("config", "protocol"),
    [
        ({}, "search"),
        ({"validation": True, "test_every_epoch": False}, "search"),
        ({"validation": False}, "replay"),
        ({"test_every_epoch": True}, "replay"),
    ],
)
def test_only_what_chose_on_validation_and_tested_once_is_a_search(config: dict[str, Any], protocol: str) -> None:
    assert protocol_of(config) == protocol


def test_every_row_of_a_recovery_says_so(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    trials[0].results[3]["curve_distance"] = 0.02
    ResultsWriter(tmp_path, "recovery").refresh(trials, force=True)
    table = pq.read_table(tmp_path / "trials.parquet")
    assert set(table["protocol"].to_pylist()) == {"recovery"}
    assert table["curve_distance"].to_pylist() == [0.02, None, None, None, None]


def test_an_epoch_is_a_row(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    refresh(tmp_path, trials)
    epochs = rows(tmp_path, "epochs")
    assert [(row["trial_id"], row["epoch"]) for row in epochs] == [
        *((0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2), (4, 1))
    ]
    assert [row["test_accuracy"] for row in epochs[:3]] == [None, None, 0.31]
    assert [row["train_loss"] for row in epochs[:3]] == [1.0, 0.5, 1 / 3]


def test_a_trainables_own_metric_has_a_column_in_trials_and_epochs(tmp_path: Path) -> None:
    sharpness = columns.metric("sharpness", "Of the minimum.", measured_on="training", better="min", unit="nats")
    log = trial(0, [epoch(1, sharpness=0.5), epoch(2, sharpness=None), epoch(3, sharpness=2)], "completed")
    refresh(tmp_path, {0: log}, schema(own=(sharpness,)))
    assert [row["sharpness"] for row in rows(tmp_path, "epochs")] == [0.5, None, 2.0]
    assert rows(tmp_path, "trials")[0]["sharpness"] == 2.0
    assert types_in(tmp_path / "epochs.parquet")["sharpness"] == "float64"


def test_hyperparameters_have_the_types_of_the_settings_whatever_their_values(tmp_path: Path) -> None:
    whole = trial(0, [], None, config={"lr": 1, "seed": 0, "norm": "all"})
    text = trial(1, [], None, config={"lr": 0.5, "seed": 1, "epochs": 2, "shuffle": False, "norm": 3})
    for folder, trials in (("one", {0: whole}), ("other", {1: text}), ("neither", {})):
        (tmp_path / folder).mkdir()
        refresh(tmp_path / folder, trials)
    kinds = [types_in(tmp_path / folder / "trials.parquet") for folder in ("one", "other", "neither")]
    assert kinds[0] == kinds[1] == kinds[2]
    (row,) = rows(tmp_path / "other", "trials")
    assert [row[f"config/{name}"] for name in SETTINGS] == [0.5, 1, 2, False, "3"]


def test_a_hyperparameter_left_at_its_default_is_told_too(tmp_path: Path) -> None:
    refresh(tmp_path, {0: trial(0, [], None, config={"seed": 0})})
    (row,) = rows(tmp_path, "trials")
    assert [row[f"config/{name}"] for name in SETTINGS] == [1.0, 0, None, True, None]


def test_the_record_names_every_column_that_a_run_writes(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    writer = refresh(tmp_path, trials)
    for table, names in writer.schema.names().items():
        assert list(types_in(tmp_path / f"{table}.parquet")) == names


def test_every_prefix_of_an_ensemble_is_a_row(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    refresh(tmp_path, trials)
    members = rows(tmp_path, "members")
    assert [(row["trial_id"], row["epoch"], row["members"]) for row in members] == [
        *((0, e, n) for e in (1, 2, 3) for n in (1, 2, 3)),
        *((1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 1, 1)),
    ]
    final = members[6:9]
    assert [row["test_accuracy"] for row in final] == [0.3, 0.33, 0.31]
    assert [row["own_test_accuracy"] for row in final] == [0.3, 0.29, 0.28]
    assert [row["val_accuracy"] for row in final] == pytest.approx([0.31, 0.32, 0.33])
    assert [row["own_val_accuracy"] for row in final] == pytest.approx([0.33, 0.32, 0.31])
    assert [row["parameters"] for row in final] == [100, 200, 300]
    assert {row["test_accuracy"] for row in members[:6]} == {None}


# Predictions


def predictions(seed: int, members: int, indices: list[int]) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "test_indices": np.array(indices, np.int32),
        "predicted": random.integers(0, 3, len(indices)).astype(np.int16),
        "member_predicted": random.integers(0, 3, (members, len(indices))).astype(np.int16),
    }


def test_predictions_of_completed_trials_are_merged(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    writer = ResultsWriter(tmp_path)
    kept = {0: predictions(0, 3, [0, 1, 2, 3, 4, 5]), 1: predictions(1, 1, [0, 1]), 4: predictions(4, 1, [1, 5])}
    for number in (4, 0, 1):
        writer.keep_predictions(trials[number], kept[number], LABELS)
    trials[4].status = "completed"
    writer.refresh(trials, force=True)
    table = rows(tmp_path, "predictions")
    assert [(row["trial_id"], row["image"]) for row in table] == [*((0, i) for i in range(6)), (4, 1), (4, 5)]
    assert [row["label"] for row in table] == [0, 1, 2, 0, 1, 2, 1, 2]
    assert [row["predicted"] for row in table] == [*kept[0]["predicted"], *kept[4]["predicted"]]
    assert [row["member_predicted"] for row in table[:6]] == kept[0]["member_predicted"].T.tolist()
    # A later process merges what this one kept.
    refresh(tmp_path, trials)
    assert rows(tmp_path, "predictions") == table


# Files


def test_a_reader_never_sees_half_a_file(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    record = made_record()
    writer = refresh(tmp_path, trials)
    writer.keep_predictions(trials[0], predictions(0, 3, [0, 1, 2, 3, 4, 5]), LABELS)
    write_record(tmp_path, record)
    seen, problems, over = [], [], threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                for table in TABLES:
                    # By path, Arrow opens a file twice, and a new file may come between.
                    with (tmp_path / f"{table}.parquet").open("rb") as file:
                        length = len(pq.read_table(file))
                    if table == "trials":
                        seen.append(length)
                StudyRecord.from_json((tmp_path / STUDY_FILE).read_text())
            except Exception as error:  # noqa: BLE001 - any error is what this test is about
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(5, 65):
            trials[number] = trial(number, [epoch(e, 3) for e in (1, 2, 3)], "completed")
            writer.refresh(trials, force=True)
            record.wall_seconds += 1
            write_record(tmp_path, record)
    finally:
        over.set()
        reader.join()
    assert problems == []
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert not list(tmp_path.glob("*tmp*"))


def test_analysis_reads_what_search_writes(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    writer = ResultsWriter(tmp_path)
    writer.keep_predictions(trials[0], predictions(0, 3, [0, 1, 2, 3, 4, 5]), LABELS)
    writer.refresh(trials, force=True)
    write_record(tmp_path, made_record())
    (results,) = load([tmp_path])
    assert results.finished()["trial_id"].tolist() == [0]
    assert results.record == made_record()
    assert len(results.predictions(0)) == 6
    assert len(results.members) == 13


def test_refreshing_is_held_to_a_small_share_of_the_time(tmp_path: Path, trials: dict[int, TrialLog]) -> None:
    writer = ResultsWriter(tmp_path)
    writer.refresh({})
    assert rows(tmp_path, "trials") == []
    writer.refresh(trials)
    assert rows(tmp_path, "trials") == []
    writer.refresh(trials, force=True)
    assert len(rows(tmp_path, "trials")) == 5


def test_a_writer_that_keeps_rows_of_finished_trials_writes_what_a_new_one_would(tmp_path: Path) -> None:
    count = 2 * CHUNK + 50
    trials = {n: trial(n, [epoch(1, 2), epoch(2, 2, val_accuracy=n / 1000)], "stopped") for n in range(count)}
    slow = trials[CHUNK + 7]
    slow.status = None  # runs on while others end
    writer = ResultsWriter(tmp_path / "kept", schema=schema())
    for name in ("kept", "new"):
        (tmp_path / name).mkdir()

    def same() -> None:
        writer.refresh(trials, force=True)
        refresh(tmp_path / "new", trials)
        for table in ("trials", "epochs", "members"):
            kept, new = (pq.read_table(tmp_path / name / f"{table}.parquet") for name in ("kept", "new"))
            assert kept.equals(new), table
        assert rows(tmp_path / "new", "trials")[-1]["trial_id"] == len(trials) - 1

    same()
    slow.results[3] = epoch(3, 2)
    slow.status = "completed"
    trials[count] = trial(count, [], None)
    same()
    trials[5].status = None  # its predictions are damaged: it runs again
    same()


def test_a_record_is_written_whole(tmp_path: Path) -> None:
    write_record(tmp_path, made_record())
    assert StudyRecord.from_json((tmp_path / STUDY_FILE).read_text()) == made_record()
    assert [path.name for path in tmp_path.iterdir()] == [STUDY_FILE]


def made_record() -> StudyRecord:
    return make_record(
        run="1",
        samples=5,
        arms={"nine": {}},
        started="2026-01-01T00:00:00+00:00",
    )
