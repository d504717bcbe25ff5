"""What is known against the packages that are installed, as a report: it never fails a build."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SECONDS = 300


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"pip-audit: no report, its service did not answer within {SECONDS} s")
        return
    print(report(done.stdout))


def report(output: str) -> str:
    """A line a vulnerability and one on all of them, from pip-audit's JSON ("" where it had nothing to say)."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return "pip-audit: no report, its service could not be reached"
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return f"pip-audit: no report, its service knows none of the {len(packages)} packages"
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in known
        for found in package["vulns"]
    ]
    of = f"{len(known)} of {len(packages)} packages"
    return "\n".join([*lines, f"pip-audit: {len(lines)} known vulnerabilities in {of}"])


if __name__ == "__main__":
    main()
