"""Read a space file as another process may: with sets in another order, and with other hashes of text.

Python orders a set of text by hashes that differ in each process, unless PYTHONHASHSEED is set: tune.choice({"a", "b"})
would be another choice when its run is resumed.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

from search.siblings import FreshLoader

_NEW_SETS = {"copy", "difference", "intersection", "symmetric_difference", "union", "__and__", "__or__", "__sub__"}
_NEW_SETS |= {"__rand__", "__ror__", "__rsub__", "__rxor__", "__xor__"}
_DISPLAY = "the set of a display"  # a name that no source can have


class OtherOrderLoader(FreshLoader):
    """Runs a file in which each set whose order is not settled has the opposite order."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file with calls in the place of its set displays."""
        tree: ast.Module = _Displays().visit(ast.parse(self.get_data(self.path), self.path))
        code: CodeType = compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run the file with sets and hashes of its own."""
        own = {"set": _Set, "frozenset": _FrozenSet, "hash": _hash, _DISPLAY: _Set}
        module.__dict__["__builtins__"] = {**vars(builtins), **own}
        super().exec_module(module)


class _Displays(ast.NodeTransformer):
    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node  # which counts as it is compiled

    def visit_Set(self, node: ast.Set) -> ast.AST:
        return self._called(node, ast.List(node.elts, ast.Load()))

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._called(node, ast.ListComp(node.elt, node.generators))

    def _called(self, node: ast.AST, elements: ast.expr) -> ast.AST:
        self.generic_visit(elements)
        return ast.copy_location(ast.Call(ast.Name(_DISPLAY, ast.Load()), [elements], []), node)


def _settled(value: Any) -> bool:
    """Return whether a value's hash is the same in each process."""
    return all(map(_settled, value)) if isinstance(value, tuple) else isinstance(value, int | float | complex)


def _hash(value: Any) -> int:
    return hash(value) if _settled(value) else hash((hash(value),))


class _AnySet(type):
    """The class of sets in another order, of which every set is one for code that asks."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[-2])


def _other_order(kind: Any) -> Any:
    """Return a class of sets, called like `kind`, that are in the opposite order unless their order is settled."""

    def each(self: Any) -> Iterator[Any]:
        items = list(kind.__iter__(self))
        return iter(items if all(map(_settled, items)) else items[::-1])

    def pop(self: Any) -> Any:
        self.remove(found := next(iter(self)))
        return found

    def new(name: str) -> Any:
        def of(self: Any, *others: Any) -> Any:
            found = getattr(kind, name)(self, *others)
            return found if found is NotImplemented else made(found)

        return of

    body = {"__iter__": each, "__module__": "builtins", **{name: new(name) for name in sorted(_NEW_SETS)}}
    made = _AnySet(kind.__name__, (kind,), body | ({"pop": pop} if kind is set else {}))
    return made


_Set, _FrozenSet = _other_order(set), _other_order(frozenset)
