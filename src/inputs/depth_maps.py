"""What was measured, in whatever unit, to the program's depth: 0 nearest, 1 farthest, no holes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import InputError
from src.inputs.holes import fill

Kind = Literal["depth", "disparity"]
PERCENTILES = (1.0, 99.0)  # of the valid points: one speckle must not move everything else
ASPECT_TOLERANCE = 0.02
BEYOND = 1e9  # farther than anything measured: renderers write 1e10, 3e38 or infinity for the sky


@dataclass(frozen=True)
class RawDepth:
    """Depth as a file holds it, decoded.

    Attributes:
        values: (H, W) float32. Where not `valid` they mean nothing, but for +inf: known to be
            beyond what was measured (sky), and for `complete` maps.
        valid: (H, W) bool, where it was measured.
        kind: `depth` grows with the distance, `disparity` is inverse to it.
        unit: what the values count: `m`, `1/m`, or `relative`.
        origin: where it comes from, in words for the log.
        complete: whoever made the data filled in what was not measured: to be used as it is.
    """

    values: np.ndarray
    valid: np.ndarray
    kind: Kind = "depth"
    unit: str = "relative"
    origin: str = ""
    complete: bool = False


@dataclass(frozen=True)
class DepthMap:
    """The program's depth of one picture.

    Attributes:
        depth: (1, 1, H, W) float32 in [0, 1].
        valid: (1, 1, H, W) bool.
        span: the depths that became 0 and 1, in `unit`.
        unit: `m` or `relative`.
    """

    depth: Tensor
    valid: Tensor
    span: tuple[float, float]
    unit: str


def prepare(raw: RawDepth, image: Tensor, key: str) -> DepthMap:
    """Bring raw depth to a picture: invert, normalise, scale to its size, fill the holes.

    Args:
        raw: the depth; its aspect must be the picture's (see `check_aspect`).
        image: (1, 3, H, W) in [0, 1], whose edges guide the filling.
        key: the configuration key that named the depth, for errors.

    Raises:
        InputError: nothing valid, or the same depth everywhere.
    """
    values, valid, unit = as_depth(raw)
    if not valid.any():
        raise InputError(key, "depth that is valid nowhere", "valid depth at some points")
    low, high = span(values[valid])
    if not high - low > 1e-6 * abs(high):
        raise InputError(key, f"the same depth everywhere ({low:g})", "depth that varies")
    known = np.isfinite(values) & (values > 0) if raw.complete else valid
    known = known | np.isposinf(values)
    with np.errstate(invalid="ignore"):  # NaN where there is a hole
        scaled = np.clip((values - low) / (high - low), 0, 1)
    height, width = image.shape[-2:]
    scaled, density = resample(scaled, known, height, width)
    filled = fill(scaled, density > 0, image[0].permute(1, 2, 0).numpy())
    # Measured is where half as many of the file's points fall as on average: that serves dense
    # maps and the sparse ones of a laser (one pixel in five) alike.
    density = resample(values, valid, height, width)[1]
    return DepthMap(
        depth=torch.from_numpy(filled)[None, None],
        valid=torch.from_numpy((density > 0) & (density >= density.mean() / 2))[None, None],
        span=(low, high),
        unit=unit,
    )


def as_depth(raw: RawDepth) -> tuple[np.ndarray, np.ndarray, str]:
    """Values that grow with the distance, where they are valid, and their unit."""
    if raw.kind == "depth":
        return raw.values, raw.valid, raw.unit
    # Zero is infinitely far, or unknown: no file says which.
    positive = raw.valid & (raw.values > 1 / BEYOND)
    values = np.zeros_like(raw.values)
    np.divide(1, raw.values, out=values, where=positive)
    return values, positive, "m" if raw.unit == "1/m" else "relative"


def span(values: np.ndarray) -> tuple[float, float]:
    """The depths that become 0 and 1: robust percentiles of (N,) valid values."""
    low, high = np.percentile(values, PERCENTILES)
    if low == high:  # nearly all points alike, as in a drawn map of two depths
        low, high = values.min(), values.max()
    return float(low), float(high)


def resample(
    values: np.ndarray, known: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a map with holes: means of what is known only, so that holes do not leak.

    Args:
        values: (H, W) float32; without meaning where not `known`.
        known: (H, W) bool.
        height: wanted rows.
        width: wanted columns.

    Returns:
        (height, width) float32 values and (height, width) float32 density: which part of each
        point's area was known. Where it is 0, the value is 0.
    """
    known = known.astype(np.float32)
    both = torch.from_numpy(np.stack([np.where(known, values, 0).astype(np.float32), known]))[None]
    if both.shape[-2:] == (height, width):
        total, density = both[0].numpy()
        return total, density
    if height >= known.shape[0] and width >= known.shape[1]:
        both = F.interpolate(both, (height, width), mode="bilinear", align_corners=False)
        both = both * (both[:, 1:] > 0.5)  # a hole grown keeps its size
    else:
        both = F.adaptive_avg_pool2d(both, (height, width))
    total, density = both[0].numpy()
    return np.divide(total, density, out=np.zeros_like(total), where=density > 0), density


def check_aspect(raw: RawDepth, file_size: tuple[int, int], key: str) -> None:
    """Raise an InputError where depth and picture cannot be of the same view.

    A depth of the same aspect but another resolution is right: it will be resampled.

    Args:
        raw: the depth.
        file_size: (height, width) of the upright picture in its file, in pixels.
        key: the configuration key that named the depth.
    """
    height, width = raw.values.shape
    if not same_aspect((height, width), file_size):
        raise InputError(
            key,
            f"depth of {width} x {height} points",
            f"the aspect of the picture, which has {file_size[1]} x {file_size[0]} pixels",
        )


def same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (height, width) have the same aspect ratio within the tolerance."""
    ratio = (one[1] * other[0]) / (one[0] * other[1])
    return abs(ratio - 1) <= ASPECT_TOLERANCE
