"""`python -m src.evaluate FOLDER... [--by KEY]`: measure finished runs, compare groups of them."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from src.core.errors import InputError, printable
from src.core.files import write_text
from src.core.memory import keep_freed_memory
from src.depth_nets import judge_file
from src.evaluate import comparison
from src.evaluate.comparison import LEGEND, MAIN, MIN_PHOTOS, Measured, group_runs, summarize
from src.metrics.evaluation import JUDGE, DepthEvaluator, Evaluation
from src.pipeline import config
from src.pipeline.networks import depth_network
from src.runs.comparison import run_names
from src.runs.quantities import columns
from src.runs.reader import METRICS, Run, find_runs

ABOUT = """\
Measure finished runs: style, content, depth, adherence to masks. Writes metrics.json into each run
and prints a table; docs/evidence.md says what the numbers are.
"""
WANDB = """\
W&B: a finished run that was tracked offline cannot be opened again, so these numbers are in
metrics.json and in the gallery, and in W&B's summary only of runs started with evaluate=true, which
are measured before they end.
"""
NO_JUDGE = "none"
REPORT = "evaluation"
BY = f"""\
medians of runs with the same value of a swept key, such as experiment, and their differences to the
first; written to {REPORT}.md and .csv in the first FOLDER
"""
JUDGE_FILE = """\
a depth network of your own in place of --judge: FILE[:depth][:imagenet] with FILE .onnx or .tflite,
`depth` where it gives depth and not disparity, `imagenet` where it takes colours of mean 0 and
deviation 1
"""
WIDTH = 200  # where the table goes into a file


def evaluate(options: argparse.Namespace, screen: Console) -> int:
    """Measure the runs in folders and print the table; returns the exit status."""
    if not options.folders:
        raise InputError("FOLDER", "nothing", "folders of runs or of sweeps")
    runs = {run.path.resolve(): run for folder in options.folders for run in find_runs(folder)}
    began = time.perf_counter()
    judge = DepthEvaluator()
    if options.judge_file:
        judge = DepthEvaluator("file", judge_file(options.judge_file, "--judge-file"))
    elif (name := options.judge) != NO_JUDGE:
        judge = DepthEvaluator(name, depth_network(name, options.judge_weights, "--judge"))
    evaluation = Evaluation(judge, screen)
    rows, problems = evaluation.measure(list(runs.values()), options.again)
    seconds = time.perf_counter() - began
    measured = [run for run in runs.values() if run.path in rows]
    values = [rows[run.path] for run in measured]
    if measured and options.by:
        groups = group_runs(measured, values, options.by.split(","))
        _compare(evaluation, measured, groups, options.folders[0] / REPORT)
    elif measured:
        metrics = columns() if options.all else MAIN
        table = comparison.runs_table(run_names(measured), values, metrics)
        screen.print(table.on_screen(comparison.caption(values)))
        if not options.all:
            screen.print(LEGEND, highlight=False)
    for path, why in problems.items():
        screen.print(
            printable(f"left out: {path}: {why}"), markup=False, highlight=False, soft_wrap=True
        )
    if not measured:
        print(f"error: none of {len(runs)} runs could be measured", file=sys.stderr)
        return 1
    screen.print(f"done: {METRICS} in {len(rows)} runs, {seconds / len(runs):.1f} s per run")
    return 0


def _compare(
    evaluation: Evaluation, runs: Sequence[Run], groups: Sequence[Measured], report: Path
) -> None:
    """Print medians by group and differences to the first, and write both as `report`.md, .csv."""
    screen, first = evaluation.screen, groups[0].group
    controls = [
        Measured(name, group.photo, group.pair, values)
        for run, group in zip(runs, groups, strict=True)
        if group.group == first
        for name, values in evaluation.controls(run).items()
    ]
    note = (
        f"{len(runs)} runs; photos: {len({group.photo for group in groups})}. Medians, with 95 % "
        f"bootstrap intervals where there are {MIN_PHOTOS} photos or more (photos are drawn). "
        + comparison.caption(group.values for group in groups)
    )
    everything = [*controls, *groups]
    table = comparison.summary_table(summarize(everything), everything)
    screen.print(table.on_screen())
    text = f"{note}\n\n{table.markdown()}"
    differences = summarize(groups, against=first)
    if any(differences.values()):
        title = f"Differences to {first}, of runs whose other swept keys agree:"
        table = comparison.summary_table(differences, groups)
        screen.print(title, table.on_screen(), sep="\n", markup=False, highlight=False)
        text += f"\n{title}\n\n{table.markdown()}"
    screen.print(note, highlight=False)
    write_text(report.with_suffix(".md"), text)
    names = [*(control.group for control in controls), *run_names(runs)]
    write_text(report.with_suffix(".csv"), comparison.numbers_csv(names, everything))
    screen.print(f"done: {report}.md, {report}.csv", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(prog="python -m src.evaluate", description=ABOUT, epilog=WANDB)
    folders = "of a run, of a sweep, or one above"
    parser.add_argument("folders", nargs="*", metavar="FOLDER", type=Path, help=folders)
    parser.add_argument("--again", action="store_true", help="measure also what has a metrics.json")
    parser.add_argument("--all", action="store_true", help="every number in the table, not five")
    parser.add_argument("--by", metavar="KEY[,KEY]", help=BY)
    judges = f"depth network: {JUDGE} (default), monodepth2, depth_anything_v2, or {NO_JUDGE}"
    parser.add_argument("--judge", default=JUDGE, metavar="NAME", help=judges)
    parser.add_argument("--judge-weights", metavar="PATH", help="its weights, if not its own")
    parser.add_argument("--judge-file", metavar="FILE", help=JUDGE_FILE)
    options = parser.parse_args(arguments)
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=WIDTH)
    return config.exit_status(lambda: evaluate(options, screen))


if __name__ == "__main__":
    sys.exit(main())
