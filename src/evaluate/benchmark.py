"""The benchmark: photos x paintings x methods, of which only what is missing is run."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from src import config as configuration
from src.errors import InputError
from src.evaluate.files import load_photo
from src.runs import Run, find_runs, read_yaml

LIST = configuration.CONF / "benchmark.yaml"
PARTS = ("photos", "styles", "methods")
FOLDER_EXPECTED = "a folder of pictures NAME_rgb.* with their depth NAME_depth.*, or a YAML file"
QUICK = {"size": 96, "steps": 10}
LOOK = 64  # px, at which a photo is read to see whether it can be had

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the benchmark consists of.

    Attributes:
        settings: overrides of every run whose method says nothing else.
        photos: overrides by key.
        styles: overrides by key.
        methods: overrides by key; the first is what the others are compared with.
    """

    settings: Overrides
    photos: Mapping[str, Overrides]
    styles: Mapping[str, Overrides]
    methods: Mapping[str, Overrides]


@dataclass(frozen=True)
class Job:
    """One run of it.

    Attributes:
        photo: its key.
        style: its key.
        method: its key.
        config_hash: by which a run is recognised as this one.
    """

    photo: str
    style: str
    method: str
    config_hash: str


def read_plan(
    keys: Sequence[str] = (), pairs: Path | None = None, settings: Overrides | None = None
) -> Plan:
    """The plan of conf/benchmark.yaml.

    Args:
        keys: of photos, styles or methods; where there are any of a part, only those are kept.
        pairs: a folder of one's own photos with depth, or a YAML file whose parts take the place of
            the list's; relative paths in it start from its folder.
        settings: overrides of every run, that win over all of the list's.

    Raises:
        InputError: an unknown key, or no pairs.
    """
    settings = settings or {}
    parts = read_yaml(LIST)
    if pairs is not None:
        parts |= {"photos": _pairs_in(pairs)} if pairs.is_dir() else _parts_of(pairs)
    for key in keys:
        known = [k for part in PARTS for k in parts[part]]
        if key not in known:
            raise InputError("--benchmark", repr(key), configuration.nearest(key, known))
    for part in PARTS:
        chosen = {key: value for key, value in parts[part].items() if key in keys}
        parts[part] = chosen or parts[part]
    methods = {
        key: {name: value for name, value in overrides.items() if name not in settings}
        for key, overrides in parts["methods"].items()
    }
    return Plan({**parts["settings"], **settings}, parts["photos"], parts["styles"], methods)


def _pairs_in(folder: Path) -> dict[str, Overrides]:
    """NAME_rgb.* and NAME_depth.* of a folder, by NAME."""
    found: dict[str, Overrides] = {}
    for photo in sorted(folder.glob("*_rgb.*")):
        name = photo.name.rpartition("_rgb.")[0]
        depths = sorted(folder.glob(f"{name}_depth.*"))
        if len(depths) == 1:
            found[name] = {"content": str(photo), "depth.path": str(depths[0])}
    if not found:
        raise InputError("--pairs", f"{folder}, without any", FOLDER_EXPECTED)
    return found


def _parts_of(file: Path) -> dict[str, Any]:
    """Parts of a plan in a YAML file, its paths made absolute."""
    parts = {key: value for key, value in read_yaml(file).items() if key in (*PARTS, "settings")}
    if not parts:
        got = f"{file}, which " + ("has none of them" if file.is_file() else "is not there")
        raise InputError("--pairs", got, f"{FOLDER_EXPECTED} with {', '.join(PARTS)}")
    return {
        part: {key: _absolute(value, file.parent) for key, value in entries.items()}
        if part in PARTS
        else entries
        for part, entries in parts.items()
    }


def _absolute(overrides: Overrides, folder: Path) -> Overrides:
    there = {
        key: (folder / value).resolve()
        for key, value in overrides.items()
        if isinstance(value, str)
    }
    return {
        key: str(there[key]) if key in there and there[key].is_file() else value
        for key, value in overrides.items()
    }


def jobs(plan: Plan) -> tuple[list[Job], dict[str, str]]:
    """Every run of a plan, and the photos that cannot be had here with the reason."""
    found: list[Job] = []
    without: dict[str, str] = {}
    for photo, content in plan.photos.items():
        try:
            load_photo(_composed({"+experiment": "naive", **content, "size": LOOK}))
        except InputError as error:
            without[photo] = str(error)
            continue
        for method, experiment in plan.methods.items():
            for style, painting in plan.styles.items():
                overrides = {**plan.settings, **content, **painting, **experiment}
                identity = configuration.config_hash(_composed(overrides))
                found.append(Job(photo, style, method, identity))
    return found, without


def _composed(overrides: Overrides) -> configuration.Config:
    return configuration.compose(*map(argument, overrides.items()))


def done(folder: Path) -> dict[str, Run]:
    """The finished runs in a folder by the hash of their configuration."""
    if not folder.is_dir():
        return {}
    try:
        runs = find_runs(folder)
    except InputError:  # none yet
        return {}
    finished = [run for run in runs if run.status == "done" and run.pastiche is not None]
    return {str(run.summary.get("config_hash")): run for run in finished}


def commands(missing: Sequence[Job], plan: Plan, folder: Path) -> list[list[str]]:
    """The command lines of sweeps that run these jobs, with as few starts as there can be.

    Jobs go together that differ in the last setting of their method and in the painting alone:
    every combination of the two must be missing.

    Args:
        missing: of `jobs`.
        plan: theirs.
        folder: where their folders go.
    """
    batches: dict[tuple[Any, ...], list[str]] = {}
    for photo, of_photo in groupby(missing, key=lambda job: job.photo):
        for method, of_method in groupby(of_photo, key=lambda job: job.method):
            *shared, (last, _) = plan.methods[method].items()
            styles = tuple(job.style for job in of_method)
            alike = tuple(map(argument, shared))
            batches.setdefault((photo, alike, last, styles), []).append(method)
    lines: list[list[str]] = []
    for (photo, _, last, styles), methods in batches.items():
        number = 1 + max((int(p.name) for p in folder.glob("*") if p.name.isdecimal()), default=0)
        swept = {last: [plan.methods[method][last] for method in methods]}
        for style in styles:
            for key, value in plan.styles[style].items():
                swept.setdefault(key, []).append(value)
        fixed = {**plan.settings, **plan.photos[photo], **plan.methods[methods[0]]}
        lines.append(
            [sys.executable, "-m", "src.run", "-m"]
            + [argument((key, value)) for key, value in fixed.items() if key not in swept]
            + [f"{key}={','.join(map(_quoted, values))}" for key, values in swept.items()]
            + [f"hydra.sweep.dir={_quoted(str(folder / str(number + len(lines))))}"]
        )
    return lines


def argument(item: tuple[str, Any]) -> str:
    """A key and its value as `run` and `config.compose` take them."""
    return f"{item[0]}={_quoted(item[1])}"


def _quoted(value: Any) -> str:
    """A value as Hydra's grammar reads it back: text in quotes, unless plain."""
    if not isinstance(value, str):
        return str(value)
    if re.fullmatch(r"[A-Za-z_/][\w./-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def run(line: Sequence[str]) -> bool:
    """Run one of `commands`; what it prints is seen. Whether all of its jobs were done."""
    return subprocess.run(line, check=False).returncode == 0
