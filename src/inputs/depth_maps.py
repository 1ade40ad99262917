"""What was measured, in whatever unit, to the program's depth: 0 nearest, 1 farthest, no holes."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.core.errors import InputError
from src.inputs.holes import inpaint_depth
from src.inputs.pictures import apply_orientation

Kind = Literal["depth", "disparity"]
PERCENTILES = (1.0, 99.0)  # of the valid points: one speckle must not move everything else
ASPECT_TOLERANCE = 0.02
BEYOND = 1e9  # farther than anything measured: renderers write 1e10, 3e38 or infinity for the sky


@dataclass(frozen=True)
class RawDepth:
    """Depth as a file holds it, decoded.

    Where not valid, values mean nothing, except +inf, which is known to be beyond what was measured
    (sky), and in dense maps, whose makers filled in what was not measured.
    """

    values: np.ndarray  # (H, W) float32
    valid: np.ndarray  # (H, W) bool, where it was measured
    kind: Kind = "depth"  # which grows with the distance; disparity is inverse to it
    unit: str = "relative"  # or `m`, or `1/m`
    origin: str = ""  # in words, for the log
    dense: bool = False

    def oriented(self, orientation: int) -> "RawDepth":
        """The same map, turned upright by EXIF's orientation number."""
        upright = (apply_orientation(x, orientation) for x in (self.values, self.valid))
        values, valid = map(np.ascontiguousarray, upright)
        return replace(self, values=values, valid=valid)

    def oriented_like(self, size: tuple[int, int], orientation: int) -> "RawDepth":
        """Turned by EXIF's number if only then its aspect is that of `size`, (height, width)."""
        upright = self.oriented(orientation)
        lies = not same_aspect(self.values.shape, size)
        return upright if lies and same_aspect(upright.values.shape, size) else self


class DepthMap(NamedTuple):
    """The program's depth of one picture."""

    depth: Tensor  # (1, 1, H, W) float32 in [0, 1]
    valid: Tensor  # (1, 1, H, W) bool
    span: tuple[float, float]  # the depths that became 0 and 1, in `unit`
    unit: str  # `m` or `relative`


def prepare(raw: RawDepth, image: Tensor, key: str) -> DepthMap:
    """Bring raw depth to (1, 3, H, W): invert, normalise, resample, fill the holes along its edges.

    An InputError with `key` if it is valid nowhere, or the same everywhere.
    """
    values, valid, unit = raw.values, raw.valid, raw.unit
    if raw.kind == "disparity":
        # Zero is infinitely far, or unknown: no file says which.
        valid = valid & (values > 1 / BEYOND)
        values = np.divide(1, values, out=np.zeros_like(values), where=valid)
        unit = "m" if unit == "1/m" else "relative"
    if not valid.any():
        raise InputError(key, "depth that is valid nowhere", "valid depth at some points")
    low, high = span(values[valid])
    if not high - low > 1e-6 * abs(high):
        raise InputError(key, f"the same depth everywhere ({low:g})", "depth that varies")
    known = np.isfinite(values) & (values > 0) if raw.dense else valid
    known = known | np.isposinf(values)
    with np.errstate(invalid="ignore"):  # NaN where there is a hole
        scaled = np.clip((values - low) / (high - low), 0, 1)
    height, width = image.shape[-2:]
    scaled, density = resample(scaled, known, height, width)
    filled = inpaint_depth(scaled, density > 0, image[0].permute(1, 2, 0).numpy())
    # Measured is where half as many of the file's points fall as on average: that serves dense
    # maps and the sparse ones of a laser (one pixel in five) alike.
    density = resample(values, valid, height, width)[1]
    measured = torch.from_numpy((density > 0) & (density >= density.mean() / 2))
    return DepthMap(torch.from_numpy(filled)[None, None], measured[None, None], (low, high), unit)


def span(values: np.ndarray) -> tuple[float, float]:
    """The depths that become 0 and 1: robust percentiles of (N,) valid values."""
    low, high = np.percentile(values, PERCENTILES)
    if low == high:  # nearly all points alike, as in a drawn map of two depths
        low, high = values.min(), values.max()
    return float(low), float(high)


def resample(
    values: np.ndarray, known: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an (H, W) map with holes: means of what is known only, so that holes do not leak.

    Values and density (the part of a point's area that was known), float32; of density 0 is 0.
    """
    known = known.astype(np.float32)
    both = torch.from_numpy(np.stack([np.where(known, values, 0).astype(np.float32), known]))[None]
    if both.shape[-2:] == (height, width):
        return both[0, 0].numpy(), known
    if height >= known.shape[0] and width >= known.shape[1]:
        both = F.interpolate(both, (height, width), mode="bilinear", align_corners=False)
        both = both * (both[:, 1:] > 0.5)  # a hole grown keeps its size
    else:
        both = F.adaptive_avg_pool2d(both, (height, width))
    total, density = both[0].numpy()
    return np.divide(total, density, out=np.zeros_like(total), where=density > 0), density


def check_aspect(raw: RawDepth, file_size: tuple[int, int], key: str) -> None:
    """Raise an InputError with `key` where the aspect of the picture, (height, width), differs."""
    height, width = raw.values.shape
    if not same_aspect((height, width), file_size):
        expected = f"the aspect of the picture, which has {file_size[1]} x {file_size[0]} pixels"
        raise InputError(key, f"depth of {width} x {height} points", expected)


def same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (height, width) have the same aspect ratio within the tolerance."""
    ratio = (one[1] * other[0]) / (one[0] * other[1])
    return abs(ratio - 1) <= ASPECT_TOLERANCE
