"""A verdict for each claim of a note that the study replayed.

The claims and what they compare stand in study.json; the rule and its intervals are those of
`analysis.statistics`, paired by seed. Only finished trials of the claims' arms count.

    reproduced | contradicted | undecided | confounded

A claim whose comparison changes more than one thing is confounded whatever it measures; the verdict of the
arms that change one thing only stands with it. The parameter count of a model is exact: one run decides it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from analysis import cli, measure
from analysis import statistics as s
from analysis.load import Results, by_study
from analysis.tables import Table
from analysis.weigh import Weighed, weigh
from search import records as r

CONFOUNDED = "confounded"
VERDICTS = (s.REPRODUCED, s.CONTRADICTED, s.UNDECIDED, CONFOUNDED)

_WEIGHED = [field.name for field in dataclasses.fields(Weighed)]
COLUMNS = [
    *("study", "claim", "statement", "source", "arms", "quantity", "kind", "expected", "margin"),
    *("note_effect", "confounded_by", "clean_arms", *_WEIGHED),
    *(f"clean_{name}" for name in _WEIGHED),
]


def claims(results: Sequence[Results]) -> pd.DataFrame:
    """A row a claim, with `COLUMNS`: the claim, what our runs say (`Weighed`), what its clean arms say.

    Runs of one study are pooled. Raises ResultsError where they differ in data set or the trials of one arm
    in protocol, and for a claim that no results folder can answer.
    """
    rows = []
    for study, pooled in by_study(results).items():
        declared = {claim.name: claim for result in pooled for claim in result.record.claims}
        rows += [{"study": study} | _row(claim, study, results) for claim in declared.values()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _weigh(claim: r.Claim, study: str, arms: Sequence[str], results: Sequence[Results]) -> Weighed:
    """Of all `results`, those of `study` and of the other studies whose arms are named."""
    others = {name for arm in arms if (name := measure.split_arm(arm)[0])}
    if others:
        arms = [arm if "/" in arm else f"{study}/{arm}" for arm in arms]
    return weigh([result for result in results if result.record.study in {study, *others}], claim, arms)


def _confounders(claim: r.Claim, study: str, results: Sequence[Results]) -> list[str]:
    """The claim's confounders, less those in which its arms were declared to differ and `--set` made them alike."""
    declared: dict[str, dict[str, Any]] = {}
    run: dict[str, dict[str, Any]] = {}
    for result in results:
        for arm in claim.arms:
            other, name, _ = measure.split_arm(arm)
            if result.record.study == (other or study) and name in result.record.declared:
                declared[arm] = result.record.declared[name]
                run[arm] = declared[arm] | result.record.arms.get(name, {})

    def differ(settings: dict[str, dict[str, Any]], name: str) -> bool:
        return any(one.get(name) != other.get(name) for one in settings.values() for other in settings.values())

    whole = declared.keys() == set(claim.arms)
    return [name for name in claim.confounded_by if not (whole and differ(declared, name) and not differ(run, name))]


def _row(claim: r.Claim, study: str, results: Sequence[Results]) -> dict[str, object]:
    confounders = _confounders(claim, study, results)
    row: dict[str, object] = {
        "claim": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "arms": ", ".join(claim.arms),
        "quantity": claim.quantity,
        "kind": claim.kind,
        "expected": claim.expected,
        "margin": claim.margin,
        "note_effect": claim.effect,
        "confounded_by": ", ".join(confounders),
        "clean_arms": ", ".join(claim.clean_arms) if confounders else "",
        **dataclasses.asdict(_weigh(claim, study, claim.arms, results)),
    }
    if confounders:
        unconfounded = dataclasses.replace(claim, confounded_by=(), clean_arms=())
        clean = dataclasses.asdict(_weigh(unconfounded, study, claim.clean_arms, results))
        row |= {f"clean_{name}": value for name, value in clean.items()} | {"verdict": CONFOUNDED}
    return row


