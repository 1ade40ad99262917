"""Reading run folders, also of runs that failed or were killed. Needs no torch."""

import csv
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from src.core.errors import InputError, printable
from src.core.files import read_regular

CHECKPOINT = "last.ckpt"
FRAMES, FRAMES_TABLE, CLIP_CHECKPOINT = "frames", "frames.csv", "frames/last.ckpt"  # of a clip
CONFIG = "config.yaml"
FAILED = "FAILED"
METRICS = "metrics.json"
PASTICHE = "pastiche.png"
SUMMARY = "summary.json"
SWEEP = "multirun.yaml"
TERMS = "terms.csv"

# Any of these files, or both of these folders, make a folder a run's.
RUN_FILES = (PASTICHE, SUMMARY, TERMS, FAILED)
RUN_FOLDERS = ("inputs", "steps")
T = TypeVar("T")
# What is larger is not a run's: some hundred settings; of a table, rows of a million steps.
MOST_BYTES, MOST_YAML_BYTES = 2**23, 2**20
MOST_ENTRIES, MOST_LEVELS = 2000, 16
LONGEST_TEXT, LONGEST_KEY = 2**16, 200  # a list of pictures; the page has each key once per run
Format = Literal["png", "jpg", "tiff", "webp", "heic"]  # of the result
STATUSES = ("done", "interrupted", "failed", "unfinished", "missing")


@dataclass(frozen=True)
class Run:
    """A run's folder, as far as it was written. Files are read on first use."""

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; empty where it is missing or broken."""
        return read_json(self.path / SUMMARY)

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml without Hydra's own part; empty where it is missing or broken."""
        config = read_yaml(self.path / CONFIG)
        return {str(key): value for key, value in config.items() if key != "hydra"}

    @cached_property
    def terms(self) -> dict[str, list[float]]:
        """terms.csv by column, `step` among them; a row that was cut off is left out."""
        return _read(self.path / TERMS, _load_table, {})

    @cached_property
    def frames(self) -> dict[str, list[float]]:
        """frames.csv, a clip's frames after the first, by column; as `terms`."""
        return _read(self.path / FRAMES_TABLE, _load_table, {})

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every number of metrics.json, by its path in it (`style.gram`)."""
        numbers = flatten(read_json(self.path / METRICS)).items()
        return {name: float(value) for name, value in numbers if is_number(value)}

    @cached_property
    def status(self) -> str:
        """One of STATUSES; "unfinished" where the summary or the result is missing."""
        if not self.path.is_dir():
            return "missing"
        if os.path.exists(self.path / FAILED):  # pathlib's raises if the folder cannot be entered
            return "failed"
        status = self.summary.get("status")
        if status not in STATUSES or (status == "done" and self.pastiche is None):
            return "unfinished"
        return status

    @cached_property
    def reason(self) -> str:
        """Why the run is not done, in one line; empty where it is."""
        if self.status == "done":
            return ""
        if self.status == "missing":
            return "it was not reached"
        if self.status == "failed":
            text = _read(self.path / FAILED, lambda data: data.decode(errors="replace"), "")
            return _text(" ".join(text.split())) or "gave no reason"
        if self.status == "interrupted":
            frames = self.summary.get("frames")
            if isinstance(frames, dict) and frames.get("done"):
                return f"interrupted after {frames['done']} of {frames.get('of', '?')} frames"
            steps = f"{self.summary.get('steps', '?')} of {self.config.get('steps', '?')}"
            return f"interrupted after {steps} steps"
        if self.summary.get("status") == "done":
            linked = os.path.islink(self.path / PASTICHE)
            return f"{PASTICHE} is {'a link' if linked else 'missing'}"
        if os.path.exists(self.path / SUMMARY):
            return f"{SUMMARY} is broken: half-written, or not this program's"
        logged = self.terms.get("step")
        where = f"after step {logged[-1]:.0f}" if logged else "before its first step"
        return f"no {SUMMARY}: still running, or ended {where} without a word"

    @cached_property
    def pastiche(self) -> Path | None:
        """The result, where there is one."""
        return path if _is_own_file(path := self.path / PASTICHE) else None

    @cached_property
    def overrides(self) -> list[str]:
        """What the command line set for this run, as typed; empty where that is not known."""
        path = self.path / ".hydra" / "overrides.yaml"
        return [str(item) for item in _read(path, _load_yaml, list[Any]())]

    @property
    def command(self) -> str | None:
        """The command line that made the run, where it is known."""
        words = [word for word in self.overrides if not word.startswith("hydra.")]
        return f"python -m src.run {shlex.join(words)}" if words else None

    @cached_property
    def inputs(self) -> dict[str, Path]:
        """The images in inputs/ by name: content, style_<name>, depth, mask_<name>."""
        kinds = {"content": 0, "style": 1, "depth": 2, "mask": 3}
        found = [] if (self.path / "inputs").is_symlink() else self.path.glob("inputs/*.png")
        paths = sorted(filter(_is_own_file, found), key=lambda path: path.stem)
        paths.sort(key=lambda path: kinds.get(path.stem.partition("_")[0], len(kinds)))
        return {path.stem: path for path in paths}

    @cached_property
    def unreadable(self) -> list[str]:
        """The files that are left out, as broken, too large, or links."""
        read = {CONFIG: self.config, TERMS: self.terms, METRICS: self.metrics}
        files = [name for name in read if not read[name] and os.path.lexists(self.path / name)]
        images = sorted(path.name for path in self.path.glob("inputs/*.png"))
        return files + [printable(name) for name in images if name[:-4] not in self.inputs]

    @cached_property
    def sweep(self) -> Path | None:
        """The folder of the sweep that the run is a job of."""
        return self.path.parent if (self.path.parent / SWEEP).is_file() else None


def find_runs(folder: Path) -> list[Run]:
    """The runs in a folder, at any depth, in natural order; an InputError where there are none."""
    expected = "the folder of a run, of a sweep, or one above them such as outputs"
    if not folder.is_dir():
        problem = "which is not a folder" if folder.exists() else "which is not there"
        raise InputError("FOLDER", f"{folder}, {problem}", expected)
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError("FOLDER", f"{folder}, which cannot be read", expected)
    runs = []
    for path, folders, files in os.walk(folder):
        run = Run(Path(path))
        # A job that was killed at once left nothing but its number.
        killed = run.path.name.isdecimal() and run.sweep
        if killed or set(RUN_FILES) & set(files) or set(RUN_FOLDERS) <= set(folders):
            runs.append(run)
            folders.clear()
        # A sweep keeps earlier attempts at its jobs in a hidden folder.
        folders[:] = [name for name in folders if not name.startswith(".")]
    if not runs:
        raise InputError("FOLDER", f"{folder}, in which no run is", expected)
    return sorted(runs, key=lambda run: natural(run.path.as_posix()))


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts `job 10` behind `job 9`."""
    parts = [part for part in re.split(r"(\d+)", text) if part]
    # Of more than 4300 digits Python makes no number.
    return [(0, int(part[:4000])) if part.isdecimal() else (1, part) for part in parts]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as one table: `{"a": {"b": 1}}` is `{"a.b": 1}`. Lists stay values."""
    table: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"[:LONGEST_KEY]
        table |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return table


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; empty where it is missing or broken."""
    return _read(path, _load_yaml, {})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where it is missing or broken."""
    return _read(path, lambda data: _plain(json.loads(data)), {})


def _read(path: Path, load: Callable[[bytes], Any], default: T) -> T:
    """A file's value, if it has the type of the default, else that."""
    try:
        value = load(read_regular(path, MOST_BYTES))
    except Exception:  # for a broken file PyYAML alone has eight, an AttributeError among them
        return default
    return value if isinstance(value, type(default)) else default


