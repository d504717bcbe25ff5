"""Plan what to run next: the arms and seeds that decide most claims an hour, and the hopeless claims, with their price.

For each open claim the chance that its next looks decide it follows from its seeds so far, the pooled spread and the
test images; the price is the measured time of its arms' trials, one after the other. Step by step, the plan takes the
seeds that gain most decided claims an hour, counting every claim that shares their arms, until the hours are spent. For
one claim it goes no further than to a chance of 80 %, since what these seeds show is worth another look. Nothing is
known of a claim without a seed: its first look is taken to decide it with even odds. A claim that no seed can test
under the changes of its commands, since it states a size, names an epoch or members beyond theirs, or since nothing
that these commands have trained is clear of chance, is not in a plan.

    action   run: worth its time; leave: the last look at 20 seeds would decide the claim in less than a fifth of cases
    decides  number of claims that the action is expected to decide

The commands replay the arms with seeds that they lack, under the same changes. Arms of several studies that train the
same are one arm, that of the first study: its trials answer the others. A seed with which an arm of a claim diverged is
no seed for that claim: it would diverge again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import claims, cli, intervals
from analysis.answers import Answer, with_answers
from analysis.arms import UnmeasuredError, arm_trials, chance_accuracy, split_arm, split_quantity
from analysis.family import Families
from analysis.further_seeds import Outlook
from analysis.intervals import LOOKS, NOT_TESTED, POWER, RULES, UNDECIDED
from analysis.load import Results
from analysis.tables import Table
from analysis.untestable import SHARES, another_size
from analysis.verdicts import needs_learning, outlook, weigh
from search.records import ARM, DIVERGED, SECONDS, SEED, STATUS, TEST_ACCURACY, Claim, Training

HOPELESS = 0.2  # chance of the last look below which a claim is left
UNKNOWN = 0.5  # chance of the first look of a claim that was never run
LEAST = 0.02  # number of decided claims below which a step is not worth its command
RUN, LEAVE = "run", "leave"
COLUMNS = ["action", "study", "arms", "seed", "repeats", "hours", "decides", "claims", "command"]

Seeds = Mapping[str, frozenset[int]]  # seeds of each arm, "study/arm"


@dataclass(frozen=True)
class Open:
    """A claim that more seeds may decide. `arms`: "study/arm" of the trainings that it needs, with shared seeds."""

    study: str
    claim: Claim
    arms: tuple[str, ...]
    outlook: Outlook | None

    def chance(self, seeds: int) -> float:
        """Return the probability that the claim is decided by the last look at `seeds` seeds."""
        look = intervals.look(seeds)
        if self.outlook is None:
            return UNKNOWN if look else 0.0
        return max((self.outlook.chance(n) for n in LOOKS if n <= look), default=0.0)


@dataclass
class Plan:
    """Seeds to run, by arm, and the hours that they take. `diverged`: seeds that end without a result."""

    have: Seeds
    diverged: Seeds
    seconds: Mapping[str, float]
    then: dict[str, frozenset[int]] = field(default_factory=dict)
    hours: float = 0.0

    def seeds(self, arm: str) -> frozenset[int]:
        return self.then.get(arm, self.have.get(arm, frozenset()))

    def shared(self, one: Open) -> int:
        return len(frozenset.intersection(*(self.seeds(arm) for arm in one.arms)))

    def price(self, arms: Iterable[str], seeds: frozenset[int]) -> float:
        """Return the hours of the trials that `arms` still lack of these seeds."""
        return sum(len(seeds - self.seeds(arm)) * self.seconds[arm] for arm in arms) / 3600

    def take(self, arms: Iterable[str], seeds: frozenset[int]) -> None:
        for arm in arms:
            self.hours += self.price([arm], seeds)
            self.then[arm] = self.seeds(arm) | seeds


def open_claims(results: Sequence[Results], families: Families) -> list[Open]:
    """Return the claims that are undecided or were not run, if more seeds can test them."""
    found = []
    for study, claim in claims.declared(results):
        with contextlib.suppress(UnmeasuredError):  # no seeds test a claim on what no results folder reports
            if one := _open(claims.counted(claim, study, results), study, results, families):
                found.append(one)
    return found


def _open(claim: Claim, study: str, results: Sequence[Results], families: Families) -> Open | None:
    arms = tuple(dict.fromkeys(_training(arm, study) for arm in claim.arms))
    if any(_record(arm, results) is None for arm in arms):
        return None  # the claim needs a study whose results were not given
    verdict = weigh(results, claim, study, claim.arms, families)
    # More seeds do not test a claim that was not tested for another reason.
    lacking = not frozenset.intersection(*(frozenset(arm_trials(results, arm)[SEED]) for arm in arms))
    untested = verdict.verdict == NOT_TESTED and lacking and _can_test(claim, study, results)
    if verdict.verdict == UNDECIDED or untested:
        return Open(study, claim, arms, outlook(results, claim, study, claim.arms, families))
    return None


def _can_test(claim: Claim, study: str, results: Sequence[Results]) -> bool:
    """Return whether trials of the claim's arms can test it under the changes of the commands that run them."""
    at = split_quantity(claim.quantity)[1]
    beside: list[Results] = []  # runs of the same studies under the same changes
    for arm in claim.arms:
        of = split_arm(arm)
        run = _record(_training(arm, study), results)
        if run is None or another_size(claim, run.changed_of(of.name)):
            return False
        settings = run.record.settings_of(of.name) or run.record.arms[of.name]
        epochs, members = settings.get("epochs", run.record.epochs), settings.get("members", 1)
        if (of.epoch or at or 1) > epochs or (of.members or 1) > members:
            return False
        beside += [x for x in results if (x.record.study, x.changed) == (run.record.study, run.changed)]
    return not needs_learning(claim) or _learn(beside)


