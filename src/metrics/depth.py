"""How far the depth that a network sees in a pastiche is from the scene's."""

import numpy as np
import torch
from torch import Tensor

from src.depth_nets.network import FAR_OVER_NEAR, PERCENTILES
from src.depth_nets.scores import Scores, scores


def depth_scores(disparity: Tensor, depth: Tensor, valid: Tensor | None = None) -> Scores:
    """Compare a network's disparity with depth that is known: `depth_nets.scores` of tensors.

    Args:
        disparity: of the pastiche, (1, 1, H, W), larger is nearer; its scale and offset are fitted.
        depth: (1, 1, H, W), more than 0 where it counts.
        valid: (1, 1, H, W) bool, where it counts; None is everywhere.

    Raises:
        ValueError: fewer than two points count.
    """
    known = depth if valid is None else depth.masked_fill(~valid, np.nan)
    one, other = (x[0, 0].double().cpu().numpy() for x in (disparity, known))
    return scores(one, other)


def guessed_depth(disparity: Tensor) -> Tensor:
    """Depth in units of the nearest point, from disparity of unknown scale and offset.

    The guess is the program's own (`depth_nets.depth_from_disparity`): the farthest point is four
    times as far away as the nearest. A photo without a sensor is scored against its own estimate,
    turned into depth this way.

    Args:
        disparity: (1, 1, H, W), larger is nearer.

    Returns:
        (1, 1, H, W) float32 in [1, 4]; all the same where the disparity is.
    """
    flat = disparity.float().flatten()
    low, high = torch.quantile(flat, flat.new_tensor(PERCENTILES))
    spread = (high - low).clamp(min=torch.finfo(flat.dtype).tiny)
    nearness = ((disparity.float() - low) / spread).clamp(0, 1)
    return 1 / (1 / FAR_OVER_NEAR + (1 - 1 / FAR_OVER_NEAR) * nearness)
