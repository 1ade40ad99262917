"""What a run takes by the sizes of its pictures: memory by a formula, time by a measured rate."""

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from src.backbones import Backbone
from src.losses.gram import unnormalized_moments
from src.objective.tiles import split
from src.pipeline.build import choose_tile_size
from src.pipeline.networks import HOME
from src.pipeline.schema import Config

# Fitted to the peaks and the times of whole runs (docs/performance.md).
PROGRAM = 0.95e9  # bytes of libraries and weights
KEPT = 1.0  # times what a pass keeps for its way back
LARGEST = 3.9  # times the largest layer: gradients, and how blocks fall in the heap
HEAP = 0.4  # times more of it with each of the first steps, which leave blocks of their own there
HEAP_STEPS = 3
WITHOUT_GRADIENT = 3.5  # times the largest layer, of a pass without a way back
PICTURES = 14  # of the pastiche's size, beside the optimiser's memory
VGG_HEAD = 400  # bytes per pixel of the depth head on the network's features
DEPTH_NETWORK = 1e9  # bytes of one that looks at a small copy
STEP_TIME = 1.1  # times that of the network with sums for one style
TILED_TIME = 1.3  # times more in tiles, which go forward twice
STYLE_TIME = 0.05  # more for every further style
PIXEL_TIME = 1e-6  # seconds per pixel on a CPU, of the optimiser and of terms without a network

COLOUR = 3 * 4  # bytes per pixel of a picture in float32
# px, of the pictures that the rate is measured with: to warm up, on a CPU, on a GPU
TINY, SMALL, LARGE = (64, 64), (128, 192), (512, 768)
SLOW = 1.0  # seconds: if the tiny one takes more, it is measure enough
ENOUGH = 0.25  # seconds of measuring the other

Size = tuple[int, int]  # height and width in pixels


class Sizes(NamedTuple):
    """Of the pictures of a run."""

    content: Size
    styles: Sequence[Size]  # one for each painting and each size of its strokes


class PassMemory(NamedTuple):
    """Bytes per pixel of a pass through a network."""

    kept: float  # for the way back
    largest: float  # the largest layer of it


class Stage(NamedTuple):
    """The steps at one size."""

    size: Size
    steps: int
    seconds: float  # per step


def memory(config: Config, backbone: Backbone, sizes: Sizes) -> float:
    """Bytes that a run has at its peak; on a GPU, those that it has there."""
    layers = _layers(config, backbone)
    kept, largest = pass_memory(backbone, layers)
    tile = max(_tile_areas(config, backbone, layers, sizes.content))
    painting = max(max(_tile_areas(config, backbone, layers, size)) for size in sizes.styles)
    last = stages(config, backbone, sizes)[-1].steps
    step = KEPT * kept + (LARGEST + HEAP * min(last, HEAP_STEPS)) * largest
    passes = max(step * tile, WITHOUT_GRADIENT * largest * painting)
    masks = sum(style.mask is not None for style in config.styles.values()) / 3
    count = PICTURES + masks + _optimizer_pictures(config, last)
    pictures = count * math.prod(sizes.content) + sum(math.prod(size) for size in sizes.styles)
    total = passes + COLOUR * pictures
    if config.loss.terms["depth"].get("weight") is not None:
        on_features = str(config.depth_net.get("_target_")).endswith("vgg_head")
        total += VGG_HEAD * tile if on_features else DEPTH_NETWORK
    return total if device(config).type == "cuda" else total + PROGRAM


def _optimizer_pictures(config: Config, steps: int) -> int:
    """Pictures of the pastiche's size that the optimiser remembers after so many steps."""
    name = str(config.optimizer.get("_target_"))
    if not name.endswith("LBFGS"):
        return 2  # Adam's moments; others remember less
    history = config.optimizer.get("history_size", 100 if name.startswith("torch.") else 20)
    return 2 * min(steps, history) if isinstance(history, int) else 0


