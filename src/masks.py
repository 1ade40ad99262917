"""Masks: functions of depth, in [0, 1], that say where a loss acts (the paper's gamma).

Depth is (B, 1, H, W) in [0, 1], 0 the nearest and 1 the farthest point, so that by default a mask
selects what is far. A mask has the shape of the depth; `invert` gives 1 - mask.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from src.core.images import resize
from src.core.settings import Share, Weight


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


def _invert(mask: Tensor, invert: bool) -> Tensor:
    return 1 - mask if invert else mask


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


def downsample_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (B, 1, H, W) at the size of a layer: (B, 1, height, width), both in [0, 1].

    The root of the mean of its square over each position's area: losses see the square of a mask,
    so this keeps the share of the image that is selected, and squares that sum to 1 still do.

    Differs from the paper, section 4, which interpolates the depth to the layer's size.
    """
    if mask.shape[-2:] == (height, width):
        return mask
    return F.adaptive_avg_pool2d(mask.square(), (height, width)).sqrt()
