"""From runs to a page: index.html, and a folder `gallery` beside it with what the page needs."""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from src.errors import InputError
from src.gallery.table import (
    Table,
    best,
    command,
    higher_is_better,
    in_order,
    make_table,
    sample,
    sweep_command,
    sweeps,
    title,
)
from src.gallery.thumbnails import Thumbnail, make_thumbnails
from src.runs import PASTICHE, Run, find_runs, write_text

HERE = Path(__file__).parent
PAGE = "index.html"
BESIDE = "gallery"
SHOWN = ("style", "content", "depth")  # the numbers under a picture, until others are chosen
TRADE_OFF = ("content", "style", "depth")  # the scatter's axes and colour, the same


def write_gallery(folder: Path) -> Path:
    """Write `folder`/index.html for all runs in it.

    Returns:
        The page.

    Raises:
        InputError: no such folder, no run in it, no run with a picture, or it cannot be written.
    """
    runs = find_runs(folder)
    beside = folder / BESIDE
    pictured = [run.path / PASTICHE for run in runs if run.pastiche]
    if not pictured:
        raise _no_picture(folder, runs)
    try:
        made = make_thumbnails(pictured, beside / "thumbnails", folder)
        thumbnails = dict(zip(pictured, made, strict=True))
        pictures = [thumbnails.get(run.path / PASTICHE) for run in runs]
        if not any(pictures):
            raise _no_picture(folder, runs)
        table = make_table(runs)
        write_text(beside / "charts.js", f"const CHARTS = {_json(charts(runs, pictures))};\n")
        write_text(beside / "plotly.min.js", get_plotlyjs())
        for name in ("gallery.css", "gallery.js"):
            shutil.copyfile(HERE / name, beside / name)
        write_text(folder / PAGE, render(folder, runs, table, pictures))
    except OSError as error:
        where = f"{error.filename or folder} ({error.strerror or error})"
        raise InputError("FOLDER", where, "a folder that can be written, with room") from error
    return folder / PAGE


def _no_picture(folder: Path, runs: Sequence[Run]) -> InputError:
    reason = next((run.reason for run in runs if run.reason), f"no readable {PASTICHE}")
    got = f"{folder}, whose {_count(len(runs), 'run')} left no picture (the first: {reason})"
    return InputError("FOLDER", got, f"at least one run with a {PASTICHE}")


def render(
    folder: Path, runs: Sequence[Run], table: Table, pictures: Sequence[Thumbnail | None]
) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: f"{value:.4g}".replace("e+0", "e")
    names = [_name(run, folder) for run in runs]
    shown = {
        name: [value if picture else None for value, picture in zip(column, pictures, strict=True)]
        for name, column in table.numbers.items()
    }
    weighed = [key for key in table.keys if key.startswith("loss.") or key.endswith(".weight")]
    return environment.get_template("page.html.jinja").render(
        title=title(runs, folder),
        several=len(runs) > 1,
        commands=_commands(runs),
        counts=_counts(runs),
        made=datetime.now(),
        keys=list(table.keys),
        numbers=list(table.numbers),
        numeric_keys=_numeric(table),
        best=[
            (name, i, table.numbers[name][i], names[i])
            for name, i in best(shown).items()
            if len(runs) > 1
        ],
        higher=[name for name in table.numbers if higher_is_better(name)],
        weighed=weighed,
        rows=table.rows,
        columns=table.columns,
        shown=_defaults(SHOWN, table),
        scatter=_defaults(TRADE_OFF, table),
        terms=_terms(runs),
        problems=[
            (i, names[i], status, reason, command(runs[i]))
            for i, (status, reason) in enumerate(map(_problem, runs, pictures))
            if reason
        ],
        data=_json(page_data(folder, runs, table, pictures)),
    )


def page_data(
    folder: Path, runs: Sequence[Run], table: Table, pictures: Sequence[Thumbnail | None]
) -> dict[str, Any]:
    """What the page's script reads: keys with their values in order, numbers, runs."""
    return {
        "keys": {name: in_order(column) for name, column in table.keys.items()},
        "numbers": {name: "high" if higher_is_better(name) else "low" for name in table.numbers},
        "runs": [
            {
                "name": _name(run, folder),
                "status": _problem(run, picture)[0],
                "reason": _problem(run, picture)[1],
                "keys": {name: column[i] for name, column in table.keys.items()},
                "numbers": {name: column[i] for name, column in table.numbers.items()},
                "picture": _url(run.path / PASTICHE, folder) if picture else None,
                "thumbnail": _url(picture.path, folder) if picture else None,
                "width": picture.width if picture else None,
                "height": picture.height if picture else None,
                "inputs": {name: _url(path, folder) for name, path in run.inputs.items()},
                "command": command(run),
            }
            for i, (run, picture) in enumerate(zip(runs, pictures, strict=True))
        ],
    }


def charts(runs: Sequence[Run], pictures: Sequence[Thumbnail | None]) -> dict[str, Any]:
    """What only the charts need: each run's terms by step (at most 200 rows), and an icon."""
    curves = []
    for run in runs:
        rows = sample(len(run.terms.get("step", [])))
        curves.append({name: [column[i] for i in rows] for name, column in run.terms.items()})
    return {"curves": curves, "icons": [picture.icon if picture else None for picture in pictures]}


def _problem(run: Run, picture: Thumbnail | None) -> tuple[str, str]:
    """A run's status and what is the matter with it, if anything."""
    if run.status == "done" and picture is None:
        what = "cannot be read as a picture" if run.pastiche else "is missing"
        return "unfinished", f"{PASTICHE} {what}"
    return run.status, run.reason


def _counts(runs: Sequence[Run]) -> str:
    counts = Counter(run.status for run in runs)
    order = [f"{number} {status}" for status, number in counts.most_common()]
    return f"{_count(len(runs), 'run')}: {', '.join(order)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _commands(runs: Sequence[Run]) -> list[str]:
    if len(runs) == 1:
        return [line for line in [command(runs[0])] if line]
    known = [sweep_command(sweep) for sweep in sweeps(runs)]
    known += [command(run) for run in runs if run.sweep is None]
    return list(dict.fromkeys(line for line in known if line))


def _defaults(wanted: Sequence[str], table: Table) -> list[str]:
    return [name for name in wanted if name in table.numbers] or list(table.numbers)[:2]


def _numeric(table: Table) -> list[str]:
    return [
        name
        for name, column in table.keys.items()
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
    ]


def _terms(runs: Sequence[Run]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.terms)
    return [name for name in names if name != "step"]


def _name(run: Run, folder: Path) -> str:
    path = run.path.relative_to(folder)
    name = path.as_posix() if path.parts else folder.resolve().name
    return os.fsencode(name).decode("utf-8", "replace")  # names on disk need not be UTF-8


def _url(path: Path, folder: Path) -> str:
    return quote(os.fsencode(path.relative_to(folder).as_posix()))


def _json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever texts are in it."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
