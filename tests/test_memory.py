"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from src.memory import keep_freed_memory
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