def _learn(runs: Sequence[Results]) -> bool:
    """Return whether an arm's trial in any of the runs is clear of chance, or it cannot be told."""
    told = False
    for run in runs:
        finished = run.finished()
        for arm, rows in finished[finished[ARM].notna()].groupby(ARM):
            told = True
            chance = chance_accuracy([run], f"{run.record.study}/{arm}")
            if chance is None or not rows[TEST_ACCURACY].max() <= intervals.clear_of_chance(chance):
                return True
    return not told


def _training(arm: str, study: str) -> str:
    of = split_arm(arm)
    return f"{of.study or study}/{of.name}"


def _record(arm: str, results: Sequence[Results]) -> Results | None:
    """Return the newest run whose study has this arm, "study/arm": one that ran it, else a replay, else a search."""
    of = split_arm(arm)
    runs = [
        x
        for x in results
        if x.record.study == of.study and of.name in x.record.arms and not x.recovery and not isinstance(x, Answer)
    ]

    def nearness(run: Results) -> tuple[bool, bool, str]:
        own = run.trials[ARM].dropna()
        return bool((own == of.name).any()), not own.empty, run.record.started

    return max(runs, key=nearness, default=None)


def plan(results: Sequence[Results], hours: float) -> tuple[pd.DataFrame, float]:
    """Return a row for each command, then for each hopeless claim (`COLUMNS`), and the number of claims decided.

    The number is expected if the commands are run. Raises ResultsError.
    """
    results = with_answers(results)
    families = Families(results)
    waiting = _once(open_claims(results, families), results)
    arms = dict.fromkeys(arm for one in waiting for arm in one.arms)
    have = {arm: frozenset(arm_trials(results, arm)[SEED].astype(int)) for arm in arms}
    diverged = {arm: _diverged(results, arm) - have[arm] for arm in arms}
    made = Plan(have, diverged, _seconds(results, list(arms)))
    hopeless = [one for one in waiting if one.chance(LOOKS[-1]) < HOPELESS]
    live = [one for one in waiting if one not in hopeless]
    while (step := _best_step(made, live, hours)) is not None:
        made.take(*step)
    rows = [*_commands(results, made, live), *(_left(made, one) for one in hopeless)]
    decided = sum(one.chance(made.shared(one)) - one.chance(len(_shared(have, one))) for one in live)
    return pd.DataFrame(rows, columns=COLUMNS), decided


def _once(waiting: Sequence[Open], results: Sequence[Results]) -> list[Open]:
    """Return the claims with one arm in the place of all whose trials would answer each other."""
    kept: dict[str, Training] = {}
    place: dict[str, str] = {}
    for arm in dict.fromkeys(arm for one in waiting for arm in one.arms):
        record = _record(arm, results)
        training = record.training_of(split_arm(arm).name) if record else None
        if training is None:
            place[arm] = arm
            continue
        alike = (name for name, its in kept.items() if its.answers(training) and training.answers(its))
        place[arm] = next(alike, arm)
        kept.setdefault(place[arm], training)
    return [dataclasses.replace(one, arms=tuple(dict.fromkeys(place[arm] for arm in one.arms))) for one in waiting]


