"""The losses of "3D Neural Style Transfer" (Ghiron, Jamgochian, Lange), as pure functions.

Shapes are (B, C, H, W); in the paper's notation N_l = C filters and M_l = H W positions. Sums are
the paper's: none of these divides by the size of the picture unless its formula says so.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

Normalizer = Literal["mean_square", "paper"]
NORMALIZERS: tuple[Normalizer, ...] = ("mean_square", "paper")


def _fuller(x: Tensor) -> torch.dtype:
    """At least float32: squares of half-precision features overflow."""
    return torch.promote_types(x.dtype, torch.float32)


def _full(x: Tensor) -> Tensor:
    return x.to(_fuller(x))


def content_loss(features: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Half the sum of squared differences of features: 1/2 sum((mask * (F - P))^2).

    Paper, section 3.1 (mask None) and 3.2 (mask = gamma_c(d)).

    Args:
        features: F, of the pastiche, (B, C, H, W).
        target: P, of the content, same shape.
        mask: (B, 1, H, W) in [0, 1], at this layer's size; None weighs every position by 1.

    Returns:
        A scalar, 0 or more.
    """
    difference = _full(features) - _full(target)
    if mask is not None:
        difference = difference * mask
    return 0.5 * difference.square().sum()


PIECE = 2**19  # values of features that a product takes at once on a CPU: what its cache holds


