"""How well a disparity map, known up to scale and offset, agrees with measured depth."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

POINTS = 60_000  # of a frame, that are looked at
ORDERED = 1.1  # ratio of two depths from which on their order counts
MEASURES = ("spearman", "abs_rel", "delta", "whdr")


@dataclass(frozen=True)
class Scores:
    """Of one frame.

    Attributes:
        spearman: rank correlation of disparity with measured inverse depth; 1 is best. Blind to
            scale, offset and every other monotonous change.
        abs_rel: mean of |depth - measured| / measured after alignment; 0 is best.
        delta: share of points whose ratio to the measured depth is under 1.25 after alignment; 1 is
            best.
        rmse: root of the mean squared difference after alignment, in the unit of the measured
            depth; 0 is best.
        silog: 100 times the standard deviation of log depth - log measured after alignment (as
            KITTI's benchmark has it); 0 is best.
        whdr: share of random pairs of points, of which one is at least 10 % farther away, that come
            in the wrong order (Chen et al. 2016, arXiv 1604.03901); ties are half wrong. 0 is best,
            0.5 is chance, also where no pair differs.
    """

    spearman: float
    abs_rel: float
    delta: float
    rmse: float
    silog: float
    whdr: float


def scores(disparity: np.ndarray, depth: np.ndarray) -> Scores:
    """Compare a map with measured depth.

    Scale and offset of the disparity are fitted to the measured inverse depth by least squares, as
    Ranftl et al. 2020 (arXiv 1907.01341) do; a negative scale, which would turn near and far
    around, counts as 0. Depths beyond the farthest that was measured are brought back to it.

    Args:
        disparity: (H, W), larger is nearer, any scale.
        depth: (H, W), in any unit; where it is not finite or not positive it was not measured.
    """
    points = np.flatnonzero(np.isfinite(depth) & (depth > 0))
    points = points[:: max(1, len(points) // POINTS)]
    if len(points) < 2:
        raise ValueError(f"depth measured at {len(points)} points; expected 2 or more")
    p, d = (np.asarray(x, np.float64).ravel()[points] for x in (disparity, depth))
    varies = np.ptp(p) > 1e-9 * np.abs(p).max()
    inverse = 1 / d
    found = aligned(p, d)
    log = np.log(found) - np.log(d)
    one, other = np.random.default_rng(0).integers(len(points), size=(2, POINTS))
    differ = np.maximum(d[one] / d[other], d[other] / d[one]) >= ORDERED
    agree = np.sign(p[one] - p[other]) * np.sign(inverse[one] - inverse[other])
    return Scores(
        spearman=float(spearmanr(p, inverse).statistic) if varies else 0.0,
        abs_rel=float(np.mean(np.abs(found - d) / d)),
        delta=float(np.mean(np.abs(log) < np.log(1.25))),
        rmse=float(np.sqrt(np.mean((found - d) ** 2))),
        silog=100 * float(np.std(log)),
        whdr=float(np.mean((1 - agree[differ]) / 2)) if differ.any() else 0.5,
    )


def aligned(disparity: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depths (N,) of disparity (N,), its scale and offset fitted to the measured depth (N,)."""
    inverse = 1 / depth
    columns = np.stack([disparity, np.ones_like(disparity)], axis=1)
    scale, offset = np.linalg.lstsq(columns, inverse, rcond=None)[0]
    if scale < 0:
        scale, offset = 0.0, inverse.mean()
    return 1 / np.maximum(scale * disparity + offset, inverse.min())


def row_prior(height: int, width: int) -> np.ndarray:
    """The disparity that knows nothing but this: what is lower in the picture is nearer."""
    return np.repeat(np.linspace(0, 1, height)[:, None], width, axis=1)
