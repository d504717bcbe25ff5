"""What a run is held to: every value that its results depend on, named, as study.json keeps it.

A run that goes on under another definition would be two studies in one folder. Docstrings, comments, questions, claims
and reported figures are no part of it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ray.tune.search.sample import Categorical, LogUniform, Normal, Quantized, Uniform

from search.study import Study

ROOT = Path(__file__).resolve().parent.parent
SPACE_CODE = "the space file"
_NOT_THERE = object()


def define(study: Study, space: Path, *, samples: int, seed: int) -> dict[str, Any]:
    """The definition of a run of `study`, which the file `space` holds, as JSON's own values.

    "code" holds a digest of each file of ours that the trainable is made of; "versions" holds the packages that can
    change a result.
    """
    searches = study.searcher != "grid"
    packages = ("torch", "ray", "optuna") if searches else ("torch",)
    return {
        "dataset": study.dataset,
        "protocol": study.protocol,
        "epochs": study.epochs,
        "samples": samples,
        "metric": study.metric,
        "mode": study.mode,
        "objectives": dict(study.objectives),
        "rank_by": study.rank_by,
        "searcher": study.searcher,
        "scheduler": study.scheduler,
        "grace_epochs": study.grace_epochs,
        "reduction_factor": study.reduction_factor,
        "seed": seed,
        "space": {name: domain_text(domain) for name, domain in study.searched().items()},
        "constants": {name: _json(value) for name, value in study.fixed().items()},
        "arms": {arm: {name: _json(value) for name, value in config.items()} for arm, config in study.arms.items()},
        "trainable": study.trainable.__name__,
        "code": code(study.trainable, space),
        "versions": {package: _version(package) for package in packages},
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """What two definitions do not have in common, a phrase each."""
    for name in {**then, **now}:
        before, after = then.get(name, _NOT_THERE), now.get(name, _NOT_THERE)
        path = f"{within}/{name}" if within else name
        if before == after and isinstance(before, bool) == isinstance(after, bool):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, path)
        elif within == "code":
            yield f"the code of {name} {'is another' if _NOT_THERE not in (before, after) else 'came or went'}"
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
    """A domain in words that two domains share only if the same values are drawn from them in the same way."""
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
    """Digests of what a trainable is made of, by file: of the space file what the trainable's class uses in it, of
    every module of ours that is imported on the way the whole, each without docstrings and comments."""
    found: dict[str, str] = {}
    modules: list[Path] = []
    here = space.resolve()
    for kind in trainable.__mro__:
        if kind.__module__ == f"space_{space.stem}":
            tree = ast.parse(here.read_bytes())
            used = _used(tree, {kind.__name__ for kind in trainable.__mro__})
            found[SPACE_CODE] = _digest(used)
            modules += _imported(used, here, here.parent)
        elif (path := _file_of(kind)) is not None:
            modules += _own(path, here.parent)
    while modules:
        path = modules.pop()
        if (name := _name(path, here.parent)) not in found:
            tree = ast.parse(path.read_bytes())
            found[name] = _digest(tree.body)
            modules += _imported(tree.body, path, here.parent)
    return dict(sorted(found.items()))


def _file_of(kind: type) -> Path | None:
    if (path := getattr(sys.modules.get(kind.__module__), "__file__", None)) is not None:
        return Path(path)
    # A class of a file that was forgotten once it had run: of another space, or beside this one.
    for value in vars(kind).values():
        if (function := getattr(value, "__code__", None)) is not None:
            return Path(function.co_filename)
    return None


def _own(path: Path, beside: Path) -> list[Path]:
    """The file, if it is code that trials are made of: of this project's trainables, or beside the space file."""
    path = path.resolve()
    rooms = (ROOT / "trainables", beside)
    ours = any(path.is_relative_to(room) for room in rooms) and "site-packages" not in path.parts
    return [path] if ours and path.suffix == ".py" and path.is_file() else []


def _name(path: Path, beside: Path) -> str:
    return path.relative_to(ROOT if path.is_relative_to(ROOT) else beside).as_posix()


def _imported(nodes: Iterable[ast.AST], path: Path, beside: Path) -> list[Path]:
    names = set()
    for node in (each for top in nodes for each in ast.walk(top)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    found: list[Path] = []
    for name in names:
        if (where := _where(name, beside)) is not None:
            found += _own(where, beside)
    return found


def _where(name: str, beside: Path) -> Path | None:
    """A module's file, if there is such a module: beside the space, or one that was imported, or a trainables'."""
    own = beside.joinpath(*name.split("."))
    for path in (own.with_name(f"{own.name}.py"), own / "__init__.py"):
        if path.is_file():
            return path
    if (module := sys.modules.get(name)) is not None:
        file = getattr(module, "__file__", None)
        return Path(file) if file else None
    if not name.startswith("trainables."):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _used(tree: ast.Module, start: set[str]) -> list[ast.stmt]:
    """The statements of a module that bind what `start` uses, in their order."""
    binds = {id(node): set(_bound(node)) for node in tree.body}
    names, found = set(start), set()
    while True:
        new = [node for node in tree.body if id(node) not in found and binds[id(node)] & names]
        if not new:
            return [node for node in tree.body if id(node) in found]
        found |= {id(node) for node in new}
        names |= {each.id for node in new for each in ast.walk(node) if isinstance(each, ast.Name)}


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
    else:
        yield from (
            each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        )


def _digest(nodes: Iterable[ast.AST]) -> str:
    return hashlib.sha256(_canonical(list(nodes)).encode(errors="backslashreplace")).hexdigest()


def _canonical(value: Any) -> str:
    """Code as text, equal in every version of Python for the same code; without docstrings."""
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
