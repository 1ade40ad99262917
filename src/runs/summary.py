"""Where a result came from: the versions, the commit, the process."""

import functools
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results depend on."""
    packages = ("torch", "pytorch-lightning", "hydra-core", "wandb", "numpy")
    releases = {package: metadata.version(package) for package in packages}
    return {"python": sys.version.split()[0], **releases}


@functools.cache
def git_commit() -> str | None:
    """Of this program; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return output.stdout.strip()


def process_start() -> float:
    """When this process started, in seconds since 1970; nearly, on systems without /proc."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time() - time.process_time()  # starting up is mostly computing, not waiting
