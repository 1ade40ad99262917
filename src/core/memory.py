"""Memory: what is left of it, kept between steps, given back to the system between runs."""

import ctypes
import gc
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt's names, <malloc.h>
LARGEST = 2**31 - 1
NO_LIMIT = 2**60  # bytes; cgroups without a limit of their own say a number above
ROOT = Path("/")


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


def available(root: Path = ROOT) -> int | None:
    """Bytes that this process can still take; None where the system does not say, as outside Linux.

    The least of what the system has, what the process's cgroups leave (version 1 or 2, and those
    above them), and what its limits of address space and of data leave (`ulimit -v`, `-d`). Files
    in the system's cache count as free where nobody has used them lately. `root` holds /proc, /sys.
    """
    left = [*_left_by_cgroups(root), *_left_by_limits(root)]
    left += _numbers(root / "proc/meminfo", "MemAvailable")
    return max(0, min(left)) if left else None


def resident(root: Path = ROOT) -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    return sum(_numbers(root / "proc/self/status", "VmRSS"))


def _left_by_cgroups(root: Path) -> Iterator[int]:
    """Of every group with a limit that the process is in: the limit less what cannot be freed."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = ("memory.max", "memory.current", "inactive_file")
        mount = root / "sys/fs/cgroup"
        if controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mount /= "memory"
            if "memory" not in controllers.split(","):
                continue
        group = Path(path.lstrip("/"))
        # In a container the path may be that of the host, of which only the top is there.
        for folder in (mount / group, *(mount / above for above in group.parents)):
            limit, used = (_text(folder / name).strip() for name in names[:2])
            if limit.isdigit() and used.isdigit() and int(limit) < NO_LIMIT:
                yield int(limit) - int(used) + sum(_numbers(folder / "memory.stat", names[2]))


def _left_by_limits(root: Path) -> Iterator[int]:
    limits = _text(root / "proc/self/limits")
    for name, use in (("Max address space", "VmSize"), ("Max data size", "VmData")):
        limit = re.search(rf"^{name}\s+(\d+)", limits, re.MULTILINE)
        if limit is not None:
            yield from (int(limit[1]) - taken for taken in _numbers(root / "proc/self/status", use))


def _numbers(file: Path, name: str) -> list[int]:
    """The bytes of a line `name: 12 kB` or `name 12` of a file, if there is one."""
    found = re.search(rf"^{name}:?\s+(\d+)( kB)?$", _text(file), re.MULTILINE)
    return [] if found is None else [int(found[1]) * (1024 if found[2] else 1)]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
