"""Judge each claim of a note that the study replayed.

The claims and the arms that they compare stand in study.json. The rules, declared before the runs that they judge, are
those of `analysis.intervals`. Only finished trials of the claims' arms count. A claim on a quantity that no results
folder reports is not tested; the others are.

    direction   reproduced | contradicted | undecided | confounded | not tested
    size        fits | differs | not comparable

A claim whose comparison changes more than one thing is confounded, whatever it measures; beside it stands the verdict
of the arms that change one thing only. A model's parameter count and the memory to train it on one image
are exact: one run decides a claim on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import cli
from analysis.answers import with_answers
from analysis.arms import EXACT, GAP, SECONDS_PER_EPOCH, UnmeasuredError, quantity_name, split_arm
from analysis.comparisons import region
from analysis.family import Families
from analysis.intervals import CONTRADICTED, DISCOVERY, LOOKS, NOT_TESTED, REPRODUCED, RULES, UNDECIDED, false_discovery
from analysis.load import Results, by_study
from analysis.sizes import by_size
from analysis.tables import Table
from analysis.verdicts import Weighed, weigh
from search import columns
from search.records import PARAMETERS, Claim, Reported

CONFOUNDED = "confounded"
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, CONFOUNDED, NOT_TESTED)

_WEIGHED = [field.name for field in dataclasses.fields(Weighed)]
_CLEAN = [name for name in _WEIGHED if not name.startswith("size")]  # the note's figure belongs to its own arms
COLUMNS = [
    *("study", "claim", "statement", "source", "arms", "quantity", "kind", "expected", "margin", "least", "most"),
    *("holds_above", "holds_below", "note_effect", "confounded_by", "clean_arms", *_WEIGHED),
    *(f"clean_{name}" for name in _CLEAN),
    *("q", "rests_on", "rules"),
]


def claims(results: Sequence[Results]) -> pd.DataFrame:
    """Return a row for each claim: the claim, what our runs say (`Weighed`), what its clean arms say.

    Columns: `COLUMNS`. A claim whose arms have runs of several sizes (`--set`) has a row for each size. `rests_on`
    names settings that the note does not print, so that the verdict rests on the values taken for them; `least` and
    `most` are the size that the statement gives, `holds_above` and `holds_below` the ends of the region in which the
    effect lies if the claim holds; `q` belongs to the verdict that counts, for a confounded claim that of
    its clean arms, and is NaN for exact quantities; `rules` is the version of the rules. Runs of one study are pooled,
    under the claims of the newest. Raises ResultsError if they differ in data set or the trials of one arm in protocol.
    """
    frames = [_claims(view) for view in by_size(results)]
    frame = frames[0] if len(frames) == 1 else _told_once(pd.concat(frames, ignore_index=True))
    p = frame["clean_p"].where(frame["verdict"] == CONFOUNDED, frame["p"])
    # The exact have no chance of being false: p = 0 would help the others' q.
    p = p.mask(frame["quantity"].map(quantity_name).isin(EXACT)).astype("float64")
    return frame.assign(q=false_discovery(p), rules=RULES)


def _claims(results: Sequence[Results]) -> pd.DataFrame:
    """Return the claims' rows on runs of one size."""
    results = with_answers(results)
    families = Families(results)
    rows = [{"study": study} | _row(claim, study, results, families) for study, claim in declared(results)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _told_once(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows on the same trials, and a claim's untested sizes if another size tests it."""
    order = {
        claim: place for place, claim in enumerate(dict.fromkeys(zip(frame["study"], frame["claim"], strict=True)))
    }
    place = [order[claim] for claim in zip(frame["study"], frame["claim"], strict=True)]
    frame = frame.assign(_seeds=deciding_seeds(frame), _place=place)
    most = frame.groupby("_place")["_seeds"].transform("max")
    # A claim that no size tests keeps one row.
    frame = frame[(frame["_seeds"] > 0) | ((most == 0) & ~frame["_place"].duplicated())]
    frame = frame[
        ~frame.assign(clean_trials=frame["clean_trials"].astype(str)).duplicated(["_place", "trials", "clean_trials"])
    ]
    return frame.sort_values("_place", kind="stable", ignore_index=True).drop(columns=["_seeds", "_place"])


def deciding_seeds(frame: pd.DataFrame) -> pd.Series:
    """Return the number of seeds behind each verdict that counts, of a confounded claim those of its clean arms."""
    return frame["clean_n"].where(frame["verdict"] == CONFOUNDED, frame["n"]).astype("float64").fillna(0)


def measured_claims(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the claims whose own arms or clean arms have a seed that they share."""
    return frame[(frame["n"] > 0) | (deciding_seeds(frame) > 0)]


def declared(results: Sequence[Results]) -> list[tuple[str, Claim]]:
    """Return each study's claims as its newest run declares them, with the study's name.

    Raises ResultsError if runs of one study differ in data set.
    """
    found = []
    for study, pooled in by_study(results).items():
        newest = sorted(pooled, key=lambda result: result.record.started)
        named = {claim.name: claim for result in newest for claim in result.record.claims}
        found += [(study, claim) for claim in named.values()]
    return found


def counted(claim: Claim, study: str, results: Sequence[Results]) -> Claim:
    """Return the claim whose verdict counts: on its clean arms, if its own arms still differ in something else."""
    if not _confounders(claim, study, results):
        return claim
    return dataclasses.replace(claim, arms=claim.clean_arms, confounded_by=(), clean_arms=(), effect=None, printed=())


def _undisclosed(claim: Claim, study: str, results: Sequence[Results]) -> list[str]:
    """Return the settings of `UNPRINTED` that the claim's arms have but its note does not print.

    An arm that no reported run has is taken to resemble all runs of the study: it lacks what each of them lacks.
    """
    if quantity_name(claim.quantity) in (*EXACT, SECONDS_PER_EPOCH):
        return []
    lacking: set[str] = set()
    for arm in (*claim.arms, *claim.clean_arms):
        of = split_arm(arm)
        runs = [run for x in results if x.record.study == (of.study or study) for run in x.record.reported]
        own = [run for run in runs if run.arm == of.name] or runs
        missing = [{name for name in UNPRINTED if name not in run.config} - _unused(run) for run in own]
        lacking |= set.intersection(*missing) if missing else set()
    return [name for name in UNPRINTED if name in lacking]


UNPRINTED = ("lr", "momentum")  # settings that some notes leave out and every training needs


def _unused(run: Reported) -> set[str]:
    return {"momentum"} if run.config.get("optimizer") == "adam" else set()


def _confounders(claim: Claim, study: str, results: Sequence[Results]) -> list[str]:
    """Return the confounders that still apply: `--set` may have made arms alike that were declared to differ."""
    declared: dict[str, dict[str, Any]] = {}
    run: dict[str, dict[str, Any]] = {}
    for result in results:
        for arm in claim.arms:
            of = split_arm(arm)
            if result.record.study == (of.study or study) and of.name in result.record.declared:
                declared[arm] = result.record.declared[of.name]
                run[arm] = declared[arm] | result.record.arms.get(of.name, {})

    def differ(settings: dict[str, dict[str, Any]], name: str) -> bool:
        return any(one.get(name) != other.get(name) for one in settings.values() for other in settings.values())

    whole = declared.keys() == set(claim.arms)
    return [name for name in claim.confounded_by if not (whole and differ(declared, name) and not differ(run, name))]


def _row(claim: Claim, study: str, results: Sequence[Results], families: Families) -> dict[str, object]:
    row: dict[str, object] = {
        "claim": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "arms": ", ".join(claim.arms),
        "quantity": claim.quantity,
        "kind": claim.kind,
        "expected": claim.expected,
        "margin": claim.margin,
        "least": claim.low,
        "most": claim.high,
        "note_effect": claim.effect,
        "confounded_by": "",
        "clean_arms": "",
        "rests_on": "",
    }
    try:
        return row | _findings(claim, study, results, families)
    except UnmeasuredError as error:
        return row | dataclasses.asdict(Weighed(NOT_TESTED, why=str(error)))


def _findings(claim: Claim, study: str, results: Sequence[Results], families: Families) -> dict[str, object]:
    """Return what the runs say of a claim. Raises UnmeasuredError for a quantity that no results folder reports."""
    confounders = _confounders(claim, study, results)
    above, below = region(claim)
    row: dict[str, object] = {
        "holds_above": above,
        "holds_below": below,
        "confounded_by": ", ".join(confounders),
        "clean_arms": ", ".join(claim.clean_arms) if confounders else "",
        "rests_on": ", ".join(_undisclosed(claim, study, results)),
        **dataclasses.asdict(weigh(results, claim, study, claim.arms, families)),
    }
    if confounders:
        unconfounded = dataclasses.replace(claim, confounded_by=(), clean_arms=())
        clean = dataclasses.asdict(weigh(results, unconfounded, study, claim.clean_arms, families))
        row |= {f"clean_{name}": clean[name] for name in _CLEAN} | {"verdict": CONFOUNDED}
    return row


NOTES = (
    f"Rules {RULES}: intervals over seeds and, if labels were kept, test images; looks at "
    f"{', '.join(map(str, LOOKS))} seeds, 95 % over all of them. Differences of accuracy in points. "
    "p of the verdict over all looks, q after Benjamini and Hochberg. The note's own figure fits our 95 % prediction "
    "interval for one further run, differs, or is not comparable. "
    "A verdict on runs that --set changed holds at that size only.",
)


def amount(value: float, quantity: str, kind: str = "difference") -> str:
    """Return an effect as a reader sees it: points of accuracy, nats, seconds; a ratio with ×."""
    if not math.isfinite(value):
        return "–"
    if kind == "ratio":
        return f"{value:.3g}×"
    sign = "" if kind == "level" and not quantity.startswith(GAP) else "+"
    name = quantity_name(quantity)
    if name == GAP or name.endswith("accuracy"):
        return f"{100 * value:{sign}.2f}"
    return f"{value:{sign},.0f}" if name in EXACT else f"{value:{sign},.3g}"


def unit(quantity: str, kind: str) -> str:
    if kind == "ratio":
        return ""
    name = quantity_name(quantity)
    if name == GAP or name.endswith("accuracy"):
        return " %" if kind == "level" and name != GAP else " points"
    if name in (SECONDS_PER_EPOCH, PARAMETERS):
        return " s" if name == SECONDS_PER_EPOCH else " parameters"
    column = columns.of("trials").get(name)
    if column is None or column.unit in ("", columns.FRACTION):
        return ""
    return " nats" if column.unit == columns.NATS else f" {column.unit}"


def _probability(value: float) -> str:
    """Return a p or q with three digits; one above .05 keeps as many as show that it is."""
    if value < 0.001 or value >= 0.9995:
        return "<.001" if value < 0.001 else "1"
    digits = next(n for n in range(3, 18) if (float(f"{value:.{n}f}") <= DISCOVERY) == (value <= DISCOVERY))
    return f"{value:.{digits}f}".lstrip("0")


def measured(claim: dict[str, Any], prefix: str = "") -> str:
    """Return our effect with its interval as a reader sees it, or "not measured"; of the clean arms for "clean_"."""
    quantity, kind = str(claim["quantity"]), str(claim["kind"])
    effect, low, high = (amount(claim[prefix + x], quantity, kind) for x in ("effect", "low", "high"))
    interval = "no interval" if "–" in (low, high) else f"{low} to {high}"
    return "not measured" if effect == "–" else f"{effect}{unit(quantity, kind)} ({interval})"


def required(claim: dict[str, Any]) -> str:
    """Return what counts as the claim's own size: " [within 1.50]", " [57.00 to 60.00]", " [above 21.00]", or ""."""
    quantity, kind = str(claim["quantity"]), str(claim["kind"])

    def told(value: Any) -> str:
        return amount(value, quantity, kind).lstrip("+")

    if pd.notna(claim["margin"]):
        return f" [{'no worse than by' if kind == 'no_worse' else 'within'} {told(claim['margin'])}]"
    least, most = claim["least"], claim["most"]
    if pd.notna(least) and pd.notna(most):
        return f" [{told(least)} to {told(most)}]"
    if pd.notna(least):
        return f" [above {told(least)}]"
    return f" [below {told(most)}]" if pd.notna(most) else ""


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    # If only the clean arms could be compared, --set changed these.
    changes = frame["changed"].where(frame["changed"] != "", frame["clean_changed"].astype(object).fillna(""))
    frame = frame.assign(changed=changes)
    scaled = bool((changes != "").any())

    def row(one: dict[str, Any]) -> dict[str, str]:
        quantity, kind = str(one["quantity"]), str(one["kind"])

        def judged(prefix: str = "") -> str:
            needed, note, why = (one[prefix + x] for x in ("seeds_needed", "note_seeds", "why"))
            hints = [f"{needed:.0f} seeds would decide"] if pd.notna(needed) else []
            if not hints and pd.notna(note):
                hints = [f"{note:.0f} seeds would decide an effect of the note's size"]
            if not hints and pd.notna(one[prefix + "detectable"]):
                least = amount(one[prefix + "detectable"], quantity, kind).lstrip("+")
                hints = [f"{LOOKS[-1]} seeds would decide {least}{unit(quantity, kind)} beyond its bound"]
            return "; ".join([str(one[prefix + "verdict"]), *hints, *([str(why)] if why else [])])

        note = ""
        if pd.notna(one["note_effect"]):
            note = amount(one["note_effect"], quantity, kind)
        if one["size"]:
            note = f"{note} ({one['size']})".lstrip()
        verdict, counts = judged(), ""
        if one["verdict"] == CONFOUNDED:
            verdict = f"confounded by {one['confounded_by']}; clean arms: {measured(one, 'clean_')}, {judged('clean_')}"
            counts = "clean_"
        if one["rests_on"] and one[counts + "verdict"] != NOT_TESTED:
            verdict += f"; rests on the {one['rests_on'].replace(', ', ' and ')} taken, not printed"
        p, q = one[counts + "p"], one["q"]
        changed = {"changed": str(one["changed"])} if scaled else {}
        return {
            "claim": str(one["statement"]) + required(one),
            "verdict": verdict,
            "ours (95 %)": measured(one),
            # The seeds of the arms that were judged.
            "seeds": f"{one[counts + 'n']:.0f}",
            "p": _probability(p) if pd.notna(p) else "",
            "q": _probability(q) if pd.notna(q) else "",
            "note": note,
            **changed,
            "arms": str(one["arms"]),
            "quantity": f"{quantity.replace('_', ' ')}, {kind.replace('_', ' ')}",
            "spread": str(one[counts + "spread"]),
            "source": str(one["source"]),
        }

    rows = [row({str(k): v for k, v in one.items()}) for one in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=None if rows else ["claim", "verdict"], dtype=str)


def discoveries(frame: pd.DataFrame) -> int:
    """Return how many verdicts stand after the correction for many claims; exact ones do not count."""
    return int((frame["q"] <= DISCOVERY).sum())


def summary(frame: pd.DataFrame) -> str:
    """Return the verdicts in words.

    "3 claims: 2 reproduced, 1 undecided (2 with q at most .05, of which .1 may be false)".
    """
    counts = Counter(frame["verdict"])
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    if not told:
        return "no claims"
    sure = discoveries(frame)
    expected = f", of which {DISCOVERY * sure:.1f} may be false" if sure else ""
    claims = len(frame[["study", "claim"]].drop_duplicates())
    verdicts = f" at {len(frame)} sizes" if len(frame) > claims else ""
    return f"{claims} claims{verdicts}: {told} ({sure} with q at most {DISCOVERY:g}{expected})"


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
