"""Whether the change lies where a mask allows it, and sharpness in front and behind."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.losses.structure import laplacian, luminance

ONE_REGION = "region: got one region only; expected a styled and a preserved one"


class PreservedChange(NamedTuple):
    """Change in the region that a mask preserves."""

    mean: float  # per position, in the unit of the change
    ratio: float  # to the styled region's mean: 1 for a mask without effect, NaN for none there
    share: float  # of the picture's whole change; grows with the region


def change(image: Tensor, content: Tensor) -> Tensor:
    """How much each pixel changed: the mean over colours of |pastiche - content|, (1, 1, H, W)."""
    return (image - content).abs().mean(1, keepdim=True)


def preserved_change(changed: Tensor, region: Tensor) -> PreservedChange:
    """How much of the change lies where the mask does not allow it.

    `region` is (1, 1, H, W) in [0, 1], 1 where the picture is to be styled and 0 where it is to be
    preserved; a pixel between counts for both, in shares.

    Raises:
        ValueError: there is no preserved region, or no styled one.
    """
    preserved = 1 - region
    if not (preserved.sum() > 0 and region.sum() > 0):
        raise ValueError(ONE_REGION)
    inside, outside = (changed * region).sum(), (changed * preserved).sum()
    mean, styled = float(outside / preserved.sum()), float(inside / region.sum())
    whole = float(inside + outside)
    ratio = mean / styled if styled > 0 else math.nan
    return PreservedChange(mean, ratio, share=float(outside) / whole if whole > 0 else 0.0)


def leakage(changed: Tensor, region: Tensor) -> float:
    """How far the change reaches into the preserved region: pixels until it has fallen to half.

    The mean change at every distance from the styled region (where `region` is 1/2 or more), in
    rings one pixel wide; and the distance at which it first falls to half of the styled region's
    mean, between rings by a straight line; the greatest distance where it never does. Networks see
    areas, so some of it is unavoidable; where depth changes slowly the mask itself is a slope.

    Arguments and errors are those of `preserved_change`.
    """
    from scipy.ndimage import distance_transform_edt  # 0.2 s

    styled = (region[0, 0] >= 0.5).cpu().numpy()
    if styled.all() or not styled.any():
        raise ValueError(ONE_REGION)
    values = changed[0, 0].double().cpu().numpy()
    ring = np.ceil(distance_transform_edt(~styled)).astype(int)  # 0 in the styled region
    counts = np.bincount(ring.ravel())
    means = np.bincount(ring.ravel(), weights=values.ravel()) / np.maximum(counts, 1)
    distances = np.flatnonzero(counts)
    profile = means[distances]
    half = profile[0] / 2
    below = np.flatnonzero(profile <= half)
    if profile[0] == 0:
        return 0.0
    if len(below) == 0:
        return float(distances[-1])
    ends = slice(below[0] - 1, below[0] + 1)
    (near, far), (before, after) = distances[ends], profile[ends]
    return float(near + (far - near) * (before - half) / (before - after))


def sharpness(image: Tensor, content: Tensor, depth: Tensor) -> tuple[float, float]:
    """Fine detail over the content image's, in the nearest and the farthest third of the pixels.

    Detail is the mean squared Laplacian of the luminance: the paper's section 5.3 finds near parts
    sharper than far ones under its depth loss. NaN where the content image has no detail.
    """
    near_end, far_end = torch.quantile(depth.float().flatten(), torch.tensor([1 / 3, 2 / 3]))
    detail, of_content = _detail(image), _detail(content)

    def ratio(third: Tensor) -> float:
        base = float(of_content[third].mean())
        return float(detail[third].mean()) / base if base > 0 else math.nan

    return ratio(depth <= near_end), ratio(depth >= far_end)


def _detail(image: Tensor) -> Tensor:
    return laplacian(luminance(image)).square()
