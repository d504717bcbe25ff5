"""Define a run by every value that its results depend on, named, as study.json keeps them.

A run resumed under another definition would be two studies in one folder. Docstrings, comments, questions, claims
and reported figures are no part of a definition.
"""

from __future__ import annotations

import ast
import hashlib
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ray.tune.search.sample import Categorical, LogUniform, Normal, Quantized, Uniform

from search import siblings
from search.bound import INSTALLED, PACKAGES, described
from search.compiled import compiled
from search.domains import same
from search.initial_design import first_configs
from search.study import Study
from search.used import used_statements

ROOT = Path(__file__).resolve().parent.parent
SPACE_CODE = "the space file"
BOUND = "what is bound into the trainable"
CALLER, CALLER_CODE = "__main__", "the calling script or notebook"
_NOT_THERE = object()
# Described once, since an object may change when it is used, and data may be large.
_DESCRIBED: WeakKeyDictionary[type, tuple[dict[str, str], list[Any]]] = WeakKeyDictionary()


def define(study: Study, space: Path, *, samples: int, seed: int) -> dict[str, Any]:
    """Return the definition of a run of `study`, declared in the file `space`, as JSON values.

    "code" holds a digest of each project file that the trainable is made of; "versions" holds the versions of the
    packages that can change a result.
    """
    searches = study.searcher != "grid"
    packages = ("torch", "ray", "optuna", "scipy") if searches else ("torch",)  # of scipy Sobol's sequence
    arms = study.arms.items()
    return {
        "dataset": study.dataset,
        # Left out by default, so that runs of earlier versions go on.
        **{name: value for name in ("resize", "channels") if (value := getattr(study, name)) is not None},
        "protocol": study.protocol,
        **({"reports": dict(study.reports)} if study.reports else {}),
        "epochs": study.epochs,
        "samples": samples,
        "metric": study.metric,
        "mode": study.mode,
        "objectives": dict(study.objectives),
        "rank_by": study.rank_by,
        "searcher": study.searcher,
        "scheduler": study.scheduler,
        "grace_epochs": study.grace,
        "reduction_factor": study.factor,
        "initial_design": study.design,
        "first": [{name: _json(value) for name, value in config.items()} for config in first_configs(study)],
        **({"observations": [_json(each) for each in study.observations]} if study.observations else {}),
        "seed": seed,
        **define_space(study),
        "arms": {arm: {name: _json(value) for name, value in without_seed(config).items()} for arm, config in arms},
        "trainable": study.trainable.__name__,
        "code": code(study.trainable, space),
        "versions": {package: _version(package) for package in packages},
    }


