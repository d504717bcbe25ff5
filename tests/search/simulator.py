"""A search on a simulated disk with a simulated Ray, stopped and gone on with until it ends, beside one left in peace.

What decides, records and resumes is the driver's own code: `search.tuner.assemble`, the searcher, the stopping rule,
the recorder, the journal, the tables, the record. Ray's loop is replaced by one that calls them in Ray's order
(`ray.tune.execution.tune_controller`), a trial's epochs by a formula, and the disk by `tests.search.simulated_disk`.
A schedule is a number: it draws the study, what fails when, and every event's place in the order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ray import tune

from search.events import RAY_FOLDER, TrialLog
from search.failures import Halted
from search.journal import JOURNAL_FILE, Journal, JournalError, read
from search.recorder import BEST_FILE
from search.records import STUDY_FILE, TABLES, StudyRecord
from search.results import part_name, write_record
from search.resume import require_journal
from search.searchers import Listed, OptunaProposals, Proposals
from search.study import Study, load, when
from search.tuner import Driver, assemble, directory, make_early_stopping
from search.watch import Watch
from tests.records import make_record
from tests.search.simulated_disk import Crash, Platter, SimulatedDisk
from trainables.training import checkpoint

FOLDER = Path("/results/toy/20260101-100000")
IMAGES = 6
EPOCHS = 4
MOST_PROCESSES = 60  # a schedule that needs more gets nowhere
CAUSES = {
    "raises": "RuntimeError: the toy is broken\n",
    "lost": "The actor died unexpectedly before finishing this task.\n",
    "node": "The actor died: its node has died.\n",
    "full": "OSError: [Errno 28] No space left on device\n",
}
SEARCHES = (
    ("random", 1),
    ("random", 1),
    ("random", 2),
    ("random", 3),
    ("list", 1),
    ("list", 2),
    ("tpe", 1),
    ("tpe", 2),
)
SCHEDULERS = ("asha", "asha", "median", "hyperband", "none")


@dataclass(frozen=True)
class Setting:
    """A study to simulate. `noise`: an epoch that is trained again has another result, as on a GPU."""

    searcher: str
    slots: int
    scheduler: str
    two_goals: bool
    noise: bool
    seed: int
    conditional: bool = False
    warm: bool = False


class Fault(AssertionError):
    """What a schedule shows to be wrong."""


@functools.cache
def toy() -> Study:
    study = load(Path(__file__).with_name("toy_space.py"))
    space = {
        "quality": tune.uniform(0.1, 0.9),
        "members": tune.choice([1, 2, 3]),
        "fate": tune.choice(["well", "well", "well", "diverges", "raises"]),
    }
    return dataclasses.replace(study, dataset="digits", epochs=EPOCHS, param_space=space)


def study_of(setting: Setting) -> Study:
    return _study(setting.two_goals, setting.scheduler, setting.conditional, setting.warm)


@functools.cache
def _study(two_goals: bool, scheduler: str, conditional: bool, warm: bool) -> Study:
    study = dataclasses.replace(toy(), objectives={"parameters": "min"} if two_goals else {}, scheduler=scheduler)
    if warm:
        values = {"val_accuracy": 0.4, "parameters": 2000}
        config = {"quality": 0.5, "members": 2, "fate": "well", "momentum": 0.25}
        study = dataclasses.replace(study, observations=[{"config": config, "values": values}] * 10)
    if not conditional:
        return study
    more = {"momentum": when("members", [2, 3], tune.uniform(0.0, 0.5)), "lr": when("members", 1, tune.choice([1.0]))}
    return dataclasses.replace(study, param_space={**study.param_space, **more})


def proposals_of(setting: Setting) -> Proposals:
    if setting.searcher == "list":
        draw = random.Random(setting.seed)
        configs = [
            (
                {"quality": draw.random(), "members": draw.randint(1, 3), "fate": draw.choice(("well", "raises"))},
                f"a{n}",
            )
            for n in range(5)
        ]
        return Listed([({**config, "seed": seed}, arm) for seed in (0, 1) for config, arm in configs[:3]])
    samples = 13 if setting.searcher == "tpe" else 7
    return OptunaProposals(study_of(setting), setting.searcher, samples, setting.seed)


@functools.cache
def errors() -> dict[str, str]:
    """Files such as Ray leaves of each cause."""
    folder = Path(tempfile.mkdtemp(prefix="causes-"))
    for name, text in CAUSES.items():
        (folder / name).write_text(text)
    return {name: str(folder / name) for name in CAUSES}


def draw_setting(draw: random.Random) -> Setting:
    searcher, slots = draw.choice(SEARCHES)
    two_goals = searcher != "list" and draw.random() < 0.2
    setting = Setting(searcher, slots, draw.choice(SCHEDULERS), two_goals, draw.random() < 0.3, draw.randrange(8))
    setting = dataclasses.replace(setting, conditional=searcher != "list" and draw.random() < 0.4)
    return dataclasses.replace(setting, warm=searcher == "tpe" and draw.random() < 0.5)


@dataclass
class Trial:
    """One attempt as Ray sees it, with the worker that makes it."""

    trial_id: str
    config: dict[str, Any]
    attempt: int
    folder: str = ""
    epoch: int = 0
    saved: int = 0
    last_result: dict[str, Any] = field(default_factory=dict)
    error_file: str | None = None
    decision: str | None = None  # taken while the trial saves

    @property
    def name(self) -> str:
        return self.folder


@dataclass
class World:
    """What a schedule is made of, and what outlives its processes."""

    setting: Setting
    draw: random.Random
    platter: Platter = field(default_factory=Platter)
    kills: int = 0
    faults: float = 0.0  # how likely a worker is lost in an epoch
    lost: set[tuple[int, int]] = field(default_factory=set)  # (trial, epochs known): one loss each is survived
    attempts: Any = field(default_factory=itertools.count)
    damaged: bool = False
    history: list[str] = field(default_factory=list)

    def clock(self) -> float:
        self.platter.now += self.draw.random() * 0.05
        return self.platter.now


def epoch_of(trial: Trial, noise: bool) -> dict[str, Any]:
    """What a worker reports of an epoch: a formula of the configuration."""
    config, epoch = trial.config, trial.epoch
    sizes = range(1, config["members"] + 1)
    result: dict[str, Any] = {
        "epoch": epoch,
        "total_epochs": EPOCHS,
        "seconds": 0.5,
        "parameters": 1000 * config["members"],
        "process": trial.attempt if noise else 0,
        "should_checkpoint": epoch % 2 == 0 or epoch == EPOCHS,
        "done": False,
    }
    if config["fate"] == "diverges" and epoch == 3:
        return result | {"val_accuracy": math.nan, "member_val_accuracy": math.nan, "diverged": "nan", "done": True}
    accuracy = (config["quality"] + config.get("momentum", 0.0)) / 2 * epoch / (epoch + 1)
    if noise:
        accuracy *= random.Random(trial.attempt).uniform(0.5, 1.0)
    result |= {
        "val_accuracy": accuracy,
        "member_val_accuracy": accuracy,
        "prefix_val_accuracy": [accuracy * size / len(sizes) for size in sizes],
        "prefix_parameters": [1000 * size for size in sizes],
        "done": epoch == EPOCHS,
    }
    if result["done"]:
        label = trial.attempt if noise else 0
        result |= {
            "test_accuracy": accuracy,
            "predicted": np.full(IMAGES, label, np.int16),
            "member_predicted": np.full((len(sizes), IMAGES), label, np.int16),
            "test_indices": np.arange(IMAGES, dtype=np.int32),
        }
    return result


class Ray:
    """Ray's loop over one process's driver."""

    def __init__(self, world: World, driver: Driver, disk: SimulatedDisk) -> None:
        self.world = world
        self.driver = driver
        self.disk = disk
        self.trials: list[Trial] = []

    def run(self) -> None:
        ids = itertools.count()
        searcher = self.driver.searcher
        if not searcher.remaining:
            return
        while True:
            while True:
                config = searcher.suggest(trial_id := f"t{next(ids)}")
                if not isinstance(config, dict):
                    break
                self.start(trial_id, config)
            if not self.trials:
                return
            self.one_event(self.world.draw.choice(self.trials))
            self.driver.recorder.on_step_end(0, [])
            if self.world.draw.random() < 0.002:  # Ctrl-C, or the time is up
                for trial in list(self.trials):
                    self.stop(trial)
                return

    def start(self, trial_id: str, config: dict[str, Any]) -> None:
        trial = Trial(trial_id, config, next(self.world.attempts))
        self.trials.append(trial)
        trial.folder = f"{RAY_FOLDER}/{directory(self.driver.journal, config['trial'])}"
        # Ray changes a name that is taken, and nobody would know the new one.
        require(not self.disk.is_folder(trial.folder), f"{trial.folder} was there before")
        for folder in (RAY_FOLDER, trial.folder):
            self.disk.make_folder(folder)
        if config["restore"]:
            name = str(Path(config["restore"]).relative_to(FOLDER))
            trial.epoch = trial.saved = int(self.disk.read(f"{name}/{checkpoint.CHECKPOINT_FILE}").split()[1])

    def one_event(self, trial: Trial) -> None:
        if trial.decision is not None:
            self.save(trial)
            return
        number = trial.config["trial"]
        trial.epoch += 1
        if trial.config["fate"] == "raises" and trial.epoch == 3:
            self.fail(trial, "raises")
            return
        known = len(self.driver.journal.trials[number].results)
        if self.world.draw.random() < self.world.faults:
            if self.world.draw.random() < 0.3:
                self.fail(trial, "node")
                return
            if (number, known) not in self.world.lost and trial.config["fate"] != "raises":
                self.world.lost.add((number, known))
                self.fail(trial, "lost")
                return
        result = epoch_of(trial, self.world.setting.noise)
        # From here on as Ray's `_process_trial_result`.
        stopping = self.driver.early_stopping
        decision = "STOP" if result["done"] else stopping.on_trial_result(None, trial, result)  # type: ignore[arg-type]
        if decision == "STOP":
            result["done"] = True
        else:
            self.driver.searcher.on_trial_result(trial.trial_id, result)
        self.driver.recorder.on_trial_result(0, [], trial, result)
        trial.last_result = result
        if result["should_checkpoint"]:
            trial.decision = decision
        elif decision == "STOP":
            self.stop(trial)

    def save(self, trial: Trial) -> None:
        name = f"{trial.folder}/checkpoint_{trial.epoch:06d}"
        try:
            write_checkpoint(self.disk, name, trial)
        except OSError:
            self.fail(trial, "full")
            return
        with contextlib.suppress(Exception):  # as Ray's `_process_trial_save` does
            self.driver.recorder.on_checkpoint(0, [], trial, SimpleNamespace(path=str(FOLDER / name)))
        trial.saved = trial.epoch
        decision, trial.decision = trial.decision, None
        if decision == "STOP":
            self.stop(trial)

    def stop(self, trial: Trial) -> None:
        try:
            self.driver.searcher.on_trial_complete(trial.trial_id, trial.last_result)
            self.driver.recorder.on_trial_complete(0, [], trial)
        except Exception:  # noqa: BLE001 - as Ray's `stop_trial` does
            self.fail(trial, "raises")
            return
        self.trials.remove(trial)

    def fail(self, trial: Trial, cause: str) -> None:
        trial.error_file = errors()[cause]
        self.trials.remove(trial)
        self.driver.searcher.on_trial_complete(trial.trial_id, error=True)
        self.driver.recorder.on_trial_error(0, [], trial)


def write_checkpoint(disk: SimulatedDisk, name: str, trial: Trial) -> None:
    """As a worker writes it, and sees to it that it is on the disk."""
    import hashlib

    content = f"{trial.config['trial']} {trial.epoch} {trial.attempt}".encode()
    disk.make_folder(name)
    for file_name, written in (
        (checkpoint.CHECKPOINT_FILE, content),
        (checkpoint.DIGEST_FILE, hashlib.sha256(content).hexdigest().encode() + b"\n"),
    ):
        file = disk.create(f"{name}/{file_name}")
        file.write(written)
        disk.sync(file)


def process(world: World, disk: SimulatedDisk) -> bool:
    """One process from its start to its end, in `search.run`'s order; True if the study is finished."""
    setting, study = world.setting, study_of(world.setting)
    begun = disk.is_file(STUDY_FILE)
    if begun:
        record = StudyRecord.from_json(disk.read(STUDY_FILE).decode())
        if record.finished:
            return True
        journal = Journal(FOLDER, begun=True, disk=disk, clock=world.clock)
        require_journal(journal, record, study, proposals_of(setting))
        journal.seal()
    else:
        journal = Journal(FOLDER, disk=disk, clock=world.clock)
        record = make_record(run=FOLDER.name, epochs=EPOCHS, samples=1, searcher="random")
    record.journal = journal.id
    write_record(FOLDER, record, disk)
    whole = False
    try:
        driver = assemble(
            study,
            proposals_of(setting),
            SimpleNamespace(test_labels=np.zeros(IMAGES, np.int64)),  # type: ignore[arg-type]
            journal,
            FOLDER,
            seed=setting.seed,
            early_stopping=make_early_stopping(study, setting.scheduler),
            slots=lambda: setting.slots,
            watch=Watch(None, clock=world.clock, alive=lambda: True),
            warn=world.history.append,
        )
        Ray(world, driver, disk).run()
        whole = driver.finish()
    except (Halted, JournalError, OSError) as error:
        world.history.append(f"halted: {error}")
    write_record(FOLDER, record, disk)
    journal.close()
    record.finished = whole
    write_record(FOLDER, record, disk)
    return whole


