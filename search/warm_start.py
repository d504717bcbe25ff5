"""Begin a search with what is known: the finished trials of other runs, as observations for the searcher.

A decision of a search must depend on nothing but its own record, so the observations are copied: `study.json` holds
them in its definition, and `--resume` does not read the other results again. Only objectives are taken, which are
measured on validation data (or are sizes), never a test figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray.tune.search.sample import Categorical, Domain

from search.definition import differences
from search.domains import held, same
from search.records import (
    ARM,
    COMPLETED,
    CONFIG,
    MEASURING,
    PROTOCOL,
    SEARCH_PROTOCOL,
    STATUS,
    STUDY_FILE,
    TRIAL_ID,
    StudyRecord,
    own_code,
)
from search.study import Study, StudyError

_TRAIN_ACCURACY, _TRAIN_MEASURES = "train_accuracy", {"train_measure", "train_measure_every"}
# Settings in which runs may differ that are compared: their own seeds and engines, and how test images are measured.
# What evaluates decides the objectives themselves.
_MAY_DIFFER = (MEASURING - {"vote"}) | {"seed", "epochs", "engine"}


class _UnfitError(ValueError):
    """Report why a run's trials are no observations of a study, in a phrase that follows the run's folder."""


def observed(
    study: Study, folders: Iterable[str], fingerprint: str, own: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the finished trials of other runs as `Study.observations`, and lines to print.

    Each of `folders` is a run's, a study's or one of all results. `fingerprint` is that of the study's data, `own` the
    trainable's code, see `search.definition.code`. Raises StudyError, in one line, if a folder holds no run that fits.
    """
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    seen: set[Path] = set()
    for folder in folders:
        # A run, a study's folder, or all results: no deeper, since a folder may be anything.
        files = sorted(file for depth in ("", "*/", "*/*/") for file in Path(folder).glob(depth + STUDY_FILE))
        if not files:
            raise StudyError(f"--warm-start must be a folder of results, with a {STUDY_FILE} in it, got {folder}")
        reasons = []
        fits = False
        for file in (file.resolve() for file in files):
            if file in seen:
                fits = True
                continue
            try:
                observations, outside = _observations(study, file, fingerprint, own or {})
            except _UnfitError as error:
                reasons.append(f"{file.parent} {error}")
                continue
            seen.add(file)
            fits = True
            found += observations
            left = f" ({outside} others lie outside of this study's space)" if outside else ""
            lines.append(f"warm start {len(observations)} finished trials of {file.parent}{left}")
        if not fits:
            raise StudyError(f"--warm-start: {reasons[0]}")
        lines += [f"left out   {reason}" for reason in reasons]
    return found, lines


def _observations(
    study: Study, file: Path, fingerprint: str, own: Mapping[str, str]
) -> tuple[list[dict[str, Any]], int]:
    """Return a run's observations, and how many of its finished trials lie outside of the study's space."""
    record, rows, texts = _read(file)
    _require_alike(study, record, fingerprint, own)
    rows = [row for row in rows if row.get(STATUS) == COMPLETED and row.get(ARM) is None]
    rows = [row for row in rows if row.get(PROTOCOL, SEARCH_PROTOCOL) == SEARCH_PROTOCOL]
    if not rows:
        raise _UnfitError("has no finished trial of a search")
    if lacking := [goal for goal in study.goals if not all(_finite(row.get(goal)) for row in rows)]:
        raise _UnfitError(f"has finished trials without {lacking[0]}, an objective of this study")
    lost = _conditional(record)
    _require_same_constants(study, record, rows, texts, lost)
    found = []
    for row in rows:
        config = _config(study, row, texts, lost, record.space.keys())
        if config is not None:
            values = {goal: float(row[goal]) for goal in study.goals}
            source = f"{record.study}/{record.run}, trial {row[TRIAL_ID]}"
            found.append({"config": config, "values": values, "source": source})
    if not found:
        raise _UnfitError(f"has {len(rows)} finished trials, none of them within this study's space")
    return found, len(rows) - len(found)


def _read(file: Path) -> tuple[StudyRecord, list[dict[str, Any]], set[str]]:
    """Return a run's record, the rows of its trials, and the hyperparameters whose columns are text."""
    try:
        record = StudyRecord.from_json(file.read_text(encoding="utf-8"), file.name)
        table = pq.read_table(file.with_name("trials.parquet"))
    except FileNotFoundError:
        raise _UnfitError("has no trials.parquet") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _UnfitError(f"cannot be read: {str(error).splitlines()[0]:.200}") from None
    texts = {
        field.name.removeprefix(CONFIG)
        for field in table.schema
        if field.name.startswith(CONFIG) and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
    }
    return record, table.to_pylist(), texts


