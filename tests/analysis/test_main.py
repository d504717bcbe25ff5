"""`python -m analysis`: the commands, and where to go from there."""

import importlib
import subprocess
import sys

import pytest

from analysis import __main__ as listing


def test_lists_every_command_with_what_it_tells(capsys):
    assert listing.main([]) == 0
    said = capsys.readouterr().out
    for name in ("claims", "compare", "evidence_tables", "importance", "optuna_export", "pareto", "report"):
        assert f"  {name} " in said
        assert callable(importlib.import_module(f"analysis.{name}").main)
    assert "  load " not in said
    assert "Judge each claim of a note" in said


@pytest.mark.parametrize("argument", ["claims", "--format"])
def test_arguments_are_a_commands(argument, capsys):
    assert listing.main([argument]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert repr(argument) in said
    assert ("python -m analysis.claims" in said) == (argument == "claims")


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "analysis", "--help"], capture_output=True, text=True, check=True)
    assert "importance" in done.stdout
