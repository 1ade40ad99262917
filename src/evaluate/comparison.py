"""Groups of measured runs: medians with bootstrap intervals, differences, and tables of them."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table as ScreenTable
from rich.text import Text

from src.core.errors import InputError
from src.pipeline.config import did_you_mean
from src.runs.comparison import settings, swept_keys
from src.runs.quantities import columns, quantity
from src.runs.reader import Run, is_number

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_PHOTOS = 3  # with which an interval means anything
NAME_WIDTH = 30  # characters on the screen
MAIN = ("style_swd_masked", "feature_distance", "depth_whdr", "sensor_whdr", "kept_ratio")
LEGEND = """\
style swd, content features: distance to the painting and to the photo; whdr: share of pairs of
points in the wrong order of depth, against the photo's estimate and the sensor's; kept / styled:
change where masks keep the photo over change where they do not. All numbers: --all."""


class Measured(NamedTuple):
    """A run that is compared with others."""

    group: str  # the values of the keys that groups are made by
    photo: str  # the content image, whose runs are alike
    pair: str  # what it has in common with the runs of other groups that it is compared with
    values: Mapping[str, Any]  # what metrics.json holds


def group_runs(
    runs: Sequence[Run], rows: Sequence[Mapping[str, Any]], by: Sequence[str]
) -> list[Measured]:
    """Put runs into groups by keys of their settings, such as `loss.depth.weight`.

    The other swept keys say which runs are compared. `rows` are what metrics.json hold.

    Raises:
        InputError: no run has such a key.
    """
    tables = [settings(run) for run in runs]
    known = sorted({key for table in tables for key in table})
    for key in by:
        if key not in known:
            raise InputError("--by", repr(key), did_you_mean(key, known))
    others = tuple(f"{key}." for key in swept_keys(runs) if key not in by)
    groups = []
    for table, values in zip(tables, rows, strict=True):
        photo = f"{table.get('content')} {table.get('content_index')}"
        pair = [item for item in sorted(table.items()) if f"{item[0]}.".startswith(others)]
        own = [table[key] for key in by if table.get(key) not in (None, "null")]
        words = [f"{v:g}" if isinstance(v, float) else PurePath(str(v)).stem for v in own]
        groups.append(Measured(" ".join(words) or "null", photo, str(pair), values))
    return groups


class Median(NamedTuple):
    """A median and the ends of its interval, NaN where there are too few photos for one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def median(clusters: Sequence[Sequence[float]]) -> Median:
    """The median of all values, with a bootstrap interval that draws whole clusters.

    Runs of one photo are alike, so photos are drawn, not runs (cluster bootstrap, percentiles):
    `clusters` has the values of each photo, at least one.
    """
    count, longest = len(clusters), max(map(len, clusters))
    table = np.array([[*values, *[math.nan] * (longest - len(values))] for values in clusters])
    value = float(np.nanmedian(table))
    if count < MIN_PHOTOS:
        return Median(value, math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    medians = np.nanmedian(table[drawn].reshape(RESAMPLES, -1), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Median(value, float(low), float(high))


Summary = dict[str, dict[str, Median]]


def summarize(runs: Sequence[Measured], against: str | None = None) -> Summary:
    """Medians by group and metric; `against` a group those of differences to its runs."""
    base = {run.pair: run.values for run in runs if run.group == against}
    summary: Summary = {}
    for group in dict.fromkeys(run.group for run in runs if run.group != against):
        members = [run for run in runs if run.group == group]
        summary[group] = {}
        for metric in columns():
            photos: dict[str, list[float]] = {}
            for run in members:
                other = base.get(run.pair, {}) if against else {metric: 0.0}
                if metric in run.values and metric in other:
                    difference = run.values[metric] - other[metric]
                    photos.setdefault(run.photo, []).append(difference)
            if photos:
                summary[group][metric] = median(list(photos.values()))
    return summary


class Table(NamedTuple):
    """A head and rows, whose first cells are names."""

    head: list[str]
    rows: list[list[str]]

    def on_screen(self, caption: str = "") -> ScreenTable:
        """For rich's console; a caption is put below."""
        table = ScreenTable(caption=caption or None)
        for i, title in enumerate(self.head):
            table.add_column(Text(title), min_width=0 if i else NAME_WIDTH)
        for row in self.rows:
            table.add_row(*map(Text, row))  # in names `[x]` is no markup
        return table

    def markdown(self) -> str:
        """A Markdown table."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def runs_table(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] = MAIN
) -> Table:
    """One row per run with the metrics that any has; `rows` are what metrics.json hold."""
    used = [metric for metric in metrics if any(metric in values for values in rows)]
    table = Table(["run", *(quantity(metric).title for metric in used)], [])
    for name, values in zip(names, rows, strict=True):
        numbers = [f"{values[m]:.3g}" if m in values else "" for m in used]
        table.rows.append([starred(name, values), *numbers])
    return table


def starred(name: str, *rows: Mapping[str, Any]) -> str:
    """A name, with a star where the network that judges also steered a run."""
    return f"{name} *" if any(values.get("judge_is_loss") for values in rows) else name


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


def summary_table(summary: Summary, runs: Sequence[Measured]) -> Table:
    """One row per metric, one column per group: medians with their intervals."""
    table = Table(["median"], [])
    for name in summary:
        table.head.append(starred(name, *(run.values for run in runs if run.group == name)))
    for metric in columns():
        cells = [str(medians.get(metric, "")) for medians in summary.values()]
        if any(cells):
            table.rows.append([quantity(metric).title, *cells])
    return table


def numbers_csv(names: Sequence[str], runs: Sequence[Measured]) -> str:
    """One row per run with every number, to all digits."""
    values = [run.values for run in runs]
    numbers = dict.fromkeys(key for row in values for key, v in row.items() if is_number(v))
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["run", "group", "content", *numbers])
    for name, run in zip(names, runs, strict=True):
        table.writerow([name, run.group, run.photo, *(run.values.get(n, "") for n in numbers)])
    return file.getvalue()
