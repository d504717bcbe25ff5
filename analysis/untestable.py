"""Say what keeps a claim from being tested: other settings, data or machines, trials that ended without a result."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.arms import EXACT, quantity_name, split_arm
from analysis.comparisons import compared
from analysis.load import Results
from search.records import ARM, DIVERGED, FAILED, SEED, STATUS, STOPPED, Claim, StudyRecord

# They change what a network learns, not what it is.
_OF_THE_TRAINING = ("epochs=", "batch_size=", "train_images=", "test_images=", "weights=random")


def resized(changed: str, quantity: str = "") -> bool:
    """Return whether runs have other settings than the note's, of those that can change `quantity`, by default any.

    Another engine executes the same.
    """
    same = ("engine=", *_OF_THE_TRAINING) if quantity and quantity_name(quantity) in EXACT else ("engine=",)
    return any(not part.startswith(same) for part in filter(None, changed.split(", ")))


def other_data(records: Sequence[StudyRecord]) -> list[str]:
    """Return what makes the runs' data other than the note's: "smoke", "dataset=digits"."""
    notes = {run.dataset for record in records for run in record.reported}
    others = {f"dataset={record.dataset}" for record in records if notes and record.dataset not in notes}
    return [*sorted(others), *(["smoke"] if any(record.smoke for record in records) else [])]


def another_size(claim: Claim, changed: str) -> str:
    """Return why the size that the statement gives says nothing of runs with other settings than the note's, or ""."""
    nothing = 1.0 if claim.kind == "ratio" else 0.0  # an end there is a direction, and so is a ratio's 0
    sized = any(bound not in (None, 0.0, nothing) for bound in (claim.low, claim.high))
    if not resized(changed, claim.quantity) or not (sized or claim.margin):
        return ""
    stated = "size" if sized else "margin"
    return f"the {stated} that it states is of the note's own settings, and these runs have others"


SHARES = ("cpus_per_trial", "gpus_per_trial")  # options that say how much of its machine a trial had


def other_machines(records: Sequence[StudyRecord]) -> str:
    """Return which machines the runs are of, and a trial's share of each, if they are several, or ""."""
    machines = sorted({_machine(record) for record in records})
    return f"it is measured by the machine, and the runs are of {'; '.join(machines)}" if len(machines) > 1 else ""


def _machine(record: StudyRecord) -> str:
    """Return a run's machine, and a trial's share of it unless that is one CPU and, if there is one, one GPU."""
    usual = dict(zip(SHARES, (1, 1 if record.machine.get("gpus") else 0), strict=True))
    given = {name: record.options.get(name) for name in SHARES}
    of_trial = {
        name.replace("_", " "): f"{share:g}"
        for name, share in given.items()
        if isinstance(share, int | float) and share != usual[name]
    }
    return ", ".join(f"{name} {value}" for name, value in (record.machine | of_trial).items())


def taken_away(
    results: Sequence[Results],
    claim: Claim,
    arms: Sequence[str],
    own: dict[str, str],
    used: dict[str, pd.DataFrame],
) -> str:
    """Return which declared differences the command removed, such as "--set left no difference in epochs", or "".

    Confounders do not count. What still differs then is another claim's question, or nothing differs.
    """
    declared, run, by = {}, {}, "--set"
    for arm, rows in used.items():
        name = split_arm(own[arm]).name
        # Older runs did not record what was declared, and say nothing.
        records = [results[place].record for place in rows["result"] if name in results[place].record.declared]
        for record in records[:1]:
            declared[arm] = record.declared[name]
            run[arm] = declared[arm] | record.arms.get(name, {})
            by = "--smoke" if record.smoke else by
    gone = {
        name
        for a, b in compared(claim, arms)
        if a in declared and b in declared
        # How often training accuracy is measured changes none of the measured figures.
        for name in declared[a].keys() & declared[b].keys() - {*claim.confounded_by, "train_measure_every"}
        if declared[a][name] != declared[b][name] and run[a][name] == run[b][name]
    }
    return f"{by} left no difference in {', '.join(sorted(gone))}" if gone else ""


def without_result(results: Sequence[Results], arms: Sequence[str]) -> list[str]:
    """Return the trials of these arms that ended without a result: leaving them out in silence would flatter an arm."""
    names = {(of.study, of.name) for of in map(split_arm, arms)}
    lost = []
    for result in results:
        here = {name for study, name in names if study in (None, result.record.study)}
        ends = zip(*(result.trials[column] for column in (ARM, SEED, STATUS)), strict=True)
        lost += [
            f"{arm} seed {seed} {status}"
            for arm, seed, status in (ends if here else ())
            if arm in here and status in (STOPPED, DIVERGED, FAILED)
        ]
    return lost
