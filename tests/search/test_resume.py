"""A run goes on only as it began, with its own journal and its own trials; a refusal changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search.failures import UsageError
from search.journal import JOURNAL_FILE, Journal, read
from search.prepare import adapt, propose
from search.provenance import new_record
from search.records import STUDY_FILE, StudyRecord
from search.request import Request
from search.results import ResultsWriter, schema_of, write_record
from search.resume import as_recorded, require_journal, require_same, require_settled
from search.run import main
from search.searchers import StudySearcher
from search.study import load
from search.tuner import trial_name
from trainables.data.datasets import ImageData
from trainables.data.datasets import load as load_data

SPACE = '''"""A toy."""

from pathlib import Path

import numpy as np
from ray import tune

from search.study import Study, load

study = Study(
    name="own",
    question="What is it?",
    source="none",
    trainable=load(Path("{toy}")).trainable,
    dataset="digits",
    epochs=3,
    samples=8,
    param_space={{"quality": tune.uniform(0.1, 0.9), "members": tune.choice([1, 2]), "lr": 0.1}},
    arms={{"one": {{"members": 1}}, "two": {{"members": 2}}}},
)
'''
OLD = Path(__file__).with_name("old_journals")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def space(tmp_path: Path, toy_space: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SPACE.format(toy=toy_space))
    return path


@pytest.fixture(scope="session")
def digits() -> ImageData:
    return load_data("digits")


Begin = Callable[..., Path]


@pytest.fixture
def begin(tmp_path: Path, space: Path, digits: ImageData) -> Begin:
    """Return a function that begins a run as the command line does: of its trials one is completed, the rest begun."""

    def begin(*arguments: str, trials: int = 4) -> Path:
        results = tmp_path / "results"
        request = Request.parse([str(space), "--results", str(results), *arguments])
        request = dataclasses.replace(request, engine="plain")
        study = adapt(load(space), request)
        folder = results / "own" / "20260101-100000"
        folder.mkdir(parents=True)
        journal = Journal(folder)
        proposals = propose(study, request)
        record = new_record(study, request, digits, folder, proposals, study)
        record.journal = journal.id
        write_record(folder, record)
        searcher = StudySearcher(
            proposals,
            journal,
            epochs=study.epochs,
            seed=request.seed,
            slots=lambda: trials,
            name=trial_name(study),
            checkpoint=lambda log: None,
        )
        for number in range(trials):
            searcher.suggest(f"t{number}")
            journal.append("start", number, folder=journal.trials[number].name)
            journal.append("result", number, result=result(1))
            journal.append("checkpoint", number, path=f"trials/{journal.trials[number].name}/checkpoint_0", epoch=1)
        for epoch in (2, 3):
            journal.append("result", 0, result=result(epoch))
        journal.append("end", 0, status="completed", error=None)
        ResultsWriter(folder, study.protocol, schema_of(study)).refresh(journal.trials, force=True)
        journal.close()
        return folder

    return begin


def result(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "total_epochs": 3, "val_accuracy": 0.1 * epoch, "member_val_accuracy": 0.1, **more}


@pytest.fixture
def refusal_of(tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refused(*arguments: str) -> str:
        results = tmp_path / "results"
        before = content(results)
        capsys.readouterr()
        assert main([str(space), "--results", str(results), *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert content(results) == before
        return line.removeprefix("search.run: ")

    return refused


def content(folder: Path) -> dict[str, Any]:
    return {
        str(path): (path.read_bytes() if path.is_file() else None, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


# What defined the run


@pytest.mark.parametrize("how", [["--resume"], ["--extend", "2"]])
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("uniform(0.1, 0.9)", "uniform(0.4, 0.6)", "space/quality"),
        ("choice([1, 2])", "choice([1])", "space/members"),
        ("choice([1, 2])", "choice([1, 2, 3])", "space/members"),
        ('"lr": 0.1', '"lr": 0.2', "constants/lr was 0.1 and is 0.2"),
        ('"lr": 0.1', '"lr": 0.1, "momentum": tune.uniform(0, 0.9)', "space/momentum is new"),
        ("epochs=3", 'epochs=3, metric="val_loss"', "metric was val_accuracy and is val_loss"),
        ("epochs=3", "epochs=4", "epochs was 3 and is 4"),
        ("uniform(0.1, 0.9)", "loguniform(0.1, 0.9)", "space/quality"),
    ],
)
def test_a_space_that_was_edited_is_refused(
    begin: Begin, refusal_of: Callable[..., str], space: Path, how: list[str], old: str, new: str, told: str
) -> None:
    folder = begin()
    space.write_text(space.read_text().replace(old, new))
    line = refusal_of(*how)
    assert told in line
    assert str(folder) in line


@pytest.mark.parametrize("searcher", ["tpe", "random", "gp"])
def test_a_run_decides_as_it_began_if_its_space_was_written_in_another_order(
    begin: Begin, space: Path, searcher: str
) -> None:
    """The order of hyperparameters and objectives decides what is proposed; what is written in them does not."""
    text = space.read_text().replace("samples=8,", "samples=8, objectives={'parameters': 'min', 'train_loss': 'min'},")
    space.write_text(text)
    folder = begin("--searcher", searcher, "--scheduler", "none", trials=1)
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    request = Request.parse([str(space), "--resume"]).restored(folder, record)

    def proposed() -> list[Any]:
        study = as_recorded(adapt(load(space), request), record)
        require_same(record, folder, study, space, samples=8, seed=0)
        assert list(study.goals) == ["val_accuracy", "parameters", "train_loss"]
        proposals = propose(study, request)
        return [proposals.propose(number)[0] for number in range(4)]

    before = proposed()
    for old, new in (
        ('"quality": tune.uniform(0.1, 0.9), "members": tune.choice([1, 2]), "lr": 0.1', ENTRIES),
        ("'parameters': 'min', 'train_loss': 'min'", "'train_loss': 'min', 'parameters': 'min'"),
    ):
        assert old in text
        text = text.replace(old, new)
    space.write_text(text)
    assert proposed() == before


ENTRIES = '"members": tune.choice([1, 2]), "lr": 0.1, "quality": tune.uniform(0.1, 0.9)'


def test_a_range_that_no_longer_holds_what_the_run_began_with_is_the_difference_that_is_named(
    begin: Begin, refusal_of: Callable[..., str], space: Path
) -> None:
    """The study has no `first` of its own: its reported arm was one of the run's first trials."""
    text = space.read_text().replace("from search.study", "from search.records import Reported\nfrom search.study")
    reported = "reported=(Reported('r', 'note', '1', 'good', dataset='digits', model='toy'),)"
    text = text.replace(
        '"two": {"members": 2}}', f'"two": {{"members": 2}}, "good": {{"quality": 0.85}}}},\n    {reported}'
    )
    space.write_text(text)
    begin()
    space.write_text(text.replace("uniform(0.1, 0.9)", "uniform(0.1, 0.4)"))
    line = refusal_of("--resume")
    assert "space/quality was float from 0.1 to 0.9 and is float from 0.1 to 0.4" in line
    assert "first" not in line


