"""The C heap of a program that computes on the CPU: freed memory is kept, in large pages."""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

# <malloc.h> and <sys/mman.h>
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX, MADV_HUGEPAGE = -1, -4, -8, 14
HUGE_PAGE = 2**21
IN_LARGE_PAGES = 2**32  # bytes of address space; none of it is memory before it is used
PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage")


def keep() -> bool:
    """Keep what is freed for what is allocated next, before JAX begins its threads.

    XLA allocates the buffers of a step anew at every step. glibc gives blocks of that size back to
    the kernel, which hands out zeroed pages of 4 KiB the next time (docs/training.md has what that
    costs). So all threads share one heap, which is never trimmed and begins in pages of 2 MiB where
    the kernel has them for who asks.

    Returns:
      Whether it was done: not for an accelerator, not without glibc, and not where the environment
      says something of malloc itself (`MALLOC_...`, `GLIBC_TUNABLES`, `LD_PRELOAD`).
    """
    if sys.platform != "linux" or chosen(os.environ) or accelerated(os.environ):
        return False
    c = ctypes.CDLL(None)
    if not hasattr(c, "gnu_get_libc_version"):
        return False
    for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
        c.mallopt(option, value)
    enlarge(c)
    return True


def chosen(environment: Mapping[str, str]) -> bool:
    """Whether the user has chosen how memory is allocated."""
    return any(
        name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")
        for name in environment
    )


def accelerated(environment: Mapping[str, str]) -> bool:
    """Whether JAX would compute elsewhere than on the CPU, as far as one can tell without it."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms != "cpu"
    return plugged()


@functools.cache
def plugged() -> bool:
    """Whether something for an accelerator is installed."""
    import importlib.metadata  # here: twenty milliseconds of a program that prints its help
    import importlib.util

    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None


def enlarge(c: Any) -> None:
    """Let the heap grow once, so that its address space can be asked for in large pages."""
    try:
        if int((PAGES / "hpage_pmd_size").read_text()) != HUGE_PAGE:
            return  # of 512 MiB on some kernels: too large for what lies between
    except (OSError, ValueError):
        return
    c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    c.free.argtypes = [ctypes.c_void_p]
    c.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = c.malloc(IN_LARGE_PAGES)
    if not block:
        return
    first = -(-block // HUGE_PAGE) * HUGE_PAGE
    last = (block + IN_LARGE_PAGES) // HUGE_PAGE * HUGE_PAGE
    c.madvise(first, last - first, MADV_HUGEPAGE)
    c.free(block)
