"""A driver's memory after it has freed some."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

RESIDENT = """
from pathlib import Path
from search.heap import return_holes, return_pages

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
"""
LARGE = """
assert return_pages()
blocks = [bytearray(100_000) for _ in range(200)]
held = blocks[::20]
before = resident()
del blocks
assert before - resident() > 15_000_000, before - resident()
"""
SMALL = """
blocks = [bytearray(5_000) for _ in range(8_000)]
held = blocks[::100]
before = resident()
del blocks
still = resident()
assert return_holes()
assert before - still < 15_000_000, before - still  # as the allocator has it
assert before - resident() > 25_000_000, before - resident()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("script", [LARGE, SMALL], ids=["large blocks", "small blocks between others"])
def test_a_driver_returns_what_it_frees(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", RESIDENT + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
