"""How far the features of a pastiche are from those of a style image, wherever they lie."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gram_distance(gram: Tensor, target: Tensor) -> float:
    """Relative distance of two Gram matrices (1, C, C), ||G - A|| / ||A|| (Frobenius).

    Unlike `losses.style_loss` it has no unit, so that layers can be averaged; 1 is as far as a
    picture without any features. The target is not 0.
    """
    return float((gram - target).norm() / target.norm())


def quantiles(
    features: Tensor,
    mask: Tensor | None = None,
    projections: int = 64,
    levels: int = 256,
    seed: int = 0,
) -> Tensor:
    """Quantiles of features along random directions: what sliced Wasserstein distances compare.

    (projections, levels), rising along each row, in the middle of as many equal shares.
    With a mask in [0, 1] positions count with its square, as in a masked Gram matrix.

    Raises:
        ValueError: the mask is 0 everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(projections, features.shape[1], generator=generator)
    along = F.normalize(directions, dim=1).to(features) @ features[0].flatten(1)
    values, order = along.sort(dim=1)
    if mask is None:
        weights = torch.ones_like(values)
    else:
        weights = mask.to(features).square().flatten()[order]
    # In float64: a running sum of a million weights.
    cumulative = weights.double().cumsum(1)
    if not cumulative[0, -1] > 0:
        raise ValueError("mask: got 0 everywhere; expected more than 0 somewhere")
    shares = (torch.arange(levels, dtype=torch.float64, device=values.device) + 0.5) / levels
    indices = torch.searchsorted(cumulative, (shares * cumulative[:, -1:]).contiguous())
    return values.gather(1, indices.clamp(max=values.shape[1] - 1))


def wasserstein(values: Tensor, target: Tensor) -> float:
    """Sliced Wasserstein distance of two sets of features, given as `quantiles`.

    The root of the mean squared difference, divided by the standard deviation of the target's.
    Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis", sort the features
    themselves and divide by nothing. A Gram matrix sees second moments only, this the whole
    distribution.
    """
    spread = (target - target.mean(1, keepdim=True)).square().mean()
    return float(((values - target).square().mean() / spread).sqrt())
