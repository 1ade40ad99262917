"""Whether near and far stay apart where the depth jumps: numbers without a network.

Images are (1, 3, H, W) in [0, 1], edges (1, 1, H, W) bool, depth (1, 1, H, W) above 0.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.metrics.content import EDGE_TOLERANCE, canny_edges, grey

RATIO = 1.1  # of two neighbouring depths from which on there is an occlusion edge between them
BLUR = 0.006  # of the diagonal, of tones before they are compared
REACH = 0.012  # of the diagonal, from an edge to where its sides are compared


def occlusion_edges(depth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Where the farthest of 3 x 3 measured depths is `RATIO` times the nearest or more, bool.

    Depth is (1, 1, H, W) in any unit, above 0; what is not `valid` (bool, same shape) is left out.
    """
    log = depth.double().clamp(min=torch.finfo(depth.dtype).tiny).log()
    known = torch.ones_like(log, dtype=torch.bool) if valid is None else valid
    farthest = F.max_pool2d(log.masked_fill(~known, -math.inf), 3, 1, 1)
    nearest = -F.max_pool2d((-log).masked_fill(~known, -math.inf), 3, 1, 1)
    return known & (farthest - nearest >= math.log(RATIO))


def edge_recall(image: Tensor, edges: Tensor) -> float:
    """The share of occlusion edges, (1, 1, H, W) bool, beside which the image has an edge.

    Canny's edges and the tolerance are those of `edge_agreement`. NaN where depth has no edge.
    """
    from scipy.ndimage import distance_transform_edt  # 0.2 s

    at, seen = edges[0, 0].cpu().numpy(), canny_edges(image)
    if not at.any():
        return math.nan
    reach = max(1.0, EDGE_TOLERANCE * math.hypot(*at.shape))
    return float(np.mean(distance_transform_edt(~seen)[at] <= reach)) if seen.any() else 0.0


def tone_separation(image: Tensor, content: Tensor, depth: Tensor, edges: Tensor) -> float:
    """How far apart in tone the two sides of occlusion edges are, over the content image's.

    The median difference of the luminance, blurred, on either side of an edge, across which depth
    changes most. NaN where the content image has none, or depth no edge.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates  # 0.2 s

    diagonal = math.hypot(*depth.shape[-2:])
    down, right = np.gradient(
        gaussian_filter(np.log(depth[0, 0].double().cpu().numpy()), BLUR * diagonal)
    )
    points = np.argwhere(edges[0, 0].cpu().numpy()).T
    slope = np.stack([down[tuple(points)], right[tuple(points)]])
    step = REACH * diagonal * slope / np.maximum(np.hypot(*slope), 1e-12)

    def difference(picture: Tensor) -> float:
        tone = gaussian_filter(grey(picture), BLUR * diagonal)
        sides = (
            map_coordinates(tone, points + sign * step, order=1, mode="nearest") for sign in (1, -1)
        )
        return float(np.median(np.abs(np.subtract(*sides)))) if points.size else math.nan

    of_content = difference(content)
    return difference(image) / of_content if of_content > 0 else math.nan
