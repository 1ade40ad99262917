"""How much of a photo is left in its pastiche."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
POSITIONS = 64  # along the long side, to which larger features are averaged in `self_similarity`
EDGE_SIGMA = 2.0  # px, blur before edges are sought
EDGE_QUANTILES = (0.80, 0.92)  # of the gradient, Canny's two thresholds
EDGE_TOLERANCE = 0.0075  # of the diagonal: how far an edge may be off, as in BSDS500's benchmark


def luminance(image: Tensor) -> Tensor:
    """(1, 3, H, W) sRGB to (1, 1, H, W), both in [0, 1]."""
    weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)
    return (image * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def feature_distance(features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> float:
    """Distance of two pictures' features, each position scaled to length 1.

    Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    without the weights per channel that LPIPS learned from people's judgements, and as a mean over
    layers where theirs is a sum: the numbers are not LPIPS's.

    Args:
        features: {layer: (1, C, h, w)} of the pastiche, 0 or more (behind a ReLU).
        target: of the photo, the same layers and shapes.

    Returns:
        0 to 2, lower is better.
    """
    layers = []
    for layer, one in features.items():
        difference = F.normalize(one, dim=1) - F.normalize(target[layer], dim=1)
        layers.append(float(difference.square().sum(1).mean()))
    return sum(layers) / len(layers)


def self_similarity(features: Tensor, target: Tensor) -> float:
    """How differently the places of two pictures resemble each other: CFSD.

    Chung et al. 2024, "Style Injection in Diffusion" (StyleID), content feature structural
    distance: the features' products with each other, F F^T / C^2, as a distribution over places for
    every place, by softmax; and the Kullback-Leibler divergence from the photo's to the pastiche's.
    Differs from theirs, which is summed over places and so grows with the picture, in being the
    mean times 4096, the places of a picture of 256 x 256; and in averaging features of more than 64
    positions along a side.

    Args:
        features: (1, C, h, w) of the pastiche; theirs are relu3_1 of VGG-19.
        target: of the photo, same shape.

    Returns:
        0 or more, lower is better.
    """
    found, wanted = _log_similarity(features), _log_similarity(target)
    divergence = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return POSITIONS**2 * float(divergence)


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
    """Structural similarity of the luminance (Wang et al. 2004), by scikit-image.

    Args:
        image: the pastiche, (1, 3, H, W) in [0, 1], at least 11 pixels a side.
        target: the photo, same shape.

    Returns:
        -1 to 1, higher is better; 1 for equal pictures.
    """
    from skimage.metrics import structural_similarity  # 0.4 s

    one, other = (luminance(x)[0, 0].double().cpu().numpy() for x in (image, target))
    # The window and the moments of Wang et al.
    return float(
        structural_similarity(
            one, other, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
    )


def edge_agreement(image: Tensor, target: Tensor) -> float:
    """How well the edges of two pictures coincide: the F-measure of Canny edges, with tolerance.

    Thresholds are quantiles of each picture's own gradient, so that neither contrast nor a busy
    surface finds more edges by itself. The tolerance is that of the BSDS500 benchmark (Arbelaez et
    al. 2011), but an edge may serve several of the other picture's.

    Args:
        image: the pastiche, (1, 3, H, W) in [0, 1].
        target: the photo, same shape.

    Returns:
        0 to 1, higher is better; 0 where either has no edge. Unrelated pictures do not have 0:
        edges within reach are found by chance.
    """
    from scipy.ndimage import distance_transform_edt  # 0.2 s
    from skimage.feature import canny

    low, high = EDGE_QUANTILES
    one, other = (
        canny(
            luminance(x)[0, 0].double().cpu().numpy(),
            sigma=EDGE_SIGMA,
            low_threshold=low,
            high_threshold=high,
            use_quantiles=True,
        )
        for x in (image, target)
    )
    if not one.any() or not other.any():
        return 0.0
    reach = max(1.0, EDGE_TOLERANCE * math.hypot(*one.shape))
    precision = np.mean(distance_transform_edt(~other)[one] <= reach)
    recall = np.mean(distance_transform_edt(~one)[other] <= reach)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
