"""A picture with depth as two layers: what it shows, and what its silhouettes hide.

A layered depth image (Shade et al. 1998, "Layered Depth Images") of two layers, with the depth of
the front one sharpened at silhouettes (as Shih et al. 2020, "3D Photography using Context-aware
Layered Depth Inpainting", section 3.1, begin).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.depth_nets import invert_depth

MOST_STRENGTH = 2.0  # of views, for which layers are made
REACH = 0.06  # of the long side: how far the nearest then moves against the farthest
JUMP = 0.08  # of disparity in [0, 1] between neighbours, from which on there is a silhouette
SHARPENING = 5  # passes
FRINGE = 1 / 400  # of the long side, on the far side of silhouettes


class Layers(NamedTuple):
    """Two pictures with disparity in [0, 1] (1 near), of one size, enlarged by a margin."""

    image: Tensor  # (1, 3, H, W) in [0, 1]
    disparity: Tensor  # (1, 1, H, W)
    hidden_image: Tensor  # (1, 3, H, W), the same but for what silhouettes hide
    hidden_disparity: Tensor  # (1, 1, H, W)
    hidden: Tensor  # (1, 1, H, W) bool, where the two differ
    margin: int  # px on all sides, what lies beyond the picture's border

    def inside(self, image: Tensor) -> Tensor:
        """The part of a tensor, (..., H, W), that is the picture itself."""
        return image[..., self.margin : -self.margin, self.margin : -self.margin]


def make_layers(image: Tensor, depth: Tensor) -> Layers:
    """The layers of a picture, (1, 3, H, W), and its depth, (1, 1, H, W), both in [0, 1]."""
    height, width = image.shape[-2:]
    reach = max(2, round(REACH * max(height, width)))
    margin = min(reach // 2 + 2, height - 1, width - 1)
    image, disparity = (
        F.pad(x, [margin] * 4, "reflect") for x in (image, _sharpen(invert_depth(depth)))
    )
    hidden, places = _hidden(disparity, reach)
    hidden_image, hidden_disparity = (x.flatten(2)[..., places] for x in (image, disparity))
    return Layers(image, disparity, hidden_image, hidden_disparity, hidden, margin)


def fringe(disparity: Tensor) -> Tensor:
    """Where there is a silhouette on the near side, its disparity; 2 elsewhere, (1, 1, H, W).

    There the colours are mixed of both sides: as a view shows the far side they would be a ghost.
    """
    nearest = _dilate(disparity, max(1, round(max(disparity.shape) * FRINGE)))
    return torch.where(nearest - disparity > JUMP, nearest, 2.0)


def walls(disparity: Tensor) -> Tensor:
    """Between four neighbours, of which it has the upper left one's place: as `fringe` of any."""
    edge = fringe(disparity)
    cells = F.pad(torch.where(edge <= 1, edge, -1.0), (0, 1, 0, 1), "replicate")
    nearest = F.max_pool2d(cells, 2, 1)
    return torch.where(nearest < 0, 2.0, nearest)


def _sharpen(disparity: Tensor) -> Tensor:
    """Slopes at silhouettes made cliffs: a median, then the nearer of two ends, again and again."""
    x = _median(disparity)
    for _ in range(SHARPENING):
        high, low = _dilate(x, 1), -_dilate(-x, 1)
        x = torch.where(high - low > JUMP / 2, torch.where(high - x < x - low, high, low), x)
    return x


def _median(x: Tensor) -> Tensor:
    patches = F.unfold(F.pad(x, [1] * 4, "replicate"), 3)
    return patches.median(1).values.reshape(x.shape)


def _dilate(x: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    x = F.max_pool2d(x, (side, 1), 1, (radius, 0))
    return F.max_pool2d(x, (1, side), 1, (0, radius))


def _hidden(disparity: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Where something is hidden that can come into view, and the places that it looks like.

    A point hides what lies at the far side of a silhouette where it moves at least as far against
    that as it is away from it: a minimum under a cone of slope 1 / reach. It looks like what lies
    as far beyond the silhouette, if that is of the same surface, or else like what is next to it.

    Returns:
        (1, 1, H, W) bool, and flat indices, (H, W): a point's own where nothing is hidden.
    """
    height, width = disparity.shape[-2:]
    edge = fringe(disparity)
    near = torch.where(edge <= 1, edge, disparity)
    is_far_side = _dilate(near, 1) - near > JUMP / 2
    cone = torch.where(is_far_side, near, 2.0)
    here = torch.arange(height * width).reshape(height, width)
    lowest, nearest, hidden = here, here, torch.zeros_like(near, dtype=torch.bool)
    for _ in range(reach):
        negative, index = F.max_pool2d(-cone, 3, 1, 1, return_indices=True)
        is_lower = 1 / reach - negative < cone
        cone = torch.where(is_lower, 1 / reach - negative, cone)
        lowest = torch.where(is_lower[0, 0], lowest.flatten()[index[0, 0]], lowest)
        is_first = (near > cone) & ~hidden
        nearest = torch.where(is_first[0, 0], lowest, nearest)
        hidden |= is_first
    row = (2 * (nearest // width) - here // width).clamp(0, height - 1)
    column = (2 * (nearest % width) - here % width).clamp(0, width - 1)
    beyond = row * width + column
    seen = ~hidden.flatten()[beyond]
    flat = disparity.flatten()
    same = (flat[beyond] - flat[nearest]).abs() < JUMP
    places = torch.where(seen & same, beyond, nearest).where(hidden[0, 0], here)
    return hidden, places
