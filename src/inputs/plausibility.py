"""Whether depth of a file can be what it is taken for."""

import logging
import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from src import depth_nets
from src.core.images import fit, resize
from src.depth_nets.network import depth_from_disparity
from src.inputs.scenes import Scene

log = logging.getLogger(__name__)
SIDE = 192  # px, long side of what the network sees
GRID = (24, 32)  # points that are compared
# Rank correlation with the estimate: of 28 pictures with measured depth -.12 to .95, median .86.
SWAPPED = -0.3
METRES = (0.1, 500.0)  # the farthest point


def announce_depth(scene: Scene, kind: str) -> None:
    """Say on stderr what depth of a file is taken for, and where it looks swapped or misread.

    Args:
        scene: with measured depth, or nothing is said.
        kind: `depth.kind`, as it was asked for.
    """
    if scene.depth is None or scene.valid is None or scene.depth_span is None or scene.is_estimated:
        return
    (near, far), share = scene.depth_span, float(scene.valid.float().mean())
    said = f"{near:.3g} to {far:.3g} {scene.depth_unit}, {share:.0%} measured"
    print(f"depth of {scene.depth_from}: {said}", file=sys.stderr, flush=True)
    if scene.depth_unit == "m" and not METRES[0] <= far <= METRES[1]:
        log.warning("depth.scale: the farthest point is at %.3g m; is it right?", far)
    if rank_correlation(scene.depth, _estimate(scene.image)) < SWAPPED:
        other = "depth" if kind == "disparity" else "disparity"
        log.warning("depth.kind: near and far look swapped; try depth.kind=%s", other)


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's, of two depths, (1, 1, H, W), on a coarse grid."""
    ranks = [F.adaptive_avg_pool2d(x, GRID).flatten().argsort().argsort() for x in (one, other)]
    return float(torch.corrcoef(torch.stack(ranks).float())[0, 1])


def _estimate(image: Tensor) -> Tensor:
    small = resize(image, *fit(*image.shape[-2:], size=SIDE))
    with torch.no_grad():
        return depth_from_disparity(depth_nets.vgg_head().disparity(small, {}))
