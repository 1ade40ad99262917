"""From runs to a page: index.html, and a folder `gallery` beside it with what the page needs."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from src.core.errors import InputError, printable
from src.core.files import write_text
from src.gallery.sheet import write_sheet
from src.gallery.table import Table, best, commands, in_order, make_table, sample, title
from src.gallery.thumbnails import Pictures, make_thumbnails
from src.runs.quantities import HIGHER, LOWER, NEITHER, quantity
from src.runs.reader import PASTICHE, Run, find_runs, is_number

HERE = Path(__file__).parent
SCRIPTS = ("data.js", "plots.js", "gallery.js")  # in this order: each uses what is before it
SHOWN = ("style", "content", "depth")  # the numbers under a picture, until others are chosen
TRADE_OFF = ("content", "style", "depth")  # the scatter's axes and colour, until others are chosen
BETTER = {LOWER: "low", NEITHER: "", HIGHER: "high"}  # as the page's script says it


def write_gallery(folder: Path) -> Path:
    """Write `folder`/index.html and contact_sheet.jpg for all runs in it; the page's path.

    Raises:
        InputError: no such folder, no run in it, no run with a picture, or it cannot be written.
    """
    runs = find_runs(folder)
    page, beside = folder / "index.html", folder / "gallery"
    for own in (beside, beside / "thumbnails"):
        if own.is_symlink():
            raise InputError("FOLDER", f"{own}, a link", "a folder of the page's own in its place")
    try:
        pictures = make_thumbnails([run.pastiche for run in runs], beside / "thumbnails", folder)
        if not any(pictures):
            reason = next((run.reason for run in runs if run.reason), f"no readable {PASTICHE}")
            got = f"{folder}, whose {_count(runs)} left no picture (the first: {reason})"
            raise InputError("FOLDER", got, f"at least one run with a {PASTICHE}")
        write_text(beside / "charts.js", f"const CHARTS = {_json(charts(runs, pictures))};\n")
        write_text(beside / "plotly.min.js", get_plotlyjs())
        for name in ("gallery.css", *SCRIPTS):
            write_text(beside / name, (HERE / name).read_text(encoding="utf-8"))
        write_text(page, render(folder, runs, pictures))
        names = [_name(run, folder) for run in runs]
        write_sheet(folder / "contact_sheet.jpg", make_table(runs), pictures, names)
    except OSError as error:
        where = f"{error.filename2 or error.filename or folder} ({error.strerror or error})"
        raise InputError("FOLDER", where, "a folder that can be written, with room") from error
    return page


def render(folder: Path, runs: Sequence[Run], pictures: Pictures) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: f"{value:.4g}".replace("e+0", "e")
    table = make_table(runs)
    data = _data(folder, runs, table, pictures)
    statuses = Counter(run.status for run in runs).most_common()
    return environment.get_template("page.html.jinja").render(
        title=title(runs, folder),
        commands=commands(runs),
        counts=f"{_count(runs)}: {', '.join(f'{n} {status}' for status, n in statuses)}",
        written=datetime.now(),
        table=table,
        keys=list(table.keys),
        numbers=list(table.numbers),
        numeric_keys=[name for name, values in table.keys.items() if any(map(is_number, values))],
        best=best(table.numbers, pictures) if len(runs) > 1 else {},
        better=data["numbers"],
        weights=[key for key in table.keys if key.startswith("loss.") or key.endswith(".weight")],
        shown=_defaults(SHOWN, table),
        scatter=_defaults(TRADE_OFF, table),
        terms=dict.fromkeys(name for run in runs for name in run.terms if name != "step"),
        runs=data["runs"],
        scripts=SCRIPTS,
        data=_json(data),
    )


def _data(folder: Path, runs: Sequence[Run], table: Table, pictures: Pictures) -> dict[str, Any]:
    """What the page's script reads: keys with their values in order, numbers, runs."""
    cells = []
    for i, (run, picture) in enumerate(zip(runs, pictures, strict=True)):
        status, reason = run.status, run.reason
        if status == "done" and picture is None:
            status, reason = "unfinished", f"{PASTICHE} cannot be read as a picture"
        elif status == "done" and run.unreadable:
            status, reason = "unfinished", f"cannot be read: {', '.join(run.unreadable)}"
        cells.append(
            {
                "name": _name(run, folder),
                "status": status,
                "reason": reason,
                "keys": {name: column[i] for name, column in table.keys.items()},
                "numbers": {name: column[i] for name, column in table.numbers.items()},
                "picture": _url(run.path / PASTICHE, folder) if picture else None,
                "thumbnail": _url(picture.path, folder) if picture else None,
                "width": picture.width if picture else None,
                "height": picture.height if picture else None,
                "inputs": {name: _url(path, folder) for name, path in run.inputs.items()},
                "command": run.command,
            }
        )
    return {
        "keys": {name: in_order(column) for name, column in table.keys.items()},
        "numbers": {name: BETTER[quantity(name).better] for name in table.numbers},
        "runs": cells,
    }


def charts(runs: Sequence[Run], pictures: Pictures) -> dict[str, Any]:
    """What only the charts need: each run's terms by step (at most 200 rows), and an icon."""
    curves = []
    for run in runs:
        rows = sample(len(run.terms.get("step", [])))
        curves.append({name: [column[i] for i in rows] for name, column in run.terms.items()})
    return {"curves": curves, "icons": [picture.icon if picture else None for picture in pictures]}


def _count(runs: Sequence[Run]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _defaults(names: Sequence[str], table: Table) -> list[str]:
    return [name for name in names if name in table.numbers] or list(table.numbers)[:2]


def _name(run: Run, folder: Path) -> str:
    path = run.path.relative_to(folder)
    name = path.as_posix() if path.parts else folder.resolve().name
    return printable(os.fsencode(name).decode("utf-8", "replace"))  # names need not be UTF-8


def _url(path: Path, folder: Path) -> str:
    return quote(os.fsencode(path.relative_to(folder).as_posix()))


def _json(value: Any) -> str:
    """JSON for a script element, whatever texts are in it: six digits, null for NaN and so on."""
    finite = json.loads(json.dumps(value), parse_float=_six_digits, parse_constant=lambda _: None)
    text = json.dumps(finite, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _six_digits(number: str) -> float:
    return float(f"{float(number):.6g}")