def test_a_run_is_held_to_the_versions_that_its_record_states(begin: Begin, space: Path) -> None:
    folder = begin()
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    request = Request.parse([str(space), "--resume"]).restored(folder, record)
    study = as_recorded(adapt(load(space), request), record)
    versions = record.definition["versions"]
    assert versions.keys() == {"torch", "ray", "optuna", "scipy"}  # scipy draws Sobol's sequence
    versions["scipy"] = "0.1"
    with pytest.raises(UsageError, match=r"versions/scipy was 0\.1"):
        require_same(record, folder, study, space, samples=8, seed=0)
    del versions["scipy"]  # of before it was recorded
    require_same(record, folder, study, space, samples=8, seed=0)


@pytest.mark.parametrize("old", [True, False])
def test_a_seed_that_an_arm_had_makes_no_other_study(begin: Begin, space: Path, old: bool) -> None:
    """Nothing is drawn from it: until 2026-11-30 the arms of note C kept the seed that the note prints."""
    folder = begin()
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    request = Request.parse([str(space), "--resume"]).restored(folder, record)
    study = as_recorded(adapt(load(space), request), record)
    arms = {arm: {**config, "seed": 17} for arm, config in record.definition["arms"].items()}
    definition = {} if old else {**record.definition, "arms": arms}
    seeded = dataclasses.replace(record, arms=arms, definition=definition)
    require_same(seeded, folder, study, space, samples=8, seed=0)
    arms["one"]["members"] = 3
    with pytest.raises(UsageError, match="arms/one/members was 3"):
        require_same(seeded, folder, study, space, samples=8, seed=0)


