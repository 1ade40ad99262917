"""Checkpoints: where `resume` finds one, and whether a run can go on from it."""

from pathlib import Path

import torch

from src.core.errors import InputError
from src.runs.reader import CHECKPOINT, PASTICHE
from src.stylization import Stylization


def find(resume: str | None) -> Path | None:
    """The checkpoint that `resume` names, a run's folder or the file itself.

    Raises:
        InputError: neither is there.
    """
    if resume is None:
        return None
    path = Path(resume)
    file = path / CHECKPOINT if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            "resume", f"{resume}, where no checkpoint is", f"a run's folder with {CHECKPOINT}"
        )
    return file


def check(file: Path, stylization: Stylization, steps: int, is_clip: bool = False) -> int:
    """The step at which a checkpoint stopped, if this run can go on from it.

    Raises:
        InputError: not a checkpoint of a stylization of this size, or beyond `steps`, or of a run
            that has made all of them and its picture, unless `is_clip`: frames may be left.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        pastiche, step = state["state_dict"]["pastiche"], int(state["global_step"])
        (optimizer,) = state["optimizer_states"]
        if step < 0 or "fit_loop" not in state["loops"] or (step and not optimizer["state"]):
            raise ValueError("a part is missing")
    except Exception as error:  # torch, zipfile and pickle each have their own
        raise InputError(
            "resume", f"{file}, which is not a run's checkpoint", "one that this program wrote"
        ) from error
    height, width = stylization.size_after(step)
    if pastiche.shape != (1, 3, height, width):
        raise InputError(
            "resume",
            f"a pastiche of {pastiche.shape[-1]} x {pastiche.shape[-2]} pixels",
            f"{width} x {height}, as this run's content, size and levels make it after {step} "
            "steps",
        )
    done = step == steps and not is_clip and (file.parent / PASTICHE).exists()
    if step > steps or done:
        raise InputError("steps", f"{steps}", f"more than the {step} steps of {file}")
    return step
