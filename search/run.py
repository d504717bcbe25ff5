"""Search, plan, resume or extend one study: python -m search.run SPACE [options].

Exit status: 0 done (a diverged trial is a result, not a failure), 1 ran but some trials failed, 2 wrong request
(one line, nothing started), 3 halted by the machine (a full disk, a Ray that died), 130 interrupted. After 3 and 130
all that was known is saved, and `--resume` continues the run.
"""

from __future__ import annotations

from search import environment, guardian  # isort: skip  # noqa: F401  (before anything imports ray)

import sys

if __name__ == "__main__":
    guardian.stand_guard()  # before the imports that only the search needs, not its guardian
    from search import local_ray

    local_ray.begin(sys.argv[1:])

import contextlib
import dataclasses
import datetime
import importlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from search.cluster import connect, disconnect
from search.doors import LOOPBACK, DoorError
from search.execution import share_of
from search.failures import ClusterError, Halted, NodeLost, UsageError
from search.folders import new_folder, not_writable
from search.gallery import Gallery
from search.interrupts import end_in_order
from search.journal import Journal, JournalError
from search.live_report import LiveReport, check_report
from search.local_ray import JOB_NAME, cancel, settle
from search.log_writer import LogWriter
from search.output import guard, one_line, span
from search.plan import A_DAY, how_to_shrink, make_plan, replay_table
from search.prepare import Prepared, prepare, propose
from search.provenance import machine_name, new_record
from search.records import RecordError
from search.request import Request
from search.resources import cpu_count
from search.results import schema_of, write_record
from search.resume import find_weights, require_journal
from search.searchers import LEARNING
from search.stages import stage
from search.study import Study, StudyError
from search.summary import announce, how_to_go_on, summarise
from search.targets import Targets
from search.tuner import cluster_slots, run_study
from search.watch import Watch
from trainables.data.datasets import DataError