def live(world: World, operations: int) -> SimulatedDisk:
    """Run a study to its end, through all that happens to it. Raises Fault."""
    draw = world.draw
    for _ in range(MOST_PROCESSES):
        disk = SimulatedDisk(FOLDER, world.platter, random.Random(draw.random()))
        if world.kills:
            disk.stop = draw.choice((draw.randint(1, 30), draw.randint(1, operations), draw.randint(1, operations)))
            if draw.random() < 0.15:
                first = draw.randint(1, operations)
                disk.full = range(first, first + draw.randint(1, 40))
        try:
            if process(world, disk):
                # A power cut after the end may bring back what was removed, and costs nothing but space.
                require(not disk.operations or not disk.left_over(), f"left: {disk.left_over()}")
                # A run that says it is finished has all that it says on the disk.
                if world.kills or draw.random() < 0.3:
                    world.platter.cut_power(draw)
                return SimulatedDisk(FOLDER, world.platter, draw)
            world.history.append(f"ended after {disk.operations} operations, unfinished")
        except Crash:
            kind = draw.choice(("power", "power", "process"))
            world.history.append(f"{kind} lost in operation {disk.operations}")
            world.kills -= 1
            if kind == "power":
                world.platter.cut_power(draw)
        except (OSError, JournalError) as error:
            if not disk.full:
                raise
            world.history.append(f"full: {error}")
        if STUDY_FILE not in world.platter.folders[""]:
            world.platter = Platter()  # `search.run` begins in another folder
        elif draw.random() < 0.1 and not is_finished(disk):
            damage(world)
    raise Fault(f"not finished after {MOST_PROCESSES} processes")


