"""Prepare a run before anything starts: the study as it will run, its data, its trials and its resources."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.definition import bound_in, code
from search.doors import require_own
from search.economy import Economy, economise
from search.execution import choose_resources, engine_of, routed
from search.failures import UsageError
from search.folders import check_writable, newest_run
from search.local_ray import settle
from search.log_writer import require_installed
from search.packing import AUTO
from search.packing import choose as choose_packing
from search.plan import check_fits
from search.records import StudyRecord
from search.request import Request
from search.resources import Resources
from search.resume import as_recorded, require_same, require_settled, require_there, with_weights_in
from search.searchers import Listed, Proposals, make_proposals
from search.sendable import require_sendable
from search.study import Study, StudyError, load
from search.warm_start import observed
from trainables.data.datasets import ImageData, substitute
from trainables.data.datasets import load as load_data
from trainables.training.engine import PLAIN


@dataclass(frozen=True)
class Prepared:
    """Hold everything that a run needs to start.

    request    the request with the chosen engine; for a resumed run, with its recorded options
    space      the study as its file declares it
    study      the study as it will run: after the changes of --set, --smoke, --replay and the engine
    resumed    folder and record of the resumed run; None for a new run
    """

    request: Request
    space: Study
    study: Study
    data: ImageData
    proposals: Proposals
    resources: Resources
    economy: Economy
    resumed: tuple[Path, StudyRecord] | None

    @property
    def configs(self) -> list[dict[str, Any]] | None:
        """Return the configurations of the trials to run, or None if they are not known beforehand."""
        return listed(self.proposals)


def prepare(request: Request, study: Study | None = None) -> Prepared:
    """Read, check and measure all that a run of the request needs, without starting or writing anything.

    `study` stands for the study of the request's space file, if a Python process has handed it over.

    Raises StudyError, UsageError, RecordError, DataError and DoorError, with one line on what is wrong.
    """
    space = study or load(request.space)
    resumed: tuple[Path, StudyRecord] | None = None
    if request.resume or request.extend:
        resumed = newest_run(request.results, space.name, smoke_only=request.smoke, finished=bool(request.extend))
        require_own(resumed[0])
        require_there(resumed[0])
        if request.weights is not None:
            resumed = resumed[0], with_weights_in(resumed[1], request.weights)
        request = request.restored(*resumed)
    study = adapt(space, request)
    if study.foreign:
        check_foreign(study, request)
    if resumed:
        study = as_recorded(study, resumed[1])
    bound_in(study.trainable)  # before objects in it are used, which may change them
    resources = choose_resources(request)
    require_sendable(study)
    if request.replay and resumed is None:  # a run of before goes on with the seeds that it had
        study.require_free_seeds(request.arm)
    proposals = propose(study, request)
    if resumed is None and not request.hosted:
        require_settled(space, request.space)
    if resumed:
        held = routed(study, request.engine or PLAIN)
        samples = resumed[1].samples if request.extend or request.replay else proposals.total
        require_same(resumed[1], resumed[0], held, request.space, samples=samples, seed=request.seed)
    require_installed(request.log)
    check_writable(request.results)
    form = {"size": study.resize, "channels": study.channels}
    asked: dict[str, Any] = {name: value for name, value in form.items() if value is not None}
    data = load_data(study.dataset, request.data, progress=lambda text: print(text, flush=True), **asked)
    if data.prepared:
        parts = {name: data.described()[name] for name in ("train", "validation", "test")}
        held_out = parts["validation"] or "a tenth of these"
        told = f"{parts['train']:,} training images, {held_out} for validation, {parts['test']:,} test images"
        print(f"data       {told}; {data.prepared}", flush=True)
    if request.warm_start and not resumed:  # a resumed run has its observations on record
        own = code(study.trainable, request.space)
        observations, lines = observed(study, request.warm_start, data.fingerprint, own)
        study = dataclasses.replace(study, observations=[*study.observations, *observations])
        propose(study, request)  # refuses a searcher that does not learn
        print(*lines, sep="\n", flush=True)
    if not study.foreign:
        check_fits(study, data)
    check_requirements(study, proposals, data)
    if resumed and resumed[1].dataset_fingerprint != data.fingerprint:
        raise UsageError(
            f"{resumed[0]} needs the data that it began with, fingerprint {resumed[1].dataset_fingerprint[:12]}, "
            f"got {data.fingerprint[:12]} from {data.source}: name the folder of that data with --data"
        )
    engine = engine_of(study, request, data, resources, listed(proposals), resumed=resumed is not None)
    request, study = dataclasses.replace(request, engine=engine), routed(study, engine)
    economy = economise(study, request, data.fingerprint, resumed) if request.replay else Economy()
    proposals = propose(study, request, economy)
    if proposals.total and AUTO in (request.cpus_per_trial, request.gpus_per_trial):
        settle()
        packing = choose_packing(study, data, request.data, listed(proposals), resources.cpus_per_trial)
        resources = Resources(packing.cpus_per_trial, packing.gpus_per_trial)
    return Prepared(request, space, study, data, proposals, resources, economy, resumed)


def check_foreign(study: Study, request: Request) -> None:
    """Raise UsageError for options that need an ImageTrainable, whose steps can be measured."""
    asked = {
        "--plan": request.plan,
        "--data": request.data is not None,
        "--engine": request.engine not in (None, PLAIN),
        "--cpus-per-trial auto": request.cpus_per_trial == AUTO,
        "--gpus-per-trial auto": request.gpus_per_trial == AUTO,
    }
    if given := [option for option, wanted in asked.items() if wanted]:
        raise UsageError(
            f"{given[0]} needs an image trainable, and {study.name} has a Ray Tune trainable of its own: leave it out"
        )


def adapt(study: Study, request: Request) -> Study:
    """Return the study with the command line's changes applied."""
    changes: dict[str, Any] = {"scheduler": study.scheduler}
    # Early stopping needs trials of one length, which only all changes together decide.
    study = dataclasses.replace(study, scheduler="none")
    if request.smoke:
        study = study.as_smoke()
    elif substitute(study.dataset, request.data) != study.dataset:
        print(f"data       class folders in {request.data} replace {study.dataset}: a note's claims are left out")
        study = study.on_folder()
    if request.weights is not None:
        if request.smoke:
            raise UsageError(
                f"--weights and --smoke exclude each other, got {request.weights}: a smoke run's weights are random"
            )
        study = study.with_weights(str(request.weights.absolute()))
    study = study.with_set(request.set)
    goes_on = request.resume or request.extend
    if request.smoke and request.data is not None and not goes_on:
        raise UsageError(f"--smoke runs on scikit-learn's digits, got --data {request.data} too: leave one of them out")
    if (request.searcher or study.searcher) == "grid" and request.samples is not None and not goes_on:
        raise UsageError(f"{study.name}: its grid runs every combination once, got --samples {request.samples}")
    changes |= {
        name: getattr(request, name)
        for name in ("samples", "searcher", "scheduler")
        if getattr(request, name) is not None
    }
    if request.replay:
        changes |= {"scheduler": "none", "searcher": "grid"}
    return dataclasses.replace(study, **changes)


def propose(study: Study, request: Request, economy: Economy = Economy()) -> Proposals:  # noqa: B008
    if request.replay:
        return Listed(economy.left(study.replay_configs(request.repeats, request.seed, request.arm)))
    study.check_search()
    return make_proposals(study, study.searcher, study.samples, request.seed)


def listed(proposals: Proposals) -> list[dict[str, Any]] | None:
    """Return the configurations of the trials to run, or None if they are not known beforehand."""
    return [config for config, _ in proposals.configs] if isinstance(proposals, Listed) else None


def check_requirements(study: Study, proposals: Proposals, data: ImageData) -> None:
    """Raise StudyError if a trial lacks something, such as a file of weights, or cannot take the data set's images."""
    recipe = study.trainable.recipe
    if isinstance(proposals, Listed):
        configs = [config for config, _ in proposals.configs]
    else:
        configs = list(study.space.edges())
    for config in configs:
        try:
            settings = study.settings(config)
            recipe.require(settings)
            if suits := getattr(recipe, "require_images", None):
                suits(settings, data.channels, data.size, data.classes)
        except ValueError as error:
            raise StudyError(f"{study.name}: {error}") from None
