"""How far the features of a pastiche are from those of a painting, wherever they lie."""

import torch
import torch.nn.functional as F
from torch import Tensor

PROJECTIONS = 64  # directions on which features are compared
LEVELS = 256  # quantiles on each
SEED = 0  # of the directions: the same ones for every picture


def gram_distance(gram: Tensor, target: Tensor) -> float:
    """Relative distance of two Gram matrices, ||G - A|| / ||A|| (Frobenius).

    Differs from `losses.style_loss`, a square that grows with the layer's features, in having no
    unit, so that layers can be averaged.

    Args:
        gram: G, of the pastiche, (1, C, C).
        target: A, of the painting, (1, C, C), not 0.

    Returns:
        0 or more, lower is better; 1 is as far as a picture without any features.
    """
    return float((gram - target).norm() / target.norm())


def quantiles(
    features: Tensor,
    mask: Tensor | None = None,
    projections: int = PROJECTIONS,
    levels: int = LEVELS,
    seed: int = SEED,
) -> Tensor:
    """Quantiles of features along random directions: what sliced Wasserstein distances compare.

    Args:
        features: (1, C, H, W).
        mask: (1, 1, H, W) in [0, 1]: positions count with its square, as they do in a masked Gram
            matrix. Somewhere more than 0.
        projections: how many directions, evenly spread over all.
        levels: how many quantiles, in the middle of as many equal shares.
        seed: of the directions.

    Returns:
        (projections, levels), rising along each row.

    Raises:
        ValueError: the mask is 0 everywhere.
    """
    channels = features.shape[1]
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(projections, channels, generator=generator), dim=1)
    along = directions.to(features) @ features[0].flatten(1)
    values, order = along.sort(dim=1)
    if mask is None:
        weights = torch.ones_like(values)
    else:
        weights = mask.to(features).square().flatten()[order]
    # In float64: a running sum of a million weights.
    reached = weights.double().cumsum(1)
    if not reached[0, -1] > 0:
        raise ValueError("mask: got 0 everywhere; expected more than 0 somewhere")
    wanted = (torch.arange(levels, dtype=torch.float64, device=values.device) + 0.5) / levels
    wanted = (wanted * reached[:, -1:]).contiguous()
    return values.gather(1, torch.searchsorted(reached, wanted).clamp(max=values.shape[1] - 1))


def wasserstein(found: Tensor, target: Tensor) -> float:
    """Sliced Wasserstein distance of two sets of features, in units of the target's spread.

    The root of the mean squared difference of quantiles, divided by their standard deviation in the
    target. Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis", who sort
    the features themselves and divide by nothing. It sees the whole distribution of the features,
    where a Gram matrix sees its second moments only.

    Args:
        found: `quantiles` of the pastiche, (projections, levels).
        target: `quantiles` of the painting with the same directions, same shape.

    Returns:
        0 or more, lower is better; 1 is off by one standard deviation of the painting's features.
    """
    spread = (target - target.mean(1, keepdim=True)).square().mean()
    return float(((found - target).square().mean() / spread).sqrt())
