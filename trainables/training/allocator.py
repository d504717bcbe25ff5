"""Keep glibc's allocator from returning the large blocks of memory that PyTorch asks for on a CPU."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from pathlib import Path

# Numbers of mallopt(3)'s parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Bytes: the largest value of mallopt's int, and the largest M_MMAP_THRESHOLD of glibc before 2.35.
_KEPT, _KEPT_BEFORE = 2**31 - 1, 32 * 2**20


@functools.cache
def keep_pages() -> bool:
    """Make glibc's allocator keep freed pages for the next block; return False on any other C library.

    By default glibc returns each large block to the system as soon as it is freed, and the next training step gets
    pages that the system has to clear again: 130 to 190 page faults an image in AlexNet. Results are the same
    to the bit. Affects the whole process, once.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # M_MMAP_THRESHOLD makes blocks of any size come from the heap, M_TRIM_THRESHOLD keeps the heap's end.
    from_heap = any(mallopt(_MMAP_THRESHOLD, size) == 1 for size in (_KEPT, _KEPT_BEFORE))
    return from_heap and mallopt(_TRIM_THRESHOLD, _KEPT) == 1


def forget_peak() -> None:
    """Make the process's peak of resident memory (`ru_maxrss`) begin anew, where the system is Linux and allows it.

    Otherwise a trial that follows a larger one in the same worker would report that one's. Pages that `keep_pages` has
    kept are returned first.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