def is_finished(disk: SimulatedDisk) -> bool:
    """Return whether the record calls the run finished: its tables are made then, and its parts are not read again."""
    return StudyRecord.from_json(disk.platter.folders[""][STUDY_FILE].content.decode()).finished


def damage(world: World) -> None:
    """Spoil a file that has a digest: a part or a checkpoint."""
    files = [
        (folder, name, node)
        for folder, names in world.platter.folders.items()
        for name, node in names.items()
        if node is not None and node.content and (folder == "predictions" or "checkpoint_" in folder)
    ]
    if not files:
        return
    folder, name, node = world.draw.choice(sorted(files, key=lambda file: file[:2]))
    how = world.draw.choice(("flip", "cut", "zero", "remove"))
    if how == "remove":
        world.platter.change(folder, name, "", None)
        world.platter.sync(folder)
    elif how == "flip":
        node.content[world.draw.randrange(len(node.content))] ^= 1 << world.draw.randrange(8)
    else:
        node.content[world.draw.randrange(len(node.content)) :] = b"" if how == "cut" else b"\0" * 40
    node.synced = bytes(node.content)
    world.damaged = True
    world.history.append(f"{how} of {folder}/{name}")


@functools.cache
def in_peace(setting: Setting) -> tuple[SimulatedDisk, int]:
    """The study that nothing happens to, and how many operations it takes."""
    world = World(setting, random.Random(0))
    disk = SimulatedDisk(FOLDER, world.platter, random.Random(0))
    for _ in range(5):  # it may be interrupted in order
        if process(world, disk):
            return disk, disk.operations
    raise Fault(f"{setting} does not end by itself: {world.history}")