def _diverged(results: Sequence[Results], arm: str) -> frozenset[int]:
    """Return the seeds with which an arm's training diverged, be it as this arm or as another."""
    own, record = split_arm(arm), _record(arm, results)
    wanted = record.training_of(own.name) if record else None
    found = set[int]()
    for result in results:
        trials = result.trials[(result.trials[STATUS] == DIVERGED) & result.trials[ARM].notna()]
        for name, rows in trials.groupby(ARM):
            training = result.training_of(str(name))
            if wanted and training:
                same = (training.key, training.members) == (wanted.key, wanted.members)
            else:
                same = (result.record.study, name) == (own.study, own.name)
            if same:
                found |= set(rows[SEED].astype(int))
    return frozenset(found)


def _seconds(results: Sequence[Results], arms: Sequence[str]) -> dict[str, float]:
    """Return a trial's mean time by arm, for an arm that was not run that of its study's others; NaN if none was."""
    rows = {arm: arm_trials(results, arm) for arm in arms}
    own = {arm: float(one[SECONDS].mean()) for arm, one in rows.items() if len(one) and one[SECONDS].notna().any()}
    found = {}
    for arm in arms:
        study = split_arm(arm).study
        beside = [x.finished()[SECONDS].mean() for x in results if x.record.study == study and len(x.finished())]
        found[arm] = own.get(arm, float(pd.Series(beside, dtype="float64").mean()))
    return found


def _best_step(made: Plan, live: Sequence[Open], hours: float) -> tuple[tuple[str, ...], frozenset[int]] | None:
    """Return the arms and seeds with most decided claims an hour that fit the hours left; None if none is worth it."""
    best, rate = None, 0.0
    for one in live:
        shared = made.shared(one)
        if one.chance(shared) >= POWER:
            continue  # enough until these seeds have been run
        for look in LOOKS:
            if look <= shared:
                continue
            seeds = _target(made, one, look)
            price = made.price(one.arms, seeds)
            if not price <= hours - made.hours:
                continue
            gain = _gain(made, live, one.arms, seeds)
            if gain >= LEAST and gain / max(price, 1e-9) > rate:
                best, rate = (one.arms, seeds), gain / max(price, 1e-9)
    return best


def _target(made: Plan, one: Open, look: int) -> frozenset[int]:
    """Return `look` seeds for all arms of a claim: those already shared, then the cheapest others, then new ones.

    None diverged in any of the arms.
    """
    sets = [made.seeds(arm) for arm in one.arms]
    shared = frozenset.intersection(*sets)
    run = frozenset.union(*sets)
    lost = frozenset[int]().union(*(made.diverged.get(arm, ()) for arm in one.arms))
    some = sorted(run - shared - lost, key=lambda seed: (made.price(one.arms, frozenset([seed])), seed))
    new = (seed for seed in itertools.count(min(run, default=0)) if seed not in run | lost)
    return frozenset(itertools.islice(itertools.chain(sorted(shared), some, new), look)) | shared


def _gain(made: Plan, live: Sequence[Open], arms: Iterable[str], seeds: frozenset[int]) -> float:
    """Return how many more of the claims are expected to be decided once `arms` have these seeds."""
    then = dataclasses.replace(made, then=made.then | {arm: made.seeds(arm) | seeds for arm in arms})
    return sum(one.chance(then.shared(one)) - one.chance(made.shared(one)) for one in live)


def _commands(results: Sequence[Results], made: Plan, live: Sequence[Open]) -> list[dict[str, Any]]:
    """Return a row for each study and range of seeds that several of its arms lack."""
    runs: dict[tuple[str, int, int], list[str]] = {}
    for arm in made.then:
        for first, count in _ranges(made.seeds(arm) - made.have.get(arm, frozenset())):
            runs.setdefault((str(split_arm(arm).study), first, count), []).append(arm)
    rows = []
    for (study, first, count), arms in sorted(runs.items()):
        served = [one for one in live if set(one.arms) & set(arms)]
        decides = sum(one.chance(made.shared(one)) - one.chance(len(_shared(made.have, one))) for one in served)
        names = [split_arm(arm).name for arm in arms]
        result = _record(arms[0], results)
        assert result is not None
        rows.append(
            {
                "action": RUN,
                "study": study,
                "arms": ", ".join(names),
                "seed": first,
                "repeats": count,
                "hours": sum(count * made.seconds[arm] for arm in arms) / 3600,
                "decides": decides,
                "claims": ", ".join(one.claim.name for one in served),
                "command": command(result, names, first, count),
            }
        )
    return sorted(rows, key=lambda row: -row["decides"] / max(row["hours"], 1e-9))


def _shared(have: Seeds, one: Open) -> frozenset[int]:
    return frozenset.intersection(*(have.get(arm, frozenset()) for arm in one.arms))


def _ranges(seeds: frozenset[int]) -> list[tuple[int, int]]:
    """Return the ranges of consecutive seeds: first and count."""
    found: list[tuple[int, int]] = []
    for seed in sorted(seeds):
        if found and seed == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((seed, 1))
    return found