def test_fewer_samples_than_were_begun_are_refused(begin: Begin, refusal_of: Callable[..., str], space: Path) -> None:
    begin()
    space.write_text(space.read_text().replace("samples=8", "samples=3"))
    assert "samples was 8 and is 3" in refusal_of("--resume")


def test_an_old_record_is_held_to_what_it_says(begin: Begin, refusal_of: Callable[..., str], space: Path) -> None:
    folder = begin()
    path = folder / STUDY_FILE
    raw = json.loads(path.read_text())
    for name in ("definition", "journal", "format", "metrics", "columns"):
        del raw[name]
    path.write_text(json.dumps(raw))
    for old, new, told in (
        ("uniform(0.1, 0.9)", "uniform(0.4, 0.6)", "space/quality"),
        ('"lr": 0.1', '"lr": 0.2', "constants/lr"),
        ("samples=8", "samples=3", "samples was 8 and is 3"),
        ('"two": {"members": 2}', '"two": {"members": 1}', "arms/two/members"),
    ):
        text = space.read_text()
        space.write_text(text.replace(old, new))
        assert told in refusal_of("--resume")
        space.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"one": {"members": 1}, ', "", "arms/one was .* and is gone"),
        ('"two": {"members": 2}', '"two": {"members": 1}', "arms/two/members"),
    ],
)
def test_a_replay_of_other_arms_is_refused(
    begin: Begin, refusal_of: Callable[..., str], space: Path, old: str, new: str, told: str
) -> None:
    begin("--replay", "--repeats", "2", trials=2)
    space.write_text(space.read_text().replace(old, new))
    line = refusal_of("--resume")
    assert re.search(told, line), line


def test_a_value_that_differs_at_each_reading_is_found_before_a_run_begins(
    refusal_of: Callable[..., str], space: Path
) -> None:
    space.write_text(space.read_text().replace('"lr": 0.1', '"lr": np.random.uniform()'))
    assert "constants/lr was 0." in (line := refusal_of())
    assert "when the file is read again" in line


@pytest.mark.parametrize(
    "names",
    [
        '{"sgd", "adam"}',
        'set(["sgd", "adam"])',
        '{name for name in ("sgd", "adam")}',
        'list({"sgd"} | {"adam"})',
        '[*frozenset(("sgd", "adam"))]',
        "NAMES",
    ],
)
def test_a_choice_of_a_set_is_refused_since_no_other_process_has_its_order(
    refusal_of: Callable[..., str], space: Path, names: str
) -> None:
    space.with_name("beside.py").write_text('NAMES = {"sgd", "adam"}\n')
    text = space.read_text().replace("import numpy as np", "from beside import NAMES")
    space.write_text(text.replace('"lr": 0.1', f'"lr": 0.1, "optimizer": tune.choice({names})'))
    assert re.search(r"space/optimizer was choice\(.*\) and is choice\(.*: write a list", refusal_of())


@pytest.mark.parametrize(
    "values", ['"optimizer": tune.choice(sorted({"sgd", "adam"}))', '"momentum": tune.choice({0, 1})', '"lr": 0.1']
)
def test_a_set_that_decides_nothing_is_no_reason_to_refuse(space: Path, values: str) -> None:
    used = 'KINDS = {"a", "b"}\nassert isinstance(KINDS, set) and isinstance({} | KINDS, set)\n'.replace("{}", "set()")
    text = space.read_text().replace('"lr": 0.1', values).replace("study = ", f"{used}study = ")
    space.write_text(text)
    require_settled(load(space), space)


# The journal


def test_a_run_without_its_journal_is_not_gone_on_with(begin: Begin, refusal_of: Callable[..., str]) -> None:
    folder = begin()
    (folder / JOURNAL_FILE).unlink()
    for how in (["--resume"], ["--extend", "1"]):
        assert f"{folder} has no journal.jsonl" in refusal_of(*how)
    path = folder / STUDY_FILE
    record = StudyRecord.from_json(path.read_text())
    record.finished = True
    write_record(folder, record)
    assert f"{folder} has no journal.jsonl" in refusal_of("--extend", "1")