def play(seed: int, schedule: int) -> tuple[World, SimulatedDisk]:
    """Run one schedule and hold it against the study in peace. Raises Fault."""
    draw = random.Random(f"{seed}/{schedule}")
    setting = draw_setting(draw)
    reference, operations = in_peace(dataclasses.replace(setting, noise=False))
    world = World(setting, draw, kills=draw.randint(1, 6), faults=draw.choice((0.0, 0.0, 0.05, 0.2)))
    try:
        disk = live(world, operations)
        check(world, disk)
        if setting.slots == 1 and not setting.noise:
            compare(disk, reference)
    except Exception as error:
        story = "\n  ".join(map(str, world.history))
        raise Fault(
            f"schedule {schedule} of seed {seed}, {setting}:\n  {story}\n{type(error).__name__}: {error}"
        ) from error
    return world, disk


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Fault(what)


def table(disk: SimulatedDisk, name: str) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(disk.read(f"{name}.parquet"))).read(use_threads=False)


def check(world: World, disk: SimulatedDisk) -> None:
    """What holds of every finished run, whatever the order in which its trials ran."""
    content = disk.read(JOURNAL_FILE)
    logs = read(content, Path(JOURNAL_FILE)).trials
    events = [json.loads(line) for line in content.splitlines()]
    require(len(logs) == proposals_of(world.setting).total, f"{len(logs)} trials")
    for number, log in logs.items():
        own = [event["event"] for event in events if event["trial"] == number]
        require(own.count("suggest") == 1, f"trial {number} was suggested {own.count('suggest')} times")
        require(own.count("end") == 1 + own.count("again"), f"trial {number} ended {own.count('end')} times: {own}")
        require([kind for kind in own if kind != "best"][-1] == "end", f"trial {number}: {own}")
        require(sorted(log.results) == [*range(1, len(log.results) + 1)], f"trial {number} has {sorted(log.results)}")
    rows = table(disk, "trials").to_pylist()
    for row, log in zip(rows, logs.values(), strict=True):
        momentum = log.config.get("momentum", None if world.setting.conditional else 0.0)
        row_says = (row["trial_id"], row["status"], row["epochs"], row["config/quality"], row["config/momentum"])
        wanted_row = (log.number, log.status, len(log.results), log.config["quality"], momentum)
        require(row_says == wanted_row, f"trials.parquet: {row_says}")
        require(row["val_accuracy"] == log.last.get("val_accuracy"), f"trials.parquet: trial {log.number}'s accuracy")
    require(table(disk, "epochs").num_rows == sum(len(log.results) for log in logs.values()), "epochs.parquet")
    completed = [log for log in logs.values() if log.status == "completed"]
    predicted = table(disk, "predictions").to_pylist()
    wanted = [(log.number, image) for log in completed for image in range(IMAGES)]
    require(
        [(row["trial_id"], row["image"]) for row in predicted] == wanted, "predictions.parquet lacks or repeats rows"
    )
    if world.setting.noise and not world.damaged:
        for row in predicted:
            attempt = logs[row["trial_id"]].last["process"]
            require(row["predicted"] == attempt, f"trial {row['trial_id']}'s predictions are of another attempt")
    if completed:
        best = max(completed, key=lambda log: (log.last["val_accuracy"], -log.number))
        told = disk.read(BEST_FILE).split()[:2] if disk.is_file(BEST_FILE) else None
        require(
            told == [str(best.number).encode(), str(EPOCHS).encode()], f"best.pt is of {told}, best is {best.number}"
        )
    check_decisions(world, events, logs)


