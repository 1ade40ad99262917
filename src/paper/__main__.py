"""`python -m src.paper [--quick] [--pairs FOLDER]`: check the paper claim by claim."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from src import config as configuration
from src import jobs, masks
from src.backbones import vgg19
from src.evaluate.benchmark import argument
from src.inputs import Scene
from src.lightning import quiet
from src.memory import keep_freed_memory
from src.paper import figures, measure, page, timing
from src.paper.claims import CLAIMS, Verdict, decide
from src.paper.measure import Numbers, Part
from src.paper.plan import (
    FULL,
    OF_MASKS,
    QUICK,
    Scale,
    Setting,
    disparity_span,
    find_setting,
    load_network,
    make_runs,
    photo_of,
    plans,
)
from src.runs import Run

ABOUT = """\
Check "3D Neural Style Transfer" claim by claim: make the runs that are missing, measure them, write
report.html and report.json. Stopped, it goes on where it was.
"""
TITLES = {
    "style_mask_overhead": ("a masked style loss takes longer by", "1.32 %"),
    "content_mask_overhead": ("a masked content loss takes longer by", "1.68 %"),
    "style_mask_step_overhead": ("a whole step with a style mask, by", ""),
    "content_mask_step_overhead": ("a whole step with a content mask, by", ""),
}


def parts(network: measure.Backbone, scenes: list[Scene], setting: Setting) -> list[Part]:
    """What is measured, with the runs that it needs.

    Args:
        network: VGG-19, for distances in regions.
        scenes: the photos, the runs' first.
        setting: what the runs are made with.
    """
    of_masks = ("naive", "masked_style", "masked_content")
    of_depth = ("depth_none", "depth_paper")
    arguments = map(argument, OF_MASKS[setting.masks.used].items())
    config = configuration.compose("+experiment=paper_naive", *arguments)
    own = load_network(config)
    layers = [own.layer(layer) for layer in config["loss"]["style"]["layers"]]

    def needs(*keys: str) -> list[str]:
        return [name for key in keys for name in CLAIMS[key].needs]

    return [
        Part(needs("C1", "C2", "C3", "C5"), of_masks, measure.curves),
        Part(needs("C6", "C7"), of_masks, measure.obedience(network)),
        Part(needs("C8"), ("two_styles",), measure.two_styles(network)),
        Part(needs("C9", "C10"), (), lambda: measure.gram_facts(own, layers, scenes[0])),
        Part(needs("C11"), (), lambda: measure.separation(scenes)),
        Part(["depth_settings_differ"], (), measure.depth_settings),
        Part(
            ["depth_with", "depth_without", "depth_most", *needs("C13")],
            (*of_depth, "depth_most"),
            measure.depth_effect,
        ),
        Part(needs("C15"), of_depth, measure.sharpness),
        Part(needs("C16"), of_depth, measure.flat_detail),
        Part(needs("C17"), (), lambda: measure.ranges(own, layers, scenes[0])),
        Part(needs("C18"), (), lambda: measure.networks(setting)),
    ]


def times(numbers: Numbers, runs: Mapping[str, Run]) -> list[tuple[str, str, str]]:
    """The timing table: what, here, in the paper."""
    rows = [
        (what, f"{100 * numbers[name]:+.2f} %", paper)
        for name, (what, paper) in TITLES.items()
        if name in numbers
    ]
    for name, ours, paper in (
        ("monodepth2_over_naive", "a step with Monodepth2 over one without", "75.6 on a GPU"),
        ("depth_head_over_naive", "a step with the depth head over one without", ""),
    ):
        if name in numbers:
            rows.append((ours, f"{numbers[name]:.2f}", paper))
    known = {"naive": "0.098 s on a CPU", "depth_paper": "3.8 s on a CPU, 1.21 s on a GPU"}
    for name in ("naive", "masked_style", "masked_content", "two_styles", "depth_paper"):
        if name in runs and runs[name].summary.get("seconds_per_step"):
            run = runs[name].summary
            where = f"{run['seconds_per_step']:.3f} s on {run['device']}"
            rows.append((f"a step of the run {name}", where, known.get(name, "")))
    return rows


def facts(setting: Setting, photos: list[str], scene: Scene, span: float) -> dict[str, str]:
    """What the report was made with."""
    height, width = scene.image.shape[-2:]
    return {
        "photo": f"{photos[0]}, {width} x {height} pixels"
        + (f"; for C11 also {', '.join(photos[1:])}" if photos[1:] else ""),
        "steps": f"{setting.scale.steps} per run, one seed",
        **{what: choice.used for what, choice in setting.choices.items()},
        "the depth weights": "as in the paper"
        if span == 1
        else f"the paper's divided by {span:.3g}², since its depth network's disparity lies in "
        f"[0, 1] and spans {span:.3g} here",
        "times": f"measured on the processor, threads: {torch.get_num_threads()}, "
        f"torch {torch.__version__}",
    }


def stand_ins(setting: Setting) -> dict[str, str]:
    """What stands in for the paper's, and why."""
    return {
        f"{choice.used} stands in for {choice.wanted} as {what}.": choice.reason
        for what, choice in setting.choices.items()
        if choice.used != choice.wanted
    }