def without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm without a seed of its own: a replay has the seeds of --seed and --repeats, a search draws none."""
    return {name: value for name, value in config.items() if name != "seed"}


def define_space(study: Study) -> dict[str, Any]:
    """Return the part of a definition that says what a trial's hyperparameters can be."""
    conditions = {name: " and ".join(map(str, given)) for name, given in study.space.conditions.items()}
    return {
        "space": {name: domain_text(domain) for name, domain in study.searched().items()},
        **({"conditions": conditions} if conditions else {}),
        "constants": {name: _json(value) for name, value in (study.fixed() | study.space.sometimes).items()},
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yield a phrase for each value in which two definitions differ."""
    for name in {**then, **now}:
        before, after = then.get(name, _NOT_THERE), now.get(name, _NOT_THERE)
        path = f"{within}/{name}" if within else name
        if same(before, after):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, path)
        elif within == "code":
            what = name if name == BOUND else f"the code of {name}"
            yield f"{what} {'is another' if _NOT_THERE not in (before, after) else 'came or went'}"
        elif after is _NOT_THERE:
            yield f"{path} was {_short(before)} and is gone"
        elif before is _NOT_THERE:
            yield f"{path} is new, {_short(after)}"
        else:
            yield f"{path} was {_short(before)} and is {_short(after)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def domain_text(domain: Any) -> str:
    """Describe a domain; two domains share a description only if the same values are drawn from both, the same way."""
    if isinstance(domain, Categorical):
        return f"choice({', '.join(repr(_json(value)) for value in domain.categories)})"
    sampler, step = domain.get_sampler(), ""
    if isinstance(sampler, Quantized):
        sampler, step = sampler.get_sampler(), f", in steps of {sampler.q!r}"
    kind = {Uniform: "", LogUniform: ", logarithmic"}.get(_kind(sampler), f", {type(sampler).__name__} {vars(sampler)}")
    return f"{type(domain).__name__.strip('_').lower()} from {domain.lower!r} to {domain.upper!r}{kind}{step}"


def _kind(sampler: Any) -> type:
    return next((kind for kind in (Uniform, LogUniform, Normal) if isinstance(sampler, kind)), type(sampler))


def _json(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if isinstance(value, str | int | float | None) else repr(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def code(trainable: type, space: Path) -> dict[str, str]:
    """Return digests of the code that a trainable is made of, by file, without docstrings and comments.

    Of the space file, only what the trainable's class and the functions that it is made of use counts; every module
    that is imported counts whole, wherever it lies, unless it is installed or one of this project's other rooms. What
    is bound into these functions is in no file, and has a digest of its own.
    """
    bound, within = bound_in(trainable)
    found = {BOUND: hashlib.sha256(repr(sorted(bound.items())).encode()).hexdigest()} if bound else {}
    modules: list[Path] = []
    here = space.resolve()
    parts = [*trainable.__mro__, *getattr(trainable, "made_of", ())]
    parts += [part for part in within if part not in parts]
    for kind in parts:
        if kind.__module__ == CALLER and not hasattr(sys.modules[CALLER], kind.__qualname__.partition(".")[0]):
            # Handed over by a script or notebook, whose source this process does not have.
            met: set[str] = set()
            found[CALLER_CODE] = hashlib.sha256((found.get(CALLER_CODE, "") + compiled(kind, met)).encode()).hexdigest()
            modules += [own for name in sorted(met - {CALLER}) for own in _files(name, here.parent)]
        elif kind.__module__ == f"space_{space.stem}":
            tree = ast.parse(here.read_bytes())
            start = {part.__qualname__.partition(".")[0] for part in parts}
            used = used_statements(tree, start, lambda node: not _imported([node], here, here.parent))
            found[SPACE_CODE] = _digest(used)
            modules += _imported(used, here, here.parent)
        elif (path := _file_of(kind)) is not None:
            modules += _own(path, here.parent)
    named: dict[str, dict[Path, str]] = {}  # name -> digests of the files that have it
    while modules:
        path = modules.pop()
        if path not in (digests := named.setdefault(_name(path, here.parent), {})):
            tree = ast.parse(path.read_bytes())
            digests[path] = _digest(tree.body)
            modules += _imported(tree.body, path, here.parent)
    for name, digests in named.items():
        alone, *more = sorted(digests.values())
        found[name] = hashlib.sha256("".join([alone, *more]).encode()).hexdigest() if more else alone
    return dict(sorted(found.items()))


def bound_in(trainable: type) -> tuple[dict[str, str], list[Any]]:
    """Return `described` of what is bound into a trainable, as it was at the first call."""
    if trainable not in _DESCRIBED:
        _DESCRIBED[trainable] = described(getattr(trainable, "bound", {}), trainable.__name__)
    return _DESCRIBED[trainable]


def _file_of(kind: Any) -> Path | None:
    if (path := getattr(sys.modules.get(kind.__module__), "__file__", None)) is not None:
        return Path(path)
    # The module of another space, or of a file beside this one, is dropped from sys.modules after it has run.
    for value in (kind, *getattr(kind, "__dict__", {}).values()):
        if (function := getattr(value, "__code__", None)) is not None:
            return Path(function.co_filename)
    return None


def _own(path: Path, beside: Path) -> list[Path]:
    """List the file if it is code that trials are made of: neither installed nor in this project's other rooms."""
    path = path.resolve()
    # Of a space in the clone's own folder the project is no part, as it is of none elsewhere.
    other = ({ROOT / room for room in siblings.ROOMS} | INSTALLED) - {beside, *beside.parents}
    below = path.relative_to(beside) if path.is_relative_to(beside) else path
    own = PACKAGES.isdisjoint(below.parts) and other.isdisjoint(path.parents)
    ours = own or path.is_relative_to(ROOT / "trainables")
    return [path] if ours and path.suffix == ".py" and path.is_file() else []


def _name(path: Path, beside: Path) -> str:
    """Return a file's name in definitions, the same wherever the user's folders lie."""
    if (base := next((base for base in (ROOT, beside) if path.is_relative_to(base)), None)) is None:
        base = path.parent
        while (base / "__init__.py").is_file():
            base = base.parent
    return path.relative_to(base).as_posix()


def _imported(nodes: Iterable[ast.AST], path: Path, beside: Path) -> list[Path]:
    found: list[Path] = []
    for node in (each for top in nodes for each in ast.walk(top)):
        if isinstance(node, ast.Import):
            found += [own for alias in node.names for own in _files(alias.name, beside)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            # Relative to the file's own folder, wherever that lies.
            module = path.parent.joinpath(*[".."] * (node.level - 1), *(node.module or "").split("."))
            places = [_module(module), *(_module(module / alias.name) for alias in node.names)]
            found += [own for place in places if place is not None for own in _own(place, beside)]
        elif isinstance(node, ast.ImportFrom):
            names = (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
            found += [own for name in names for own in _files(name, beside)]
    return found


def _module(base: Path) -> Path | None:
    """Return the file of the module or package that is named like a path without suffix; None if there is none."""
    places = (base / "__init__.py", base.parent / f"{base.name}.py")
    return next((place for place in places if place.is_file()), None)


def _files(name: str, beside: Path) -> list[Path]:
    """List the code of trials that importing a module runs: its own file, and those of the packages that hold it."""
    own = (own for place in [_where(name, beside)] if place is not None for own in _own(place, beside))
    found = list(own)
    package = name.rpartition(".")[0]
    # Of this project's own packages nothing but the modules decides.
    return [*_files(package, beside), *found] if package and package.partition(".")[0] not in siblings.ROOMS else found


def _where(name: str, beside: Path) -> Path | None:
    """Return the file of a module: beside the space, already imported, or where Python would import it from.

    Nothing is imported to find it. None if there is no such file.
    """
    if (own := _module(beside.joinpath(*name.split(".")))) is not None:
        return own
    if (module := sys.modules.get(name)) is not None:
        file = getattr(module, "__file__", None)
        return Path(file) if file else None
    if name.partition(".")[0] in siblings.ROOMS and not name.startswith("trainables."):
        return None
    spec: ModuleSpec | None = None
    for depth, _ in enumerate(parts := name.split("."), 1):
        within = spec.submodule_search_locations if spec else None
        if depth > 1 and within is None:
            return None
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        found = (finder.find_spec(".".join(parts[:depth]), within) for finder in finders)
        spec = next(filter(None, found), None)
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _digest(nodes: Iterable[ast.AST]) -> str:
    return hashlib.sha256(_canonical(list(nodes)).encode(errors="backslashreplace")).hexdigest()


def _canonical(value: Any) -> str:
    """Return code as text without docstrings, equal in every version of Python for the same code."""
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = {name: item for name, item in ast.iter_fields(value) if name not in ("kind", "type_comment")}
    body = fields.get("body")
    if isinstance(value, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and body:
        fields["body"] = body[1:] if _is_text(body[0]) else body
    kept = {name: item for name, item in fields.items() if isinstance(value, ast.Constant) or item not in (None, [])}
    return f"{type(value).__name__}({','.join(f'{name}={_canonical(item)}' for name, item in kept.items())})"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
