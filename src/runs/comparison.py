"""What runs differ in: their settings, and the keys that a sweep gave several values."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from src.core.errors import printable
from src.runs.reader import Run, flatten, is_number

Value = str | int | float | bool
# Where a run is written, and how that is logged, is not what is in it.
NO_SETTINGS = ("output_dir", "resume", "tracking", "hydra")


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


def overrides_by_key(run: Run) -> dict[str, str]:
    """What the command line set for a run: `styles.far.mask` for `+mask@styles.far.mask`."""
    table = {}
    for override in run.overrides:
        key, _, value = override.partition("=")
        group, _, package = key.lstrip("+~").partition("@")
        key = package or group.replace("/", ".")
        if key.partition(".")[0] not in NO_SETTINGS:
            table[key] = value
    return table


def swept_keys(runs: Sequence[Run]) -> list[str]:
    """The keys to which the command line gave runs different values, in its order.

    Runs of which the command line is not known do not count.
    """
    tables = [overrides_by_key(run) for run in runs if run.overrides]
    keys = dict.fromkeys(key for table in tables for key in table)
    return [key for key in keys if len({table.get(key) for table in tables}) > 1]


def run_names(runs: Sequence[Run], longest: int = 120) -> list[str]:
    """What tells runs from each other: their folders, and what the command line varied."""
    swept = set(swept_keys(runs))
    names = []
    for run in runs:
        folder = run.path.resolve()
        values = overrides_by_key(run)
        words = [f"{key}={short_text(values[key])}" for key in values if key in swept]
        name = " ".join([f"{folder.parent.name}/{folder.name}", *words])
        names.append(printable(name)[:longest])
    return names


def short_text(value: Value | None) -> str:
    """A setting's value to show: of a path the file's name without its kind, of none nothing."""
    text = "" if value is None else str(value)
    return PurePath(text).stem if "/" in text else text
