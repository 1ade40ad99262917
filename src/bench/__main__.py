"""`python -m src.bench [--quick]`: what a step costs, as ratios within one run, beside a peer.

Machines are noisy, so all is measured in turn, inside one fit. A figure's limit is what it would be
if convolutions and matrix products ran at the machine's best rate and nothing else took time.
"""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from src.bench.processes import largest_picture, peak_memory, startup
from src.bench.steps import dtype_of, time_steps, time_to_peer
from src.bench.timing import peak_flops, ratio
from src.core.errors import InputError
from src.core.files import write_text
from src.core.memory import keep_freed_memory
from src.pipeline.config import compose

RATIOS = {  # what is timed over what
    "step_over_bare": ("step", "forward_backward"),
    "step_over_peer": ("step", "peer"),
    "wasserstein_over_gram": ("naive", "gram"),
    "masked_style_over_naive": ("masked_style", "naive"),
    "masked_content_over_naive": ("masked_content", "naive"),
    "two_styles_over_naive": ("two_styles", "naive"),
    "depth_head_over_naive": ("depth_loss", "naive"),
    "monodepth2_over_naive": ("monodepth2", "naive"),
}
ROUNDS, QUICK_ROUNDS = {256: 40, 512: 20}, {256: 6}  # of a step, by long side in pixels


def measure(quick: bool, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """The "figures", the "limits" of those that have one, and the "details" of both."""
    figures, limits, details = dict[str, float](), dict[str, float](), dict[str, Any]()
    ours, peer = peak_flops(dtype_of(overrides)), peak_flops(torch.float32)
    for size, rounds in (QUICK_ROUNDS if quick else ROUNDS).items():
        seconds, operations = time_steps(size, rounds, overrides)
        least = {name: x / (peer if name == "peer" else ours) for name, x in operations.items()}
        for name, values in seconds.items():
            figures[f"{name}_seconds_{size}"] = median(values)
            limits[f"{name}_seconds_{size}"] = least[name]
        for name, (of, to) in RATIOS.items():
            figures[f"{name}_{size}"] = ratio(seconds, of, to)
            limits[f"{name}_{size}"] = least[of] / least[to]
            if to == "naive":
                figures[name] = figures[f"{name}_{size}"]
        details[f"steps_{size}"] = {"seconds": seconds, "operations": operations}
    started = startup(1 if quick else 5, overrides)
    figures["startup_seconds"] = median(started["ours"])
    figures["startup_over_peer"] = ratio(started, "ours", "peer")
    if not quick:
        for optimizer in ("adam", "lbfgs"):
            race = details[optimizer] = time_to_peer(optimizer, 384, 300, overrides)
            figures[f"time_to_peer_{optimizer}"] = race["ratio"]
        memory = details["peak_memory_1024_gb"] = peak_memory(1024, 5, overrides)
        figures["peak_memory_over_peer_1024"] = memory["ours"] / memory["peer"]
        figures["largest_picture"] = largest_picture((1024, 2048, 4096), overrides)
    details["operations_per_second"] = {"ours": ours, "peer": peer}
    return {"figures": figures, "limits": limits, "details": details}


def main() -> None:
    """Measure, print a table, write bench.json."""
    parser = argparse.ArgumentParser(prog="python -m src.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="steps and start-up only: two minutes")
    parser.add_argument("--output-dir", default="outputs", help="default: outputs")
    parser.add_argument("overrides", nargs="*", help="settings of our runs: precision=float32")
    arguments = parser.parse_args()
    keep_freed_memory()
    try:
        compose("+experiment=naive", *arguments.overrides)  # refuses before the work
    except InputError as error:
        sys.exit(f"error: {error}")

    report = {
        "device": f"cpu, {torch.get_num_threads()} threads",
        "precision": str(dtype_of(arguments.overrides)).removeprefix("torch."),
        "torch": torch.__version__,
        "overrides": arguments.overrides,
        **measure(arguments.quick, arguments.overrides),
    }
    table = Table("figure", "value", "limit")
    for name, value in report["figures"].items():
        limit = report["limits"].get(name)
        table.add_row(name, f"{value:.4g}", "" if limit is None else f"{limit:.4g}")
    Console().print(table)
    folder = Path(arguments.output_dir) / "bench" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder.mkdir(parents=True)
    write_text(folder / "bench.json", json.dumps(report, indent=2) + "\n")
    print(f"done: {folder / 'bench.json'}")


if __name__ == "__main__":
    main()
