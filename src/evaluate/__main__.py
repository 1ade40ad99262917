"""`python -m src.evaluate FOLDER...`: measure finished runs; `--benchmark`: run a list of them."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from src import config as configuration
from src.errors import InputError
from src.evaluate import benchmark, report
from src.evaluate.evaluation import JUDGE, NO_JUDGE, Evaluation
from src.evaluate.files import PAINTING, PHOTO
from src.memory import keep_freed_memory
from src.runs import METRICS, find_runs, write_text

ABOUT = """\
Measure finished runs: style, content, depth, obedience to masks. Writes metrics.json into each run
and prints a table; docs/evidence.md says what the numbers are.
"""
WANDB = """\
W&B: a finished run that was tracked offline cannot be opened again, so these numbers are in
metrics.json and in the gallery, and in W&B's summary only of runs started with evaluate=true, which
are measured before they end.
"""


def evaluate(arguments: argparse.Namespace, screen: Console) -> int:
    """Measure the runs in folders; returns the exit status."""
    folders = [Path(name) for name in arguments.names]
    if not folders:
        raise InputError("FOLDER", "nothing", "folders of runs or of sweeps, or --benchmark")
    found = {run.path.resolve(): run for folder in folders for run in find_runs(folder)}
    began = time.perf_counter()
    evaluation = Evaluation(arguments.judge, arguments.judge_weights, screen)
    rows, without = evaluation.runs(list(found.values()), arguments.again)
    seconds = time.perf_counter() - began
    if rows:
        measured = [run for run in found.values() if run.path in rows]
        values = [rows[run.path] for run in measured]
        named = list(zip(report.run_names(measured), values, strict=True))
        screen.print(report.runs_table(named))
    _say_without({str(path): why for path, why in without.items()}, screen)
    if not rows:
        print(f"error: none of {len(found)} runs could be measured", file=sys.stderr)
        return 1
    screen.print(f"done: {METRICS} in {len(rows)} runs, {seconds / len(found):.1f} s per run")
    return 0


def run_benchmark(arguments: argparse.Namespace, screen: Console) -> int:
    """Run what is missing of the benchmark, measure, print the table; returns the exit status."""
    settings = dict(benchmark.QUICK) if arguments.quick else {}
    given = {"size": arguments.size, "steps": arguments.steps}
    settings |= {key: value for key, value in given.items() if value is not None}
    plan = benchmark.read_plan(arguments.names, arguments.pairs, settings)
    jobs, without = benchmark.jobs(plan)
    _say_without(without, screen)
    folder = Path(arguments.output_dir)
    there = benchmark.done(folder)
    missing = [job for job in jobs if job.config_hash not in there]
    screen.print(f"{len(jobs)} runs, {len(missing)} of them missing")
    for line in benchmark.commands(missing, plan, folder / "runs"):
        if not benchmark.run(line):
            screen.print(
                f"some of these failed: {shlex.join(line[1:])}", markup=False, soft_wrap=True
            )
    there = benchmark.done(folder)
    made = [(job, there[job.config_hash]) for job in jobs if job.config_hash in there]
    evaluation = Evaluation(arguments.judge, arguments.judge_weights, screen)
    rows, problems = evaluation.runs([run for _, run in made], arguments.again)
    _say_without({str(path): why for path, why in problems.items()}, screen)
    if not rows:
        print(f"error: none of {len(jobs)} runs could be made and measured", file=sys.stderr)
        return 1
    first = next(iter(plan.methods))
    usable = [(job, run) for job, run in made if run.path in rows]
    measured = [
        report.Measured(name, job.photo, job.style, values)
        for job, run in usable
        if job.method == first
        for name, values in evaluation.controls(run).items()
    ]
    measured += [
        report.Measured(job.method, job.photo, job.style, rows[run.path]) for job, run in usable
    ]
    _write_tables(measured, first, folder, screen)
    return 0


def _write_tables(
    runs: Sequence[report.Measured], first: str, folder: Path, screen: Console
) -> None:
    photos = {run.photo for run in runs}
    note = (
        f"{len(photos)} photos and {len({run.style for run in runs})} paintings, each with each. "
        "Medians, with 95 % bootstrap intervals where there are three photos or more (photos are "
        "drawn). " + report.caption(run.values for run in runs)
    )
    summary = report.starred(report.summarize(runs), runs)
    of_methods = [run for run in runs if run.method not in (PHOTO, PAINTING)]
    differences = report.starred(report.summarize(of_methods, against=first), runs)
    screen.print(report.summary_table(summary))
    between = f"Differences to {first}, run by run with the same photo and painting"
    text = f"{note}\n\n{report.markdown(summary)}"
    if differences:
        screen.print(f"{between}:")
        screen.print(report.summary_table(differences))
        text += f"\n{between}:\n\n{report.markdown(differences)}"
    screen.print(note, highlight=False)
    write_text(folder / "benchmark.md", text)
    write_text(folder / "benchmark.csv", report.comma_separated(runs))
    screen.print(f"done: {folder / 'benchmark.md'}, {folder / 'benchmark.csv'}")


def _say_without(without: Mapping[str, str], screen: Console) -> None:
    for name, why in without.items():
        screen.print(f"left out: {name}: {why}", markup=False, highlight=False, soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m src.evaluate", description=ABOUT, epilog=WANDB)
    made.add_argument(
        "names",
        nargs="*",
        metavar="FOLDER",
        help="of a run, of a sweep, or one above; with --benchmark keys of conf/benchmark.yaml",
    )
    made.add_argument("--again", action="store_true", help="measure also what has a metrics.json")
    made.add_argument(
        "--judge",
        default=JUDGE,
        metavar="NAME",
        help=f"depth network: {JUDGE} (default), monodepth2, depth_anything_v2, or {NO_JUDGE}",
    )
    made.add_argument("--judge-weights", metavar="PATH", help="its weights, if not its own")
    group = made.add_argument_group("benchmark")
    group.add_argument(
        "--benchmark", action="store_true", help="run what is missing of conf/benchmark.yaml"
    )
    group.add_argument(
        "--pairs",
        type=Path,
        metavar="FOLDER",
        help="one's own photos NAME_rgb.* with NAME_depth.*, or a YAML file with parts of the list",
    )
    group.add_argument("--size", type=int, metavar="PX", help="long side of the pastiches")
    group.add_argument("--steps", type=int, metavar="N", help="steps of every run")
    group.add_argument(
        "--quick", action="store_true", help="small and short: it shows that it runs"
    )
    group.add_argument("--output-dir", default="outputs/benchmark", metavar="FOLDER")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    keep_freed_memory()
    given = parser().parse_args(arguments)
    command = run_benchmark if given.benchmark else evaluate
    try:
        return command(given, report.console())
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0"):
            raise
        print(f"error: {configuration.explain(error, [])}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