def test_an_empty_journal_beside_full_tables_is_not_gone_on_with(begin: Begin, refusal_of: Callable[..., str]) -> None:
    folder = begin()
    (folder / JOURNAL_FILE).write_bytes(b"")
    assert "is not the journal that" in refusal_of("--resume")
    path = folder / STUDY_FILE
    record = StudyRecord.from_json(path.read_text())
    record.journal = ""
    write_record(folder, record)
    assert "holds no trial, but the tables beside it hold 4" in refusal_of("--resume")


def test_another_runs_journal_is_refused(begin: Begin, refusal_of: Callable[..., str], tmp_path: Path) -> None:
    folder = begin()
    other = tmp_path / "other"
    other.mkdir()
    journal = Journal(other)
    journal.close()
    shutil.copy(other / JOURNAL_FILE, folder / JOURNAL_FILE)
    assert "is not the journal that" in refusal_of("--resume")


def test_a_journal_removed_while_its_run_goes_on_lets_nobody_else_in(
    begin: Begin, refusal_of: Callable[..., str]
) -> None:
    folder = begin()
    journal = Journal(folder, begun=True)
    content = (folder / JOURNAL_FILE).read_bytes()
    (folder / JOURNAL_FILE).unlink()
    (folder / JOURNAL_FILE).write_bytes(content)
    assert refusal_of("--resume") == f"{folder} is in use by another run"
    with pytest.raises(ValueError, match="was removed or moved while the run went on"):
        journal.append("result", 1, result=result(2))
    assert journal.removed
    with pytest.raises(ValueError, match="was removed"):
        journal.append("result", 1, result=result(2))


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_every_flipped_bit_is_found(begin: Begin, refusal_of: Callable[..., str], position: str) -> None:
    path = begin() / JOURNAL_FILE
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    number = {"first": 0, "middle": len(lines) // 2, "last": len(lines) - 1}[position]
    start = sum(map(len, lines[:number]))
    for offset in range(len(lines[number]) - 1):  # without its newline all of it would be torn
        for bit in (0, 5):
            damaged = bytearray(whole)
            damaged[start + offset] ^= 1 << bit
            with pytest.raises(ValueError, match=rf"line {number + 1}|line {number + 2}"):
                read(bytes(damaged), path)
    damaged = bytearray(whole)
    damaged[start + 3] ^= 1
    path.write_bytes(damaged)
    assert "the file is damaged" in refusal_of("--resume")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:4], *lines[5:]],  # lost
        lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],  # in another order
        lambda lines: [*lines[:5], lines[4], *lines[5:]],  # twice
        lambda lines: lines[1:],  # without the first
        lambda lines: [*lines, lines[0]],
        lambda lines: [*lines[:-1], lines[-1].replace(b"completed", b"stopped")],
        lambda lines: [*lines, b'{"event": "end", "trial": 1, "status": "failed", "error": ""}\n'],  # not sealed
    ],
)
def test_a_line_that_does_not_follow_is_refused(
    begin: Begin, refusal_of: Callable[..., str], change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = begin() / JOURNAL_FILE
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert f"{path}, line " in (line := refusal_of("--resume"))
    assert "the file is damaged" in line


SUGGEST = {"event": "suggest", "trial": 4, "name": "0004", "config": {"quality": 0.5}, "arm": None, "state": {}}
RESULT = {"event": "result", "trial": 1, "result": result(2)}
CHECKPOINT = {"event": "checkpoint", "trial": 1, "epoch": 1, "path": "trials/0001/checkpoint_0"}
START = {"event": "start", "trial": 1, "folder": "0001"}
END = {"event": "end", "trial": 1, "status": "stopped", "error": None}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (SUGGEST | {"trial": 1}, "trial 1 a second time"),
        (SUGGEST | {"trial": None}, "by its number, got None"),
        (SUGGEST | {"trial": "4"}, "by its number, got '4'"),
        (SUGGEST | {"trial": True}, "by its number, got True"),
        (SUGGEST | {"trial": 6}, "must suggest the next trial, 4, got 6"),
        (SUGGEST | {"config": None}, "config as an object, got None"),
        (SUGGEST | {"name": 4}, "name as text, got 4"),
        (SUGGEST | {"state": {"study_attrs": 3}}, "notes as objects"),
        (SUGGEST | {"config": {"quality": 0.95, "members": 1}}, "trial 4 has values that the study cannot propose"),
        (SUGGEST | {"config": {"quality": 0.5}}, "trial 4 lacks 'members'"),
        (SUGGEST | {"config": {"quality": "good"}}, "quality"),
        (SUGGEST | {"config": {"speed": 1}}, "speed"),
        (RESULT | {"trial": 9}, "trial 9, which no line before it suggests"),
        (RESULT | {"result": result(2, val_accuracy="high")}, "a number as val_accuracy, got 'high'"),
        (RESULT | {"result": result(2, val_accuracy=[1])}, "a number as val_accuracy"),
        (RESULT | {"result": result(2, parameters=1.5)}, "a whole number as parameters"),
        (RESULT | {"result": result(0)}, "epoch as a whole number from 1, got 0"),
        (RESULT | {"result": result(2) | {"epoch": "2"}}, "epoch as a whole number from 1, got '2'"),
        (RESULT | {"result": result(2) | {"total_epochs": None}}, "total_epochs as a whole number from 1, got None"),
        (RESULT | {"result": result(2, diverged=7)}, "diverged as text, got 7"),
        (RESULT | {"result": result(2, prefix_parameters=[1, "x"])}, "prefix_parameters"),
        (RESULT | {"result": [2]}, "a result as an object"),
        (RESULT | {"predictions": "../victim"}, "predictions as a sha256"),
        (START | {"folder": "/abs/victim"}, "a folder in the run's own, got '/abs/victim'"),
        (START | {"folder": ".."}, "a folder in the run's own, got '..'"),
        (START | {"folder": "../../victim"}, "a folder in the run's own"),
        (START | {"folder": "a\0b"}, "a folder in the run's own"),
        (START | {"folder": ""}, "a folder in the run's own"),
        (CHECKPOINT | {"path": "/abs/victim"}, "a checkpoint in the run's folder, got '/abs/victim'"),
        (CHECKPOINT | {"path": "trials/../checkpoint_0"}, "a checkpoint in the run's folder"),
        (CHECKPOINT | {"path": "trials/0001/../../victim"}, "a checkpoint in the run's folder"),
        (CHECKPOINT | {"epoch": -1}, "epoch as a whole number"),
        (END | {"status": "running"}, "a status of completed, stopped"),
        (END | {"status": "won"}, "a status of completed, stopped"),
        (END | {"trial": 0}, "trial 0, which has ended"),
        (END | {"error": 3}, "error as text"),
        ({"event": "won", "trial": 1}, "an unknown kind, 'won'"),
        ({"event": ["end"], "trial": 1}, "an unknown kind"),
        ({"event": "again", "trial": 1, "reason": "?"}, "trial 1, which has not ended"),
        ({"event": "run", "trial": None, "format": 2, "id": "x"}, "begins a journal in the middle of one"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_what_no_run_writes_is_refused_before_ray_starts(
    begin: Begin, refusal_of: Callable[..., str], event: dict[str, Any], told: str, old: bool
) -> None:
    folder = begin()
    path = folder / JOURNAL_FILE
    if old:
        unseal(folder)
    lines = path.read_bytes()
    path.write_bytes(lines + (json.dumps(event).encode() + b"\n" if old else sealed(lines, event)))
    if old and event["event"] == "run":
        told = "lacks its digest"
    line = refusal_of("--resume")
    assert str(path) in line
    assert told in line


@pytest.mark.parametrize(
    "text", ['{"event": "result", "trial": 1, "result": {"epoch": NaN}}', "[" * 100_000, "\0" * 50]
)
def test_what_is_no_event_is_refused(begin: Begin, refusal_of: Callable[..., str], text: str) -> None:
    folder = begin()
    unseal(folder)
    with (folder / JOURNAL_FILE).open("a") as file:
        file.write(text + "\n")
    assert "is not an event: the file is damaged" in refusal_of("--resume")


def test_a_journal_of_a_newer_version_is_refused_by_name(begin: Begin, refusal_of: Callable[..., str]) -> None:
    folder = begin()
    (folder / JOURNAL_FILE).write_bytes(sealed(b"", {"event": "run", "trial": None, "format": 4, "id": "x"}))
    assert "a newer version wrote it" in refusal_of("--resume")


def unseal(folder: Path) -> None:
    """Make the journal one of before lines were sealed."""
    path = folder / JOURNAL_FILE
    events = [json.loads(line) for line in path.read_bytes().splitlines()]
    for event in events:
        del event["chain"]
    path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events[1:]))
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    record.journal = ""
    write_record(folder, record)