def make(scale: Scale, pairs: Path | None, folder: Path, command: str, screen: Console) -> Path:
    """Everything, from what is there to the report.

    Args:
        scale: how large.
        pairs: one's own photos with depth.
        folder: of the report.
        command: as it was typed.
        screen: where it is said what happens.

    Returns:
        The page.

    Raises:
        InputError: the photo cannot be had.
    """
    setting = find_setting(scale, pairs)
    for line, reason in stand_ins(setting).items():
        screen.print(f"{line} {reason}", markup=False, highlight=False, soft_wrap=True)
    scenes = [photo_of(photo, scale.short_side) for photo in setting.photos.values()]
    span = disparity_span(setting, scenes[0])
    made = [make_runs(plan, folder / "runs", screen) for _, plan in plans(setting, scenes[0], span)]
    runs, without = made[0]
    second = made[1][0] if len(made) > 1 else {}
    network, judge = vgg19(), jobs.depth_network("vgg_head")
    numbers, reasons = measure.gather(parts(network, scenes, setting), runs, without)
    screen.print("timing masks and depth networks")
    assert scenes[0].depth is not None
    mask = masks.sigmoid(scenes[0].depth, 0.8, 20, invert=True)
    timed = Part(
        [*CLAIMS["C4"].needs, *CLAIMS["C14"].needs],
        (),
        lambda: timing.measured(
            folder, setting, next(iter(setting.photos.values())), scenes[0].image, mask
        ),
    )
    of_time, why_not = measure.gather([timed], runs, without)
    numbers |= of_time
    verdicts = decide(numbers, reasons | why_not)
    report = page.Report(
        verdicts=verdicts,
        numbers=numbers,
        facts=facts(setting, list(setting.photos), scenes[0], span),
        stand_ins=stand_ins(setting),
        problems=without,
        figures=figures.of_paper(runs, without, second),
        timings=times(numbers, runs),
        findings=[figures.eta(numbers, runs, without), figures.unstable(judge, runs, without)],
        command=command,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    screen.print(table(verdicts))
    return page.write(report, folder)


def table(verdicts: Mapping[str, Verdict]) -> Table:
    """The verdicts on the screen."""
    shown = Table("claim", "measured", "verdict")
    for key, verdict in verdicts.items():
        shown.add_row(key, verdict.measured, verdict.verdict)
    return shown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m src.paper", description=ABOUT)
    made.add_argument("--quick", action="store_true", help="small and short: a few minutes")
    made.add_argument(
        "--pairs",
        type=Path,
        metavar="FOLDER",
        help="one's own photos NAME_rgb.* with NAME_depth.*; else NYU's where prepared, else the "
        "built-in one",
    )
    made.add_argument("--output-dir", default="outputs", metavar="FOLDER", help="default: outputs")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    given = parser().parse_args(arguments)
    keep_freed_memory()
    quiet()
    typed = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "src.paper", *typed])
    scale = QUICK if given.quick else FULL
    try:
        made = make(scale, given.pairs, Path(given.output_dir) / "paper", command, Console())
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0"):
            raise
        print(f"error: {configuration.explain(error, [])}", file=sys.stderr)
        return 1
    print(f"done: {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
