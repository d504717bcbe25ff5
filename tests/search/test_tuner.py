"""A study on a real Ray: how trials end is known everywhere, and what was begun is gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from optuna.trial import TrialState
from ray import tune

from search.cluster import Cluster, connect, disconnect
from search.journal import JOURNAL_FILE, Journal
from search.recorder import best_trial
from search.resources import Resources
from search.schedulers import SuccessiveHalving
from search.searchers import Listed, OptunaProposals, Proposals, trial_seed
from search.study import Study
from search.tuner import RAY_FOLDER, Outcome, cluster_slots, directory, run_study, trial_name
from trainables.data.datasets import ImageData
from trainables.training import checkpoint

SEED = 100  # gives nine trials with endings of every kind, the best accuracy among the diverged ones
TRIALS = 9


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield connect(None)
    disconnect()


@pytest.fixture(scope="module")
def study(toy: Study) -> Study:
    space = {
        "quality": tune.uniform(0.1, 0.9),
        "members": tune.choice([1, 2, 3]),
        "fate": tune.choice(["well", "diverges", "raises"]),
        "switch": None,
    }
    return dataclasses.replace(toy, param_space=space)


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run_trials(cluster: Cluster, study: Study, tiny_data: ImageData) -> Run:
    """Return a function that runs the trials that the journal does not hold finished, one at a time."""

    def run(proposals: Proposals, journal: Journal, scheduler: str = "asha", **options: Any) -> Outcome:
        return run_study(
            study,
            proposals,
            tiny_data,
            journal,
            journal.path.parent,
            seed=SEED,
            scheduler=scheduler,
            slots=lambda: 1,
            **{"resources": Resources(1, 0), **options},
        )

    return run


@dataclass
class Ran:
    outcome: Outcome
    proposals: OptunaProposals
    journal: Journal
    folder: Path
    output: str

    def rows(self, table: str) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / f"{table}.parquet").to_pylist()


@pytest.fixture(scope="module")
def ran(run_trials: Run, study: Study, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    journal = Journal(folder)
    proposals = OptunaProposals(study, "random", TRIALS, SEED)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome = run_trials(proposals, journal)
    return Ran(outcome, proposals, journal, folder, output.getvalue())


def expected(configs: list[dict[str, Any]]) -> list[str]:
    """How trials end that run one after the other."""
    rule = SuccessiveHalving(1, 3, 3)
    endings = {"well": "completed", "diverges": "diverged", "raises": "failed"}
    return [
        "stopped" if rule.on_result(number, 1, config["quality"] / 2, 0) else endings[config["fate"]]
        for number, config in enumerate(configs)
    ]


def test_every_trial_ends_as_it_must(ran: Ran) -> None:
    logs = [ran.outcome.trials[number] for number in range(TRIALS)]
    statuses = [log.status for log in logs]
    assert statuses == expected([log.config for log in logs])
    assert set(statuses) == {"completed", "stopped", "diverged", "failed"}
    epochs = {"completed": 3, "stopped": 1, "diverged": 2, "failed": 1}
    assert [list(log.results) for log in logs] == [list(range(1, epochs[log.status or ""] + 1)) for log in logs]
    errors = {"diverged": "training loss is nan in epoch 2", "failed": "RuntimeError: the toy is broken"}
    assert [log.error for log in logs] == [errors.get(log.status or "") for log in logs]
    assert not ran.outcome.interrupted
    assert ran.outcome.seconds > 0


def test_the_best_trial_is_one_that_completed(ran: Ran) -> None:
    best = ran.outcome.best
    assert best is not None
    completed = [log for log in ran.outcome.trials.values() if log.status == "completed"]
    assert best.last["val_accuracy"] == max(log.last["val_accuracy"] for log in completed)
    diverged = [log for log in ran.outcome.trials.values() if log.status == "diverged"]
    assert max(log.config["quality"] for log in diverged) > best.config["quality"]
    assert (ran.folder / "best.pt").read_text() == f"{best.config['quality']} 3"


def test_optuna_knows_how_each_trial_ended(ran: Ran) -> None:
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    for trial in ran.proposals.study.trials:
        log = ran.outcome.trials[trial.number]
        assert trial.state == states.get(log.status or "", TrialState.FAIL)
        measured = {epoch: result["val_accuracy"] for epoch, result in log.results.items()}
        assert trial.intermediate_values == {epoch: value for epoch, value in measured.items() if value is not None}
        if log.status == "completed":
            assert trial.values == [log.last["val_accuracy"]]


def test_the_tables_hold_every_trial_with_its_configuration_and_seed(ran: Ran) -> None:
    trials = ran.rows("trials")
    assert [row["trial_id"] for row in trials] == list(range(TRIALS))
    for row in trials:
        log = ran.outcome.trials[row["trial_id"]]
        assert (row["status"], row["error"], row["name"]) == (log.status, log.error, log.name)
        assert row["seed"] == row["config/seed"] == trial_seed(SEED, row["trial_id"])
        config = {name.removeprefix("config/"): value for name, value in row.items() if name.startswith("config/")}
        assert config.items() >= log.config.items()
        assert config["batch_size"] == 32  # left at its default, told all the same
        assert (row["test_accuracy"] is not None) == (row["status"] == "completed")
    assert len(ran.rows("epochs")) == sum(len(log.results) for log in ran.outcome.trials.values())
    completed = {row["trial_id"]: row["config/members"] for row in trials if row["status"] == "completed"}
    predictions = ran.rows("predictions")
    assert [(row["trial_id"], row["image"]) for row in predictions] == [(t, i) for t in completed for i in range(20)]
    assert [row["label"] for row in predictions[:20]] == [i % 10 for i in range(20)]
    assert all(len(row["member_predicted"]) == completed[row["trial_id"]] for row in predictions)
    final = [row for row in ran.rows("members") if row["epoch"] == 3]
    assert [(row["trial_id"], row["members"]) for row in final] == [
        (trial, n + 1) for trial, members in completed.items() for n in range(members)
    ]


def test_a_worker_runs_one_trial_after_the_other(ran: Ran) -> None:
    (failed,) = (log.number for log in ran.outcome.trials.values() if log.status == "failed")
    workers = [{result["process"] for result in log.results.values()} for log in ran.outcome.trials.values()]
    assert failed > 2
    assert len(set.union(*workers[:failed])) == 1
    # The failing trial costs its worker, and its second attempt another.
    assert len(set.union(*workers[failed + 1 :])) == 1


def test_names_say_what_was_searched(ran: Ran) -> None:
    for number, log in ran.outcome.trials.items():
        config = log.config
        assert log.name == (
            f"{number:04d}-quality={config['quality']:.3g},members={config['members']},fate={config['fate']}"
        )
        assert (ran.folder / RAY_FOLDER / log.name / "result.json").is_file()


def test_no_checkpoint_is_left_of_a_trial_that_ended(ran: Ran) -> None:
    assert not list((ran.folder / RAY_FOLDER).rglob("checkpoint_*"))


def test_where_there_is_no_terminal_every_event_is_a_line(ran: Ran) -> None:
    lines = ran.output.splitlines()
    for log in ran.outcome.trials.values():
        own = [line for line in lines if line.startswith(f"{log.number:04d} ")]
        assert own[0] == f"{log.number:04d} started  {log.name[5:]}"
        reason = f": {log.error}" if log.error else ""
        assert own[-1] == f"{log.number:04d} {log.status} after epoch {max(log.results)}{reason}"
        epochs = [int(match[1]) for line in own if (match := re.match(r"\d{4} epoch (\d+)/3 ", line))]
        assert epochs == list(log.results)
    assert len(lines) < 60


def measured(journal: Journal) -> dict[int, Any]:
    """All a journal says of its trials, less what differs between two runs of the same search."""
    different = {"process", "began"}
    return {
        number: (
            *(log.name, log.config, log.status, log.error),
            *(
                {name: value for name, value in result.items() if name not in different}
                for result in log.results.values()
            ),
        )
        for number, log in journal.trials.items()
    }


def test_a_run_cut_off_ends_as_the_one_that_was_not(ran: Ran, run_trials: Run, study: Study, tmp_path: Path) -> None:
    lines = (ran.folder / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if b'"result", "trial": 7' in line) + 1
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join(lines[:cut]) + lines[cut][:20])
    shutil.copytree(ran.folder / "predictions", tmp_path / "predictions")
    journal = Journal(tmp_path)
    outcome = run_trials(OptunaProposals(study, "random", TRIALS, SEED), journal)
    assert measured(journal) == measured(ran.journal)
    assert [log.status for log in outcome.trials.values()] == [log.status for log in ran.outcome.trials.values()]
    journal.close()
    added = (tmp_path / JOURNAL_FILE).read_text().splitlines()[cut:]
    assert added
    assert not [line for line in added if re.search(r'"trial": [0-6],', line)]
    columns = {"process", "began", "seconds"}
    for table in ("trials", "epochs", "members"):
        ours, theirs = (
            [{k: v for k, v in row.items() if k not in columns} for row in pq.read_table(path).to_pylist()]
            for path in (tmp_path / f"{table}.parquet", ran.folder / f"{table}.parquet")
        )
        assert ours == theirs


def test_a_finished_run_is_not_repeated(ran: Ran, run_trials: Run, study: Study, tmp_path: Path) -> None:
    content = (ran.folder / JOURNAL_FILE).read_bytes()
    (tmp_path / JOURNAL_FILE).write_bytes(content)
    shutil.copytree(ran.folder / "predictions", tmp_path / "predictions")
    outcome = run_trials(OptunaProposals(study, "random", TRIALS, SEED), Journal(tmp_path))
    assert (tmp_path / JOURNAL_FILE).read_bytes() == content
    assert not outcome.interrupted
    assert outcome.best is not None
    assert ran.outcome.best is not None
    assert outcome.best.number == ran.outcome.best.number
    assert len(pq.read_table(tmp_path / "trials.parquet")) == TRIALS


def test_a_trial_whose_predictions_are_damaged_runs_again_and_decides_nothing_anew(
    ran: Ran, run_trials: Run, study: Study, tmp_path: Path
) -> None:
    shutil.copytree(ran.folder, tmp_path / "run")
    folder = tmp_path / "run"
    done = [log.number for log in ran.outcome.trials.values() if log.status == "completed"]
    empty, flipped = (folder / "predictions" / f"{number:06d}.parquet" for number in done[:2])
    empty.write_bytes(b"")
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 4
    flipped.write_bytes(content)
    before = {table: pq.read_table(folder / f"{table}.parquet") for table in ("members", "predictions")}
    journal = Journal(folder, begun=True)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome = run_trials(OptunaProposals(study, "random", TRIALS, SEED), journal)
    assert not outcome.interrupted
    for number in done[:2]:
        assert f"{number:04d} runs again: its predictions, predictions/{number:06d}.parquet, are " in output.getvalue()
    assert f"{done[2]:04d} started" not in output.getvalue()
    assert measured(journal) == measured(ran.journal)
    for table, content_ in before.items():
        assert pq.read_table(folder / f"{table}.parquet").equals(content_)
    assert (folder / "best.pt").read_bytes() == (ran.folder / "best.pt").read_bytes()
    journal.close()


def test_a_moved_folder_goes_on_where_it_was(ran: Ran, run_trials: Run, study: Study, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    journal = Journal(first)
    configs: list[tuple[dict[str, Any], str | None]] = [({"quality": 0.5}, "arm")]
    journal.append("suggest", 0, name="0000-arm", config={"quality": 0.5, "epochs": 3, "seed": 1}, arm="arm", state={})
    journal.append("start", 0, folder="0000-arm")
    for epoch in (1, 2):
        result = {"epoch": epoch, "total_epochs": 3, "val_accuracy": epoch / 10, "began": 0}
        journal.append("result", 0, result=result)
    path = first / RAY_FOLDER / "0000-arm" / "checkpoint_000001"
    path.mkdir(parents=True)
    checkpoint.write(path, b"0.5 2")
    journal.append("checkpoint", 0, epoch=2, path="trials/0000-arm/checkpoint_000001")
    journal.close()
    moved = first.rename(tmp_path / "moved")
    journal = Journal(moved, begun=True)
    outcome = run_trials(Listed(configs), journal, "none")
    assert outcome.trials[0].results[3]["began"] == 2
    assert (moved / "best.pt").read_text() == "0.5 3"
    assert not first.exists()
    journal.close()


class Disk(tune.Callback):
    """The checkpoints that are on the disk whenever one more was saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[list[str]] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        self.found.append([path.name for path in (self.folder / RAY_FOLDER).rglob("checkpoint_*")])