NOTES = (
    "Differences of accuracy in points; intervals over seeds. Inside, outside: the note's own figure. "
    "A verdict on runs that --set changed holds at that size only.",
)
_UNITS = {measure.SECONDS_PER_EPOCH: "s", r.PARAMETERS: "parameters"}


def amount(value: float, quantity: str, kind: str = "difference") -> str:
    """An effect as a reader sees it: points of accuracy, nats, seconds; a ratio with ×."""
    if not math.isfinite(value):
        return "–"
    if kind == "ratio":
        return f"{value:.3g}×"
    name = measure.split_quantity(quantity)[0]
    if name == measure.GAP or name.endswith("accuracy"):
        return f"{100 * value:+.2f}"
    return f"{value:+,.0f}" if name == r.PARAMETERS else f"{value:+.3g}"


def rounding(printed: float) -> float:
    """Half a unit of the last digit printed: 6.64 stands for all from 6.635 to 6.645."""
    exponent = Decimal(repr(printed)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0 ** min(exponent, 0)


def _unit(quantity: str, kind: str) -> str:
    if kind == "ratio":
        return ""
    name = measure.split_quantity(quantity)[0]
    return " " + _UNITS.get(name, "nats" if name.endswith("loss") else "points")


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    # Where only the clean arms could be compared, it is they that --set changed.
    changes = frame["changed"].where(frame["changed"] != "", frame["clean_changed"].astype(object).fillna(""))
    frame = frame.assign(changed=changes)
    scaled = bool((changes != "").any())

    def row(one: dict[str, Any]) -> dict[str, str]:
        quantity, kind = str(one["quantity"]), str(one["kind"])

        def told(prefix: str = "") -> str:
            effect, low, high = (amount(one[prefix + x], quantity, kind) for x in ("effect", "low", "high"))
            interval = "no interval" if "–" in (low, high) else f"{low} to {high}"
            return "not measured" if effect == "–" else f"{effect}{_unit(quantity, kind)} ({interval})"

        def judged(prefix: str = "") -> str:
            needed, why = one[prefix + "seeds_needed"], one[prefix + "why"]
            hints = [f"{needed:.0f} seeds would decide"] if pd.notna(needed) else []
            return "; ".join([str(one[prefix + "verdict"]), *hints, *([str(why)] if why else [])])

        note = ""
        if pd.notna(one["note_effect"]):
            note = amount(one["note_effect"], quantity, kind)
            if math.isfinite(one["low"]):
                printed, half = one["note_effect"], rounding(one["note_effect"])
                inside = one["low"] - half <= printed <= one["high"] + half
                note += " (inside)" if inside else " (outside)"
        verdict = judged()
        if one["verdict"] == CONFOUNDED:
            verdict = f"confounded by {one['confounded_by']}; clean arms: {told('clean_')}, {judged('clean_')}"
        changed = {"changed": str(one["changed"])} if scaled else {}
        return {
            "claim": str(one["statement"]),
            "verdict": verdict,
            "ours (95 %)": told(),
            # Of the arms that the verdict is of.
            "seeds": f"{one['clean_n'] if one['verdict'] == CONFOUNDED else one['n']:.0f}",
            "note": note,
            **changed,
            "arms": str(one["arms"]),
            "quantity": f"{quantity.replace('_', ' ')}, {kind}",
            "source": str(one["source"]),
        }

    rows = [row({str(k): v for k, v in one.items()}) for one in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=None if rows else ["claim", "verdict"], dtype=str)


def summary(frame: pd.DataFrame) -> str:
    """ "3 claims: 2 reproduced, 1 undecided"."""
    counts = Counter(frame["verdict"])
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{len(frame)} claims: {told}" if told else "no claims"


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame = claims(results)
    studies = ", ".join(dict.fromkeys(result.record.study for result in results))
    datasets = ", ".join(dict.fromkeys(result.record.dataset for result in results))
    title = f"{studies} on {datasets}, {summary(frame)}"
    return Table(frame, title, NOTES, read=readable)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.table(cli.parser("claims", __doc__), answer, argv)


if __name__ == "__main__":
    sys.exit(main())