def sealed(lines: bytes, event: dict[str, Any]) -> bytes:
    """The event as a forger writes it who knows the format."""
    last = json.loads(lines.splitlines()[-1])["chain"] if lines else hashlib.sha256(b"").hexdigest()
    body = json.dumps(event)[:-1]
    chain = hashlib.sha256(last.encode() + body.encode()).hexdigest()[:32]
    return f'{body}, "chain": "{chain}"}}\n'.encode()


# Journals of earlier versions


def test_a_journal_of_before_engines_had_their_name_is_read_with_it(tmp_path: Path) -> None:
    first = sealed(b"", {"event": "run", "trial": None, "format": 2, "id": "x"})
    config = {"event": "suggest", "trial": 0, "name": "0000", "arm": None, "state": {}, "config": {"path": "bf16"}}
    (tmp_path / JOURNAL_FILE).write_bytes(first + sealed(first, config))
    with contextlib.closing(Journal(tmp_path, begun=True)) as journal:
        assert journal.trials[0].config == {"engine": "bf16"}


@pytest.mark.parametrize("version", ["d3e6280", "eb1f111", "8a99d90"])
def test_a_journal_of_an_earlier_version_goes_on_being_readable(tmp_path: Path, version: str) -> None:
    path = tmp_path / JOURNAL_FILE
    old = (OLD / f"{version}.jsonl").read_bytes()
    path.write_bytes(old)
    journal = Journal(tmp_path, begun=True)
    assert [log.status for log in journal.trials.values()] == ["completed", "stopped", None, None]
    assert len(journal.order) == 6
    assert journal.trials[2].last["val_accuracy"] == 0.5
    assert journal.trials[2].checkpoints[-1][1] == "trials/0002-quality=0.75/checkpoint_000000"
    assert path.read_bytes() == old  # nothing is changed by looking
    journal.append("result", 3, result=result(1))
    journal.close()
    assert path.read_bytes().startswith(old)
    again = Journal(tmp_path, begun=True)
    assert (again.trials, again.order) == (journal.trials, journal.order)
    again.close()
    for line in (0, 5, 16):  # what was written before the journal was sealed is now held to, too
        lines = path.read_bytes().splitlines(keepends=True)
        lines[line] = lines[line].replace(b'"trial"', b'"trial" ')
        with pytest.raises(ValueError, match="the file is damaged"):
            read(b"".join(lines), path)


