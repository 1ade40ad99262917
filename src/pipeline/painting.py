"""What silhouettes hide in a pastiche, painted by the objective that made it."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from src.core.lightning import quiet
from src.inputs import Scene
from src.objective import Previous
from src.pipeline.build import build
from src.pipeline.fit import fit
from src.pipeline.pictures import Frame
from src.pipeline.schema import Config, Restart
from src.runs.identity import DEFAULT_SIZE
from src.tracking import LossLogger, ProgressBar, StepTimer, StopOnSignal
from src.tracking.wandb_run import RunLogger

STEPS = 20
TERMS = ("content", "style", "temporal", "tv")  # structure and depth are those of what is in front


def paint_hidden(
    config: Config,
    scene: Scene,
    pastiche: Tensor,
    hidden: Tensor,
    mask_border: float | None,
    scale: float = 1.0,
) -> Tensor:
    """A pastiche of which the hidden part is painted by the style term alone, (1, 3, H, W).

    The rest stays as it is: the term that steadies clips holds it.

    Args:
        config: the run's.
        scene: the content image and its depth, with the hidden part filled.
        pastiche: the run's, with the hidden part filled, (1, 3, H, W).
        hidden: (1, 1, H, W) bool.
        mask_border: that of the run's automatic masks.
        scale: how large the pastiche is over the run's: so are the style images.

    Raises:
        InputError: what the run was made of is not there any more.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    quiet()
    known = (~hidden).float()
    terms = {
        name: {**node, "weight": node.get("weight") if name in TERMS else None}
        for name, node in config.loss.terms.items()
    }
    config = replace(
        config,
        steps=STEPS,
        pyramid=replace(config.pyramid, levels=1),
        restart=Restart(None, None),
        haze=0.0,  # the pastiche has it
        depth_darkening=0.0,
        loss=replace(config.loss, terms=terms),
        **_sides(config, scale),
    )
    previous = Previous(pastiche, known)
    job = build(config, Frame(scene, previous, mask_border, {}, known))
    bar = ProgressBar("painting what is hidden")
    losses = LossLogger(None, RunLogger(), config.log_every_n_steps, bar)
    trainer = fit(config, job.stylization, [losses, bar, StopOnSignal()], StepTimer())
    if trainer.global_step < STEPS:
        raise KeyboardInterrupt
    return torch.where(hidden, job.stylization.current_image.cpu(), pastiche)


def _sides(config: Config, scale: float) -> dict[str, Any]:
    """The keys that say how large the style images are."""
    size = config.size if config.size or config.short_side else DEFAULT_SIZE
    sides = {
        "size": size,
        "short_side": config.short_side,
        "style_size": config.style_size,
        "style_short_side": config.style_short_side,
    }
    return {key: side and max(1, round(scale * side)) for key, side in sides.items()}