class _Loader(yaml.CSafeLoader):
    """In C: a page of 500 runs would else wait ten seconds for their settings."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Nothing: merged keys (`<<`) can be nested to double in number at every level."""


def _load_yaml(data: bytes) -> Any:
    if len(data) > MOST_YAML_BYTES:
        raise ValueError("too large for settings")
    text, level = data.decode("utf-8-sig", "replace"), 0
    # To build what is deeply nested ends the process, and a number of many digits takes long.
    for count, event in enumerate(yaml.parse(text, _Loader)):
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        long = len(getattr(event, "value", "")) > LONGEST_TEXT
        if long or level > MOST_LEVELS or count > 4 * MOST_ENTRIES:
            raise ValueError("too large for settings")
    return _plain(yaml.load(text, _Loader))


def _load_table(data: bytes) -> dict[str, list[float]]:
    head, *rows = csv.reader(data.decode().splitlines(keepends=True))
    if len(head) > MOST_ENTRIES:
        raise ValueError("too many columns")
    numbers = []
    for row in rows:
        with suppress(ValueError):
            numbers.append([float(value) for _, value in zip(head, row, strict=True)])
    return {_text(name)[:LONGEST_KEY]: [row[i] for row in numbers] for i, name in enumerate(head)}


def _plain(value: Any, entries: Iterator[int] | None = None, level: int = 0) -> Any:
    """What JSON can hold, and a page can show; a ValueError where there is too much of it."""
    entries = entries or iter(range(MOST_ENTRIES))
    if level > MOST_LEVELS or next(entries, None) is None:
        raise ValueError("too many entries or levels")
    if isinstance(value, Mapping):
        items = ((_text(key)[:LONGEST_KEY], item) for key, item in value.items())
        return {key: _plain(item, entries, level + 1) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item, entries, level + 1) for item in value]
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "a number of too many digits"
    return value if isinstance(value, int | float | None) else _text(value)


def _text(value: Any) -> str:
    return printable(str(value)[:LONGEST_TEXT])


def _is_own_file(path: Path) -> bool:
    """Whether a run's picture is a file of its own, not a link to another's."""
    return os.path.isfile(path) and not path.is_symlink()
