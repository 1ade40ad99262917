"""Runs as a table: the settings that differ, the numbers, and what to lay out along which."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.runs import SWEEP, Run, flatten, is_number, natural, read_yaml

Value = str | int | float | bool
# Where a run is written is not what is in it.
NO_SETTINGS = ("output_dir", "resume", "tracking")
MOST_COLUMNS = 8  # of a page's width
MOST_FEW = 12  # values of the key that has fewer
MOST_MANY = 60  # values of the other
MOST_STACKED = 9
# Names of numbers of which more is better; of all others less is.
HIGHER = ("ssim", "psnr", "similarity", "cosine", "correlation", "accuracy", "iou", "delta1")
SWEEPING = ("choice(", "range(", "interval(", "glob(", "uniform(", "int(", "float(")


@dataclass(frozen=True)
class Table:
    """What the page is made of, one entry per run in every column.

    Attributes:
        keys: settings with more than one value among the runs; None where a run has no such key.
        numbers: final values; None where a run has none.
        rows: the key whose values are the grid's rows, or None.
        columns: the key whose values are the grid's columns, or None.
    """

    keys: dict[str, list[Value | None]]
    numbers: dict[str, list[float | None]]
    rows: str | None
    columns: str | None


def make_table(runs: Sequence[Run]) -> Table:
    """The table of runs."""
    swept = [key for folder in sweeps(runs) for key in swept_keys(folder)]
    numbers = _numbers(runs)
    keys = varied([settings(run) for run in runs], swept)
    rows, columns = choose_axes(keys, swept)
    # `style` is a term and the painting's name, and the page's menus hold both kinds.
    names = {name: f"{name} (setting)" if name in numbers else name for name in keys}
    return Table(
        {names[name]: column for name, column in keys.items()},
        numbers,
        names[rows] if rows else None,
        names[columns] if columns else None,
    )


def sweeps(runs: Sequence[Run]) -> list[Path]:
    """The folders of the sweeps that the runs belong to, in order."""
    return list(dict.fromkeys(run.sweep for run in runs if run.sweep is not None))


def settings(run: Run) -> dict[str, Value]:
    """A run's settings; functions by name: `mask: step` for `mask._target_: src.masks.step`."""
    table = {}
    for key, value in flatten(run.config).items():
        if key.partition(".")[0] in NO_SETTINGS:
            continue
        if key.endswith("._target_"):
            key, value = key.removesuffix("._target_"), str(value).rpartition(".")[2]
        table["experiment" if key == "name" else key] = _plain(value)
    return table


def _plain(value: Any) -> Value:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if value is None:
        return "null"
    return value if isinstance(value, bool) or is_number(value) else str(value)


def varied(
    tables: Sequence[Mapping[str, Value]], swept: Sequence[str] = ()
) -> dict[str, list[Value | None]]:
    """The settings that have at least two values; of those that always agree, one.

    Args:
        tables: each run's settings.
        swept: names to prefer, as `mask.center` to `styles.main.mask.center`.
    """
    names = sorted(
        {name for table in tables for name in table},
        key=lambda name: (name not in swept, name.count("."), len(name), name),
    )
    columns: dict[str, list[Value | None]] = {}
    seen = set()
    for name in names:
        column = [table.get(name) for table in tables]
        values = tuple((type(value) is bool, value) for value in column)
        if len({value for value in values if value[1] is not None}) > 1 and values not in seen:
            seen.add(values)
            columns[name] = column
    return columns


def swept_keys(sweep: Path) -> list[str]:
    """The keys that a sweep's command and its sweep file gave several values."""
    hydra = read_yaml(sweep / SWEEP).get("hydra")
    hydra = hydra if isinstance(hydra, dict) else {}
    found = []
    for override in _overrides(hydra):
        key, _, value = override.partition("=")
        if _several(value):
            found.append(key)
    sweeper = hydra.get("sweeper")
    for name in ("params", "search_space"):
        space = sweeper.get(name) if isinstance(sweeper, dict) else None
        found += [str(key) for key in space] if isinstance(space, dict) else []
    return list(dict.fromkeys(key.lstrip("+").partition("@")[0].replace("/", ".") for key in found))


def _overrides(hydra: Mapping[str, Any]) -> list[str]:
    overrides = hydra.get("overrides")
    task = overrides.get("task") if isinstance(overrides, dict) else None
    return [str(item) for item in task] if isinstance(task, list) else []


def _several(value: str) -> bool:
    depth = 0
    for character in value:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            return True
    return value.startswith(SWEEPING)


