"""`python -m src.paper [--quick] [--pairs FOLDER]`: check the paper claim by claim."""

import argparse
import shlex
import sys
from datetime import datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from src.core.lightning import quiet
from src.core.memory import keep_freed_memory
from src.inputs import load_scene
from src.paper import claims_depth, claims_masks, figures, page  # noqa: F401  claims register
from src.paper.evidence import Evidence
from src.paper.plan import FULL, QUICK, Scale, disparity_span, find_setting, make_runs, sweeps
from src.paper.verdict import decide
from src.pipeline.config import exit_status

ABOUT = "Check the paper claim by claim: make missing runs, measure, write a report. It resumes."
PAIRS = (
    "one's own photos NAME_rgb.* with NAME_depth.*; else NYU's where prepared, else the built-in"
)


def make(scale: Scale, pairs: Path | None, folder: Path, command: str, screen: Console) -> Path:
    """Make the runs that are missing, judge, write the report; its page is returned."""
    setting = find_setting(scale, pairs)
    choices = setting.masks, setting.depth, setting.depth_net, setting.far, setting.near
    substitutions = [
        f"{choice.used} is used instead of {choice.paper} as {choice.what}. {choice.reason}"
        for choice in choices
        if choice.used != choice.paper
    ]
    for line in substitutions:
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    photos = [*setting.photos.values()]
    scenes = [
        load_scene(x["content"], depth_path=x.get("depth.path"), short_side=scale.short_side)
        for x in photos
    ]
    span = disparity_span(setting, scenes[0])
    runs = make_runs(sweeps(setting, photos[0], span), folder / "runs", screen)
    evidence, second = Evidence(setting, scenes, *runs), None
    if len(photos) > 1:  # Figure 10 is Figure 9 of another photo
        *_, depth = sweeps(setting, photos[1], span)
        pair = {name: depth.values[name] for name in ("depth_none", "depth_paper")}
        runs = make_runs([depth._replace(values=pair)], folder / "runs", screen)
        second = Evidence(setting, scenes[1:], *runs)
    screen.print("measuring")
    verdicts = decide(evidence)
    table = Table("claim", "measured", "verdict")
    for key, verdict in verdicts.items():
        table.add_row(key, verdict["measured"], verdict["verdict"])
    screen.print(table)
    weights = f"the paper's / {span:.3g}²: its network's disparity spans 1, this one's {span:.3g}"
    height, width = scenes[0].image.shape[-2:]
    report = {
        "claims": verdicts,
        "facts": {
            "photos": f"{', '.join(setting.photos)}; the first, {width} x {height} pixels, for "
            "all but C11 and Figure 10",
            "steps": f"{scale.steps} per run, one seed",
            **{choice.what: choice.used for choice in choices},
            "the depth weights": "as in the paper" if span == 1 else weights,
            "times": f"torch {torch.__version__}, processor, threads: {torch.get_num_threads()}",
        },
        "substitutions": substitutions,
        "problems": evidence.missing,
        "command": command,
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
    }
    return page.write(report, figures.of_paper(evidence, second), folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    line = argparse.ArgumentParser(prog="python -m src.paper", description=ABOUT)
    line.add_argument("--quick", action="store_true", help="small and short: a few minutes")
    line.add_argument("--pairs", type=Path, metavar="FOLDER", help=PAIRS)
    line.add_argument("--output-dir", default="outputs", metavar="FOLDER", help="default: outputs")
    given = line.parse_args(arguments)
    keep_freed_memory()
    quiet()
    typed = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "src.paper", *typed])
    scale = QUICK if given.quick else FULL
    folder = Path(given.output_dir) / "paper"

    def report() -> None:
        print(f"done: {make(scale, given.pairs, folder, command, Console())}")

    return exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