def stages(
    config: Config, backbone: Backbone, sizes: Sizes, seconds_per_pixel: float = 0.0
) -> list[Stage]:
    """The steps at every size, coarse to fine, with what each takes at such a rate."""
    levels, each = config.pyramid.levels, config.pyramid.steps_per_level
    layers, found = _layers(config, backbone), []
    for number in reversed(range(levels)):
        size = scaled(sizes.content, config.pyramid.scale_factor**-number)
        areas = _tile_areas(config, backbone, layers, size)
        factor = 1.0 if len(areas) == 1 else TILED_TIME
        factor = STEP_TIME * (factor + STYLE_TIME * (len(sizes.styles) - 1))
        steps = each if number else config.steps - (levels - 1) * each
        seconds = factor * seconds_per_pixel * sum(areas)
        if device(config).type == "cpu":
            seconds += PIXEL_TIME * math.prod(size)
        found.append(Stage(size, steps, seconds))
    return found


@lru_cache(maxsize=8)
def pass_memory(backbone: Backbone, layers: tuple[str, ...]) -> PassMemory:
    """What a pass to these layers keeps for its way back, as a small one shows."""
    side = max([64, *(backbone.smallest_side(layer) for layer in layers)])
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.ndim == 4 and len(x) == 1:  # one image's features, and no weights
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    image = torch.full((1, 3, side, side), 0.5, requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        features = backbone.features(image, layers)  # held, or addresses would come again
    found = [count / side**2 for count in storages.values()] if features else []
    return PassMemory(sum(found), max(found, default=0.0))


def rate(config: Config, backbone: Backbone) -> float:
    """Seconds per pixel of a step's pass to and back from all layers, as this machine is now."""
    return _rate(backbone, _layers(config, backbone), device(config))


@lru_cache(maxsize=8)
def _rate(backbone: Backbone, layers: tuple[str, ...], where: torch.device) -> float:
    backbone.to(where)
    try:
        size, seconds = TINY, [_pass_seconds(backbone, layers, where, TINY)]
        if where.type != "cpu" or seconds[0] <= SLOW:
            size, seconds = SMALL if where.type == "cpu" else LARGE, []
            while sum(seconds) < ENOUGH:
                seconds.append(_pass_seconds(backbone, layers, where, size))
    finally:
        backbone.to(HOME)
    return min(seconds) / math.prod(size)


def _pass_seconds(
    backbone: Backbone, layers: tuple[str, ...], where: torch.device, size: Size
) -> float:
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    image = image.to(where).requires_grad_()
    start = time.perf_counter()
    with torch.enable_grad():
        total = image.mean()
        for _, features in backbone.iter_features(image, layers):
            total = total + unnormalized_moments(features).mean()
    torch.autograd.backward(total)
    assert image.grad is not None
    float(image.grad.sum())  # waits for a GPU
    return time.perf_counter() - start


def _tile_areas(
    config: Config, backbone: Backbone, layers: tuple[str, ...], size: Size
) -> list[int]:
    """Pixels of what goes through the network at once, with the surroundings of a tile."""
    image = torch.empty(1, 3, *size, device="meta")
    tiles = split(backbone, layers, image, choose_tile_size(config, *size))
    return [math.prod(tile.pixels(image).shape[-2:]) for tile in tiles]


def _layers(config: Config, backbone: Backbone) -> tuple[str, ...]:
    """Of all terms that have a weight."""
    found = [
        backbone.layer(layer, f"loss.{name}.layers")
        for name, term in config.loss.terms.items()
        if term.get("weight") is not None and isinstance(term.get("layers"), Sequence)
        for layer in term["layers"]
    ]
    return tuple(dict.fromkeys(found))


def scaled(size: Size, factor: float) -> Size:
    """A size times a factor, 1 pixel at least."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def device(config: Config) -> torch.device:
    """Where Lightning's trainer will run."""
    if config.accelerator == "cpu" or not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator() or torch.device("cpu")
