"""Memory: kept between steps, given back to the system between runs."""

import ctypes
import gc
import sys
from collections.abc import Callable

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt's names, <malloc.h>
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step; whether it can, as glibc does.

    By default glibc returns every block over 32 MB to the system at once, and the system clears
    its pages when it is asked for again: at 512 px that is a sixth of a step.
    """
    mallopt = _of_the_c_library("mallopt")
    return mallopt is not None and bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST)
    )


def give_back_freed_memory() -> bool:
    """Give free memory to the system, for blocks of other sizes; whether it could."""
    malloc_trim = _of_the_c_library("malloc_trim")
    return malloc_trim is not None and malloc_trim(0) >= 0


def _of_the_c_library(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
    return function


def release() -> None:
    """Give back what a run held: cycles of objects, and on a GPU the cache of its allocator."""
    gc.collect()
    give_back_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
