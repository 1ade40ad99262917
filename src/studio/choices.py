"""What is chosen on the page, as the command line that makes the same picture, and its preview."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from src.core.errors import InputError
from src.pipeline.config import CONF, compose, compose_plain, experiments, override
from src.runs.comparison import Value
from src.runs.reader import flatten
from src.studio.files import KINDS, Files, short

if TYPE_CHECKING:
    import numpy as np

    from src.studio.preview import Mask, Preview

CENTER, SLOPE, DRAWN = "mask.center", "mask.slope", "mask.path"
BORDER_STEP = 0.01  # of the page's slider
STEEPEST = 60  # slope
SIZE = 512  # px, long side where no key says another
# What the preview depends on, but for what moves, the mask's center and slope.
SEEN = (*KINDS, "depth.source", "depth.kind", "mask.invert", "refine_masks")


def names() -> list[str]:
    """The experiments to choose from: the paper's own settings want networks that are fetched."""
    return [name for name in experiments() if not name.startswith("paper_")]


def about(experiment: str) -> str:
    """What an experiment is for, in the words of its file in conf/."""
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8").splitlines()
    comments = takewhile(lambda line: line.startswith("# "), lines[2:])  # after its command
    return " ".join(line.removeprefix("# ") for line in comments)


@cache
def defaults(experiment: str) -> dict[str, Any]:
    """The settings of an experiment by their keys, as conf/ has them; see `compose_plain`."""
    return flatten(compose_plain(f"+experiment={experiment}"))


def arguments(experiment: str, values: Mapping[str, Value | None]) -> list[str]:
    """The command line after `python -m src.run`: what differs from conf/, and no other key.

    Args:
        experiment: one of `names`.
        values: by key; None or "" leaves one as it is, and so does a key that the experiment does
            not have. A drawn mask (`mask.path`) takes the place of the mask of depth.
    """
    usual, words = defaults(experiment), [f"+experiment={experiment}"]
    drawn = values.get(DRAWN)
    for key, value in values.items():
        if drawn and key.startswith("mask."):
            words += ["mask=file", override(DRAWN, drawn)] if key == DRAWN else []
        elif value not in (None, "") and key in usual and value != usual[key]:
            words.append(override(key, value))
    return words


def command(*words: str) -> str:
    """The line to copy into a shell."""
    return f"python -m {shlex.join(words)}"


@dataclass(frozen=True)
class Choices:
    """The values of the page's parts; each method raises an InputError for one that is no choice.

    Args:
        files: what there is to choose from, and where a drawn mask is kept.
        experiment: one of `names`.
        values: by the key of a run.
        strokes: drawn over the mask, see `preview.Mask`.
    """

    files: Files
    experiment: str
    values: Mapping[str, Any]
    strokes: "np.ndarray | None" = None

    @cached_property
    def preview(self) -> "Preview":
        """What a run would make of its depth."""
        from src.studio.preview import preview  # with torch, 3 s: the page is there before

        seen = {key: value for key, value in self._checked.items() if key in SEEN}
        return preview(*arguments(self.experiment, seen))

    @property
    def mask(self) -> "Mask":
        """What the mask of depth is changed by."""
        from src.studio.preview import Mask

        return Mask(self._checked[CENTER], self._checked[SLOPE], self.strokes)

    def words(self, keep: bool = True) -> list[str]:
        """The command line after `python -m`.

        Args:
            keep: check it, and keep the drawn mask as a file, which it names.
        """
        values = dict(self._checked)
        if abs(values[CENTER] - self.preview.border) < 0.6 * BORDER_STEP:  # as `auto` has it
            values[CENTER] = None
        if self.strokes is not None and CENTER in defaults(self.experiment) and keep:
            values[DRAWN] = short(self.preview.keep(self.mask, self.files.own / "masks"))
        values["output_dir"] = short(self.files.outputs)
        words = arguments(self.experiment, values)
        if keep:
            compose(*words)
        return ["src.run", *words]

    @cached_property
    def _checked(self) -> dict[str, Any]:
        """By key; None where what the page says is as conf/ has it, or has no meaning."""
        values, usual = dict(self.values), defaults(self.experiment)
        if self.experiment not in names():
            raise InputError("experiment", repr(self.experiment), "one of the list")
        for key in KINDS:
            if key in usual and values[key] != "":
                self.files.check(key, values[key])
        for key, most in ((CENTER, 1), (SLOPE, STEEPEST)):
            if not isinstance(values[key], int | float) or not 0 <= values[key] <= most:
                raise InputError(key, repr(values[key]), f"a number from 0 to {most}")
        if CENTER in usual:
            values["mask.invert"] = bool(values["mask.invert"]) != usual["mask.invert"]
        else:
            values |= {"mask.invert": None, "refine_masks": None}
        if values["size"] == SIZE:
            values["size"] = None
        if not values["loss.depth.weight"] and usual["loss.depth.weight"] is None:
            values["loss.depth.weight"] = None
        run = self.files.run(values["init"])
        if run is not None:
            values["init"] = short(run.path / "pastiche.png")
        elif values["init"] not in ("content", "noise"):
            raise InputError("init", repr(values["init"]), "content, noise, or a run")
        return values
