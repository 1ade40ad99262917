"""What whole commands cost: start-up, memory, the largest picture. Each runs by itself."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from src.bench.peer import same_as_peer
from src.bench.steps import save_inputs

# A small process that runs a command and prints what it took: what a process is told to have taken
# includes what its parent had when it was started.
RSS_PROBE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def run_python(arguments: Sequence[str]) -> float:
    """Run Python with these arguments; the most memory in GB that it took. Raises if it fails."""
    command = [sys.executable, "-c", RSS_PROBE, sys.executable, *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(printed) / (2**30 if sys.platform == "darwin" else 2**20)


def startup(rounds: int, overrides: Sequence[str]) -> dict[str, list[float]]:
    """Seconds to the first step of `masked_style`, and of the peer with no steps, in turn."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        ours = ["-m", "src.run", "+experiment=masked_style", "steps=1", *overrides]
        peer = _peer(save_inputs(512, Path(folder)), 512, 0)
        for i in range(rounds):
            run_python([*ours, f"output_dir={folder}/{i}"])
            (summary,) = Path(folder, str(i)).glob("*/*/summary.json")
            seconds["ours"].append(json.loads(summary.read_text())["startup_seconds"])
            began = time.perf_counter()
            run_python(peer)
            seconds["peer"].append(time.perf_counter() - began)
    return seconds


def _peer(files: Mapping[str, Path], size: int, count: int) -> list[str]:
    command = f"-m pastiche --size {size} --style-size {size} --num-steps {count}".split()
    content, style = str(files["content"]), str(files["style"])
    return [*command, "--content", content, "--styles", style, "--output", f"{content}.out.png"]


def peak_memory(size: int, count: int, overrides: Sequence[str]) -> dict[str, float]:
    """Most memory in GB that a run of some steps takes: the median of three, since it varies."""
    memory: dict[str, list[float]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        files = save_inputs(size, Path(folder))
        settings = [*same_as_peer(files, size), f"steps={count}", "tracking=off", *overrides]
        for _ in range(3):
            ours = ["-m", "src.run", *settings, f"output_dir={folder}"]
            memory["ours"].append(run_python(ours))
            memory["peer"].append(run_python(_peer(files, size, count)))
    return {name: median(values) for name, values in memory.items()}


def largest_picture(sizes: Sequence[int], overrides: Sequence[str]) -> int:
    """The longest side in pixels, of some in rising order, at which a run still fits; 0: none."""
    largest = 0
    arguments = ["+experiment=naive", "style_size=512", "steps=1", "tracking=off", *overrides]
    with tempfile.TemporaryDirectory() as folder, suppress(subprocess.CalledProcessError):
        for size in sizes:
            run_python(["-m", "src.run", *arguments, f"size={size}", f"output_dir={folder}"])
            largest = size
    return largest
