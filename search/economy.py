"""Find the trials of a replay that need not be run, because another trial trains the same weights.

Member i of an ensemble draws from (seed, i) alone, so that one run of n members contains every run of fewer members
that differs in nothing else (`search.records.Training`). Within a replay the largest such arm runs and answers the
others; `--known` leaves out trials that other results hold finished. The analysis finds both by the same rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search.definition import code
from search.records import (
    ARM,
    COMPLETED,
    NO_DATA,
    SEED,
    STATUS,
    STUDY_FILE,
    TEST_KL_LOSS,
    TEST_TOP5_ACCURACY,
    StudyRecord,
    Training,
)
from search.request import Request
from search.study import Study, StudyError

TIMED = "seconds_per_epoch"  # a quantity that only a run of exactly these members and measurements reports
WHOLE = (TEST_TOP5_ACCURACY, TEST_KL_LOSS)  # quantities that are not kept for an ensemble's first members

Configs = list[tuple[dict[str, Any], str | None]]


@dataclass(frozen=True)
class Economy:
    """The trials of a replay that are not run: `answered_by` and `known` as `search.records.StudyRecord` holds them."""

    answered_by: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def left(self, configs: Configs) -> Configs:
        """Return the trials of `configs` that must be run."""
        return [
            (config, arm)
            for config, arm in configs
            if arm not in self.answered_by and str(config["seed"]) not in self.known.get(str(arm), {})
        ]

    def told(self) -> list[str]:
        """Return a line for each arm that another answers, and one for each folder whose trials are not run again."""
        lines = [f"answered   {arm} by {other}, which trains the same" for arm, other in self.answered_by.items()]
        places = Counter(where.rpartition(": ")[0] for seeds in self.known.values() for where in seeds.values())
        return lines + [f"known      {count} of the trials are in {place}" for place, count in places.items()]


def economise(study: Study, request: Request, fingerprint: str, resumed: tuple[Path, StudyRecord] | None) -> Economy:
    """Return which trials of the requested replay are not run; for a resumed run, as its record says.

    Raises StudyError for an unknown `--arm` and for `--known` results that cannot be read or are missing. `--known`
    may name this run's own results folder before it exists.
    """
    for place in map(Path, request.known):
        if resumed is None and not place.is_dir() and place != request.results.absolute():
            raise StudyError(f"--known must be a folder of results, got {place}, which is no folder")
        if resumed is None and place != request.results.absolute() and not any(place.rglob(STUDY_FILE)):
            raise StudyError(f"--known must be a folder of results, got {place}, which holds no run")
    configs = study.replay_configs(request.repeats, request.seed, request.arm)
    own = code(study.trainable, request.space) if request.known else {}
    if resumed is None:
        answered_by = answered(study, request.arm)
        rest = Economy(answered_by).left(configs)
        return Economy(answered_by, known(study, rest, fingerprint, request.known, own=own))
    folder, record = resumed
    if not request.extend:
        return Economy(record.answered_by, record.known)
    first = request.seed + request.repeats - request.extend
    new = [(config, arm) for config, arm in Economy(record.answered_by).left(configs) if config["seed"] >= first]
    found = known(study, new, fingerprint, request.known, folder, own=own)
    merged = {arm: record.known.get(arm, {}) | found.get(arm, {}) for arm in record.known | found}
    return Economy(record.answered_by, merged)


def answered(study: Study, arms: Iterable[str] = ()) -> dict[str, str]:
    """Map each arm that another arm answers to "other", or to "other:k" for the other's first k members.

    Only `arms`, or all of the study's, are considered. An arm answers another if it measures every quantity that the
    claims compare of the other.
    """
    names = [arm for arm in study.arms if arm in (arms or study.arms)]
    trainings = {arm: training_of(study, arm) for arm in names}
    order = {arm: place for place, arm in enumerate(names)}
    # The largest arm first; of equally large arms, those that also vote on the training images.
    running = {arm: trainings[arm].measuring.get("train_measure", "running") == "running" for arm in names}
    found: dict[str, str] = {}
    run: list[str] = []
    for arm in sorted(names, key=lambda arm: (-trainings[arm].members, running[arm], order[arm])):
        needed = quantities(study, arm)
        for other in run:
            if enough(trainings[other], trainings[arm], needed, whole=measures_whole(study)):
                members = trainings[arm].members
                found[arm] = other if trainings[other].members == members else f"{other}:{members}"
                break
        else:
            run.append(arm)
    return {arm: found[arm] for arm in names if arm in found}


def enough(run: Training, arm: Training, needed: set[str], *, whole: bool = False) -> bool:
    """Return whether a trial that trains `run` reports the quantities `needed` of `arm`.

    `whole`: the trainable has metrics of its own, which are not kept for an ensemble's first members.
    """
    if TIMED in needed:
        return run == arm
    return run.answers(arm) and (run.members == arm.members or not (whole or needed & set(WHOLE)))


def measures_whole(study: Study) -> bool:
    """Return whether the trainable has metrics of its own that judge a whole ensemble, not what the run took."""
    return any(column.measured_on not in ("clock", "memory", "count") for column in study.metrics)


def quantities(study: Study, arm: str) -> set[str]:
    """Return the quantities of an arm that the study's claims compare."""
    return {
        claim.quantity.partition("@")[0]
        for claim in study.claims
        for named in (*claim.arms, *claim.clean_arms)
        if named.partition("@")[0] == arm
    }


