"""python -m search.run SPACE [options]: search, plan, resume or extend one study.

Exit status: 0 done (a diverged trial is a result, not a failure), 1 ran but some trials failed, 2 what was
asked for is wrong (one line, nothing started), 3 the machine let it go no further (a full disk, a Ray that
died), 130 interrupted. After either of the last two all that was known is saved, and `--resume` goes on.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import contextlib
import dataclasses
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from search.cluster import Cluster, ClusterError, connect, disconnect
from search.domains import domain_edges
from search.doors import LOOPBACK, DoorError, is_loopback, require_own
from search.economy import Economy, economise
from search.execution import choose_resources, routed, share_of, with_path
from search.failures import Halted, NodeLost
from search.folders import check_writable, new_folder, newest_run, not_writable
from search.journal import Journal, JournalError
from search.options import UsageError, check_combination, parse, restore_options, told_address
from search.output import guard
from search.packing import AUTO
from search.packing import choose as choose_packing
from search.plan import A_DAY, check_fits, how_to_shrink, make_plan, replay_table
from search.progress import span
from search.provenance import machine_name, new_record
from search.records import (
    COMPLETED,
    DIVERGED,
    FAILED,
    RECOVERY_PROTOCOL,
    STATUSES,
    STOPPED,
    RecordError,
    StudyRecord,
    writable_text,
)
from search.resources import cpu_count
from search.results import write_record
from search.resume import require_journal, require_same, require_settled, require_there
from search.searchers import Listed, Proposals, make_proposals
from search.study import Study, StudyError, load
from search.tuner import Outcome, Resources, cluster_slots, run_study
from search.watch import Watch
from trainables.data import DataError
from trainables.data import load as load_data
from trainables.paths import PLAIN

MESSAGE = 2000  # characters of an error's line


def main(arguments: list[str] | None = None) -> int:
    try:
        return run(parse(arguments))
    except (UsageError, StudyError, RecordError, DataError, JournalError, ClusterError, DoorError) as error:
        print(f"search.run: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # A study under way takes the first one itself, saves what is known and says how to go on.
        print("search.run: interrupted", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    end_in_order()
    space = load(options.space)
    check_combination(options)
    resumed: tuple[Path, StudyRecord] | None = None
    if options.resume or options.extend:
        resumed = newest_run(options.results, space.name, smoke_only=options.smoke, finished=bool(options.extend))
        require_own(resumed[0])
        require_there(resumed[0])
        restore_options(options, *resumed)
    study = adapt(space, options)
    resources = choose_resources(options)
    proposals = propose(study, options)
    if resumed is None:
        require_settled(space, options.space)
    else:
        held = routed(study, options.path or PLAIN)
        samples = resumed[1].samples if options.extend or options.replay else proposals.total
        require_same(resumed[1], resumed[0], held, options.space, samples=samples, seed=options.seed)
    check_writable(options.results)
    data = load_data(study.dataset, options.data, progress=lambda text: print(text, flush=True))
    check_fits(study, data)
    check_requirements(study, proposals)
    if resumed and resumed[1].dataset_fingerprint != data.fingerprint:
        raise UsageError(
            f"{resumed[0]} was run on data with fingerprint {resumed[1].dataset_fingerprint[:12]}, "
            f"got {data.fingerprint[:12]} from {data.source}"
        )
    watch = Watch(0.0 if options.smoke else None)  # the digits take seconds
    study = with_path(study, options, data, resources, listed(proposals), resumed=resumed is not None)
    economy = economise(study, options, data.fingerprint, resumed) if options.replay else Economy()
    proposals = propose(study, options, economy)
    configs = listed(proposals)
    if not proposals.total and not resumed and not options.plan:
        print("\n".join([*economy.told(), f"{study.name}: every trial is known, there is nothing to run"]))
        return 0
    if AUTO in (options.cpus_per_trial, options.gpus_per_trial):
        packing = choose_packing(study, data, options.data, configs, resources.cpus_per_trial)
        resources = Resources(packing.cpus_per_trial, packing.gpus_per_trial)
    if options.plan or not (options.smoke or options.yes or resumed or options.address):
        slots = resources.slots(cpu_count(), torch.cuda.device_count())
        declared = study.replay_configs(options.repeats, options.seed, options.arm) if options.replay else []
        plan = make_plan(
            study, data, resources, slots, [c for c, _ in declared] if options.plan and declared else configs
        )
        if options.plan and declared:
            print(f"{study.name} on {data.name}, {machine_name()}\n\n{replay_table(plan, declared, economy)}")
            return 0
        if options.plan:
            print(f"{study.name} on {data.name}, {machine_name()}\n\n{plan.table()}")
            return 0
        if plan.stopped_wall_seconds > A_DAY and options.time_budget is None:
            raise UsageError(how_to_shrink(plan))
        watch.expect(plan.epoch_seconds)
        print(f"estimated {span(plan.stopped_wall_seconds)}, without early stopping {span(plan.wall_seconds)}")
    folder = resumed[0] if resumed else new_folder(options.results, study.name, options.smoke)
    with begun(folder, new=not resumed) as journal:
        if resumed:
            require_journal(journal, resumed[1], study, propose(study, options, economy))
            if journal.dropped:
                print(f"note       {journal.dropped}")
            journal.seal()
        cluster = connect(
            options.address,
            folder.resolve(),
            named=told_address(options),
            listen=options.listen or LOOPBACK,
            verbose=options.verbose,
            data_bytes=data.train_images.nbytes + data.test_images.nbytes,
        )
        resources = share_of(cluster, resources, options)
        record = resumed[1] if resumed else new_record(study, options, data, folder, proposals, space)
        record.journal = journal.id
        record.answered_by, record.known = dict(economy.answered_by), {arm: dict(s) for arm, s in economy.known.items()}
        if options.extend:
            record.finished, record.samples = False, proposals.total
            record.options |= {name: getattr(options, name) for name in ("samples", "repeats")}
        write_record(folder, record)
    started = time.monotonic()
    before = record.wall_seconds
    halted: Halted | None = None
    try:
        announce(study, proposals, folder, cluster, economy)
        outcome = run_study(
            study,
            proposals,
            data,
            journal,
            folder.resolve(),
            seed=options.seed,
            scheduler=study.scheduler,
            resources=resources,
            slots=cluster_slots(resources),
            time_budget=options.time_budget,
            verbose=options.verbose,
            watch=watch,
        )
    except Halted as error:
        halted = error
        known = "what was known is gone with it" if journal.removed else "all that was known is saved"
        print(f"\nhalted     {halted}; {known}")
        if not journal.removed:
            print(how_to_go_on(options))
    finally:
        record.wall_seconds = before + time.monotonic() - started
        with contextlib.suppress(*([OSError] if halted else [])):  # a disk that is full stops this too
            write_record(folder, record)
        journal.close()
        if isinstance(halted, NodeLost):
            # Told good-bye, a Ray whose node is gone ends this process with a status of its own.
            sys.stdout.flush()
            os._exit(3)
        disconnect()
    if halted:
        return 3
    record.finished = not outcome.interrupted
    write_record(folder, record)
    return summarize(study, options, folder, outcome)


def end_in_order() -> None:
    """Take what a scheduler, a shutdown or a lost terminal sends for Ctrl-C, which ends a run in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` has a run go on without its terminal
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def one_line(error: Exception) -> str:
    """An error's message as one line of at most MESSAGE characters, cut in its middle."""
    text = " ".join("".join(c if writable_text(c) or c.isspace() else repr(c)[1:-1] for c in str(error)).split())
    half = MESSAGE // 2
    return text if len(text) <= MESSAGE else f"{text[:half]} [...] {text[-half:]}"


@contextlib.contextmanager
def begun(folder: Path, *, new: bool) -> Iterator[Journal]:
    """Hold the journal of a run that is about to start. A run that never starts is none to resume: no folder is left.

    Raises UsageError if the folder cannot be written.
    """
    journal = None
    try:
        journal = Journal(folder, begun=not new)
        yield journal
    except BaseException as error:
        disconnect()
        if journal:
            journal.close()
        if new:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # unless there are other runs of the study
        if isinstance(error, OSError):
            raise not_writable(folder, error) from None
        raise


def adapt(study: Study, options: argparse.Namespace) -> Study:
    """The study as the command line changes it."""
    if options.smoke:
        study = study.as_smoke()
    if options.weights is not None:
        if options.smoke:
            raise UsageError(
                f"--weights and --smoke exclude each other, got {options.weights}: a smoke run's are random"
            )
        study = study.with_weights(str(options.weights.absolute()))
    study = study.with_set(options.set)
    changes = {
        name: getattr(options, name)
        for name in ("samples", "searcher", "scheduler")
        if getattr(options, name) is not None
    }
    if options.replay:
        changes |= {"scheduler": "none", "searcher": "grid"}
    return dataclasses.replace(study, **changes)


def propose(study: Study, options: argparse.Namespace, economy: Economy = Economy()) -> Proposals:  # noqa: B008
    if options.replay:
        return Listed(economy.left(study.replay_configs(options.repeats, options.seed, options.arm)))
    study.check_search()
    return make_proposals(study, study.searcher, study.samples, options.seed)


def listed(proposals: Proposals) -> list[dict[str, Any]] | None:
    """The trials to run where they are known beforehand."""
    return [config for config, _ in proposals.configs] if isinstance(proposals, Listed) else None


def check_requirements(study: Study, proposals: Proposals) -> None:
    """Raises StudyError where a trial would want something that is not there, such as a file of weights."""
    if isinstance(proposals, Listed):
        configs = [config for config, _ in proposals.configs]
    else:
        edges = {name: domain_edges(domain) for name, domain in study.param_space.items()}
        first = {name: values[0] for name, values in edges.items()}
        configs = [{**first, name: value} for name, values in edges.items() for value in values]
    for config in configs:
        try:
            study.trainable.recipe.require(study.settings(config))
        except ValueError as error:
            raise StudyError(f"{study.name}: {error}") from None


def announce(study: Study, proposals: Proposals, folder: Path, cluster: Cluster, economy: Economy) -> None:
    print(f"{study.name}: {study.question}")
    trials = f"{proposals.total} trials of up to {study.trial_epochs} epochs"
    print(f"{trials}, {study.searcher} and {study.scheduler}; {folder}")
    for line in economy.told():
        print(line)
    if cluster.dashboard:
        print(f"dashboard  http://{cluster.dashboard}  (sign in with the token that `ray get-auth-token` prints)")
    if not is_loopback(cluster.address.rpartition(":")[0].strip("[]")):
        print(f"cluster    ray start --address={cluster.address}  (with the same token, joins another machine)")
    sys.stdout.flush()


def how_to_go_on(options: argparse.Namespace) -> str:
    space, results = (shlex.quote(str(path)) for path in (options.space, options.results))
    return f"go on      python -m search.run {space} --resume --results {results}"


def summarize(study: Study, options: argparse.Namespace, folder: Path, outcome: Outcome) -> int:
    """Print how the run ended; returns the exit status."""
    counts = {status: sum(log.status == status for log in outcome.trials.values()) for status in STATUSES}
    print()
    print(
        f"{counts[COMPLETED]} trials completed, {counts[STOPPED]} stopped early, {counts[DIVERGED]} diverged, "
        f"{counts[FAILED]} failed in {span(outcome.seconds)}"
    )
    space = shlex.quote(str(options.space))
    remaining = len(outcome.trials) - sum(counts[status] for status in (COMPLETED, STOPPED, DIVERGED, FAILED))
    if outcome.interrupted:
        print(f"interrupted, {remaining} of the trials begun are unfinished")
    if outcome.best is not None and not options.replay:
        log = outcome.best
        print(f"\nbest by {study.metric}: trial {log.name}")
        for name in study.searched():
            print(f"  {name} = {log.config[name]}")
        if study.protocol == RECOVERY_PROTOCOL:
            print(f"  {study.metric} {log.last[study.metric]:.2%}")
        else:
            print(f"  {study.metric} {log.last[study.metric]:.1%}, test accuracy {log.last['test_accuracy']:.1%}\n")
            show_pareto(folder)
    print(f"\nresults    {folder}")
    if outcome.interrupted:
        print(how_to_go_on(options))
    elif options.replay:
        print(f"next       python -m analysis.compare {folder}")
    elif options.smoke:
        print(f"next       python -m search.run {space} --data DIR --plan")
    elif study.protocol != RECOVERY_PROTOCOL:
        print(f"next       python -m analysis.pareto {folder} --format html -o pareto.html")
    if outcome.interrupted and options.time_budget is None:
        return 130
    return 1 if counts[FAILED] else 0


def show_pareto(folder: Path) -> None:
    """Print the run's Pareto table. It is an afterthought: a finished search does not fail with it."""
    command = ["-m", "analysis.pareto", str(folder.resolve())]
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=Path(__file__).parent.parent,  # from where `analysis` is found
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except OSError as error:
        print(f"no Pareto table: {error}")
        return
    print(done.stdout, end="")
    if done.returncode:
        reason = one_line(RuntimeError((done.stderr.splitlines() or ["its process ended without a word"])[-1]))
        print(f"no Pareto table: {reason}")


if __name__ == "__main__":
    guard()
    sys.exit(main())
