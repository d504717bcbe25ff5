"""Keep a long-lived process from growing by memory that it has freed: return freed pages to the system (glibc only)."""

from __future__ import annotations

import ctypes
import platform

# Numbers of mallopt(3)'s parameters, from glibc's malloc.h, and the bytes from which on freed blocks are returned.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_RETURNED = 32 * 2**10

_LIBRARY = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def return_pages() -> bool:
    """Make the allocator return freed blocks at once; return False on another C library.

    A driver writes ever larger tables: its heap would grow by what no longer fits the holes in it.
    """
    return _LIBRARY is not None and all(
        _LIBRARY.mallopt(option, _RETURNED) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)
    )


def share_heap() -> bool:
    """Let all threads that start from now on share the main thread's heap; return False on another C library.

    By default each gets a heap of its own, up to 8 a core, and what is freed in one heap serves no other: the threads
    that report Ray's metrics fill one after the other.
    """
    return _LIBRARY is not None and bool(_LIBRARY.mallopt(_ARENA_MAX, 1))


def return_holes() -> bool:
    """Return whole free pages between blocks in use, which takes some milliseconds; return False on another C library.

    Small blocks come from the heap whatever `return_pages` asks for, and by itself only its end is returned.
    """
    return _LIBRARY is not None and bool(_LIBRARY.malloc_trim(0))
