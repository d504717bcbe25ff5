"""The report on known vulnerabilities says what it knows, and that it knows nothing where it does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / ".ci" / "audit.py")
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

FINE: dict[str, Any] = {"name": "fine", "version": "1.0", "vulns": []}
HOLE: dict[str, Any] = {"name": "hole", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1", "3.0"]}]}
UNKNOWN: dict[str, Any] = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "lines"),
    [
        ([FINE, HOLE], ["hole 2.0: CVE-1, fixed in 2.1, 3.0", "pip-audit: 1 known vulnerabilities in 2 of 2 packages"]),
        ([FINE, UNKNOWN], ["pip-audit: 0 known vulnerabilities in 1 of 2 packages"]),
        # To find nothing where nothing could be looked up is no good news.
        ([UNKNOWN], ["pip-audit: no report, its service knows none of the 1 packages"]),
    ],
)
def test_report(packages: list[dict[str, Any]], lines: list[str]) -> None:
    assert audit.report(json.dumps({"dependencies": packages, "fixes": []})).splitlines() == lines


@pytest.mark.parametrize("output", ["", "{", "[]", '{"error": 1}'])
def test_no_answer(output: str) -> None:
    assert audit.report(output) == "pip-audit: no report, its service could not be reached"
