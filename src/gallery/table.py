"""Runs as a table: the settings that differ, the numbers, and what to lay out along which."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from src.core.errors import printable
from src.runs.comparison import Value, settings, swept_keys, varied
from src.runs.quantities import NEITHER, TIMES, quantity
from src.runs.reader import SWEEP, Run, flatten, is_number, natural, read_yaml

MAX_COLUMNS = 8  # of a page's width
MAX_SHORT_AXIS = 12  # values of the key that has fewer
MAX_LONG_AXIS = 60  # values of the other
MAX_PER_CELL = 9


class Table(NamedTuple):
    """What the page is made of: columns with one entry per run, None where it has none."""

    keys: dict[str, list[Value | None]]  # settings with more than one value among the runs
    numbers: dict[str, list[float | None]]  # final values
    rows: str | None  # the key whose values are the grid's rows
    columns: str | None  # and its columns


def make_table(runs: Sequence[Run]) -> Table:
    """The table of runs."""
    swept = [key for s in _sweeps(runs) for key in swept_keys([r for r in runs if r.sweep == s])]
    # Times last, and no `style_<name>` where there is one style.
    tables = [final_numbers(run) for run in runs]
    names = sorted(dict.fromkeys(n for t in tables for n in t), key=lambda name: name in TIMES)
    numbers = {name: [table.get(name) for table in tables] for name in names}
    for name in names:
        if name.startswith("style_") and numbers[name] == numbers.get("style"):
            del numbers[name]
    keys = varied([settings(run) for run in runs], swept)
    rows, columns = choose_axes(keys, swept)
    # `style` is a term and the style image's name, and the page's menus hold both kinds.
    labels = {name: f"{name} (setting)" if name in numbers else name for name in keys}
    columns_by_label = {labels[name]: column for name, column in keys.items()}
    return Table(columns_by_label, numbers, labels.get(rows or ""), labels.get(columns or ""))


def _sweeps(runs: Sequence[Run]) -> list[Path]:
    return list(dict.fromkeys(run.sweep for run in runs if run.sweep is not None))


def choose_axes(
    keys: Mapping[str, list[Value | None]], swept: Sequence[str] = ()
) -> tuple[str | None, str | None]:
    """The (rows, columns) that show the runs best: swept keys whose pairs of values mostly occur.

    Keys that most runs lack make no grid, nor two that are mostly unique; experiments come first.
    """
    places = {name: i for i, name in enumerate(["experiment", *swept])}
    distinct = {name: len(set(column)) for name, column in keys.items()}
    names = [name for name, column in keys.items() if 2 * column.count(None) <= len(column)]
    names.sort(key=lambda name: (places.get(name, len(places)), distinct[name]))
    names = [name for name in names if distinct[name] <= MAX_LONG_AXIS][:12]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            cells = Counter(zip(keys[first], keys[second], strict=True))
            short, long = sorted((first, second), key=lambda name: distinct[name])
            mostly = len(cells) >= 0.5 * distinct[first] * distinct[second]
            if mostly and distinct[short] <= MAX_SHORT_AXIS and max(cells.values()) <= MAX_PER_CELL:
                return (short, long) if distinct[long] <= MAX_COLUMNS else (long, short)
    return (None, names[0]) if names else (None, None)


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
    numbers = {**terms, **metrics, **{name: summary.get(name) for name in TIMES}}
    return {str(name): float(value) for name, value in numbers.items() if is_number(value)}


def best(numbers: Mapping[str, Sequence[float | None]], pictures: Sequence[Any]) -> dict[str, int]:
    """The run with a picture that is best by each number of which one way is better."""
    runs = {}
    for name, column in numbers.items():
        better = quantity(name).better
        ranked = [(-better * v, i) for i, v in enumerate(column) if pictures[i] and v is not None]
        if ranked and better != NEITHER:
            runs[name] = min(ranked)[1]
    return runs


def commands(runs: Sequence[Run]) -> list[str]:
    """The command lines that made the runs, where they are known: a sweep has one."""
    lines = []
    for sweep in _sweeps(runs) if len(runs) > 1 else []:
        task = flatten(read_yaml(sweep / SWEEP)).get("hydra.overrides.task")
        if isinstance(task, list) and task:
            lines.append(f"python -m src.run -m {shlex.join(map(str, task))}")
    single = [run for run in runs if run.sweep is None or len(runs) == 1]
    lines += [run.command for run in single if run.command]
    return list(dict.fromkeys(lines))


def title(runs: Sequence[Run], folder: Path) -> str:
    """What the page is of, in a few words."""
    counts = Counter(str(run.summary.get("experiment") or run.config.get("name")) for run in runs)
    counts.pop("None", None)
    names = [name for name, _ in counts.most_common()]
    if len(names) > 3:
        names = [*names[:3], f"{len(names) - 3} more"]
    return ", ".join(names) or printable(folder.resolve().name)


def in_order(values: Sequence[Value | None]) -> list[Value | None]:
    """Distinct values: numbers by size, then texts in natural order, then None."""
    distinct = list({(type(v) is bool, v): v for v in values}.values())
    numbers = sorted(v for v in distinct if is_number(v) and not isinstance(v, str | None))
    texts = [v for v in distinct if isinstance(v, str | bool)]
    missing: list[Value | None] = [None] if None in distinct else []
    return [*numbers, *sorted(texts, key=lambda v: natural(str(v))), *missing]


def sample(length: int, most: int = 200) -> list[int]:
    """At most `most` indices of a list, even, the first and last among them."""
    count = min(length, most)
    return [round(i * (length - 1) / max(1, count - 1)) for i in range(count)]
