"""How much of the content image is left in its pastiche."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.losses.structure import luminance

POSITIONS = 64  # along the long side, to which larger features are averaged in `self_similarity`
EDGE_SIGMA = 2.0  # px, blur before edges are sought
EDGE_QUANTILES = (0.80, 0.92)  # of the gradient, Canny's two thresholds
EDGE_TOLERANCE = 0.0075  # of the diagonal: how far an edge may be off, as in BSDS500's benchmark


def feature_change(features: Tensor, target: Tensor) -> Tensor:
    """How much each position of a layer changed, (1, 1, h, w): |f - g|^2 of features of length 1.

    Colours change everywhere a little under any style, features of a middle layer where texture
    and shapes do.
    """
    difference = F.normalize(features, dim=1) - F.normalize(target, dim=1)
    return difference.square().sum(1, keepdim=True)


def feature_distance(features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> float:
    """Mean `feature_change` over positions and layers, of features by layer.

    Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    without the learned weights of LPIPS, and a mean over layers where theirs is a sum.
    """
    changes = [float(feature_change(x, target[layer]).mean()) for layer, x in features.items()]
    return sum(changes) / len(changes)


def self_similarity(features: Tensor, target: Tensor) -> float:
    """How differently the places of two pictures resemble each other: CFSD.

    Chung et al. 2024, "Style Injection in Diffusion" (StyleID): the features' products F F^T / C^2,
    for every place a distribution over places by softmax; and the Kullback-Leibler divergence from
    the target's to the pastiche's. Theirs is a sum over places, which grows with the picture; this
    is the mean times 4096, the places of 256 x 256 pixels at their layer relu3_1, and features of
    more than 64 positions along a side are averaged first.
    """
    one, other = _log_similarity(features), _log_similarity(target)
    return POSITIONS**2 * float(F.kl_div(one, other, reduction="batchmean", log_target=True))


def _log_similarity(features: Tensor) -> Tensor:
    height, width = features.shape[-2:]
    scale = POSITIONS / max(height, width)
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        features = F.adaptive_avg_pool2d(features, size)
    places = features[0].flatten(1) / features.shape[1]
    # In float64: the divergence is a small difference of nearly even distributions.
    return torch.log_softmax((places.T @ places).double(), dim=1)


def ssim(image: Tensor, target: Tensor) -> float:
    """Structural similarity of the luminance, with the window and the moments of Wang et al. 2004.

    Pictures have at least 11 pixels a side.
    """
    from skimage.metrics import structural_similarity  # 0.4 s

    moments = {"gaussian_weights": True, "use_sample_covariance": False}
    return float(structural_similarity(grey(image), grey(target), data_range=1.0, **moments))


def canny_edges(image: Tensor) -> np.ndarray:
    """Canny's edges of a picture's luminance, (H, W) bool, by quantiles of its own gradient."""
    from skimage.feature import canny  # 0.4 s

    low, high = EDGE_QUANTILES
    edges: np.ndarray = canny(grey(image), EDGE_SIGMA, low, high, use_quantiles=True)
    return edges


def grey(image: Tensor) -> np.ndarray:
    """The luminance of (1, 3, H, W) as a float64 array (H, W)."""
    return luminance(image)[0, 0].double().cpu().numpy()


def edge_agreement(image: Tensor, target: Tensor) -> float:
    """The F-measure of two pictures' Canny edges, with tolerance; 0 where either has no edge.

    Thresholds are quantiles of each picture's own gradient, so that neither contrast nor a busy
    surface has more edges by itself. The tolerance is that of the BSDS500 benchmark (Arbelaez et
    al. 2011), but an edge may serve several of the other picture's. Unrelated pictures do not have
    0, since some edges coincide by chance.
    """
    from scipy.ndimage import distance_transform_edt  # 0.2 s

    one, other = canny_edges(image), canny_edges(target)
    if not one.any() or not other.any():
        return 0.0
    reach = max(1.0, EDGE_TOLERANCE * math.hypot(*one.shape))
    precision = np.mean(distance_transform_edt(~other)[one] <= reach)
    recall = np.mean(distance_transform_edt(~one)[other] <= reach)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
