"""The files of the page: what was dropped on it, and what runs left."""

import re
import shutil
from pathlib import Path

from src.core.errors import InputError
from src.runs.reader import Run, find_runs

MOST_RUNS = 60  # of a folder, the newest: pictures on one page
LONGEST_NAME = 80  # characters
NEAR = "styles.near.path"  # where there are two paintings
# Folders of what is dropped, by the key of a run.
KINDS = {"content": "photos", "depth.path": "depths", "style": "paintings", NEAR: "paintings"}


def short(path: Path) -> str:
    """A path as one would type it: below the working folder without that."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


class Files:
    """The outputs folder, in which `studio/` has what was dropped and drawn."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs.resolve()
        self.own = self.outputs / "studio"

    def choices(self, key: str) -> list[tuple[str, str]]:
        """What a key can be: the names shown, and what a command line calls it.

        Of the classics those that were fetched already: the page fetches none.
        """
        from src.inputs import samples  # with torch, 3 s: the page is there before

        names = {"content": list(samples.PHOTOS), "depth.path": []}.get(key)
        if names is None:
            classics = [name for name in samples.CLASSICS if samples.cached(name).is_file()]
            names = [*samples.paintings(), *classics]
        names = [*names, *[""] * (key == "depth.path")]
        kept = filter(_is_file, (self.own / KINDS[key]).glob("*"))
        newest = sorted(kept, key=lambda path: -path.stat().st_mtime)
        return [(x or "none", x) for x in names] + [(path.name, short(path)) for path in newest]

    def check(self, key: str, value: object) -> None:
        """Refuse what is none of a key's `choices`, by an InputError."""
        if value not in [name for _, name in self.choices(key)]:
            raise InputError(key, repr(value), "a built-in name, or a file dropped here")

    def keep(self, upload: Path, key: str) -> str:
        """Copy a file that was dropped to `studio/`, once; what a command line calls the copy.

        Raises:
            InputError: a run could not use it.
        """
        from src.inputs import depth_files, pictures

        try:
            if key == "depth.path":
                depth_files.read(upload, kind="depth")
            else:
                pictures.read(upload, key=key)
        except InputError as error:  # where it lies for now is not the user's
            got = error.got.replace(f"{upload.parent}/", "")
            raise InputError(error.key, got, error.expected) from error
        folder = self.own / KINDS[key]
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w .()=,-]", "_", upload.stem)[:LONGEST_NAME].strip(". ") or "picture"
        data, number = upload.read_bytes(), 1
        while True:
            path = folder / f"{stem}{f' {number}' if number > 1 else ''}{upload.suffix.lower()}"
            if not path.exists():
                shutil.copyfile(upload, path)
            if path.read_bytes() == data:
                return short(path)
            number += 1

    def folders(self) -> list[str]:
        """The folders of runs, by their paths below the outputs folder; "." is that itself."""
        found = {run.path.parent for run in self.runs()}
        return [".", *sorted(path.relative_to(self.outputs).as_posix() for path in found)]

    def runs(self, folder: str = ".") -> list[Run]:
        """The runs in a folder below the outputs folder, the newest first; an InputError if not."""
        path = (self.outputs / folder).resolve()
        if not path.is_relative_to(self.outputs):
            raise InputError("folder", f"'{folder}'", f"one in {short(self.outputs)}")
        try:
            runs = find_runs(path)
        except InputError:
            return []
        return sorted(runs, key=lambda run: run.path.stat().st_mtime, reverse=True)

    def run(self, name: str | None) -> Run | None:
        """The run of that name, its path below the outputs folder, where there is one."""
        path = self.outputs / (name or "")
        is_below = path.resolve() == path and path.is_relative_to(self.outputs)  # and no link
        return Run(path) if name and is_below and path.is_dir() else None

    def name(self, run: Run) -> str:
        """The run's path below the outputs folder."""
        return run.path.relative_to(self.outputs).as_posix()


def newest_picture(run: Run) -> Path | None:
    """A run's result, or the last picture on the way to it."""
    steps = [] if (run.path / "steps").is_symlink() else sorted(run.path.glob("steps/*.png"))
    return run.pastiche or next(filter(_is_file, reversed(steps)), None)


def result(run: Run) -> Path | None:
    """The result as the run wrote it, in the format that was asked for."""
    kind = run.config.get("output", {}).get("format", "png")
    file = run.path / f"pastiche.{kind}"
    return file if re.fullmatch(r"\w+", str(kind)) and _is_file(file) else run.pastiche


def views(run: Run) -> list[Path]:
    """The files in the run's views/."""
    folder = run.path / "views"
    return [] if folder.is_symlink() else sorted(filter(_is_file, folder.glob("*")))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
