"""Print what a run is when it starts, and its results and the next command when it has ended."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from search import columns
from search.cluster import Cluster
from search.doors import is_loopback
from search.economy import Economy
from search.events import TrialLog
from search.front_table import front_table
from search.options import PLACE
from search.output import fitted, one_line, span
from search.records import (
    COMPLETED,
    DIVERGED,
    FAILED,
    RECOVERY_PROTOCOL,
    STATUSES,
    STOPPED,
    TEST_ACCURACY,
    VAL_ACCURACY,
)
from search.request import Request
from search.savings import savings
from search.searchers import Listed, Proposals
from search.stages import stage
from search.study import Study
from search.targets import FOLDER
from search.tuner import Outcome


def announce(study: Study, proposals: Proposals, folder: Path, cluster: Cluster, economy: Economy) -> None:
    trials = f"{proposals.total} trials of up to {_longest(study, proposals)} epochs"
    lines = [f"{study.name}: {study.question}", f"{trials}, {study.searcher} and {study.scheduler}; {folder}"]
    lines += economy.told()
    if cluster.dashboard:
        lines.append(
            f"dashboard  http://{cluster.dashboard}  (sign in with the token that `ray get-auth-token` prints)"
        )
    if cluster.metrics:
        files = folder.parent.parent / FOLDER
        lines.append(f"metrics    http://{cluster.metrics[0]}/metrics  (for Prometheus and Grafana: {files})")
    if not is_loopback(cluster.address.rpartition(":")[0].strip("[]")):
        lines.append(f"cluster    ray start --address={cluster.address}  (with the same token, joins another machine)")
    print("\n".join(map(fitted, lines)), flush=True)


def _longest(study: Study, proposals: Proposals) -> int:
    """Return the epochs of the longest trial; arms may be longer than what the space holds."""
    configs = proposals.configs if isinstance(proposals, Listed) else []
    lengths = (study.trainable.strategy.trial_epochs(study.settings(config)) for config, _ in configs)
    return max(lengths, default=study.trial_epochs)


def how_to_go_on(request: Request) -> str:
    """Return the line that says how a run goes on, on the CPUs, GPUs and cluster that it was given.

    A smoke run says so: without --smoke a newer whole run, or an unfinished one, would go on in its stead.
    """
    given = {name: value for name in (*PLACE, "listen") if (value := getattr(request, name)) is not None}
    if request.hosted:
        given = ({"smoke": True} if request.smoke else {}) | given
        told = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"go on      run(study, resume=True, results={str(request.results)!r}{told})"
    words = ["python", "-m", "search.run", str(request.space), "--resume", "--results", str(request.results)]
    words += ["--smoke"] if request.smoke else []
    for name, value in given.items():
        words += ["--" + name.replace("_", "-"), f"{value:.15g}" if isinstance(value, float) else str(value)]
    return f"go on      {shlex.join(words)}"


def figure(study: Study, value: float) -> str:
    """Return a value of the study's metric as a person reads it: a fraction in percent."""
    column = columns.of("epochs", study.metrics).get(study.metric)
    return f"{value:.1%}" if column is not None and column.unit == columns.FRACTION else f"{value:.4g}"


def _equal(study: Study, best: TrialLog, outcome: Outcome) -> str:
    """List the other completed trials with the best value of the metric."""
    same = (
        log.number
        for log in outcome.trials.values()
        if log.status == COMPLETED and log is not best and log.last.get(study.metric) == best.last[study.metric]
    )
    return ", ".join(f"{number:04d}" for number in same)


def summarise(study: Study, request: Request, folder: Path, outcome: Outcome) -> int:
    """Print how the run ended, and return the exit status."""
    counts = {status: sum(log.status == status for log in outcome.trials.values()) for status in STATUSES}
    trials = "trial" if counts[COMPLETED] == 1 else "trials"
    print()
    print(
        f"{counts[COMPLETED]} {trials} completed, {counts[STOPPED]} stopped early, {counts[DIVERGED]} diverged, "
        f"{counts[FAILED]} failed in {span(outcome.seconds)}"
    )
    space = shlex.quote(str(request.space))
    remaining = len(outcome.trials) - sum(counts[status] for status in (COMPLETED, STOPPED, DIVERGED, FAILED))
    if outcome.interrupted:
        print(f"interrupted, {remaining} of the trials begun are unfinished")
    if told := savings(study, outcome.trials.values()):
        print(told)
    if outcome.best is not None and not request.replay:
        log = outcome.best
        print(f"\nbest by {study.metric}: trial {log.name}")
        for name in (name for name in study.searched() if name in log.config):
            print(f"  {name} = {log.config[name]}")
        if study.protocol == RECOVERY_PROTOCOL:
            print(f"  {study.metric} {log.last[study.metric]:.2%}")
        else:
            tested = log.last.get(TEST_ACCURACY)
            also = "" if tested is None else f", test accuracy {tested:.1%}"
            print(f"  {study.metric} {figure(study, log.last[study.metric])}{also}")
            if equal := _equal(study, log, outcome):
                print(f"  equal to it: trial {equal}; the earliest is best, and best.pt has its weights")
            print()
            if not study.foreign:  # which reports no parameters to weigh accuracy against
                if study.metric != VAL_ACCURACY:
                    print(f"This table compares accuracy with size; the study's own metric is {study.metric}:\n")
                show_pareto(folder)
    place = shlex.quote(str(folder))
    print(f"\nresults    {folder}")
    if outcome.interrupted:
        print(how_to_go_on(request))
    elif request.hosted:
        pass  # the caller has the results in its hands
    elif request.replay:
        print(f"next       python -m analysis.compare {place}")
    elif request.smoke:
        print(f"next       python -m search.run {space}" + ("" if study.foreign else " --data DIR --plan"))
    elif study.protocol != RECOVERY_PROTOCOL:
        print(f"next       python -m analysis.report {place} -o report.html")
    if outcome.interrupted and not outcome.out_of_time:
        return 130
    return 1 if counts[FAILED] else 0


def show_pareto(folder: Path) -> None:
    """Print the run's Pareto table, or why there is none: a finished search does not fail with its table.

    A terminal is shown a table that fits it, anything else Markdown.
    """
    drawn = sys.stdout.isatty()
    command = ["-m", "analysis.pareto", str(folder.resolve()), *(["--format", "csv"] if drawn else [])]
    try:
        with stage("finding what is not dominated", terminal_only=True):
            done = subprocess.run(
                [sys.executable, *command],
                cwd=Path(__file__).parent.parent,  # the folder in which Python finds `analysis`
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
    except OSError as error:
        print(f"no Pareto table: {error}")
        return
    if done.returncode:
        print(done.stdout, end="")
        reason = one_line(RuntimeError((done.stderr.splitlines() or ["its process ended without a word"])[-1]))
        print(f"no Pareto table: {reason}")
    elif drawn:
        console = Console(highlight=False)
        title, *notes = done.stderr.splitlines()
        print(title)
        console.print(front_table(done.stdout, ascii_only=console.options.ascii_only))
        print(*notes, sep="\n")
    else:
        print(done.stdout, end="")
