"""How well the depth that a network sees, up to scale and offset, agrees with known depth."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from src.depth_nets.network import FAR_OVER_NEAR, PERCENTILES

POINTS = 60_000  # of a picture, that are compared
ORDERED = 1.1  # ratio of two depths from which on their order counts
MEASURES = ("spearman", "abs_rel", "delta", "whdr")


class Scores(NamedTuple):
    """Of one picture, as runs/quantities.yaml has them; all but `spearman` and `whdr` aligned.

    `silog` is KITTI's. `whdr` (Chen et al. 2016, arXiv 1604.03901) is of random pairs of points of
    which one is at least 10 % farther away; ties are half wrong, and it is 0.5 where no pair
    differs.
    """

    spearman: float
    abs_rel: float
    delta: float
    rmse: float
    silog: float
    whdr: float


def depth_scores(disparity: Tensor, depth: Tensor, valid: Tensor | None = None) -> Scores:
    """`scores` of tensors (1, 1, H, W); only points that are `valid` (bool) count, if given."""
    known = depth if valid is None else depth.masked_fill(~valid, np.nan)
    one, other = (x[0, 0].double().cpu().numpy() for x in (disparity, known))
    return scores(one, other)


def scores(disparity: np.ndarray, depth: np.ndarray) -> Scores:
    """Compare disparity (H, W), larger is nearer, with depth (H, W) in any unit.

    Where depth is not finite or not positive it was not measured. Scale and offset of the disparity
    are fitted to inverse depth by least squares (Ranftl et al. 2020, arXiv 1907.01341); a negative
    scale, which would turn near and far around, counts as 0. Depths beyond the farthest that was
    measured are brought back to it.

    Raises:
        ValueError: fewer than two points were measured.
    """
    points = np.flatnonzero(np.isfinite(depth) & (depth > 0))
    points = points[:: max(1, len(points) // POINTS)]
    if len(points) < 2:
        raise ValueError(f"depth measured at {len(points)} points; expected 2 or more")
    p, d = (np.asarray(x, np.float64).ravel()[points] for x in (disparity, depth))
    varies = np.ptp(p) > 1e-9 * np.abs(p).max()
    inverse = 1 / d
    columns = np.stack([p, np.ones_like(p)], axis=1)
    scale, offset = np.linalg.lstsq(columns, inverse, rcond=None)[0]
    if scale < 0:
        scale, offset = 0.0, inverse.mean()
    fitted = 1 / np.maximum(scale * p + offset, inverse.min())
    log = np.log(fitted) - np.log(d)
    one, other = np.random.default_rng(0).integers(len(points), size=(2, POINTS))
    differ = np.maximum(d[one] / d[other], d[other] / d[one]) >= ORDERED
    agree = np.sign(p[one] - p[other]) * np.sign(inverse[one] - inverse[other])
    return Scores(
        spearman=float(spearmanr(p, inverse).statistic) if varies else 0.0,
        abs_rel=float(np.mean(np.abs(fitted - d) / d)),
        delta=float(np.mean(np.abs(log) < np.log(1.25))),
        rmse=float(np.sqrt(np.mean((fitted - d) ** 2))),
        silog=100 * float(np.std(log)),
        whdr=float(np.mean((1 - agree[differ]) / 2)) if differ.any() else 0.5,
    )


def row_prior(height: int, width: int) -> np.ndarray:
    """The disparity that knows nothing but this: what is lower in the picture is nearer."""
    return np.repeat(np.linspace(0, 1, height)[:, None], width, axis=1)


def guessed_depth(disparity: Tensor) -> Tensor:
    """Depth in units of the nearest point, float32 in [1, 4], from disparity of unknown scale.

    The guess is the program's own: the farthest point is four times as far away as the nearest.
    """
    flat = disparity.float().flatten()
    low, high = torch.quantile(flat, flat.new_tensor(PERCENTILES))
    spread = (high - low).clamp(min=torch.finfo(flat.dtype).tiny)
    nearness = ((disparity.float() - low) / spread).clamp(0, 1)
    return 1 / (1 / FAR_OVER_NEAR + (1 - 1 / FAR_OVER_NEAR) * nearness)