def test_a_live_trial_has_one_checkpoint(run_trials: Run, tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    run_trials(Listed([({"quality": 0.5}, "arm")]), Journal(tmp_path), "none", callbacks=[disk])
    assert disk.found == [["checkpoint_000000"], ["checkpoint_000001"], ["checkpoint_000002"]]


class CtrlC(tune.Callback):
    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("budget", "out_of_time"), [(0.0, True), (3600.0, False)])
def test_a_run_with_a_time_budget_says_whether_the_budget_ended_it(
    run_trials: Run, tmp_path: Path, budget: float, out_of_time: bool
) -> None:
    callbacks = [] if out_of_time else [CtrlC()]
    configs = [({"quality": 0.5}, "arm")]
    outcome = run_trials(Listed(configs), Journal(tmp_path), "none", time_budget=budget, callbacks=callbacks)
    assert outcome.interrupted
    assert outcome.out_of_time == out_of_time


def test_what_ray_refuses_before_its_first_trial_is_no_interrupt(run_trials: Run, study: Study, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="actor"):
        run_trials(OptunaProposals(study, "random", 2, SEED), Journal(tmp_path), resources=Resources(0.00001, 0))


@pytest.mark.long
def test_a_trial_goes_on_from_its_checkpoint_after_a_time_budget(run_trials: Run, tmp_path: Path) -> None:
    configs: list[tuple[dict[str, Any], str | None]] = [
        ({"quality": 0.5, "epochs": 200, "wait": 0.2}, "slow"),
        ({"quality": 0.6}, "quick"),
    ]
    journal = Journal(tmp_path)
    budget = 4.0
    while not (journal.trials and journal.trials[0].results):  # a worker may take longer than that to start
        first = run_trials(Listed(configs), journal, "none", time_budget=budget)
        assert first.interrupted
        assert first.out_of_time
        assert first.best is None
        budget *= 2
    assert journal.trials[0].status is None
    reached = max(journal.trials[0].results)
    assert 0 < reached < 200
    assert pq.read_table(tmp_path / "trials.parquet")["status"][0].as_py() == "running"
    journal.close()

    again = Journal(tmp_path)
    again.trials[0].config["wait"] = 0.0
    second = run_trials(Listed(configs), again, "none")
    assert not second.interrupted
    assert [log.status for log in again.trials.values()] == ["completed", "completed"]
    results = again.trials[0].results
    assert list(results) == list(range(1, 201))
    assert {results[epoch]["began"] for epoch in range(1, reached + 1)} == {0}
    (began,) = {results[epoch]["began"] for epoch in range(reached + 1, 201)}
    assert reached - 1 <= began <= reached


