"""What is measured: curves of a run's total by step, and distances inside regions of pictures."""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from src.backbones import Backbone, vgg19
from src.metrics.content import feature_change
from src.metrics.measurer import LAYERS

END_WITHIN = 0.1  # of its last value: where a curve counts as settled
SHALLOW = LAYERS[:3]  # whose positions are small enough to lie on one side of a border
DARK = 0.1  # where a mask counts as 0
SMALLEST = 0.01  # share of the photo in which something can be measured
SAMPLES = 4096  # positions of a layer that are compared, at most


class Undefined(ValueError):
    """Something that cannot be measured here; its text says why."""


def roughness(values: Sequence[float]) -> float:
    """The mean over steps of how far the logarithm rises; 0 for a curve that only falls.

    The first tenth is left out: noise becomes a picture there, in leaps whatever the loss.
    """
    logarithms = [math.log(value) for value in values[len(values) // 10 :]]
    steps = [after - before for before, after in pairwise(logarithms)]
    return sum(max(0.0, step) for step in steps) / len(steps)


def settling_step(values: Sequence[float]) -> int:
    """After how many steps a curve stays within a tenth of its end."""
    last = values[-1]
    outside = [i for i, value in enumerate(values) if abs(value - last) > END_WITHIN * last]
    return outside[-1] + 1 if outside else 0


def late_fall(values: Sequence[float]) -> float:
    """How much a curve still falls in its last tenth, as a share of its end."""
    at = max(0, len(values) - 1 - max(1, round(len(values) / 10)))
    return abs(values[at] - values[-1]) / values[-1]


def log_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Whether two curves have the same shape: the correlation of their logarithms."""
    both = torch.tensor([one, other], dtype=torch.float64).log()
    return float(torch.corrcoef(both)[0, 1])


@cache
def _network() -> Backbone:
    """What distances are measured with: neither of the paper's networks."""
    return vgg19()


def _features(*images: Tensor) -> list[tuple[Tensor, ...]]:
    """Of each image, at each of three layers."""
    with torch.no_grad():
        features = [_network().features(image, SHALLOW) for image in images]
    return [tuple(of_image[layer] for of_image in features) for layer in SHALLOW]


def style_distance(image: Tensor, style: Tensor, region: Tensor) -> float:
    """How far each position of a region is from the style image's position most like it.

    1 - the cosine of their features, the mean over the region (1, 1, H, W) of zeros and ones and
    over three layers, as in nearest-neighbour style losses (Kolkin et al. 2022): a small region has
    no room for the whole distribution of the style image.
    """
    distances = []
    for features in _features(image, style):
        x, y = (F.normalize(each, dim=1).flatten(2)[0] for each in features)
        inside = F.interpolate(region, features[0].shape[-2:], mode="area").flatten() > 0.5
        if inside.any():
            own, styles = (z[:, :: -(-z.shape[1] // SAMPLES)] for z in (x[:, inside], y))
            distances.append(1 - float((own.T @ styles).amax(1).mean()))
    if not distances:
        raise Undefined("the region is smaller than what the network tells apart")
    return sum(distances) / len(distances)


def content_distance(image: Tensor, content: Tensor, region: Tensor) -> float:
    """Mean change of features, position by position, in a region; the mean of three layers."""
    distances = []
    for features, target in _features(image, content):
        change = feature_change(features, target)
        weights = F.interpolate(region, change.shape[-2:], mode="area")
        distances.append(float((change * weights).sum() / weights.sum()))
    return sum(distances) / len(distances)


def dark_region(mask: Tensor | None) -> Tensor:
    """Where a mask is 0, (1, 1, H, W) of zeros and ones."""
    if mask is None:
        raise Undefined("the run has no mask")
    region = (mask < DARK).float()
    share = float(region.mean())
    if share < SMALLEST:
        where = f"on {100 * share:.2g} % of this photo only"
        raise Undefined(f"the mask is 0 {where}, too little to measure")
    return region


def share_left(what: str, value: float, without: float, naive: float) -> float:
    """How much of what the naive run has is left: 0 as without any, 1 as naive."""
    if not naive < without:
        raise Undefined(f"the naive pastiche has no {what} there that could be missing")
    return (without - value) / (without - naive)
