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
import datetime
import io
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from search.cluster import Cluster, ClusterError, connect, disconnect
from search.doors import LOOPBACK, DoorError, is_loopback, require_own
from search.failures import Halted, NodeLost
from search.journal import Journal, JournalError
from search.options import STORED, UsageError, check_combination, parser, restore_options
from search.packing import AUTO
from search.packing import choose as choose_packing
from search.paths import check as check_path
from search.paths import choose as choose_path
from search.plan import A_DAY, check_fits, how_to_shrink, make_plan
from search.progress import span
from search.records import (
    COMPLETED,
    DIVERGED,
    FAILED,
    RECOVERY_PROTOCOL,
    STATUSES,
    STOPPED,
    STUDY_FILE,
    RecordError,
    StudyRecord,
)
from search.results import protocol_of, write_record
from search.searchers import Listed, Proposals, make_proposals
from search.study import Study, StudyError, domain_edges, load
from search.tuner import Outcome, Resources, cluster_slots, run_study
from search.watch import Watch
from trainables.data import DataError, ImageData
from trainables.data import load as load_data
from trainables.paths import PLAIN

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pyarrow", "plotly", "numpy")
RUN_NAME = "%Y%m%d-%H%M%S"


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parser().parse_args(arguments)
        if os.environ.get("RAY_ADDRESS") and options.address is None:
            options.address = os.environ["RAY_ADDRESS"]
        return run(options)
    except (UsageError, StudyError, RecordError, DataError, JournalError, ClusterError, DoorError) as error:
        print(f"search.run: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # A study under way takes the first one itself, saves what is known and says how to go on.
        print("search.run: interrupted", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows each event as it comes
    # SIGTERM is what a scheduler or a shutdown sends: as orderly an end as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    space = load(options.space)
    check_combination(options)
    resumed: tuple[Path, StudyRecord] | None = None
    if options.resume or options.extend:
        resumed = newest_run(options.results, space.name, smoke_only=options.smoke, finished=bool(options.extend))
        require_own(resumed[0])
        restore_options(options, *resumed)
    study = adapt(space, options)
    resources = choose_resources(options)
    proposals = propose(study, options)
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
    proposals = propose(study, options)
    configs = listed(proposals)
    if AUTO in (options.cpus_per_trial, options.gpus_per_trial):
        packing = choose_packing(study, data, options.data, configs, resources.cpus_per_trial)
        resources = Resources(packing.cpus_per_trial, packing.gpus_per_trial)
    if options.plan or not (options.smoke or options.yes or resumed or options.address):
        slots = resources.slots(os.cpu_count() or 1, torch.cuda.device_count())
        plan = make_plan(study, data, resources, slots, configs)
        if options.plan:
            print(f"{study.name} on {data.name}, {machine_name()}\n\n{plan.table()}")
            return 0
        if plan.stopped_wall_seconds > A_DAY and options.time_budget is None:
            raise UsageError(how_to_shrink(plan))
        watch.expect(plan.epoch_seconds)
        print(f"estimated {span(plan.stopped_wall_seconds)}, without early stopping {span(plan.wall_seconds)}")
    folder = resumed[0] if resumed else new_folder(options.results, study.name, options.smoke)
    journal = Journal(folder)
    try:
        cluster = connect(options.address, folder.resolve(), listen=options.listen or LOOPBACK, verbose=options.verbose)
        resources = share_of(cluster, resources, options)
    except ClusterError:
        disconnect()
        journal.close()
        if not resumed:
            # A run that never started is no run to resume.
            journal.path.unlink()
            folder.rmdir()
        raise
    record = resumed[1] if resumed else new_record(study, options, data, folder, proposals, space)
    if options.extend:
        record.finished, record.samples = False, proposals.total
        record.options |= {name: getattr(options, name) for name in ("samples", "repeats")}
    write_record(folder, record)
    started = time.monotonic()
    before = record.wall_seconds
    halted: Halted | None = None
    try:
        announce(study, proposals, folder, cluster)
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
        print(f"\nhalted     {halted}; all that was known is saved")
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


def propose(study: Study, options: argparse.Namespace) -> Proposals:
    if options.replay:
        return Listed(study.replay_configs(options.repeats, options.seed))
    return make_proposals(study, study.searcher, study.samples, options.seed)


def listed(proposals: Proposals) -> list[dict[str, Any]] | None:
    """The trials to run where they are known beforehand."""
    return [config for config, _ in proposals.configs] if isinstance(proposals, Listed) else None


def with_path(
    study: Study,
    options: argparse.Namespace,
    data: ImageData,
    resources: Resources,
    configs: list[dict[str, Any]] | None,
    *,
    resumed: bool,
) -> Study:
    """The study whose steps go the way that `--path` names, or that is measured to be fastest.

    `options.path` is then that way: what the record keeps and `--resume` takes. Raises UsageError, PathError.
    """
    elsewhere = options.address is not None  # nothing measured here holds there
    if elsewhere and options.path == AUTO:
        raise UsageError(f"--path auto measures this machine, got --address {options.address}")
    if any("path" in config for config in (study.param_space, *study.arms.values())):
        own = study.param_space.get("path")
        if not resumed and options.path not in (None, own):
            raise UsageError(f"the study or --set says what path is, got --path {options.path} too")
        options.path = own if isinstance(own, str) else PLAIN
    elif options.path is None:
        # What a note says is compared with what its own arithmetic gives.
        options.path = PLAIN if options.replay or options.smoke or elsewhere else AUTO
    if options.path == AUTO:
        options.path = choose_path(study, data, resources, configs)
        return routed(study, options.path)
    if not elsewhere:
        check_path(study, data, resources, configs, options.path)
    return routed(study, options.path)


def routed(study: Study, path: str) -> Study:
    """The study with every trial on the path; the plain one is what no configuration need name."""
    return study if path == PLAIN or "path" in study.param_space else study.with_fixed({"path": path})


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


def choose_resources(options: argparse.Namespace) -> Resources:
    """Raises UsageError where the machine has less than a trial asks for."""
    gpus = options.gpus_per_trial
    if AUTO in (options.cpus_per_trial, gpus):
        check_auto(options)
        # Until it is measured.
        return Resources(1.0 if options.cpus_per_trial == AUTO else options.cpus_per_trial, float(gpus == AUTO))
    if options.address is None:
        there, cpus = torch.cuda.device_count(), os.cpu_count() or 1
        if gpus is None:
            gpus = 1.0 if there else 0.0
        if gpus > there:
            raise UsageError(f"--gpus-per-trial asks for {gpus:g}, this machine has {there}")
        if options.cpus_per_trial > cpus:
            raise UsageError(f"--cpus-per-trial asks for {options.cpus_per_trial:g}, this machine has {cpus}")
    return Resources(options.cpus_per_trial, gpus or 0.0)


def check_auto(options: argparse.Namespace) -> None:
    """Raises UsageError where there is nothing to measure."""
    there = torch.cuda.device_count()
    option = "--gpus-per-trial auto" if options.gpus_per_trial == AUTO else "--cpus-per-trial auto"
    if options.address is not None:
        raise UsageError(f"{option} measures this machine, got --address {options.address}")
    if options.gpus_per_trial == AUTO and not there:
        raise UsageError(f"{option} needs a GPU that PyTorch sees, this machine has none")
    if options.cpus_per_trial == AUTO and there:
        raise UsageError(f"{option} is for a machine without GPUs, this one has {there}: try --gpus-per-trial auto")


def share_of(cluster: Cluster, resources: Resources, options: argparse.Namespace) -> Resources:
    """What a trial gets of a joined cluster; raises ClusterError where no node has as much."""
    if options.address is None:
        return resources
    if options.gpus_per_trial is None and any(node.gpus for node in cluster.nodes):
        resources = dataclasses.replace(resources, gpus_per_trial=1.0)
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if not any(node.cpus >= cpus and node.gpus >= gpus for node in cluster.nodes):
        there = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in cluster.nodes)
        raise ClusterError(f"no node of {options.address} has a trial's {cpus:g} CPUs and {gpus:g} GPUs, only {there}")
    return resources


def check_writable(folder: Path) -> None:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"--results must be a folder that can be written, got {folder}")


