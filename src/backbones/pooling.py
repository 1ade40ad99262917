"""Pooling layers; max pooling that needs less memory than torch's."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["max", "avg"]


class MaxPool(nn.MaxPool2d):
    """Max pooling that keeps no indices, eight bytes a window, for the backward pass."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w)."""
        pooled: Tensor = RecomputingMaxPool.apply(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode
        )
        return pooled


class RecomputingMaxPool(torch.autograd.Function):
    """Finds the maxima again in the backward pass: the input is kept anyway, by others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int, ceil: bool) -> Tensor:
        """(B, C, H, W) to (B, C, h, w)."""
        ctx.save_for_backward(x)
        ctx.geometry = kernel, stride, padding, ceil
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient by x, and none by the numbers."""
        (x,) = ctx.saved_tensors
        kernel, stride, padding, ceil = ctx.geometry
        _, indices = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil, return_indices=True)
        # Not torch.autograd.grad, whose first call imports sympy: two seconds.
        slope = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, [kernel], [stride], [padding], [1], ceil, indices
        )
        return slope, None, None, None, None


POOLS: dict[Pooling, type[MaxPool] | type[nn.AvgPool2d]] = {"max": MaxPool, "avg": nn.AvgPool2d}


def pool(kind: Pooling, kernel: int, ceil: bool = False) -> nn.Module:
    """A pooling layer of stride 2.

    Average pooling "gives slightly more appealing results" (Gatys et al. 2016, section 2), but the
    paper's loss weights do not fit it: its features are smaller.
    """
    return POOLS[kind](kernel, stride=2, ceil_mode=ceil)
