"""Reading run folders, also of runs that failed or were killed. Needs no torch."""

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from src.core.errors import InputError, printable
from src.core.files import read_regular

CHECKPOINT = "last.ckpt"
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
# A folder may be a stranger's. This program's own files have some thousand bytes, some hundred
# entries, and are six deep; terms.csv has 100 bytes a row.
MOST_BYTES, MOST_TERMS_BYTES = 2**18, 2**24
MOST_ENTRIES = 2000  # with aliases written out
MOST_DEPTH = 16
LONGEST_TEXT = 4096  # characters, as of a path
LONGEST_KEY = 200  # the page has each key once per run
STATUSES = ("done", "interrupted", "failed", "unfinished", "missing")


@dataclass(frozen=True)
class Run:
    """A run's folder, as far as it was written. Files are read on first use."""

    path: Path
    root: Path | None = None  # what is looked at, if more than the run: no link may lead out of it

    def _holds(self, path: Path) -> bool:
        """Whether there is a file, and not by a link to what the page is not to give away."""
        real = Path(os.path.realpath(path))
        return os.path.isfile(real) and real.is_relative_to(
            os.path.realpath(self.root or self.path)
        )

    def _content(
        self, name: str, load: Callable[[bytes], Any], default: T, most: int = MOST_BYTES
    ) -> T:
        path = self.path / name
        return _read(path, load, default, most) if self._holds(path) else default

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; empty where it is missing or broken."""
        return self._content(SUMMARY, _load_json, {})

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml without Hydra's own part; empty where it is missing or broken."""
        config: dict[str, Any] = self._content(CONFIG, _load_yaml, {})
        return {key: value for key, value in config.items() if key != "hydra"}

    @cached_property
    def terms(self) -> dict[str, list[float]]:
        """terms.csv by column, `step` among them; a row that was cut off is left out."""
        return self._content(TERMS, _load_terms, {}, MOST_TERMS_BYTES)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every number of metrics.json, by its path in it (`style.gram`)."""
        numbers = flatten(self._content(METRICS, _load_json, {})).items()
        return {name: float(value) for name, value in numbers if is_number(value)}

    @cached_property
    def status(self) -> str:
        """One of STATUSES; "unfinished" where the summary or the result is missing."""
        if not os.path.isdir(self.path):  # pathlib's may raise a PermissionError
            return "missing"
        if os.path.exists(self.path / FAILED):
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
            text = self._content(FAILED, lambda content: content.decode(errors="replace"), "")
            return _text(" ".join(text.split())) or "gave no reason"
        if self.status == "interrupted":
            steps = f"{self.summary.get('steps', '?')} of {self.config.get('steps', '?')}"
            return f"interrupted after {steps} steps"
        if self.summary.get("status") == "done":
            linked = os.path.islink(self.path / PASTICHE)
            return f"{PASTICHE} is {'a link out of the folder' if linked else 'missing'}"
        if os.path.exists(self.path / SUMMARY):
            return f"{SUMMARY} is broken: half-written, or not this program's"
        logged = self.terms.get("step")
        where = f"after step {logged[-1]:.0f}" if logged else "before its first step"
        return f"no {SUMMARY}: still running, or ended {where} without a word"

    @cached_property
    def pastiche(self) -> Path | None:
        """The result, where there is one."""
        return path if self._holds(path := self.path / PASTICHE) else None

    @cached_property
    def overrides(self) -> list[str]:
        """What the command line set for this run, as typed; empty where that is not known."""
        items = self._content(".hydra/overrides.yaml", _load_yaml, list[Any]())
        return [str(item) for item in items]

    @cached_property
    def inputs(self) -> dict[str, Path]:
        """The images in inputs/ by name: content, style_<name>, depth, mask_<name>."""
        kinds = {"content": 0, "style": 1, "depth": 2, "mask": 3}
        paths = sorted(filter(self._holds, self.path.glob("inputs/*.png")), key=lambda p: p.stem)
        paths.sort(key=lambda path: kinds.get(path.stem.partition("_")[0], len(kinds)))
        return {path.stem: path for path in paths}

    @cached_property
    def unreadable(self) -> list[str]:
        """The files that are left out: broken, too large, or links out of the folder."""
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
        run = Run(Path(path), folder)
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
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    return _read(path, _load_json, {})


def _read(path: Path, load: Callable[[bytes], Any], default: T, most: int = MOST_BYTES) -> T:
    """A file's value, if it has the type of the default, else that: the one door to all of them."""
    try:
        value = load(read_regular(path, most))
    except Exception:  # for a broken file YAML's alone are eight, an AttributeError among them
        return default
    return value if isinstance(value, type(default)) else default


class _Loader(yaml.CSafeLoader):
    """In C: a page of 500 runs would else wait ten seconds for their settings."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges (`<<`) of merges could grow without end."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_ENTRIES:
            raise ValueError


def _load_yaml(content: bytes) -> Any:
    text = content.decode("utf-8-sig", "replace")
    depth = 0
    # Building ends the process where it is deep, and takes long where a number is.
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        long = len(getattr(event, "value", "")) > LONGEST_TEXT
        if long or depth > MOST_DEPTH or count > 4 * MOST_ENTRIES:
            raise ValueError
    return _plain(yaml.load(text, Loader=_Loader))


def _load_json(content: bytes) -> Any:
    return _plain(json.loads(content))


def _load_terms(content: bytes) -> dict[str, list[float]]:
    rows = csv.reader(io.StringIO(content.decode(errors="replace"), newline=""))
    head = [_text(name)[:LONGEST_KEY] for name in next(rows, [])][:MOST_ENTRIES]
    numbers = []
    for row in rows:
        with suppress(ValueError):
            numbers.append([float(value) for _, value in zip(head, row, strict=True)])
    return {name: [row[i] for row in numbers] for i, name in enumerate(head)}


def _plain(value: Any, depth: int = 0, entries: Iterator[int] | None = None) -> Any:
    """A value as JSON could have it, of printable texts; a ValueError where it is too large."""
    entries = entries or iter(range(MOST_ENTRIES))
    if depth > MOST_DEPTH or next(entries, None) is None:
        raise ValueError
    if isinstance(value, dict):
        return {
            _text(key)[:LONGEST_KEY]: _plain(item, depth + 1, entries)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, entries) for item in value]
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "an integer out of range"
    return value if isinstance(value, int | float | None) else _text(value)


def _text(value: Any) -> str:
    return printable(str(value)[:LONGEST_TEXT])