def _require_alike(study: Study, record: StudyRecord, fingerprint: str, own: Mapping[str, str]) -> None:
    """Raise _UnfitError unless the run's figures mean what this study's figures mean."""
    if record.dataset_fingerprint != fingerprint:
        raise _UnfitError(f"was trained on other data, {record.dataset}, than this study's {study.dataset}")
    for name, theirs, ours in (
        ("trainable", record.trainable, study.trainable.__name__),
        ("metric", record.metric, study.metric),
        ("protocol", record.protocol, study.protocol),
        ("epochs", record.epochs, study.epochs),
    ):
        if theirs != ours:
            raise _UnfitError(f"has {name} {theirs}, this study {ours}")
    for told in differences(own_code(record.definition.get("code", {})), own_code(own), "code"):
        raise _UnfitError(f"has another trainable {record.trainable} than this study: {told}")
    if study.protocol != SEARCH_PROTOCOL:
        raise _UnfitError(f"was measured under protocol {record.protocol}, on test images")
    if not record.space.keys() & study.searched().keys():
        theirs = ", ".join(record.space) or "nothing"
        raise _UnfitError(f"searched {theirs}, and this study {', '.join(study.searched())}: nothing is shared")


def _conditional(record: StudyRecord) -> set[str]:
    conditions = record.definition.get("conditions")
    return set(conditions) if isinstance(conditions, dict) else set()


def _require_same_constants(
    study: Study, record: StudyRecord, rows: list[dict[str, Any]], texts: set[str], lost: set[str]
) -> None:
    """Raise _UnfitError if both runs have one value for a setting, and the values differ."""
    ours = study.configured(study.fixed())
    searched = study.searched().keys() | study.space.sometimes.keys() | record.space.keys() | lost
    for row in rows:
        for name in ours.keys() - searched - _free(study, row):
            if CONFIG + name in row and not _equal(row[CONFIG + name], ours[name], name in texts):
                raise _UnfitError(f"ran with {name} {row[CONFIG + name]}, this study with {ours[name]}")


def _free(study: Study, row: Mapping[str, Any]) -> Set[str]:
    """Return the settings in which a trial may differ from this study, since its objectives are measured alike."""
    if study.foreign:
        return {"seed", "epochs"}  # any other name has the trainable's own meaning
    free = _MAY_DIFFER - _TRAIN_MEASURES if _TRAIN_ACCURACY in study.goals else _MAY_DIFFER
    return free | {"vote"} if row.get(CONFIG + "members", 1) == 1 else free  # one member's vote is its own


def _config(
    study: Study, row: Mapping[str, Any], texts: set[str], lost: set[str], theirs: Set[str]
) -> dict[str, Any] | None:
    """Return a trial's values of the searched hyperparameters, or None if the trial lies outside of the space."""

    def pick(name: str, domain: Domain) -> Any:
        if CONFIG + name not in row or (row[CONFIG + name] is None and name in lost):
            raise LookupError
        return held(domain, _value(row[CONFIG + name], domain, name in texts))

    try:
        whole = study.space.compose(pick)
        ours = study.configured(whole)
    except (LookupError, ValueError):
        return None
    # What the other run searched, and this study has at one value, or at its default.
    for name in (theirs | lost | study.space.sometimes.keys()) - study.searched().keys() - _free(study, row):
        if CONFIG + name not in row or (name in study.param_space and name not in whole):
            continue  # a hyperparameter that this study's conditions exclude is of no effect
        cell = row[CONFIG + name]
        had_none = cell is None and name in lost  # so that the trial ran with the default
        if name in whole if had_none else name not in ours or not _equal(cell, ours[name], name in texts):
            return None
    return {name: whole[name] for name in study.searched() if name in whole}


def _value(cell: Any, domain: Domain, text: bool) -> Any:
    """Return a table's cell as the choice that it means; a column of mixed types is text."""
    if not isinstance(domain, Categorical):
        return cell
    return next((choice for choice in domain.categories if _equal(cell, choice, text)), cell)


def _equal(cell: Any, value: Any, text: bool) -> bool:
    return same(cell, value) or (text and None not in (cell, value) and str(cell) == str(value))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