def command(result: Results, arms: Sequence[str], seed: int, repeats: int) -> str:
    """Return the command that replays `arms` with `repeats` seeds from `seed` on, as `result` was run.

    For a study that Python handed over that is the call of `search.api.run`: what its record names is the user's own
    script, which would run.
    """
    record, options = result.record, result.record.options
    words = shlex.split(record.command)
    folder = _results_folder(words)
    # A folder that was moved since is not written to.
    kept = folder and (folder / record.study / record.run).resolve() == result.path.resolve()
    given = {name: options[name] for name in ("data", "weights", *SHARES) if options.get(name) not in (None, "")}
    # A search's own seed: a replay has those of --seed and --repeats.
    assigned = [one for one in options.get("set", ()) if one.partition("=")[0] != "seed"]
    if result.engine != "plain":
        given = {"engine": result.engine} | given
    if kept:
        given["results"] = str(folder)
    if words[:1] == ["search.api.run"]:
        return _call(arms, seed, repeats, assigned, given, smoke=record.smoke)
    space = next((word for word in words if word.endswith(".py")), f"spaces/{record.study}.py")
    parts = ["python", "-m", "search.run", space, "--replay", "--seed", str(seed), "--repeats", str(repeats)]
    for arm in arms:
        parts += ["--arm", arm]
    for one in assigned:
        parts += ["--set", one]
    for name, value in given.items():
        parts += ["--" + name.replace("_", "-"), f"{value:.15g}" if isinstance(value, float) else str(value)]
    if record.smoke:
        parts.append("--smoke")
    return shlex.join(parts)


def _call(
    arms: Sequence[str],
    seed: int,
    repeats: int,
    assigned: Sequence[str],
    given: Mapping[str, Any],
    *,
    smoke: bool,
) -> str:
    """Return the call of `search.api.run` that stands for a command; `study` is the caller's own."""
    fixed = {name: value for name, _, value in (one.partition("=") for one in assigned)}
    arguments = {"seed": seed, "repeats": repeats, "arms": list(arms), **({"set": fixed} if fixed else {}), **given}
    told = "".join(f", {name}={value!r}" for name, value in arguments.items())
    return f"run(study, replay=True{told}{', smoke=True' if smoke else ''})"


def _results_folder(words: Sequence[str]) -> Path | None:
    """Return the folder that a command names by --results, None if it names none."""
    for word, then in itertools.zip_longest(words, words[1:]):
        if word == "--results" and then:
            return Path(then)
        if word.startswith("--results="):
            return Path(word.removeprefix("--results="))
    return None


def _left(made: Plan, one: Open) -> dict[str, Any]:
    last = LOOKS[-1]
    return {
        "action": LEAVE,
        "study": one.study,
        "arms": ", ".join(one.claim.arms),
        "hours": made.price(one.arms, _target(made, one, last)),
        "decides": one.chance(last),
        "claims": one.claim.name,
        "command": "",
    }


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    def number(value: float, form: str) -> str:
        return "" if pd.isna(value) else format(value, form)

    rows = [
        {
            "action": row["action"],
            "study": row["study"],
            "claims": row["claims"],
            "arms": row["arms"],
            "seeds": f"{row['seed']:.0f} to {row['seed'] + row['repeats'] - 1:.0f}"
            if row["action"] == RUN
            else "to 20",
            "hours": number(row["hours"], ".2f") or "unknown",
            "decides": number(row["decides"], ".2f"),
            "command": row["command"],
        }
        for row in frame.to_dict("records")
    ]
    return pd.DataFrame(rows, columns=None if rows else ["action", "claims"], dtype=str)


def answer(results: list[Results], args: argparse.Namespace) -> Table:
    frame, decided = plan(results, args.hours)
    run, left = frame[frame["action"] == RUN], frame[frame["action"] == LEAVE]
    title = (
        f"What to run next in {args.hours:g} hours: {len(run)} commands of {run['hours'].sum():.2f} hours, expected "
        f"to decide {decided:.1f} claims; {len(left)} hopeless claims"
    )
    notes = [
        f"Rules {RULES}. Hours of trials one after the other, as measured; decides: claims expected to be decided, "
        f"of a hopeless one the chance of the look at {LOOKS[-1]} seeds. Commands of one claim's arms decide it "
        "together."
    ]
    return Table(frame, title, notes, read=readable)


def _hours(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser("next", __doc__)
    options.add_argument("--hours", type=_hours, required=True, metavar="H", help="hours of trials, one at a time")
    return cli.table(options, answer, argv)


if __name__ == "__main__":
    sys.exit(main())
