"""Views of a picture's layers from a moved eye."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from src.rendering.layers import MOST_STRENGTH, REACH, Layers, walls

T = TypeVar("T")
FOCUS = 0.5  # disparity of what stays where it is when the eye moves aside
SHIFT = REACH / MOST_STRENGTH  # of the long side, by which the nearest moves against the farthest
ZOOM = 3 * SHIFT  # by how much the nearest grows
MOST_PLANES, REFINEMENTS = 32, 5


class Eye(NamedTuple):
    """Where the eye is: 0 is where the picture was taken from, 1 is as far as it usually goes."""

    right: float = 0.0
    down: float = 0.0
    forward: float = 0.0


class _Rays(NamedTuple):
    """Places in pixels, and how far a ray there moves with disparity; of one shape."""

    x: Tensor
    y: Tensor
    right: Tensor
    down: Tensor

    def at(self, disparity: Tensor | float) -> tuple[Tensor, Tensor]:
        return self.x + disparity * self.right, self.y + disparity * self.down


class Renderer:
    """Renders views of one picture.

    Every ray is followed from near to far until it is behind the surface of the front layer (relief
    mapping: Policarpo, Oliveira and Comba 2005). Where it got there through the wall of a
    silhouette it sees the hidden layer.
    """

    def __init__(self, layers: Layers, strength: float = 1.0) -> None:
        """`strength` is a factor on every way of the eye, up to `layers.MOST_STRENGTH`."""
        self._layers, self._strength = layers, strength
        height, width = layers.image.shape[-2:]
        self._x = torch.arange(width - 2 * layers.margin) + float(layers.margin)
        self._y = torch.arange(height - 2 * layers.margin) + float(layers.margin)
        self._center = (width - 1) / 2, (height - 1) / 2
        self._walls = walls(layers.disparity)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a view."""
        return len(self._y), len(self._x)

    def render(self, eye: Eye) -> Tensor:
        """The view, (1, 3, h, w) in [0, 1], of the picture's size; from 0 the picture itself."""
        layers, rays = self._layers, self._rays(eye)
        length = torch.hypot(rays.right, rays.down)
        planes = min(MOST_PLANES, 2 + math.ceil(float(length.max())))
        front = _intersect(layers.disparity, rays, planes)
        x, y = rays.at(front)
        image = _sample(layers.image, x, y)
        wall = _sample(self._walls, x.floor(), y.floor(), "nearest")[0]
        # In pixels from the silhouette's edge, over the first of which it fades.
        beyond = torch.where(wall > 1, 0.0, (wall - front) * length)
        is_open = beyond > 0
        if bool(is_open.any()):
            seen = _Rays(*(part[is_open][None] for part in rays))
            at = seen.at(_intersect(layers.hidden_disparity, seen, planes))
            hidden = _sample(layers.hidden_image, *at)[:, 0]
            share = beyond[is_open].clamp(max=1)
            image[:, is_open] = torch.lerp(image[:, is_open], hidden, share)
        return image[None]

    def render_each(self, eyes: Sequence[Eye], finish: Callable[[Tensor], T]) -> list[T]:
        """What `finish` makes of every view, a view per thread.

        Threads within a view wait for each other: on cores that others use, ten times as long.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                return list(pool.map(lambda eye: finish(self.render(eye)), eyes))
        finally:
            torch.set_num_threads(threads)

    def _rays(self, eye: Eye) -> _Rays:
        """Of every pixel; the disparity that stays where it is is 0 for the way forward."""
        shift = self._strength * SHIFT * max(len(self._x), len(self._y))
        zoom = self._strength * ZOOM * eye.forward
        y, x = torch.meshgrid(self._y, self._x, indexing="ij")
        right = torch.full_like(x, shift * eye.right)
        down = torch.full_like(y, shift * eye.down)
        start = x - FOCUS * right, y - FOCUS * down
        return _Rays(
            *start, right - zoom * (x - self._center[0]), down - zoom * (y - self._center[1])
        )


def _intersect(surface: Tensor, rays: _Rays, planes: int) -> Tensor:
    """The disparity at which every ray is first behind a surface."""

    def is_behind(plane: Tensor | float) -> Tensor:
        return _sample(surface, *rays.at(plane))[0] >= plane

    step = 1 / (planes - 1)
    disparity = torch.zeros_like(rays.x)
    for number in range(1, planes):  # of planes that are behind the nearest counts
        disparity = torch.where(is_behind(number * step), number * step, disparity)
    for number in range(1, REFINEMENTS + 1):
        nearer = disparity + step / 2**number
        disparity = torch.where(is_behind(nearer), nearer, disparity)
    return disparity


def _sample(image: Tensor, x: Tensor, y: Tensor, mode: str = "bilinear") -> Tensor:
    """The channels of an image, (1, C, H, W), at places in pixels, (h, w): (C, h, w)."""
    height, width = image.shape[-2:]
    grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], -1)
    return F.grid_sample(image, grid[None], mode, "border", align_corners=True)[0]