class _Gram(torch.autograd.Function):
    """sum_k (m F)_ik (m F)_jk for F (B, C, H, W) and m (B, 1, H, W) or None; (B, C, C).

    Float32 or finer whatever F is; the gradient is as fine as F. Written out because the gradient,
    (dG + dG^T) F m^2, then costs one product, where autograd would spend two. On CPUs the sum goes
    over a few rows at a time, so that neither masked features nor finer ones leave the cache.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, mask)
        batch, channels = features.shape[:2]
        found = features.new_zeros((batch, channels, channels), dtype=_fuller(features))
        with torch.autocast(features.device.type, enabled=False):  # it would go back to half
            for i, rows in _pieces(features):
                some = features[i, :, rows]
                found[i] += _outer(_full(some) if mask is None else some * mask[i, :, rows])
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, mask = ctx.saved_tensors
        symmetric = (gradient + gradient.transpose(1, 2)).to(features.dtype)
        with torch.autocast(features.device.type, enabled=False):
            found = _mixed(symmetric, features)
        if mask is not None:
            found *= mask.square().to(found.dtype)
        return found, None


def _pieces(features: Tensor) -> Iterator[tuple[slice, slice]]:
    """(pictures, rows) to be taken at once: a few rows of one on a CPU, else everything."""
    batch, channels, height, width = features.shape
    if features.device.type != "cpu":
        yield slice(None), slice(None)
        return
    step = max(1, PIECE // (channels * width))
    for i in range(batch):
        for first in range(0, height, step):
            yield slice(i, i + 1), slice(first, first + step)


def _outer(x: Tensor) -> Tensor:
    """sum_k x_ik x_jk, (B, C, C)."""
    if not _by_convolution(x):
        return torch.einsum("bihw,bjhw->bij", x, x)
    return conv2d_weight(x, (x.shape[1], x.shape[1], 1, 1), x).flatten(2).permute(2, 0, 1)


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    """sum_j m_ij x_jk, (B, C, H, W)."""
    if not _by_convolution(x):
        return torch.einsum("bij,bjhw->bihw", matrix, x)
    found = [F.conv2d(one, m[..., None, None]) for one, m in zip(x.split(1), matrix, strict=True)]
    return found[0] if len(found) == 1 else torch.cat(found)


def _by_convolution(x: Tensor) -> bool:
    """Whether to take products by 1x1 convolutions of one picture and by their kernels' gradient.

    On CPUs that is twice as fast as a matrix product and needs no change of layout; on GPUs it
    would round to TF32.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def correlations(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum_k (mask F)_ik (mask F)_jk: what Gram matrices are made of, a sum over positions.

    Args:
        features: F, (B, C, H, W).
        mask: (B, 1, H, W), a constant: no gradient flows to it; None weighs every position by 1.

    Returns:
        (B, C, C), symmetric, float32 or finer.
    """
    if mask is not None:
        mask = mask.detach().to(_fuller(features)).expand(features.shape[0], -1, -1, -1)
    return _Gram.apply(features, mask)


def gram_divisor(mask: Tensor, normalizer: Normalizer = "mean_square") -> Tensor:
    """M eta, what the correlations under a mask are divided by; see `gram_matrix`.

    Args:
        mask: (B, 1, H, W) in [0, 1].
        normalizer: eta: "mean_square" for mean(mask^2), "paper" for mean(mask)^2.

    Returns:
        (B, 1, 1).

    Raises:
        ValueError: an unknown normalizer.
    """
    _check(normalizer)
    eta = mask.square().mean((2, 3)) if normalizer == "mean_square" else mask.mean((2, 3)).square()
    return (mask.shape[-2] * mask.shape[-1]) * eta[..., None]


def gram_matrix(
    features: Tensor, mask: Tensor | None = None, normalizer: Normalizer = "mean_square"
) -> Tensor:
    """Correlations of the filters where the mask selects: 1/(M eta) sum_k (mask F)_ik (mask F)_jk.

    Paper, section 3.2; without a mask (eta = 1) section 3.1.

    Differs from the paper in dividing by M here rather than in E_l, so that the Gram matrices of
    two pictures of different size compare (the paper has one M for both). Differs from it also in
    eta: the paper divides by mean(mask)^2, which leaves the Gram matrix of every mask that selects
    too large (2x for a mask of ones on half of the picture, 4x on a quarter), since its sum grows
    with mean(mask^2). That is what Gatys et al. 2017 divide by ("Controlling Perceptual Factors in
    Neural Style Transfer", guided Gram matrices) and the default here.

    Args:
        features: F, (B, C, H, W).
        mask: gamma_s(d), (B, 1, H, W) in [0, 1] at this layer's size. A constant: no gradient
            flows to it. Where it is 0 everywhere there is no Gram matrix: NaN.
        normalizer: eta: "mean_square" for mean(mask^2), "paper" for mean(mask)^2.

    Returns:
        (B, C, C), symmetric.

    Raises:
        ValueError: an unknown normalizer.
    """
    _check(normalizer)
    if mask is None:
        return correlations(features) / (features.shape[-2] * features.shape[-1])
    mask = mask.detach().to(_fuller(features))
    return correlations(features, mask) / gram_divisor(mask, normalizer)


def _check(normalizer: str) -> None:
    if normalizer not in NORMALIZERS:
        raise ValueError(
            f"normalizer: got {normalizer!r}; expected one of {', '.join(NORMALIZERS)}"
        )


def style_loss(gram: Tensor, target_gram: Tensor) -> Tensor:
    """The distance of two Gram matrices at one layer, E_l = 1/(4 C^2) sum((G - A)^2).

    Paper, section 3.1. Its 1/M^2 is inside the Gram matrices here (see `gram_matrix`).

    Args:
        gram: G, of the pastiche, (B, C, C).
        target_gram: A, of the style, same shape.

    Returns:
        A scalar, 0 or more.
    """
    channels = gram.shape[-1]
    return (gram - target_gram).square().sum() / (4 * channels**2)


def total_variation(image: Tensor) -> Tensor:
    """Sum of squared differences of neighbouring pixels, down and across.

    Paper, section 3.1, L_tv.

    Args:
        image: (B, C, H, W).

    Returns:
        A scalar, 0 or more.
    """
    down = image[:, :, 1:] - image[:, :, :-1]
    across = image[:, :, :, 1:] - image[:, :, :, :-1]
    return _full(down).square().sum() + _full(across).square().sum()


def depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two depth maps: 1/(H W) ||phi(original) - phi(pastiche)||^2.

    Paper, section 3.3, L_depth.

    Args:
        predicted: phi(pastiche), (B, 1, H, W).
        target: phi(original), same shape.

    Returns:
        A scalar, 0 or more.
    """
    return (_full(predicted) - _full(target)).square().mean()


# Least scale in `align`, as a share of the one that would give both maps the same spread.
SMALLEST_SCALE = 0.1


def align(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale and shift a map so that it is nearest to another: s p + o of least squares.

    Ranftl et al. 2020 (MiDaS, arXiv 1907.01341), section 5. Differs from theirs: the scale stays
    above a tenth of std(target) / std(predicted). Without a bound a map turned inside out would be
    turned back and match, and with a bound at 0 it would have no gradient to be put right by.

    Args:
        predicted: p, (B, 1, H, W), of any scale and offset.
        target: (B, 1, H, W).

    Returns:
        s p + o, (B, 1, H, W); where p is constant, the target's mean.
    """
    predicted, target = _full(predicted), _full(target)
    p = predicted - predicted.mean((2, 3), keepdim=True)
    offset = target.mean((2, 3), keepdim=True)
    t = target - offset
    # A map that varies by less than a ten-thousandth of its values counts as constant.
    floor = 1e-8 * predicted.detach().square().mean((2, 3), keepdim=True)
    floor = floor.clamp(min=torch.finfo(floor.dtype).tiny)
    variance = torch.maximum(p.square().mean((2, 3), keepdim=True), floor)
    scale = (p * t).mean((2, 3), keepdim=True) / variance
    least = SMALLEST_SCALE * (t.square().mean((2, 3), keepdim=True) / variance).sqrt()
    return torch.maximum(scale, least) * p + offset


def aligned_depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The part of the target's variance that the aligned prediction leaves unexplained.

    mean((s p + o - t)^2) / var(t), 1 - r^2 with r the correlation of the two. Depth networks know
    depth up to scale and offset (Ranftl et al. 2020); this is blind to both, and without a unit, so
    that a weight means the same with every network and picture.

    Args:
        predicted: phi(pastiche), disparity, (B, 1, H, W).
        target: phi(original), disparity, same shape, not constant.

    Returns:
        A scalar, 0 for a match, 1 for a constant, up to about 1.2 for a map turned inside out.
    """
    target = _full(target)
    variance = (target - target.mean((2, 3), keepdim=True)).square().mean((2, 3))
    error = (align(predicted, target) - target).square().mean((2, 3))
    return (error / variance).mean()


def depth_gradient_loss(predicted: Tensor, target: Tensor, scales: int = 4) -> Tensor:
    """Edges of the aligned prediction against the target's, at several scales.

    sum over scales of mean |d(R_k)/dx| + mean |d(R_k)/dy|, with R = (s p + o - t) / std(t) and R_k
    every 2^k-th point of it (Ranftl et al. 2020, equation 11; Li and Snavely 2018).

    Args:
        predicted: phi(pastiche), disparity, (B, 1, H, W).
        target: phi(original), disparity, same shape, not constant.
        scales: how many; a scale with no two points side by side adds nothing.

    Returns:
        A scalar, 0 or more.
    """
    target = _full(target)
    spread = (target - target.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True).sqrt()
    residual = (align(predicted, target) - target) / spread
    total = residual.new_zeros(())
    for k in range(scales):
        at_scale = residual[:, :, :: 2**k, :: 2**k]
        for difference in (at_scale.diff(dim=2), at_scale.diff(dim=3)):
            if difference.numel():
                total = total + difference.abs().mean()
    return total