def training_of(study: Study, arm: str, fingerprint: str = "", own: Mapping[str, str] | None = None) -> Training:
    """Return an arm's training; `own`: the trainable's code, see `search.definition.code`."""
    settings = study.configured(study.completed(study.arms[arm]))
    return Training.of(study.trainable.__name__, NO_DATA if study.foreign else fingerprint, settings, own)


def known(
    study: Study,
    configs: Configs,
    fingerprint: str,
    folders: Iterable[str],
    ours: Path | None = None,
    own: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """Return the trials of `configs` that are finished in results in or below `folders`, except in the run `ours`.

    arm -> seed -> "folder: arm" or "folder: arm:k". Raises StudyError for results that cannot be read.
    """
    finished = [
        (record, arm, seeds, path.parent)
        for path in sorted({file.resolve() for folder in folders for file in Path(folder).rglob(STUDY_FILE)})
        if ours is None or path.parent != ours.resolve()
        for record in [_record(path)]
        for arm, seeds in _finished(path.parent).items()
    ]
    found: dict[str, dict[str, str]] = {}
    for config, arm in configs:
        if arm is None:
            continue
        training, needed = training_of(study, arm, fingerprint, own), quantities(study, arm)
        seed = int(config["seed"])
        for record, other, seeds, folder in finished:
            run = record.training_of(other) if seed in seeds else None
            if run and enough(run, training, needed, whole=measures_whole(study)):
                first = "" if run.members == training.members else f":{training.members}"
                found.setdefault(arm, {})[str(seed)] = f"{folder}: {other}{first}"
                break
    return found


def _record(path: Path) -> StudyRecord:
    try:
        return StudyRecord.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as error:
        raise StudyError(f"--known: {path} cannot be read: {error}") from None


def _finished(folder: Path) -> dict[str, set[int]]:
    """Return the seeds of a run's completed trials, by arm. Raises StudyError if its table cannot be read."""
    path = folder / "trials.parquet"
    if not path.is_file():
        return {}
    try:
        rows = pq.read_table(path, columns=[ARM, SEED, STATUS]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"--known: {path} cannot be read: {error}") from None
    seeds: dict[str, set[int]] = {}
    for row in rows:
        if row[STATUS] == COMPLETED and row[ARM] is not None:
            seeds.setdefault(row[ARM], set()).add(row[SEED])
    return seeds