def test_a_folder_of_the_group_is_written_in_without_following_links(
    begin: Begin, refusal_of: Callable[..., str], tmp_path: Path
) -> None:
    folder = begin()
    os.chmod(folder, 0o775)
    victim = tmp_path / "victim"
    victim.write_bytes((folder / JOURNAL_FILE).read_bytes())
    (folder / JOURNAL_FILE).unlink()
    (folder / JOURNAL_FILE).symlink_to(victim)
    assert f"{folder / JOURNAL_FILE} must be a plain file" in refusal_of("--resume")


def test_a_run_of_an_earlier_version_goes_on_from_elsewhere(toy_space: Path, tmp_path: Path) -> None:
    """Killed on another machine's disk by the version of 2026-11-24, with trials completed, stopped and running."""
    folder = tmp_path / "moved"
    shutil.copytree(OLD / "28e8219", folder)
    record = StudyRecord.from_json((folder / STUDY_FILE).read_text())
    record.versions = {}  # those of the day
    request = Request.parse([str(toy_space), "--resume"]).restored(folder, record)
    study = as_recorded(adapt(load(toy_space), request), record)
    assert (study.grace, study.factor, study.design, study.first) == (1, 3, "random", [])  # as it began
    require_same(record, folder, study, toy_space, samples=record.samples, seed=record.seed)
    journal = Journal(folder, begun=True)
    require_journal(journal, record, study, propose(study, request))
    statuses = {log.status for log in journal.trials.values()}
    assert statuses == {"completed", "stopped", None}
    places = [name for log in journal.trials.values() for _, name in log.checkpoints]
    assert places
    assert all(name.startswith("trials/000") for name in places)
    journal.close()
