"""Memory and time of a run, said before it starts; a run without enough memory is refused."""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from src.backbones import Backbone
from src.core import images
from src.core.errors import InputError
from src.core.memory import available, resident
from src.pipeline import costs
from src.pipeline.clip import frame_config, open_clip
from src.pipeline.costs import Sizes, Stage
from src.pipeline.masks import need_depth, paintings
from src.pipeline.networks import NetworkLoader
from src.pipeline.pictures import content_scene, style_image
from src.pipeline.schema import Config

log = logging.getLogger(__name__)

WARN_FROM = 0.85  # of the free memory
CERTAIN = 0.8  # of a forecast: no run took less (docs/performance.md)
SUGGESTED = 0.9  # of the free memory, at most, is what a suggested size takes
SHORT = 10**6  # pixels times steps: a run that ends before one has read how long it takes
TILE_SIZES = (1024, 512, 256)  # px
STEP_OF_SIZES = 20  # px, from one suggested size to the next


class Forecast(NamedTuple):
    """What a run takes."""

    memory: float  # bytes at once, at most
    free: float | None  # bytes, with those that the process has; None: unknown
    stages: Sequence[Stage]

    @property
    def line(self) -> str:
        """Memory and time in words."""
        free = "" if self.free is None else f" of {_gigabytes(self.free)} free"
        steps = sum(stage.steps for stage in self.stages)
        seconds = sum(stage.steps * stage.seconds for stage in self.stages)
        return f"about {_gigabytes(self.memory)}{free}; {steps} steps in about {_duration(seconds)}"

    def __str__(self) -> str:
        """The line, and below it what a step takes, by size."""
        each = (
            f"  {width} x {height}: {steps} steps, {_each(seconds)} s each"
            for (height, width), steps, seconds in self.stages
        )
        return "\n".join([self.line, *each])


def announce(config: Config, later_steps: int = 0) -> None:
    """Refuse a run that has not enough memory; say on stderr what one of some length takes.

    Args:
        config: of a picture, or of a clip's first frame.
        later_steps: of the clip's other frames.

    Raises:
        InputError: not enough memory, with what would fit, or a picture that cannot be read.
    """
    depth_term = config.loss.terms["depth"].get("weight") is not None
    networks = NetworkLoader.of(config)
    sizes = _sizes(config, networks, depth_term or need_depth(config))  # as `build` reads it
    free = _free(config)
    check(config, networks.backbone, sizes, free)
    stages = costs.stages(config, networks.backbone, sizes)
    work = sum(stage.steps * stage.size[0] * stage.size[1] for stage in stages)
    if work + later_steps * math.prod(sizes.content) >= SHORT and config.resume is None:
        found = _forecast(config, networks, sizes, free, later_steps)
        print("forecast:", found.line, file=sys.stderr)


def forecast(config: Config) -> Forecast:
    """What a run takes, without running it.

    Raises:
        InputError: not enough memory, with what would fit, or a picture that cannot be read.
    """
    clip, later_steps = open_clip(config), 0
    if clip is not None:
        config, later_steps = frame_config(config, clip, 0), clip.later_steps(config.clip.steps)
    networks = NetworkLoader.of(config)
    sizes, free = _sizes(config, networks, depth=False), _free(config)
    check(config, networks.backbone, sizes, free)
    return _forecast(config, networks, sizes, free, later_steps)


def _forecast(
    config: Config,
    networks: NetworkLoader,
    sizes: Sizes,
    free: float | None,
    later_steps: int,
) -> Forecast:
    backbone = networks.backbone
    stages = costs.stages(config, backbone, sizes, costs.rate(config, backbone))
    if later_steps:
        stages.append(stages[-1]._replace(steps=later_steps))
    return Forecast(costs.memory(config, backbone, sizes), free, stages)


def check(config: Config, backbone: Backbone, sizes: Sizes, free: float | None) -> None:
    """Warn where a run takes nearly all of the `free` bytes; None: unknown.

    Raises:
        InputError: it takes more; the text has the size and the tiles that would fit.
    """
    need = costs.memory(config, backbone, sizes)
    if free is None or need <= WARN_FROM * free:
        return
    taken = f"about {_gigabytes(need)} of the {_gigabytes(free)} that are free"
    if CERTAIN * need <= free:
        log.warning("memory: this run takes %s", taken)
        return
    key, side = "size", max(sizes.content)
    if config.size is None and config.short_side is not None:
        key, side = "short_side", min(sizes.content)
    fitting = [f"{key}={fits}" for fits in _fitting_sides(config, backbone, sizes, key, side, free)]
    for tile_size in TILE_SIZES:
        tiled = costs.memory(replace(config, tile_size=tile_size), backbone, sizes)
        if tiled <= SUGGESTED * free:
            fitting.append(f"tile_size={tile_size} (about {_gigabytes(tiled)})")
            break
    tiles = "null" if config.tile_size is None else config.tile_size
    expected = ", or ".join(fitting) or "smaller pictures (size, style_size, tile_size)"
    raise InputError(key, f"{side} with tile_size={tiles}, which takes {taken}", expected)


def _fitting_sides(
    config: Config, backbone: Backbone, sizes: Sizes, key: str, side: int, free: float
) -> Iterator[int]:
    """The largest side that fits, or nothing."""
    styles_follow = config.style_size is None and config.style_short_side is None
    largest = (side - 1) // STEP_OF_SIZES * STEP_OF_SIZES
    for shorter in range(largest, STEP_OF_SIZES, -STEP_OF_SIZES):
        height, width = images.fit(*sizes.content, **{key: shorter})
        factor = shorter / side if styles_follow else 1.0
        styles = [costs.scaled(size, factor) for size in sizes.styles]
        if costs.memory(config, backbone, Sizes((height, width), styles)) <= SUGGESTED * free:
            yield shorter
            return


def _sizes(config: Config, networks: NetworkLoader, depth: bool) -> Sizes:
    """Of content and paintings; with `depth` the content's is read or estimated, too."""
    height, width = content_scene(config, networks, depth).image.shape[-2:]
    styles = []
    for name, style in config.styles.items():
        for _, path, _ in paintings(style.path, 1.0):
            size = style_image(config, name, path, 1.0).shape[-2:]
            # As many bands of depth, the nearest with the largest strokes.
            scales = [2 ** ((style.octaves - 1) / 2 - number) for number in range(style.octaves)]
            styles += [costs.scaled((size[0], size[1]), scale) for scale in scales]
    return Sizes((height, width), styles)


def _free(config: Config) -> float | None:
    """Bytes that the run can have, with those that this process has already."""
    device = costs.device(config)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    left = available() if device.type == "cpu" else None
    return None if left is None else left + resident()


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _each(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 100 else f"{seconds:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
