"""Geometry of convolutions and pools: sizes of features, and which pixels they depend on."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ReceptiveField:
    """Position p of a layer depends on the pixels from p stride - before to p stride + after."""

    stride: int
    before: int
    after: int


@dataclass(frozen=True)
class ConvGeometry:
    """The sliding window of a convolution or a pool; `ceil`: the last may hang over the edge."""

    kernel: int
    stride: int
    padding: int
    ceil: bool

    def output_length(self, length: int) -> int:
        """How many positions the window has along so many pixels."""
        room = length + 2 * self.padding - self.kernel
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # torch has no window that begins behind the end.
        return count - 1 if (count - 1) * self.stride >= length + self.padding else count


def geometries(modules: Iterable[nn.Module]) -> list[ConvGeometry]:
    """Of every convolution and pool in these modules; parallel ones count one after another."""
    result = []
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                sides = (part.kernel_size, part.stride, part.padding)
                kernel, stride, padding = (int(s[0] if isinstance(s, tuple) else s) for s in sides)
                ceil = bool(getattr(part, "ceil_mode", False))
                result.append(ConvGeometry(kernel, stride, padding, ceil))
    return result
