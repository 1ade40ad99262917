"""Reading what runs left behind, also where they failed or were cut off. Needs no torch."""

import csv
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from src.errors import InputError

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
FAILED = "FAILED"
METRICS = "metrics.json"
PASTICHE = "pastiche.png"
SUMMARY = "summary.json"
SWEEP = "multirun.yaml"
TERMS = "terms.csv"

# Any of these files, or both of these folders, make a folder a run's.
MARKS = (PASTICHE, SUMMARY, TERMS, FAILED)
FOLDERS = ("inputs", "steps")
STATUSES = ("done", "interrupted", "failed", "unfinished")


@dataclass(frozen=True)
class Run:
    """A run's folder, as far as it was written. Files are read when they are asked for.

    Args:
        path: the folder.
    """

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; empty where it is missing or broken."""
        return _read_json(self.path / SUMMARY)

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml without Hydra's own part; empty where it is missing or broken."""
        config = read_yaml(self.path / CONFIG)
        return {str(key): value for key, value in config.items() if key != "hydra"}

    @cached_property
    def terms(self) -> dict[str, list[float]]:
        """terms.csv by column, `step` among them; a row that was cut off is left out."""
        try:
            with (self.path / TERMS).open(newline="", encoding="utf-8") as file:
                head, *rows = csv.reader(file)
                numbers = [_floats(row) for row in rows]
        except (OSError, ValueError, csv.Error):
            return {}
        whole = [row for row in numbers if row is not None and len(row) == len(head)]
        return {name: [row[i] for row in whole] for i, name in enumerate(head)}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every number of metrics.json, by its path in it (`style.gram`)."""
        numbers = flatten(_read_json(self.path / METRICS)).items()
        return {name: float(value) for name, value in numbers if is_number(value)}

    @cached_property
    def status(self) -> str:
        """One of STATUSES; "unfinished" where no summary says how the run ended."""
        if (self.path / FAILED).exists():
            return "failed"
        status = self.summary.get("status")
        return status if status in STATUSES else "unfinished"

    @cached_property
    def reason(self) -> str:
        """Why the run is not done, in one line; empty where it is."""
        if self.status == "failed":
            try:
                text = (self.path / FAILED).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
            return " ".join(text.split()) or "gave no reason"
        if self.status == "interrupted":
            made = f"{self.summary.get('steps', '?')} of {self.config.get('steps', '?')}"
            return f"interrupted after {made} steps"
        if self.status == "unfinished":
            if (self.path / SUMMARY).exists():
                return f"{SUMMARY} is broken: half-written, or not this program's"
            steps = self.terms.get("step")
            where = f"after step {steps[-1]:.0f}" if steps else "before its first step"
            return f"no {SUMMARY}: still running, or ended {where} without a word"
        return ""

    @cached_property
    def pastiche(self) -> Path | None:
        """The result, where there is one."""
        path = self.path / PASTICHE
        return path if path.is_file() else None

    @cached_property
    def overrides(self) -> list[str]:
        """What the command line set for this run, as typed; empty where that is not known."""
        value = _load_yaml(self.path / ".hydra" / "overrides.yaml")
        return [str(item) for item in value] if isinstance(value, list) else []

    @cached_property
    def inputs(self) -> dict[str, Path]:
        """The pictures in inputs/ by name: content, style_<name>, depth, mask_<name>."""
        first = ("content", "style", "depth", "mask")

        def place(path: Path) -> tuple[int, str]:
            kind = path.stem.partition("_")[0]
            return first.index(kind) if kind in first else len(first), path.stem

        return {path.stem: path for path in sorted(self.path.glob("inputs/*.png"), key=place)}

    @cached_property
    def sweep(self) -> Path | None:
        """The folder of the sweep that the run is a job of."""
        return self.path.parent if (self.path.parent / SWEEP).is_file() else None


def find_runs(folder: Path) -> list[Run]:
    """The runs in a folder: itself one, a sweep's jobs, or any number below it, in natural order.

    Raises:
        InputError: no such folder, one that cannot be read, or one without a run.
    """
    expected = "the folder of a run, of a sweep, or one above them such as outputs"
    if not folder.is_dir():
        problem = "which is not a folder" if folder.exists() else "which is not there"
        raise InputError("FOLDER", f"{folder}, {problem}", expected)
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError("FOLDER", f"{folder}, which cannot be read", expected)
    runs = []
    for path, folders, files in os.walk(folder):
        if _is_run(Path(path), folders, files):
            runs.append(Run(Path(path)))
            folders.clear()
        # A sweep keeps earlier attempts at its jobs in a hidden one.
        folders[:] = [name for name in folders if not name.startswith(".")]
    if not runs:
        raise InputError("FOLDER", f"{folder}, in which no run is", expected)
    return sorted(runs, key=lambda run: natural(run.path.as_posix()))


def _is_run(path: Path, folders: list[str], files: list[str]) -> bool:
    if not set(MARKS).isdisjoint(files) or set(FOLDERS) <= set(folders):
        return True
    # A job that was killed at once left nothing but its number.
    return path.name.isdecimal() and (path.parent / SWEEP).is_file()


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts `job 10` behind `job 9`."""
    parts: list[str] = []
    for character in text:
        if parts and parts[-1].isdecimal() == character.isdecimal():
            parts[-1] += character
        else:
            parts.append(character)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as one table: `{"a": {"b": 1}}` is `{"a.b": 1}`. Lists stay values."""
    table: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            table |= flatten(value, f"{prefix}{key}.")
        else:
            table[f"{prefix}{key}"] = value
    return table


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    part = path.parent / f".{path.name}.part"
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; empty where it is missing or broken."""
    value = _load_yaml(path)
    return value if isinstance(value, dict) else {}


def _load_yaml(path: Path) -> Any:
    try:
        # The loader in C: a page of 500 runs would else wait ten seconds for their settings.
        with path.open("rb") as file:
            return yaml.load(file, yaml.CSafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _floats(row: list[str]) -> list[float] | None:
    try:
        return [float(value) for value in row]
    except ValueError:
        return None
