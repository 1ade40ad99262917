"""Tables of metrics: on the screen, as CSV and as Markdown."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from src.runs import Run

# Columns of the tables, by metric: heading, and whether lower (-1) or higher (1) is better, or
# neither (0). metrics.json has more.
COLUMNS: dict[str, tuple[str, int]] = {
    "style_gram_masked": ("style\ngram", -1),
    "style_swd_masked": ("style\nswd", -1),
    "feature_distance": ("content\nfeatures", -1),
    "self_similarity": ("content\ncfsd", -1),
    "ssim": ("content\nssim", 1),
    "edge_f1": ("content\nedges", 1),
    "depth_term": ("depth\nterm", -1),
    "depth_abs_rel": ("depth\nabsrel", -1),
    "depth_delta": ("depth\nd<1.25", 1),
    "depth_whdr": ("depth\nwhdr", -1),
    "sensor_abs_rel": ("sensor\nabsrel", -1),
    "sensor_whdr": ("sensor\nwhdr", -1),
    "kept_ratio": ("kept\n/ styled", -1),
    "kept_ratio_features": ("kept / styled\nfeatures", -1),
    "kept_over_naive": ("kept\n/ naive", -1),
    "leakage_px": ("leak\npx", -1),
    "sharpness_near_over_far": ("sharp\nnear / far", 0),
}
ARROWS = {-1: " ↓", 0: "", 1: " ↑"}
CONFIDENCE = 0.95
RESAMPLES = 2000
FEWEST = 3  # photos, with which an interval means anything
LONGEST_NAME = 120
NAME_WIDTH = 30
UNTOLD = ("hydra.", "depth.", "tracking")  # settings that tell little of a pastiche
WIDTH = 200  # where the table goes into a file


def console() -> Console:
    """The screen; wide enough for a table where there is none."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=WIDTH)


def heading(metric: str) -> str:
    """A column's heading, with an arrow to where better is."""
    name, better = COLUMNS[metric]
    return name + ARROWS[better]


def run_names(runs: Sequence[Run]) -> list[str]:
    """What tells runs from each other: their folders, and settings that not all of them have."""
    settings = [[_short(o) for o in run.overrides if not o.startswith(UNTOLD)] for run in runs]
    names = []
    for run, own in zip(runs, settings, strict=True):
        folder = run.path.resolve()
        varied = [o for o in own if not all(o in other for other in settings)]
        names.append(" ".join([f"{folder.parent.name}/{folder.name}", *varied])[:LONGEST_NAME])
    return names


def _short(override: str) -> str:
    """A setting with the name of a file in place of its path."""
    key, equals, value = override.partition("=")
    return f"{key}{equals}{PurePath(value).stem}" if "/" in value else override


def runs_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row per run.

    Args:
        rows: a run's name, and what its metrics.json holds.
    """
    used = [m for m in COLUMNS if any(m in values for _, values in rows)]
    table = Table(caption=caption(values for _, values in rows))
    table.add_column("run", min_width=NAME_WIDTH)
    for metric in used:
        table.add_column(heading(metric))
    for name, values in rows:
        mark = " *" if values.get("judge_is_loss") else ""
        cells = [f"{values[m]:.3g}" if m in values else "" for m in used]
        table.add_row(name + mark, *cells)
    return table


def caption(rows: Iterable[Mapping[str, Any]]) -> str:
    """Who judged, in words: whether it was the network that the loss used, too."""
    rows = list(rows)
    judges = sorted({str(v["judge_name"]) for v in rows if v.get("judge_name")})
    if not judges:
        return "Depth as a network sees it was not measured."
    words = f"Depth as {', '.join(judges)} sees it."
    if any(v.get("judge_is_loss") for v in rows):
        words += " * The judge is the loss's own network: these depths flatter the run."
    return words


@dataclass(frozen=True)
class Median:
    """The middle of several runs, and how sure that is.

    Attributes:
        value: the median.
        low: the lower end of its interval; NaN where there are too few photos for one.
        high: the upper end.
        count: how many runs.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def median(groups: Sequence[Sequence[float]]) -> Median:
    """The median of all values, with a bootstrap interval that draws whole groups.

    Runs of one photo are alike, so photos are drawn, not runs (cluster bootstrap, percentiles).

    Args:
        groups: the values of each photo; at least one.
    """
    filled = [list(group) for group in groups if len(group)]
    longest = max(map(len, filled))
    table = np.array([group + [math.nan] * (longest - len(group)) for group in filled])
    value, count = float(np.nanmedian(table)), sum(map(len, filled))
    if len(filled) < FEWEST:
        return Median(value, math.nan, math.nan, count)
    drawn = np.random.default_rng(0).integers(len(filled), size=(RESAMPLES, len(filled)))
    medians = np.nanmedian(table[drawn].reshape(RESAMPLES, -1), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Median(value, float(low), float(high), count)


@dataclass(frozen=True)
class Measured:
    """One run of a benchmark.

    Attributes:
        method: its key.
        photo: its key.
        style: its key.
        values: what metrics.json holds.
    """

    method: str
    photo: str
    style: str
    values: Mapping[str, Any]


Summary = dict[str, dict[str, Median]]


def summarize(runs: Sequence[Measured], against: str | None = None) -> Summary:
    """Medians by method and metric.

    Args:
        runs: of a benchmark.
        against: a method; then of differences to its run of the same photo and painting.
    """
    base = {(r.photo, r.style): r.values for r in runs if r.method == against}
    found: Summary = {}
    for method in dict.fromkeys(r.method for r in runs):
        if method == against:
            continue
        found[method] = {}
        for metric in COLUMNS:
            photos: dict[str, list[float]] = {}
            for run in runs:
                other = base.get((run.photo, run.style), {}) if against else {metric: 0.0}
                if run.method == method and metric in run.values and metric in other:
                    difference = run.values[metric] - other[metric]
                    photos.setdefault(run.photo, []).append(difference)
            if photos:
                found[method][metric] = median(list(photos.values()))
    return found


def starred(summary: Summary, runs: Sequence[Measured]) -> Summary:
    """The same, with a star at methods that were steered by the network that judges them."""
    own = {run.method for run in runs if run.values.get("judge_is_loss")}
    return {f"{name} *" if name in own else name: values for name, values in summary.items()}


def summary_table(summary: Summary) -> Table:
    """One row per metric, one column per method: medians with their intervals."""
    table = Table("median", *summary)
    for metric in _used(summary):
        cells = [str(summary[m].get(metric, "")) for m in summary]
        table.add_row(_flat(heading(metric)), *cells)
    return table


def markdown(summary: Summary) -> str:
    """The same as a Markdown table."""
    lines = ["| median | " + " | ".join(summary) + " |", "|---" * (len(summary) + 1) + "|"]
    for metric in _used(summary):
        cells = [str(summary[m].get(metric, "")) for m in summary]
        lines.append(f"| {_flat(heading(metric))} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _flat(text: str) -> str:
    return text.replace("\n", " ")


def _used(summary: Summary) -> list[str]:
    return [m for m in COLUMNS if any(m in values for values in summary.values())]


def comma_separated(runs: Sequence[Measured]) -> str:
    """Every number of every run as CSV."""
    names = list(dict.fromkeys(n for r in runs for n, v in r.values.items() if _is_number(v)))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "photo", "style", *names])
    for run in runs:
        values = [run.values.get(name, "") for name in names]
        writer.writerow([run.method, run.photo, run.style, *values])
    return file.getvalue()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
