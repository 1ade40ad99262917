"""Whether strokes shrink, and contrast falls, with distance.

A stroke's size is found by comparison with the painting itself at several sizes. The luminance's
autocorrelation does not tell it: paintings vary at all scales, so that of most does not grow with
them (docs/strokes.md).
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from src.backbones import Backbone
from src.core.images import fit, resize
from src.losses import gram_matrix
from src.masks import downsample_mask
from src.metrics.content import grey
from src.metrics.style import gram_distance

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
SCALES = tuple(2.0 ** (octave / 2) for octave in range(-3, 4))  # of the painting
LONG_SIDE = 320  # px, of larger pastiches a copy is measured: paintings are up to 3 times as large
BANDS = 4  # of equal numbers of pixels, from near to far
COARSEST = 0.03  # of the diagonal: what varies more slowly is no contrast between strokes

Gram = Mapping[str, Tensor]  # by layer


def painting_scales(
    backbone: Backbone, painting: Tensor, usual: float, side: int
) -> dict[float, Gram]:
    """The Gram matrices of a painting at `SCALES`, for `stroke_slope`.

    Those for which it would be too small for the layers are left out.

    Args:
        backbone: VGG-19.
        painting: (1, 3, h, w) in [0, 1], as large as there is.
        usual: by which it is scaled for a scale of 1.
        side: px, the pastiche's long one.
    """
    usual *= min(1.0, LONG_SIDE / side)
    found: dict[float, Gram] = {}
    for scale in SCALES:
        height, width = (round(length * scale * usual) for length in painting.shape[-2:])
        if min(height, width) >= max(map(backbone.smallest_side, LAYERS)):
            features = backbone.iter_features(resize(painting, height, width), LAYERS)
            found[scale] = {layer: _direction(gram_matrix(x)) for layer, x in features}
    return found


def stroke_slope(
    backbone: Backbone, image: Tensor, depth: Tensor, painting: Mapping[float, Gram]
) -> float:
    """The power of depth that the strokes' size goes with: -1 if all are as large in the world.

    In each of `BANDS` bands of depth it is the size of the painting whose Gram matrices, all of
    length 1, are nearest to the band's. NaN where depth or sizes are too few.

    Args:
        backbone: VGG-19.
        image: (1, 3, H, W) in [0, 1], the pastiche.
        depth: (1, 1, H, W) above 0, in any unit.
        painting: `painting_scales`.
    """
    if not painting:
        return math.nan
    height, width = fit(*image.shape[-2:], size=min(LONG_SIDE, max(image.shape[-2:])))
    features = backbone.features(resize(image, height, width), LAYERS)
    points: list[tuple[float, float]] = []
    for log_depth, band in _bands(resize(depth, height, width)):
        masks = {layer: downsample_mask(band, *x.shape[-2:]) for layer, x in features.items()}
        grams = {layer: _direction(gram_matrix(x, masks[layer])) for layer, x in features.items()}
        distances = [
            sum(gram_distance(grams[layer], target[layer]) for layer in LAYERS)
            for target in painting.values()
        ]
        points.append((log_depth, lowest([math.log2(scale) for scale in painting], distances)))
    return _slope(points)


def _direction(gram: Tensor) -> Tensor:
    """Without its length, which goes with contrast and not with size."""
    return gram / gram.norm()


def contrast_slope(image: Tensor, depth: Tensor) -> float:
    """The power of depth that the contrast of the luminance, (1, 3, H, W), goes with.

    Contrast is the standard deviation in a band of depth, (1, 1, H, W) above 0, of what varies
    within `COARSEST` of the diagonal. NaN where depth has no two bands.
    """
    from scipy.ndimage import gaussian_filter  # 0.2 s

    tone = grey(image)
    detail = tone - gaussian_filter(tone, COARSEST * math.hypot(*tone.shape))
    points = []
    for log_depth, band in _bands(depth):
        contrast = float(np.sqrt(np.mean(detail[band[0, 0].numpy() > 0] ** 2)))
        if contrast > 0:
            points.append((log_depth, math.log2(contrast)))
    return _slope(points)


def lowest(x: Sequence[float], y: Sequence[float]) -> float:
    """Where a curve is lowest, between evenly spaced x by the parabola through the three lowest."""
    at = int(np.argmin(y))
    if not 0 < at < len(x) - 1:
        return x[at]
    before, here, after = y[at - 1 : at + 2]
    return x[at] + 0.5 * (x[at + 1] - x[at]) * (before - after) / (before - 2 * here + after)


def _bands(depth: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Bands as masks, (1, 1, H, W), each with the mean of its depth's logarithm."""
    log = depth.double().clamp(min=torch.finfo(torch.float32).tiny).log2()
    ends = torch.quantile(log.flatten(), torch.linspace(0, 1, BANDS + 1, dtype=log.dtype)).unique()
    for low, high in itertools.pairwise(ends):
        band = (log >= low) & ((log < high) | (high == ends[-1]))
        if band.any():
            yield float(log[band].mean()), band.float()


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of y over x, by least squares; NaN where x does not vary."""
    if len(points) < 2:
        return math.nan
    x, y = np.transpose(points)
    return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 1e-3 else math.nan
