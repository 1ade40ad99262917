"""How far the depth that a network sees in a pastiche is from the scene's."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from src.depth_nets.network import FAR_OVER_NEAR, PERCENTILES

PAIRS = 20000  # of points, whose order is compared
CLEARLY = 1.1  # a pair counts where one is this many times as far as the other
SEED = 0  # of the pairs: the same ones for every picture of a size


@dataclass(frozen=True)
class DepthScores:
    """Depth against depth, after alignment; the usual measures (Eigen et al. 2014), and two more.

    Attributes:
        abs_rel: mean |d - D| / D; 0 or more, lower is better.
        delta: share of points with max(d / D, D / d) < 1.25; 0 to 1, higher is better.
        rmse: root of the mean squared difference, in the unit of D; lower is better.
        silog: 100 times the standard deviation of log d - log D (KITTI's); lower is better.
        whdr: `ordinal_disagreement`; 0 to 1, lower is better.
    """

    abs_rel: float
    delta: float
    rmse: float
    silog: float
    whdr: float

    def named(self, prefix: str) -> dict[str, float]:
        """The numbers by name, each with this in front."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}


def depth_scores(disparity: Tensor, depth: Tensor, valid: Tensor | None = None) -> DepthScores:
    """Compare a network's disparity with depth that is known.

    The network's scale and offset mean nothing; they are fitted first (`align_disparity`). Depth is
    then 1 / disparity, no farther than the farthest known point.

    Args:
        disparity: of the pastiche, (1, 1, H, W), larger is nearer.
        depth: D, (1, 1, H, W), more than 0 where it counts.
        valid: (1, 1, H, W) bool, where it counts; None is everywhere.

    Raises:
        ValueError: nothing counts.
    """
    keep = _keep(depth, valid)
    known = depth.double()[keep]
    inverse = align_disparity(disparity.double(), 1 / depth.double(), keep)[keep]
    found = 1 / inverse.clamp(min=1 / float(known.max()))
    log = found.log() - known.log()
    return DepthScores(
        abs_rel=float(((found - known).abs() / known).mean()),
        delta=float((log.abs() < torch.tensor(1.25, dtype=log.dtype).log()).double().mean()),
        rmse=float((found - known).square().mean().sqrt()),
        silog=100 * float(log.var(correction=0).sqrt()),
        whdr=ordinal_disagreement(disparity, depth, valid),
    )


def align_disparity(disparity: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Scale and shift disparity so that it is nearest to another: s p + o of least squares.

    Ranftl et al. 2020 (MiDaS, arXiv 1907.01341), section 5. The scale is never negative: what is
    turned inside out is not turned back, but becomes the target's mean.

    Args:
        disparity: p, (1, 1, H, W).
        target: (1, 1, H, W).
        valid: (1, 1, H, W) bool, what the fit looks at; None is everything.

    Returns:
        s p + o, (1, 1, H, W).
    """
    keep = _keep(target, valid)
    p, t = disparity[keep], target[keep]
    centred = p - p.mean()
    variance = centred.square().mean()
    if not variance > 1e-12 * p.square().mean():
        return torch.full_like(disparity, float(t.mean()))
    scale = ((centred * (t - t.mean())).mean() / variance).clamp(min=0)
    return scale * (disparity - p.mean()) + t.mean()


def ordinal_disagreement(disparity: Tensor, depth: Tensor, valid: Tensor | None = None) -> float:
    """The share of pairs of points of which the wrong one is nearer (WHDR, all pairs alike).

    Chen et al. 2016, "Single-Image Depth Perception in the Wild", with 20,000 random pairs, always
    the same ones, of which those count where one point is clearly farther (by a tenth). Needs no
    alignment.

    Args:
        disparity: of the pastiche, (1, 1, H, W), larger is nearer.
        depth: (1, 1, H, W), more than 0 where it counts.
        valid: (1, 1, H, W) bool, where it counts; None is everywhere.

    Returns:
        0 to 1, lower is better; 0.5 is chance, also for disparity that is constant. 0.5 where no
        pair differs.
    """
    keep = _keep(depth, valid)
    p, d = disparity[keep], depth[keep]
    generator = torch.Generator().manual_seed(SEED)
    one, other = torch.randint(len(d), (2, PAIRS), generator=generator).to(d.device)
    ratio = d[one] / d[other]
    clear = (ratio > CLEARLY) | (ratio < 1 / CLEARLY)
    if not clear.any():
        return 0.5
    farther = torch.sign(d[one] - d[other])[clear]
    seen = torch.sign(p[other] - p[one])[clear]
    return float((1 - farther * seen).mean() / 2)


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


def _keep(depth: Tensor, valid: Tensor | None) -> Tensor:
    keep = torch.ones_like(depth, dtype=torch.bool) if valid is None else valid
    if not keep.any():
        raise ValueError("valid: got no point; expected at least one")
    return keep
