"""Whether the change lies where a mask allows it, and sharpness in front and behind."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.metrics.content import luminance

NEIGHBOURS = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))  # the Laplacian's


@dataclass(frozen=True)
class KeptChange:
    """Change in the region that a mask keeps.

    Attributes:
        mean: per position, in the unit of the change; 0 or more, lower is better.
        ratio: of that mean to the styled region's; 0 or more, lower is better, 1 where the mask has
            no effect. NaN where nothing changed in the styled region.
        share: of the picture's whole change; 0 to 1, lower is better, but it grows with the region.
    """

    mean: float
    ratio: float
    share: float


def change(image: Tensor, content: Tensor) -> Tensor:
    """How much each pixel changed: the mean over colours of |pastiche - photo|, (1, 1, H, W)."""
    return (image - content).abs().mean(1, keepdim=True)


def feature_change(features: Tensor, target: Tensor) -> Tensor:
    """How much each position of a layer changed: |f - g|^2 of features scaled to length 1.

    Unlike colours, which any style changes everywhere a little, features of a middle layer change
    where texture and shapes do.

    Args:
        features: of the pastiche, (1, C, h, w), 0 or more.
        target: of the photo, same shape.

    Returns:
        (1, 1, h, w), 0 to 2.
    """
    difference = F.normalize(features, dim=1) - F.normalize(target, dim=1)
    return difference.square().sum(1, keepdim=True)


def kept_change(changed: Tensor, allowed: Tensor) -> KeptChange:
    """How much of the change lies where the mask does not allow it.

    Args:
        changed: `change` or `feature_change`, (1, 1, H, W).
        allowed: (1, 1, H, W) in [0, 1], 1 where the picture is to be styled and 0 where it is to be
            kept. A pixel between counts for both, in shares.

    Raises:
        ValueError: there is no kept region, or no styled one.
    """
    kept = 1 - allowed
    if not (kept.sum() > 0 and allowed.sum() > 0):
        raise ValueError("allowed: got one region only; expected a styled and a kept one")
    inside, outside = (changed * allowed).sum(), (changed * kept).sum()
    mean, styled = float(outside / kept.sum()), float(inside / allowed.sum())
    whole = float(inside + outside)
    return KeptChange(
        mean=mean,
        ratio=mean / styled if styled > 0 else float("nan"),
        share=float(outside) / whole if whole > 0 else 0.0,
    )


def leakage(changed: Tensor, allowed: Tensor) -> float:
    """How far the change reaches into the kept region: pixels until it has fallen to half.

    The mean change at every distance from the styled region (where `allowed` is 1/2 or more), in
    rings one pixel wide; and the distance at which it first falls to half of the styled region's
    mean, between rings by a straight line. Networks see areas, so some of it is unavoidable. Rings
    say little where depth changes slowly, since the mask itself is then a slope.

    Args:
        changed: `change`, (1, 1, H, W).
        allowed: (1, 1, H, W) in [0, 1], as in `kept_change`.

    Returns:
        0 or more, lower is better; the kept region's greatest depth where it never falls to half.

    Raises:
        ValueError: there is no kept region, or no styled one.
    """
    from scipy.ndimage import distance_transform_edt  # 0.2 s

    styled = (allowed[0, 0] >= 0.5).cpu().numpy()
    if styled.all() or not styled.any():
        raise ValueError("allowed: got one region only; expected a styled and a kept one")
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
    last = below[0]
    before, after = profile[last - 1], profile[last]
    step = distances[last] - distances[last - 1]
    return float(distances[last - 1] + step * (before - half) / (before - after))


def sharpness(image: Tensor, content: Tensor, depth: Tensor) -> tuple[float, float]:
    """Fine detail of the pastiche relative to the photo's, in the nearest and the farthest third.

    Detail is the mean squared Laplacian of the luminance. The paper's section 5.3 finds near parts
    sharper than far ones under its depth loss; brush strokes count as detail, too.

    Args:
        image: the pastiche, (1, 3, H, W) in [0, 1].
        content: the photo, same shape.
        depth: (1, 1, H, W), 0 near and 1 far; its thirds hold a third of the pixels each.

    Returns:
        Near and far: 0 or more, 1 for as much as in the photo, NaN where that has none. Neither way
        is better.
    """
    near_end, far_end = torch.quantile(depth.float().flatten(), torch.tensor([1 / 3, 2 / 3]))
    found, wanted = _detail(image), _detail(content)

    def ratio(region: Tensor) -> float:
        base = float(wanted[region].mean())
        return float(found[region].mean()) / base if base > 0 else float("nan")

    return ratio(depth <= near_end), ratio(depth >= far_end)


def _detail(image: Tensor) -> Tensor:
    kernel = torch.tensor(NEIGHBOURS, dtype=image.dtype, device=image.device)[None, None]
    padded = F.pad(luminance(image), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel).square()