def new_folder(results: Path, study: str, smoke: bool) -> Path:
    """A folder named by the time, and after every run there is: the newest has the last name, also where the
    clock was set back. Raises UsageError."""
    runs = [stamp for folder in (results / study).glob("*/") if (stamp := _stamp(folder.name))]
    second = datetime.timedelta(seconds=1)
    when = max([datetime.datetime.now(), *(run + second for run in runs)])
    while True:
        folder = results / study / (when.strftime(RUN_NAME) + ("-smoke" if smoke else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            when += second
            continue
        except OSError as error:
            raise UsageError(
                f"--results must be a folder that can be written, got {results}: {error.strerror}"
            ) from None
        return folder


def _stamp(name: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime("-".join(name.split("-")[:2]), RUN_NAME)
    except ValueError:
        return None


def newest_run(results: Path, study: str, *, smoke_only: bool, finished: bool) -> tuple[Path, StudyRecord]:
    """The newest run of the study, of those that have trials to go unless `finished`. Raises UsageError."""
    for folder in sorted((results / study).glob("*/"), reverse=True):
        path = folder / STUDY_FILE
        if not path.is_file():
            continue
        record = StudyRecord.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if (finished or not record.finished) and (record.smoke or not smoke_only):
            return folder, record
    if finished:
        raise UsageError(f"--extend: no run of {study} in {results / study}")
    raise UsageError(f"--resume: no unfinished run of {study} in {results / study}")


def new_record(
    study: Study, options: argparse.Namespace, data: ImageData, folder: Path, proposals: Proposals, space: Study
) -> StudyRecord:
    """Of `study`, which is `space` as it is to be run: with what --set, --smoke and the like changed."""
    return StudyRecord(
        study=study.name,
        run=folder.name,
        question=study.question,
        source=study.source,
        trainable=study.trainable.__name__,
        dataset=data.name,
        dataset_fingerprint=data.fingerprint,
        protocol="replay" if options.replay else protocol_of(study.fixed(), study.protocol),
        metric=study.metric,
        mode=study.mode,
        objectives=study.goals,
        epochs=study.epochs,
        samples=proposals.total,
        searcher=study.searcher,
        scheduler=study.scheduler,
        seed=options.seed,
        space={name: _domain(domain) for name, domain in study.searched().items()},
        fixed=study.fixed(),
        arms={arm: dict(config) for arm, config in study.arms.items()},
        command="python -m search.run " + shlex.join(sys.argv[1:]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        commit=_commit(),
        machine={"name": machine_name(), "cpus": os.cpu_count(), "gpus": torch.cuda.device_count()},
        smoke=options.smoke,
        options={name: _json(getattr(options, name)) for name in STORED},
        reported=list(study.reported),
        claims=list(study.claims),
        declared={arm: dataclasses.asdict(space.settings(config)) for arm, config in space.arms.items()},
    )


def _domain(domain: Any) -> str:
    text = domain.domain_str
    sampler = type(domain.sampler).__name__ if domain.sampler else ""
    return f"{text} log" if "Log" in sampler else text


def _json(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str | None:
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return git.stdout.strip() or None if git.returncode == 0 else None


def machine_name() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        model = names[0] if names else model
    return f"{os.cpu_count()} cores, {model}"


def announce(study: Study, proposals: Proposals, folder: Path, cluster: Cluster) -> None:
    print(f"{study.name}: {study.question}")
    trials = f"{proposals.total} trials of up to {study.trial_epochs} epochs"
    print(f"{trials}, {study.searcher} and {study.scheduler}; {folder}")
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
            sys.stdout.flush()
            pareto = [sys.executable, "-m", "analysis.pareto", str(folder)]
            subprocess.run(pareto, check=True, cwd=Path(__file__).parent.parent)
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


if __name__ == "__main__":
    sys.exit(main())
