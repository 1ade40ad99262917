"""The depth of a clip's frames: one unit for all, and calm over time."""

from dataclasses import replace

import torch
from torch import Tensor

from src.inputs import Scene

SMOOTHING = 0.5  # share of the frame before, where the optical flow can be trusted
ALIGNMENT = 0.5  # of an estimate with the frame before: with more of it errors add up
FEWEST = 100  # points to align by


def steady_depth(scene: Scene, first: Scene, previous: Tensor, weights: Tensor) -> Scene:
    """A frame's scene with its depth in the first frame's unit, smoothed over time.

    Measured depth is brought to the first frame's span, and what is nearer or farther is 0 or 1.
    An estimate has no unit: its mean and its deviation are brought near those of the frame before.

    Args:
        scene: of this frame.
        first: of the first one.
        previous: the depth of the frame before as this function gave it, warped to this frame,
            (1, 1, H, W).
        weights: where it can be trusted, (1, 1, H, W) in [0, 1].
    """
    if scene.depth is None:
        return scene
    if scene.is_estimated or scene.depth_span is None or first.depth_span is None:
        depth = align(scene.depth, previous, weights)
    else:
        (low, high), (near, far) = scene.depth_span, first.depth_span
        depth = (low + (high - low) * scene.depth - near) / (far - near)
    depth = torch.lerp(depth.clamp(0, 1), previous, SMOOTHING * weights)
    return replace(scene, depth=depth, depth_span=first.depth_span)


def align(depth: Tensor, previous: Tensor, weights: Tensor) -> Tensor:
    """Scaled and shifted towards the weighted mean and deviation of another depth, (1, 1, H, W).

    Not by least squares, whose scale is too small wherever the two are not the same, so that frame
    by frame the scene would get flatter.
    """
    total = weights.sum()
    if total < FEWEST:
        return depth
    (mean, deviation), (target, target_deviation) = (
        _moments(x, weights / total) for x in (depth, previous)
    )
    if not min(deviation, target_deviation) > 1e-3:
        return depth
    scale = (target_deviation / deviation) ** ALIGNMENT
    return (depth - mean) * scale + mean + ALIGNMENT * (target - mean)


def _moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    mean = (x * weights).sum()
    return mean, ((x - mean).square() * weights).sum().sqrt()
