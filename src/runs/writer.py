"""Writing a run's folder: every file in it whole, or not there."""

import csv
from collections.abc import Mapping
from pathlib import Path

from PIL.Image import Exif
from torch import Tensor

from src.core.errors import InputError
from src.core.images import save_png
from src.runs.reader import PASTICHE, TERMS, Run
from src.runs.result import save_result


class RunWriter:
    """A run's folder (see docs/runs.md), created if it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for part in (path, path / "inputs", path / "steps"):
            part.mkdir(parents=True, exist_ok=True)

    def image(self, name: str, image: Tensor, alpha: Tensor | None = None) -> Path:
        """Write (1, 3 or 1, H, W) in [0, 1] as `name`, a path below the folder ending in .png."""
        save_png(image, self.path / name, alpha)
        return self.path / name

    def result(
        self, image: Tensor, alpha: Tensor | None, kind: str, bits: int, exif: Exif, settings: str
    ) -> Path:
        """Write the pastiche, with the settings in it; other parts of the program read the PNG."""
        file = (self.path / PASTICHE).with_suffix(f".{kind}")
        for path in dict.fromkeys((self.path / PASTICHE, file)):
            save_result(image, path, settings, exif, alpha, bits if path == file else 8)
        return file


class TermsLog:
    """terms.csv: one row per logged step, `step,total,<term>...`, of the pastiche before that step.

    Or frames.csv, `frame,total,<term>...`, one per frame of a clip, when it is done. A resumed run
    copies from the folder `earlier` the whole rows before step or frame `start`; an InputError if
    another file has that name there.
    """

    def __init__(
        self, folder: RunWriter, earlier: Path | None = None, start: int = 0, name: str = TERMS
    ) -> None:
        self._path, self._index = folder.path / name, "step" if name == TERMS else "frame"
        self._rows: list[dict[str, str]] = []
        file = None if earlier is None else earlier / name
        if earlier is not None and file and file.is_file() and file.stat().st_size:
            columns = Run(earlier).terms if name == TERMS else Run(earlier).frames
            if self._index not in columns:
                raise InputError("resume", f"'{file}', which is broken", f"a run's {name}")
            for row in zip(*columns.values(), strict=True):
                values = dict(zip(columns, row, strict=True))
                if 0 <= values[self._index] < start:
                    self._rows.append(self._texts(int(values.pop(self._index)), values))
        self._path.unlink(missing_ok=True)  # of another run in this folder

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row, total and terms, and hand it to the disk."""
        row = self._texts(step, values)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), extrasaction="ignore", lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
                writer.writerows(self._rows)
            writer.writerow(row)

    def _texts(self, index: int, values: Mapping[str, float]) -> dict[str, str]:
        return {self._index: str(index)} | {name: repr(value) for name, value in values.items()}