def check_decisions(world: World, events: list[dict[str, Any]], logs: dict[int, TrialLog]) -> None:
    """Every suggestion and every stop is what the journal's earlier lines lead to."""
    study = study_of(world.setting)
    rule = make_early_stopping(study, world.setting.scheduler)
    proposals = proposals_of(world.setting)
    seen: set[tuple[int, int]] = set()
    again = any(event["event"] == "again" for event in events)
    for event in events:
        number, kind = event["trial"], event["event"]
        if kind == "suggest" and not again:
            config, arm, state = proposals.propose(number)
            kept = {name: event["config"][name] for name in config}
            require((kept, event["arm"]) == (config, arm), f"trial {number} was suggested {kept}, not {config}")
            require(event["state"] == json.loads(json.dumps(state)), f"trial {number}'s notes differ")
        elif kind == "result" and (number, epoch := event["result"]["epoch"]) not in seen:
            seen.add((number, epoch))
            result = event["result"]
            ends = epoch == EPOCHS or bool(result.get("diverged"))
            stop = not ends and rule.decide(number, result)
            require(bool(result.get("done")) == (ends or stop), f"trial {number} at epoch {epoch}: stop is {stop}")
            if stop:
                require(logs[number].status == "stopped", f"trial {number} was to stop and {logs[number].status}")
            if not again:
                proposals.report(number, result)
        elif kind == "end" and not again:
            proposals.end(number, event["status"], logs[number].last)


def compare(disk: SimulatedDisk, reference: SimulatedDisk) -> None:
    """One trial at a time, a study ends as the one that ran in peace, to the byte."""
    ours, theirs = (read(each.read(JOURNAL_FILE), Path(JOURNAL_FILE)).trials for each in (disk, reference))
    for number, log in theirs.items():
        for what in ("name", "config", "arm", "state", "status", "error", "results", "predictions"):
            mine, other = getattr(ours[number], what), getattr(log, what)
            require(mine == other, f"trial {number}: {what} is {mine}, in peace {other}")
        if log.status == "completed":
            require(disk.read(part_name(log)) == reference.read(part_name(log)), f"trial {number}'s predictions differ")
    for name in TABLES:
        require(table(disk, name).equals(table(reference, name)), f"{name}.parquet differs")