@pytest.mark.long
def test_a_trial_whose_worker_died_goes_on_from_its_checkpoint(run_trials: Run, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    outcome = run_trials(Listed([({"quality": 0.5, "fate": "dies"}, "dies")]), journal, "none")
    log = outcome.trials[0]
    assert (log.status, log.error) == ("completed", None)
    assert [result["began"] for result in log.results.values()] == [0, 1, 1]
    assert len({result["process"] for result in log.results.values()}) == 2


def test_the_cluster_is_here_behind_closed_doors(cluster: Cluster) -> None:
    assert cluster.cpus >= 1
    assert cluster.dashboard is not None
    assert cluster.dashboard.startswith("127.0.0.1:")
    assert ray.util.get_node_ip_address() == "127.0.0.1"
    assert cluster_slots(Resources(cluster.cpus / 4, 0))() == 4


# Without Ray


@pytest.mark.parametrize(
    ("cpus_per_trial", "gpus_per_trial", "cpus", "gpus", "slots"),
    [
        (1, 0, 2, 0, 2),
        (2, 0, 7, 0, 3),
        (0.5, 0, 2, 0, 4),
        (4, 0, 2, 0, 1),
        (1, 1, 16, 2, 2),
        (1, 0.25, 16, 2, 8),
        (1, 0.3, 16, 2, 6),  # three a device: a trial never spans two
        (1, 0.6, 16, 2, 2),
        (1, 2, 16, 5, 2),
        (8, 0.25, 16, 2, 2),
    ],
)
def test_slots_are_the_trials_that_fit_side_by_side(
    cpus_per_trial: float, gpus_per_trial: float, cpus: float, gpus: float, slots: int
) -> None:
    assert Resources(cpus_per_trial, gpus_per_trial).slots(cpus, gpus) == slots


def test_a_trial_of_an_arm_is_named_after_it(study: Study) -> None:
    assert trial_name(study)(12, {"seed": 3}, "nine") == "0012-nine,seed=3"
    long = dataclasses.replace(study, param_space={"quality": tune.uniform(0.1, 0.9)})
    assert trial_name(long)(7, {"quality": 0.123456}, None) == "0007-quality=0.123"


def test_every_attempt_at_a_trial_has_a_folder_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("suggest", 0, name="0000-a", config={}, arm=None, state={})
    names = [directory(journal, 0), directory(journal, 0)]
    journal.close()
    again = Journal(tmp_path)
    names.append(directory(again, 0))
    assert names == again.trials[0].folders == ["0000-a", "0000-a.part2", "0000-a.part3"]


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", 1), ("train_loss", 3)])
def test_the_best_is_the_earlier_of_two_equals_and_completed(
    toy: Study, tmp_path: Path, metric: str, best: int
) -> None:
    journal = Journal(tmp_path)
    study = dataclasses.replace(toy, metric=metric, mode="", rank_by="")
    assert best_trial(study, journal) is None
    values = [("stopped", 0.9), ("completed", 0.7), ("completed", 0.7), ("completed", 0.2), ("diverged", np.nan)]
    for number, (status, loss) in enumerate([*values, ("failed", 0.1), ("completed", 0.2)]):
        journal.append("suggest", number, name="", config={}, arm=None, state={})
        journal.append("result", number, result={"epoch": 1, "total_epochs": 1, metric: loss})
        journal.append("end", number, status=status, error=None)
    assert best_trial(study, journal) == best
