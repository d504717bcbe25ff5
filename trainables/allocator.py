"""How the C library's allocator treats the large blocks in which PyTorch asks for memory on a CPU."""

from __future__ import annotations

import ctypes
import functools
import platform

# Parameters of mallopt(3), numbered in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Bytes: the largest that mallopt's int takes, and what glibc before 2.35 takes at most as M_MMAP_THRESHOLD.
_KEPT, _KEPT_BEFORE = 2**31 - 1, 32 * 2**20


@functools.cache
def keep_pages() -> bool:
    """Tell glibc's allocator to keep freed pages for the next block; return False on any other C library.

    By default glibc returns each large block to the system as it is freed, and the next training step meets
    pages that the system has to clear again: 130 to 190 page faults an image in AlexNet. Results are the same
    to the bit. Affects the whole process, once.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The first makes blocks of any size come from the heap, the second keeps the heap's end.
    from_heap = any(mallopt(_MMAP_THRESHOLD, size) == 1 for size in (_KEPT, _KEPT_BEFORE))
    return from_heap and mallopt(_TRIM_THRESHOLD, _KEPT) == 1
