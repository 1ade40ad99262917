"""Memory: kept between steps instead of fetched from the system anew, given back between runs."""

import ctypes
import gc
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt's names, <malloc.h>
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step.

    By default glibc returns every block over 32 MB to the system at once, and the system clears
    its pages when it is asked for again: at 512 px that is a sixth of a step. The process then
    holds its peak of memory until it ends.

    Returns:
        Whether the C library took it; others than glibc have no such setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))


def release() -> None:
    """Give back what a run held: cycles of objects, and on a GPU the cache of its allocator."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
