"""Pictures for two eyes, and for displays with many views."""

import torch
from torch import Tensor

from src.core.images import resize
from src.rendering.renderer import Eye, Renderer

LEFT, RIGHT = Eye(-0.5), Eye(0.5)  # apart: nearest against farthest by 3 % of the long side
QUILT_COLUMNS, QUILT_ROWS = 8, 6
QUILT_SIDE = 512  # px, the long side of one of its views


def side_by_side(renderer: Renderer, crossed: bool = False) -> Tensor:
    """(1, 3, H, 2 W): for the left eye on the left, to be looked at in parallel; or crossed."""
    eyes = (RIGHT, LEFT) if crossed else (LEFT, RIGHT)
    return torch.cat([renderer.render(eye) for eye in eyes], 3)


def anaglyph(renderer: Renderer) -> Tensor:
    """(1, 3, H, W) for glasses with red at the left eye and cyan at the right one."""
    return torch.cat([renderer.render(LEFT)[:, :1], renderer.render(RIGHT)[:, 1:]], 1)


def quilt(renderer: Renderer) -> Tensor:
    """Views from left to right, for lenticular displays: the first one at the bottom left."""
    count = QUILT_COLUMNS * QUILT_ROWS
    height, width = renderer.shape
    scale = min(1.0, QUILT_SIDE / max(height, width))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    eyes = [Eye(2 * number / (count - 1) - 1) for number in range(count)]
    views = renderer.render_each(eyes, lambda view: resize(view, *size))
    rows = [torch.cat(views[i : i + QUILT_COLUMNS], 3) for i in range(0, count, QUILT_COLUMNS)]
    return torch.cat(rows[::-1], 2)


def quilt_name(height: int, width: int) -> str:
    """Its file's name, by which displays know columns, rows and the aspect of a view."""
    return f"quilt_qs{QUILT_COLUMNS}x{QUILT_ROWS}a{width / height:.2f}.png"
