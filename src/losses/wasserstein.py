"""The Wasserstein distance of features as Gaussians: of their means and covariances.

Olkin, Pukelsheim, "The distance between two random vectors with given dispersion matrices", 1982:
W^2 = |m - m'|^2 + tr S + tr S' - 2 tr (S'^1/2 S S'^1/2)^1/2.

Few directions hold nearly all of a style image's variance, so S'^1/2 is its principal axes. The
rest is compared by its variance alone: exact where it is spread evenly or not there, else less
than W^2. The root is then of a small matrix whose eigenvalues float32 can tell from 0.
"""

from typing import Any

import torch
from torch import Tensor

from src.losses.gram import gram_normalizer, unnormalized_moments

EXPLAINED = 0.99  # of the target's variance, by its principal axes


def moments(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean, and below it second moments, (B, 1 + C, C), of (B, C, H, W) features.

    With a (1, 1, H, W) mask in [0, 1] positions count with its square, as in a Gram matrix.
    """
    height, width = features.shape[-2:]
    return unnormalized_moments(features, mask) / gram_normalizer((height, width), mask)


def principal_axes(moments: Tensor) -> Tensor:
    """What `gaussian_wasserstein` takes of a target, (1, 2 + R, C), from its (1, 1 + C, C) moments.

    The mean; the standard deviation of what the axes leave over, at the row's start; R axes, each
    as long as the standard deviation along it.
    """
    mean, second = moments[0, :1].double(), moments[0, 1:].double()
    values, vectors = torch.linalg.eigh(second - mean.mT @ mean)
    values = values.flip(0).clamp(min=0)
    kept = 1 + int((values.cumsum(0) < EXPLAINED * values.sum()).sum())
    rest = torch.zeros_like(mean)
    rest[0, 0] = values[kept:].sum().sqrt()
    axes = values[:kept, None].sqrt() * vectors.mT.flip(0)[:kept]
    return torch.cat([mean, rest, axes])[None].to(moments)


def gaussian_wasserstein(moments: Tensor, target: Tensor) -> Tensor:
    """W^2 from (1, 1 + C, C) `moments` to a target's (1, 2 + R, C) `principal_axes`, a scalar."""
    (mean, second), (target_mean, rest, axes) = (
        moments[0].split_with_sizes((1, moments.shape[2])),
        target[0].split_with_sizes((1, 1, target.shape[1] - 2)),
    )
    covariance = second - mean.mT @ mean
    inner = axes @ covariance @ axes.mT
    # NaN stays in the traces; LAPACK would raise an error of its own.
    inner = torch.where(inner.isfinite().all(), inner, torch.zeros_like(inner))
    variances = axes.square().sum(1)
    smallest = torch.finfo(inner.dtype).eps * variances.max() + torch.finfo(inner.dtype).tiny
    total = covariance.trace()
    left = (total - (inner.diagonal() / variances.clamp(min=smallest)).sum()).clamp(min=smallest)
    root = _RootTrace.apply(inner, variances.max())
    along = total - left + variances.sum() - 2 * root
    return (mean - target_mean).square().sum() + along + (left.sqrt() - rest.sum()).square()


class _RootTrace(torch.autograd.Function):
    """tr M^1/2 of a symmetric positive (R, R) matrix; its gradient is M^-1/2 / 2.

    `scale` is what the root of its largest eigenvalue would be at the target.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, scale: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        # Below this, rounding makes an eigenvalue, and its root's slope would be any number.
        numbers = torch.finfo(matrix.dtype)
        largest = torch.maximum(values[-1], scale.square())
        roots = values.clamp(min=10 * numbers.eps * largest + numbers.tiny).sqrt()
        ctx.save_for_backward(roots, vectors)
        return roots.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        roots, vectors = ctx.saved_tensors
        return gradient * 0.5 * (vectors / roots) @ vectors.mT, None
