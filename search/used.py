"""Find the statements of a module that bind some of its names, or change the objects that have these names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

# Methods by which Python's own containers change.
_CHANGING = {"add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem"}
_CHANGING |= {"popleft", "remove", "reverse", "setdefault", "sort", "update", "__setattr__", "__setitem__"}
_ANYTHING = {"globals", "locals", "exec", "eval"}  # functions by which any name can be bound
_STAR = "*"  # what `from a import *` binds is not told, so it is always used
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def used_statements(
    tree: ast.Module, start: set[str], is_library: Callable[[ast.Import | ast.ImportFrom], bool]
) -> list[ast.stmt]:
    """Return the statements that bind or change what the names in `start` use, and these names, in their order.

    `is_library` returns whether an import is of code that is no part of a definition: calling such a module's functions
    changes no object of the file but their arguments.
    """
    binds = {id(node): set(_bound(node)) for node in tree.body}
    changes = _Changes(tree, is_library)
    changed = {id(node): changes.of(node) for node in tree.body}
    names, found = {*start, _STAR}, set()
    while True:
        new = [node for node in tree.body if id(node) not in found and (binds[id(node)] | changed[id(node)]) & names]
        if not new:
            return [node for node in tree.body if id(node) in found]
        found |= {id(node) for node in new}
        names |= {each.id for node in new for each in ast.walk(node) if isinstance(each, ast.Name)}


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds, or that those in its blocks do; not those in functions and classes."""
    if isinstance(node, _Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias):
        yield node.asname or node.name.split(".")[0]
    elif isinstance(node, ast.Name):
        yield from [node.id] * isinstance(node.ctx, ast.Store)
    else:
        for each in ast.iter_child_nodes(node):
            yield from _bound(each)


class _Changes:
    """What the statements of a module may change: the objects that they store into, or hand to a call."""

    def __init__(self, tree: ast.Module, is_library: Callable[[ast.Import | ast.ImportFrom], bool]) -> None:
        outside = list(_at_the_top(tree))
        self.functions: Mapping[str, _Function] = {node.name: node for node in outside if isinstance(node, _Function)}
        imports = [node for node in outside if isinstance(node, ast.Import | ast.ImportFrom) and is_library(node)]
        self.library = {name for node in imports for name in _bound(node)}
        self.aliases: dict[str, set[str]] = {}  # name -> names of objects that it, or what holds it, may be
        for node in outside:
            if isinstance(node, ast.Assign) and not any(isinstance(each, ast.Call) for each in ast.walk(node.value)):
                self._alias(node.targets, node.value)  # what a call returns is mostly an object of its own
            elif isinstance(node, ast.For | ast.AsyncFor):
                self._alias([node.target], node.iter)
            elif isinstance(node, ast.withitem) and node.optional_vars:
                self._alias([node.optional_vars], node.context_expr)

    def _alias(self, targets: list[ast.expr], value: ast.expr) -> None:
        for name in (name for target in targets for name in _bound(target)):
            self.aliases.setdefault(name, set()).update(_roots(value) - self.library - {name})

    def of(self, node: ast.AST) -> set[str]:
        """Return the names whose objects a statement may change when it runs."""
        found: set[str] = set()
        new = set(self._direct(node, ()))
        while new:
            found |= new
            new = {other for name in new for other in self.aliases.get(name, ())} - found
        return found

    def _direct(self, node: ast.AST, within: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, _Function | ast.ClassDef):
            for decorator in node.decorator_list:
                yield from self._call(decorator, within)
                if isinstance(decorator, ast.Name):
                    yield from self._body(decorator.id, within)
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                yield from self._direct(inner, within)
            return
        if isinstance(node, ast.Lambda) or _for_scripts(node):
            return
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield from _roots(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from self._call(node.value, within)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
                yield from _roots(node.func)
            elif isinstance(node.func, ast.Name):
                yield from [_STAR] * (node.func.id in _ANYTHING)
                yield from self._body(node.func.id, within)
        for each in ast.iter_child_nodes(node):
            yield from self._direct(each, within)

    def _call(self, node: ast.expr, within: tuple[str, ...]) -> Iterator[str]:
        """Yield what a call may change whose result nobody takes, so that it is called for what it changes."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            return
        called = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
        own = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and id(each) not in called}
        yield from own - self.library
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from self._body(node.func.id, within)

    def _body(self, name: str, within: tuple[str, ...]) -> Iterator[str]:
        """Yield what calling one of the module's functions may change."""
        if (function := self.functions.get(name)) is None or name in within:
            return
        everywhere = {other for each in ast.walk(function) if isinstance(each, ast.Global) for other in each.names}
        bound = {other for each in function.body for other in _bound(each)}
        own = (bound | {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}) - everywhere
        changed = {other for each in function.body for other in self._direct(each, (*within, name))}
        yield from (changed - own) | (bound & everywhere)


def _at_the_top(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module that are in no function and no class, and these themselves."""
    for each in ast.iter_child_nodes(node):
        yield each
        if not isinstance(each, _Function | ast.ClassDef | ast.Lambda):
            yield from _at_the_top(each)


def _for_scripts(node: ast.AST) -> bool:
    """Return whether a statement is `if __name__ == "__main__"`, which does not run in a space file."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def _roots(node: ast.AST) -> set[str]:
    """Return the names of the objects that an expression may be a part of: `a` and `b` of `a[0].c(b).d`."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.NamedExpr):
        return _roots(node.value)
    if isinstance(node, ast.Call):
        given = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
        return {root for each in given for root in _roots(each)}
    return set()
