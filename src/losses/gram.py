"""The sum over positions behind `gram_matrix`, with its gradient, fast on CPUs and GPUs."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

Normalizer = Literal["mean_square", "paper"]
NORMALIZERS: tuple[Normalizer, ...] = ("mean_square", "paper")

CHUNK = 2**19  # values of features that a product takes at once on a CPU: what its cache holds


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """At least float32: squares of half-precision features overflow."""
    return torch.promote_types(x.dtype, torch.float32)


def upcast(x: Tensor) -> Tensor:
    """In its `accumulation_dtype`."""
    return x.to(accumulation_dtype(x))


def unnormalized_gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum_k (mask F)_ik (mask F)_jk, (B, C, C), which adds up over the tiles of an image."""
    return _sums(features, mask, False)[:, 1:]


def unnormalized_moments(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum_k mask_k^2 F_k and below it `unnormalized_gram`, (B, 1 + C, C)."""
    return _sums(features, mask, True)


def _sums(features: Tensor, mask: Tensor | None, with_mean: bool) -> Tensor:
    if mask is not None:
        mask = mask.detach().to(accumulation_dtype(features)).expand(len(features), -1, -1, -1)
    sums: Tensor = _Sums.apply(features, mask, with_mean)
    return sums


def gram_normalizer(
    size: tuple[int, int], mask: Tensor | None = None, normalizer: Normalizer = "mean_square"
) -> Tensor | int:
    """M eta, (B, 1, 1) or without a mask M = H W, that the sum over a whole image is divided by."""
    if normalizer not in NORMALIZERS:
        known = ", ".join(NORMALIZERS)
        raise ValueError(f"normalizer: got {normalizer!r}; expected one of {known}")
    positions = size[0] * size[1]
    if mask is None:
        return positions
    eta = mask.square().mean((2, 3)) if normalizer == "mean_square" else mask.mean((2, 3)).square()
    return positions * eta[..., None]


class _Sums(torch.autograd.Function):
    """`unnormalized_moments`, the first row 0 without `with_mean`; the gradient is as fine as F.

    Written out because the gradient, ((dG + dG^T) F + ds) m^2, then costs one product, where
    autograd would spend two. On CPUs the sum goes over a few rows at a time, so that neither
    masked features nor finer ones leave the cache.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, mask: Tensor | None, with_mean: bool) -> Tensor:
        ctx.save_for_backward(features, mask)
        ctx.with_mean = with_mean
        (batch, channels), dtype = features.shape[:2], accumulation_dtype(features)
        sums = features.new_zeros((batch, 1 + channels, channels), dtype=dtype)
        with torch.autocast(features.device.type, enabled=False):  # it would go back to half
            for i, rows in _row_chunks(features):
                chunk = features[i, :, rows]
                chunk = upcast(chunk) if mask is None else chunk * mask[i, :, rows]
                sums[i, 1:] += _outer(chunk)
                if with_mean:
                    weighted = chunk if mask is None else chunk * mask[i, :, rows]
                    sums[i, 0] += weighted.sum((2, 3))
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        features, mask = ctx.saved_tensors
        of_mean, of_gram = gradient[:, 0].to(features.dtype), gradient[:, 1:]
        symmetric = (of_gram + of_gram.transpose(1, 2)).to(features.dtype)
        with torch.autocast(features.device.type, enabled=False):
            product = _apply_matrix(symmetric, features, of_mean if ctx.with_mean else None)
        if mask is not None:
            product *= mask.square().to(product.dtype)
        return product, None, None


def _row_chunks(features: Tensor) -> Iterator[tuple[slice, slice]]:
    """(images, rows) to take at once: a few rows of one image on a CPU, else all of the batch."""
    batch, channels, height, width = features.shape
    if features.device.type != "cpu":
        yield slice(None), slice(None)
        return
    step = max(1, CHUNK // (channels * width))
    for i in range(batch):
        for first in range(0, height, step):
            yield slice(i, i + 1), slice(first, first + step)


def _outer(x: Tensor) -> Tensor:
    """sum_k x_ik x_jk, (B, C, C)."""
    if not _by_convolution(x):
        return torch.einsum("bihw,bjhw->bij", x, x)
    return conv2d_weight(x, (x.shape[1], x.shape[1], 1, 1), x).flatten(2).permute(2, 0, 1)


def _apply_matrix(matrix: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    """sum_j m_ij x_jk + b_i, (B, C, H, W)."""
    if not _by_convolution(x):
        product = torch.einsum("bij,bjhw->bihw", matrix, x)
        return product if bias is None else product + bias[..., None, None]
    images = [
        F.conv2d(x[i : i + 1], m[..., None, None], None if bias is None else bias[i])
        for i, m in enumerate(matrix)
    ]
    return images[0] if len(images) == 1 else torch.cat(images)


def _by_convolution(x: Tensor) -> bool:
    """Whether to take products by 1x1 convolutions of one image and by their kernels' gradient.

    On CPUs that is twice as fast as a matrix product and needs no change of layout; on GPUs it
    would round to TF32.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
