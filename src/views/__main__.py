"""`python -m src.views FOLDER [--only NAME,...]`: what a finished picture's depth is good for."""

import argparse
import sys
from pathlib import Path
from typing import get_type_hints

from src.core.errors import InputError, printable
from src.core.memory import keep_freed_memory
from src.core.settings import check_value
from src.pipeline.config import exit_status
from src.pipeline.views import FOLDER, WRITERS, ViewOptions, make_views, select
from src.rendering.layers import MOST_STRENGTH
from src.rendering.motion import MOTIONS
from src.runs.reader import find_runs

ABOUT = f"""\
Views of finished runs in three dimensions, into RUN/{FOLDER}/: loops, pictures for two eyes, a
mesh, a page that follows the pointer, files for other programs. docs/views.md shows them.
"""


def views(arguments: argparse.Namespace) -> None:
    """Make the views of every run in a folder."""
    hints = get_type_hints(ViewOptions, include_extras=True)
    values = {name: check_value(f"--{name}", vars(arguments)[name], hints[name]) for name in hints}
    options = ViewOptions(**values)
    files = select(arguments.only)
    runs, problems = find_runs(arguments.folder), []
    for run in runs:
        try:
            paths = make_views(run, options, files)
        except InputError as error:
            problems.append((run, error))
            continue
        for path in paths:
            print(printable(f"done: {path}"), flush=True)
    if len(problems) == len(runs) == 1:
        raise problems[0][1]
    for run, problem in problems:
        print(printable(f"left out: {run.path}: {problem}"), file=sys.stderr)
    if len(problems) == len(runs):
        raise InputError("FOLDER", f"{len(runs)} runs without views", "one that is done")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(prog="python -m src.views", description=ABOUT)
    parser.add_argument("folder", metavar="RUN", type=Path, help="a run, a sweep, or one above")
    names = ", ".join(dict.fromkeys(name.partition(".")[0] for name in WRITERS))
    parser.add_argument("--only", default="", metavar="NAME,...", help=f"of {names}; or files")
    motions = f"of the loop: {', '.join(MOTIONS)} (circle)"
    parser.add_argument("--motion", default=ViewOptions.motion, metavar="NAME", help=motions)
    parser.add_argument(
        "--seconds", default=ViewOptions.seconds, type=float, help="of the loop (3)"
    )
    strength = f"of all movement and of stereo: 1, up to {MOST_STRENGTH:g}"
    parser.add_argument("--strength", default=ViewOptions.strength, type=float, help=strength)
    size = f"long side in pixels at most ({ViewOptions.size})"
    parser.add_argument("--size", default=ViewOptions.size, type=int, metavar="PIXELS", help=size)
    paint = "paint what silhouettes hide as the run itself would: minutes, once per run"
    parser.add_argument("--paint", action="store_true", help=paint)
    options = parser.parse_args(arguments)
    return exit_status(lambda: views(options))


if __name__ == "__main__":
    sys.exit(main())
