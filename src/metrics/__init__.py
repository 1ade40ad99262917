"""How near a pastiche comes to what was asked of it: pure functions from tensors to numbers.

None of them is a loss, and none is differentiable; every docstring says its range and which way is
better. Pictures are (1, 3, H, W) sRGB in [0, 1], maps (1, 1, H, W).
"""

from src.metrics.content import edge_agreement, feature_distance, self_similarity, ssim
from src.metrics.depth import depth_scores, guessed_depth
from src.metrics.regions import change, feature_change, kept_change, leakage, sharpness
from src.metrics.style import gram_distance, quantiles, wasserstein

__all__ = [
    "change",
    "depth_scores",
    "edge_agreement",
    "feature_change",
    "feature_distance",
    "gram_distance",
    "guessed_depth",
    "kept_change",
    "leakage",
    "quantiles",
    "self_similarity",
    "sharpness",
    "ssim",
    "wasserstein",
]
