"""A file runs with its sets in another order, if no process has to have that order, and notices nothing else."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from search.set_order import OtherOrderLoader


def value(tmp_path: Path, expression: str) -> tuple[Any, Any]:
    """Return the value of an expression in this process, and in a file that is read in another order."""
    path = tmp_path / "space.py"
    path.write_text(f"NAMES = 'abc', 'de', 'f'\nVALUE = {expression}\n")
    module = types.ModuleType("space")
    OtherOrderLoader("space", str(path)).exec_module(module)
    names: dict[str, Any] = {}
    exec(path.read_text(), names)
    return names["VALUE"], module.VALUE


@pytest.mark.parametrize(
    "expression",
    [
        "list({'a', 'b'})",
        "[*set(NAMES)]",
        "tuple({name for name in NAMES})",
        "list(frozenset(NAMES))",
        "list({'a', 1})",
        "list({('a', 1), ('b', 2)})",
        "list({'a'} | {'b'})",
        "list({'a', 'b', 'c'} - {'c'})",
        "list(set(NAMES).union('g'))",
        "list(dict.fromkeys({'a', 'b'}))",
        "{'a', 'b'}.pop()",
        "hash('a')",
        "hash(('a', 1)) % 1000003",
    ],
)
def test_what_the_order_of_a_set_decides_is_another(expression: str, tmp_path: Path) -> None:
    here, there = value(tmp_path, expression)
    assert here != there


@pytest.mark.parametrize(
    "expression",
    [
        "sorted({'b', 'a'})",
        "{'a', 'b'} == {'b', 'a'}",
        "max({name for name in NAMES})",
        "len({'a', 'b'})",
        "'a' in {'a', 'b'}",
        "list({1, 2})",
        "list({(1, 2), (0, 3)})",
        "hash(7)",
        "isinstance({'a'}, set) and isinstance(set('a').union('b'), set) and not isinstance([], set)",
        "isinstance(dict(a=1).keys() - {'b'}, set) and isinstance(frozenset(), frozenset)",
        "repr(set[str])",
        "(lambda: {'a'})() == {'a'}",
    ],
)
def test_what_it_does_not_decide_is_the_same(expression: str, tmp_path: Path) -> None:
    here, there = value(tmp_path, expression)
    assert here == there