def choose_axes(
    keys: Mapping[str, Sequence[Value | None]], swept: Sequence[str] = ()
) -> tuple[str | None, str | None]:
    """The (rows, columns) that show the runs best: swept keys whose pairs of values mostly occur.

    Keys that most runs lack, or of which every run has its own value, make no grid; one key alone
    may have a value for every run. Several experiments come first.
    """
    places = {name: i for i, name in enumerate(["experiment", *swept])}
    distinct = {name: len(set(column)) for name, column in keys.items()}
    names = sorted(
        (name for name, column in keys.items() if 2 * list(column).count(None) <= len(column)),
        key=lambda name: (places.get(name, len(places)), distinct[name]),
    )
    names = [name for name in names if distinct[name] <= MOST_MANY][:12]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            cells = Counter(zip(keys[first], keys[second], strict=True))
            few, many = sorted((first, second), key=lambda name: distinct[name])
            mostly = len(cells) >= 0.5 * distinct[first] * distinct[second]
            if mostly and distinct[few] <= MOST_FEW and max(cells.values()) <= MOST_STACKED:
                return (few, many) if distinct[many] <= MOST_COLUMNS else (many, few)
    return (None, names[0]) if names else (None, None)


def _numbers(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    tables = [final_numbers(run) for run in runs]
    names = list(dict.fromkeys(name for table in tables for name in table))
    columns = {name: [table.get(name) for table in tables] for name in names}
    only_style = [n for n in names if n.startswith("style_") and columns[n] == columns.get("style")]
    times = [name for name in ("seconds", "seconds_per_step") if name in columns]
    first = [name for name in names if name not in only_style and name not in times]
    return {name: columns[name] for name in [*first, *times]}


def final_numbers(run: Run) -> dict[str, float]:
    """Total, terms, metrics, and times of a run; terms from terms.csv where no summary has them."""
    summary = run.summary
    terms = summary.get("terms")
    if isinstance(terms, dict):
        terms = {"total": summary.get("total"), **terms}
    else:
        terms = {name: column[-1] for name, column in run.terms.items() if column}
        terms.pop("step", None)
    metrics = {f"metrics.{k}" if k in terms else k: v for k, v in run.metrics.items()}
    times = {name: summary.get(name) for name in ("seconds", "seconds_per_step")}
    numbers = {str(k): v for k, v in {**terms, **metrics, **times}.items() if is_number(v)}
    return {name: float(value) for name, value in numbers.items()}


def higher_is_better(name: str) -> bool:
    """Whether more of a number is better, by its name."""
    return any(word in name.lower() for word in HIGHER)


def best(numbers: Mapping[str, Sequence[float | None]]) -> dict[str, int]:
    """The run that is best by each number."""
    found = {}
    for name, column in numbers.items():
        sign = -1 if higher_is_better(name) else 1
        ranked = [(sign * value, i) for i, value in enumerate(column) if value is not None]
        if ranked:
            found[name] = min(ranked)[1]
    return found


def command(run: Run) -> str | None:
    """The command line that made a run, where it is known."""
    overrides = [o for o in run.overrides if not o.startswith("hydra.")]
    return f"python -m src.run {shlex.join(overrides)}" if overrides else None


def sweep_command(sweep: Path) -> str | None:
    """The command line that made a sweep, where it is known."""
    hydra = read_yaml(sweep / SWEEP).get("hydra")
    overrides = _overrides(hydra) if isinstance(hydra, dict) else []
    return f"python -m src.run -m {shlex.join(overrides)}" if overrides else None


def title(runs: Sequence[Run], folder: Path) -> str:
    """What the page is of, in a few words."""
    counts = Counter(str(run.summary.get("experiment") or run.config.get("name")) for run in runs)
    counts.pop("None", None)
    names = [name for name, _ in counts.most_common()]
    if len(names) > 3:
        names = [*names[:3], f"{len(names) - 3} more"]
    return ", ".join(names) or folder.resolve().name


def in_order(values: Sequence[Value | None]) -> list[Value | None]:
    """Distinct values: numbers by size, then texts in natural order, then None."""
    distinct = list({(type(v) is bool, v): v for v in values}.values())
    numbers = sorted(v for v in distinct if is_number(v) and not isinstance(v, str | None))
    texts = [v for v in distinct if isinstance(v, str | bool)]
    missing: list[Value | None] = [None] if None in distinct else []
    return [*numbers, *sorted(texts, key=lambda v: natural(str(v))), *missing]


def sample(length: int, most: int = 200) -> list[int]:
    """At most `most` indices of a list, even, the first and last among them."""
    if length <= most:
        return list(range(length))
    return [round(i * (length - 1) / (most - 1)) for i in range(most)]