def main(arguments: list[str] | None = None, study: Study | None = None) -> int:
    """Run the command line; `study`, if a Python process hands one over, stands for the space file's."""
    try:
        request = Request.parse(arguments)
        return run(dataclasses.replace(request, hosted=study is not None), study)
    except (UsageError, StudyError, RecordError, DataError, JournalError, ClusterError, DoorError) as error:
        print(f"search.run: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # A running study handles the first interrupt itself: it saves what is known and prints how to go on.
        print("search.run: interrupted", file=sys.stderr)
        return 130
    finally:
        cancel()


def run(request: Request, study: Study | None = None) -> int:
    """Plan or run what the request asks for; return the exit status."""
    end_in_order()
    check_report(request.report)
    # Elsewhere than on a terminal, a refused request is one line.
    with stage("preparing: the data set, the engine", terminal_only=True):
        ready = prepare(request, study)
    if ready.request.plan:
        with stage("measuring what the run costs", terminal_only=True):
            told = plan(ready)
        print(told)
        return 0
    if not ready.proposals.total and not ready.resumed:
        print(
            "\n".join([*ready.economy.told(), f"{ready.study.name}: every trial is known, so there is nothing to run"])
        )
        return 0
    # The digits take seconds; how long a Ray Tune trainable takes nobody knows.
    watch = Watch(0.0 if ready.request.smoke and not ready.study.foreign else None)
    unmeasured = ready.request.smoke or ready.request.yes or ready.request.address or ready.study.foreign
    if not unmeasured and (ready.request.extend or not ready.resumed):
        with stage("measuring what the run costs", terminal_only=True):
            estimate(ready, watch)
    return start(ready, watch)


def plan(ready: Prepared) -> str:
    """Return what --plan prints: what the run would cost, measured on this machine."""
    study, request = ready.study, ready.request
    if request.extend:
        study = dataclasses.replace(study, samples=request.extend)
    head = f"{study.name} on {ready.data.name}, {machine_name()}\n\n"
    slots = ready.resources.slots(cpu_count(), torch.cuda.device_count())
    declared = study.replay_configs(request.repeats, request.seed, request.arm) if request.replay else []
    declared = [(config, arm) for config, arm in declared if is_new(config, request)]
    configs = [config for config, _ in declared] or ready.configs
    made = make_plan(study, ready.data, ready.resources, slots, configs)
    return head + (replay_table(made, declared, ready.economy) if declared else made.table())


def is_new(config: dict[str, Any], request: Request) -> bool:
    """Return whether the command is to run this trial of an arm: --extend does not run those before again."""
    return not request.extend or config["seed"] >= request.seed + request.repeats - request.extend


def estimate(ready: Prepared, watch: Watch) -> None:
    """Print how long the run will take, and give `watch` the length of the longest epoch.

    Raises UsageError if the run would take over a day and no time budget was given.
    """
    slots = ready.resources.slots(cpu_count(), torch.cuda.device_count())
    settle()
    study, configs = ready.study, ready.configs
    if more := ready.request.extend:
        study = dataclasses.replace(study, samples=more)
        configs = configs and [config for config in configs if is_new(config, ready.request)]
        if configs == []:
            return  # other results hold them
    made = make_plan(study, ready.data, ready.resources, slots, configs)
    if made.stopped_wall_seconds > A_DAY and ready.request.time_budget is None:
        raise UsageError(how_to_shrink(made, ready.request))
    watch.expect(made.epoch_seconds)
    print(f"estimated {span(made.stopped_wall_seconds)}, without early stopping {span(made.wall_seconds)}")


def start(ready: Prepared, watch: Watch) -> int:
    """Run the trials, print how they ended, and return the exit status."""
    request, study, proposals = ready.request, ready.study, ready.proposals
    economy, resumed = ready.economy, ready.resumed
    # The run goes on with what `auto` has measured: another number of threads would give other results.
    request = request.sharing(ready.resources.cpus_per_trial, ready.resources.gpus_per_trial)
    folder = resumed[0] if resumed else new_folder(request.results, study.name, request.smoke)
    with begun(folder, new=not resumed) as journal:
        guardian.tell(folder, how_to_go_on(request))
        if resumed:
            find_weights(journal.trials.values(), resumed[1])
            require_journal(journal, resumed[1], study, propose(study, request, economy))
            if journal.dropped:
                print(f"note       {journal.dropped}")
            journal.seal()
        with stage("joining Ray" if request.address else "starting Ray"):
            if study.searcher in LEARNING:
                importlib.import_module("scipy.stats")  # a second that Ray's processes take as well
            cluster = connect(
                request.address,
                folder.resolve(),
                named=request.told_address,
                listen=request.listen or LOOPBACK,
                verbose=request.verbose,
                data_bytes=ready.data.train_images.nbytes + ready.data.test_images.nbytes,
                about={JOB_NAME: f"{study.name}: {study.question}"},
            )
        resources = share_of(cluster, ready.resources, request)
        record = resumed[1] if resumed else new_record(study, request, ready.data, folder, proposals, ready.space)
        record.journal = journal.id
        record.answered_by, record.known = dict(economy.answered_by), {arm: dict(s) for arm, s in economy.known.items()}
        if request.extend:
            record.finished, record.samples = False, proposals.total
            record.options |= {name: getattr(request, name) for name in ("samples", "repeats")}
        write_record(folder, record)
        targets = Targets(request.results, study.name, folder.name)
        targets.write()
        about = {"study": study.name, "run": folder.name, "question": study.question}
        began = datetime.datetime.fromisoformat(record.started).timestamp()
        logs = LogWriter(request.log, request.results, about, journal.trials, schema_of(study), began, print)
    started = time.monotonic()
    before = record.wall_seconds
    halted: Halted | None = None
    live = LiveReport(folder, request.report)
    gallery = Gallery(folder, study, ready.data)
    gallery.begin()
    try:
        announce(study, proposals, folder, cluster, economy)
        logs.start()
        outcome = run_study(
            study,
            proposals,
            ready.data,
            journal,
            folder.resolve(),
            seed=request.seed,
            scheduler=study.scheduler,
            resources=resources,
            slots=cluster_slots(resources),
            time_budget=request.time_budget,
            verbose=request.verbose,
            watch=watch,
            callbacks=[targets],
        )
    except Halted as error:
        halted = error
        known = "what was known went with it" if journal.removed else "all that was known is saved"
        print(f"\nhalted     {halted}; {known}")
        if not journal.removed:
            print(how_to_go_on(request))
        guardian.say(3)
    finally:
        record.wall_seconds = before + time.monotonic() - started
        with contextlib.suppress(*([OSError] if halted else [])):  # a full disk refuses this write too
            write_record(folder, record)
        journal.close()
        logs.stop()
        targets.remove()
        if halted:
            live.end()
        if isinstance(halted, NodeLost):
            # Disconnecting from a Ray whose node is gone would end this process with Ray's exit status.
            sys.stdout.flush()
            os._exit(3)
        with stage("stopping Ray", terminal_only=True):
            disconnect()
    if halted:
        return 3
    record.finished = not outcome.interrupted
    write_record(folder, record)
    if outcome.best is not None:
        gallery.end(outcome.best.number, outcome.best.config)
    status = summarise(study, request, folder, outcome)
    live.end()
    guardian.hand_over(folder)
    return status


@contextlib.contextmanager
def begun(folder: Path, *, new: bool) -> Iterator[Journal]:
    """Hold the journal of a run that is about to start; remove a new run's folder if the run fails to start.

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
                folder.parent.rmdir()  # fails if the study has other runs
        if isinstance(error, OSError):
            raise not_writable(folder, error) from None
        raise


if __name__ == "__main__":
    guard()
    guardian.end_greeting()
    sys.exit(main())
