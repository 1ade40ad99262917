"""Masks: functions of depth, in [0, 1], that say where a loss acts (the paper's gamma).

Depth is (B, 1, H, W) in [0, 1], 0 the nearest and 1 the farthest point, so that by default a mask
selects what is far. A mask has the shape of the depth; `invert` gives 1 - mask.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from src.core.images import resize
from src.core.settings import Range, Share, Weight

REFINED_BAND = 0.015  # of the diagonal, on either side of a border
REFINED_SIDE = 512  # px, long side of the largest mask that is refined at its own size
COLOR_CONTRAST = 1000.0  # how much a random walk keeps to similar colours


def uniform(depth: Tensor, invert: bool = False) -> Tensor:
    """1 everywhere: no mask (paper, section 3.2: "our original Gram matrix formulation")."""
    return torch.zeros_like(depth) if invert else torch.ones_like(depth)


def linear(depth: Tensor, low: Share = 0.0, high: Share = 1.0, invert: bool = False) -> Tensor:
    """Low + (high - low) d. Paper, section 3.2, names 0.8 to 1.0 for the content loss."""
    return _invert(low + (high - low) * depth, invert)


def sigmoid(
    depth: Tensor, center: Share = 0.5, slope: Weight = 20.0, invert: bool = False
) -> Tensor:
    """A soft border at the depth `center`: sigma(slope (d - center)).

    A slope of 20 goes from 0.1 to 0.9 over 0.22 of the depth. Paper, section 3.2:
    sigma(20 (d - 0.5)); Figure 3: 1 - sigma(20 (d - 0.8)), which is center=0.8, invert=True.
    """
    return torch.sigmoid((-slope if invert else slope) * (depth - center))


def step(depth: Tensor, threshold: Share = 0.5, invert: bool = False) -> Tensor:
    """A hard border: 1 where d >= threshold, else 0."""
    return _invert((depth >= threshold).to(depth.dtype), invert)


def band(
    depth: Tensor, near: Share = 0.3, far: Share = 0.7, softness: Weight = 0.1, invert: bool = False
) -> Tensor:
    """A slice of the depth: 1 from `near` to `far`, falling linearly to 0 over `softness` outside.

    All three are in units of depth; a softness of 0 gives hard edges.
    """
    if near > far:
        raise ValueError(f"near {near} lies behind far {far}")
    outside = torch.maximum(near - depth, depth - far).clamp(min=0)
    inside = (1 - outside / softness).clamp(min=0) if softness > 0 else (outside == 0).to(depth)
    return _invert(inside, invert)


def file(depth: Tensor, picture: Tensor, color: str | None = None, invert: bool = False) -> Tensor:
    """A drawn mask, brought to the depth's size: 1 where the picture is white, 0 where it is black.

    The picture is (1, 3, h, w) in [0, 1]. With a `color`, a name or #rrggbb, the mask is 1 where no
    channel is further than 1/4 from it: several colours of one picture are several masks.
    """
    drawn = picture.mean(1, keepdim=True)
    if color is not None:
        wanted = torch.tensor(ImageColor.getrgb(color)[:3]).view(1, 3, 1, 1) / 255
        drawn = ((picture - wanted).abs().amax(1, keepdim=True) <= 0.25).to(picture)
    return _invert(resize(drawn, *depth.shape[-2:]).clamp(0, 1).to(depth), invert)


def edges(
    depth: Tensor,
    threshold: Annotated[float, Range(0, exclusive=True, high=1)] = 0.05,
    spread: Share = 0.006,
    floor: Share = 0.0,
    invert: bool = False,
) -> Tensor:
    """1 at depth discontinuities (occlusion edges) and near them, `floor` elsewhere.

    By how much depth varies within `spread`, in shares of the picture's diagonal and at least a
    pixel: the mask rises from `floor` at `threshold` to 1 at twice as much.
    """
    radius = max(1, round(spread * math.hypot(*depth.shape[-2:])))
    farthest, nearest = _extremes(depth, radius)
    at_edge = ((farthest - nearest) / threshold - 1).clamp(0, 1)
    return _invert(floor + (1 - floor) * at_edge, invert)


def _invert(mask: Tensor, invert: bool) -> Tensor:
    return 1 - mask if invert else mask


def refine(mask: Tensor, image: Tensor) -> Tensor:
    """A mask brought to the silhouettes of the image, for depth whose edges are soft.

    Within a band around the border of a steep mask each pixel goes to the side that a random walk
    over similar colours reaches with the greater probability (L. Grady, "Random walks for image
    segmentation", 2006). Slopes, as a floor's, stay, and so does what is no wider than the band.

    Args:
        mask: (1, 1, H, W) in [0, 1].
        image: (1, 3, H, W) in [0, 1], the content image.
    """
    scale = REFINED_SIDE / max(mask.shape[-2:])
    if scale < 1:  # equations take more than linear time
        small = [max(1, round(side * scale)) for side in mask.shape[-2:]]
        refined = refine(resize(mask, *small), resize(image, *small))
        return resize(refined, *mask.shape[-2:])
    radius = max(1, round(REFINED_BAND * math.hypot(*mask.shape[-2:])))
    inside = mask >= 0.5
    high, low = _extremes(mask, radius)
    some_inside, all_inside = _extremes(inside.to(mask), radius)
    steepness = ((high - low - 0.5) / 0.25).clamp(0, 1) * (some_inside - all_inside)
    share = _random_walk(image, inside, steepness > 0)
    return torch.lerp(mask, low + (high - low) * share.to(mask), steepness)


def _extremes(x: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The largest and the smallest of the values no farther than `radius` px along either axis."""
    largest, minus_smallest = (F.max_pool2d(y, 2 * radius + 1, 1, radius) for y in (x, -x))
    return largest, -minus_smallest


def _random_walk(image: Tensor, inside: Tensor, unknown: Tensor) -> Tensor:
    """The probability, (1, 1, H, W), to come from an unknown pixel to a known one inside first."""
    from scipy.ndimage import label
    from skimage.segmentation import random_walker  # 0.4 s, and only this needs it

    labels = np.where(inside[0, 0].numpy(), 1, 2)
    known = ~unknown[0, 0].numpy()
    for side in (1, 2):  # parts that would have no known pixel are known
        parts, _ = label(labels == side)
        known |= (labels == side) & ~np.isin(parts, parts[known])
    if known.all():
        return inside.float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what is a ten-thousandth above 1
        probabilities = random_walker(
            image[0].permute(1, 2, 0).double().numpy(),
            np.where(known, labels, 0),
            beta=COLOR_CONTRAST,
            mode="bf",
            return_full_prob=True,
            channel_axis=2,
        )
    share = probabilities[0] if len(np.unique(labels[known])) == 2 else labels == 1
    return torch.from_numpy(np.asarray(share, np.float32)).clamp(0, 1)[None, None]


def otsu_threshold(depth: Tensor, valid: Tensor) -> float:
    """The depth in [0, 1] that best parts near from far: Otsu's threshold of the valid depth.

    N. Otsu, "A threshold selection method from gray-level histograms", 1979: the threshold that
    makes the variance between the two classes largest. If no point is valid (bool), all count.
    """
    from skimage.filters.thresholding import threshold_otsu  # 0.4 s, and only `auto` needs it

    values = (depth[valid] if valid.any() else depth).cpu().numpy()
    threshold = threshold_otsu(values)
    # It lies at the near edge where no depth lies between the classes; the middle is meant.
    near, far = values[values <= threshold], values[values > threshold]
    return float((near.max() + far.min()) / 2) if len(near) and len(far) else float(threshold)


def normalize_masks(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of several styles, (1, 1, H, W), by name, scaled so that their squares sum to 1.

    A Gram matrix sees the square of its mask, so masks that sum to 1 (d and 1 - d) leave the
    middle with half of its weight: a grey, weakly styled seam. The paper, section 5.2, uses two
    masks as they are. Where all are 0 they stay so; a single mask comes back as it is.
    """
    if len(masks) == 1:
        return dict(masks)
    norm = torch.stack(list(masks.values())).square().sum(0).sqrt()
    scale = torch.where(norm > 0, 1 / norm.clamp(min=torch.finfo(norm.dtype).tiny), 0.0)
    return {name: mask * scale for name, mask in masks.items()}


def octaves(depth_ratio: Tensor, count: int, exponent: float) -> Tensor:
    """Masks of the bands in which strokes halve their size from near to far, (count, 1, H, W).

    Where depth is `depth_ratio`, (1, 1, H, W) above 0, times the depth of strokes of usual size,
    strokes are to have depth_ratio^-exponent of it: 1 keeps their size in the world the same
    (Hoellein et al. 2022, "StyleMesh"). Band k, from 0, is of 2^((count - 1) / 2 - k)
    times the usual size; in between two share, and beyond the first and last nothing changes. At
    every pixel the squares sum to 1.
    """
    level = exponent * depth_ratio.log2() + (count - 1) / 2
    numbers = torch.arange(count).view(count, 1, 1, 1)
    return (1 - (level.clamp(0, count - 1) - numbers).abs()).clamp(min=0).sqrt()


def downsample_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (B, 1, H, W) at the size of a layer: (B, 1, height, width), both in [0, 1].

    The root of the mean of its square over each position's area: losses see the square of a mask,
    so this keeps the share of the image that is selected, and squares that sum to 1 still do.

    Differs from the paper, section 4, which interpolates the depth to the layer's size.
    """
    if mask.shape[-2:] == (height, width):
        return mask
    return F.adaptive_avg_pool2d(mask.square(), (height, width)).sqrt()
