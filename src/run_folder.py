"""A run's folder: every file in it whole, or not there."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from src.images import save_png
from src.runs import CHECKPOINT, FAILED, TERMS, write_text

__all__ = ["CHECKPOINT", "FAILED", "TERMS", "RunFolder", "TermsFile"]


class RunFolder:
    """Writes what a run leaves (see the README's table of files).

    Args:
        path: the folder; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for part in (path, path / "inputs", path / "steps"):
            part.mkdir(parents=True, exist_ok=True)

    def text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_text(self.path / name, text)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a table as JSON."""
        self.text(name, json.dumps(value, indent=2) + "\n")

    def picture(self, name: str, image: Tensor, alpha: Tensor | None = None) -> Path:
        """Write (1, 3 or 1, H, W) in [0, 1] as `name`, a path below the folder ending in .png."""
        save_png(image, self.path / name, alpha)
        return self.path / name

    def fail(self, reason: str) -> None:
        """Leave the mark of a run without a result."""
        self.text(FAILED, reason + "\n")


class TermsFile:
    """terms.csv: one row per logged step, `step,total,<term>...`.

    Row k holds the unweighted values of the pastiche after k steps, before the next one.

    Args:
        folder: the run's folder.
        earlier: terms.csv of the run that this one goes on from; its rows before `start` are kept.
        start: the step that this run begins with.
    """

    def __init__(self, folder: RunFolder, earlier: Path | None = None, start: int = 0) -> None:
        self._path = folder.path / TERMS
        self._rows: list[dict[str, str]] = []
        if earlier is not None and earlier.is_file():
            with earlier.open(newline="", encoding="utf-8") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) < start]
        self._path.unlink(missing_ok=True)  # of another run in this folder

    def add(self, step: int, total: float, terms: Mapping[str, float]) -> None:
        """Append a row and hand it to the disk."""
        row = {"step": str(step), "total": repr(total)} | {k: repr(v) for k, v in terms.items()}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), extrasaction="ignore", lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
                writer.writerows(self._rows)
            writer.writerow(row)
