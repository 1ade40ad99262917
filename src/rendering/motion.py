"""Ways of the eye that end where they begin, as frames of a loop."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from src.core.images import to_uint8
from src.rendering.renderer import Eye, Renderer

RATE = 30  # frames per second
# From a phase in [0, 1), at 0 of which the eye is where the picture was taken from.
MOTIONS: Mapping[str, Callable[[float], Eye]] = {
    "circle": lambda t: Eye(math.sin(math.tau * t), (math.cos(math.tau * t) - 1) / 2),
    "swing": lambda t: Eye(math.sin(math.tau * t)),
    "zoom": lambda t: Eye(forward=(1 - math.cos(math.tau * t)) / 2),
}


def loop_frames(renderer: Renderer, motion: str, seconds: float) -> list[np.ndarray]:
    """The frames of a loop, (H, W, 3) uint8 each; the first is the picture itself.

    Args:
        renderer: of the picture's layers.
        motion: one of `MOTIONS`.
        seconds: how long it takes, at `RATE`.
    """
    count = max(2, round(seconds * RATE))
    eyes = [MOTIONS[motion](number / count) for number in range(count)]
    # Some ways lead through every place twice.
    places = [Eye(*(round(part, 6) for part in eye)) for eye in eyes]
    distinct = list(dict.fromkeys(places))
    frames = dict(zip(distinct, renderer.render_each(distinct, to_uint8), strict=True))
    return [frames[eye] for eye in places]
