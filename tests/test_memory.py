"""Freed memory stays with the process."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
from src.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import torch
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(40):
    if i == 20:  # the heap has found its shape
        before = faults()
    torch.ones(2**22)  # 16 MB
    torch.ones(2**24)  # 64 MB
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_large_block_is_not_fetched_anew() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", SCRIPT, how]))
        for how in ("", "keep")
    }
    assert faults["keep"] < faults[""] / 10


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="malloc_trim is glibc's; elsewhere nothing is given back",
)
def test_freed_memory_goes_back_on_request() -> None:
    script = """
from tests.test_memory import rss
from src.core.memory import give_back_freed_memory, keep_freed_memory
import torch
keep_freed_memory()
block = torch.ones(2**25)  # 128 MB
kept = torch.ones(2**20)  # behind it
del block
before = rss()
assert give_back_freed_memory()
print(before - rss())
"""
    found = subprocess.check_output([sys.executable, "-c", script])
    assert int(found) > 100e6
