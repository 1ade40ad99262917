"""Depth losses, scalars, that are blind to scale and shift, which no depth network knows."""

import torch
from torch import Tensor

from src.losses.gram import upcast

# Least scale in `align`, as a share of the one that would give both maps the same spread.
SMALLEST_SCALE = 0.1


def align(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale and shift a map so that it is nearest to another: s p + o of least squares.

    All are (B, 1, H, W); where p is constant, the result is the target's mean.

    Ranftl et al. 2020 (MiDaS, arXiv 1907.01341), section 5. Differs from theirs: the scale stays
    above a tenth of std(target) / std(predicted). Without a bound a map turned inside out would be
    turned back and match, and with a bound at 0 it would have no gradient to be put right by.
    """
    predicted, target = upcast(predicted), upcast(target)
    p = predicted - _mean(predicted)
    offset = _mean(target)
    t = target - offset
    # A map that varies by less than a ten-thousandth of its values counts as constant.
    floor = 1e-8 * _mean(predicted.detach().square())
    floor = floor.clamp(min=torch.finfo(floor.dtype).tiny)
    variance = torch.maximum(_mean(p.square()), floor)
    scale = _mean(p * t) / variance
    least = SMALLEST_SCALE * (_mean(t.square()) / variance).sqrt()
    return torch.maximum(scale, least) * p + offset


def aligned_depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The part of the target's variance that the aligned prediction leaves unexplained.

    mean((s p + o - t)^2) / var(t), 1 - r^2 with r the correlation of the two. Depth networks know
    depth up to scale and shift (Ranftl et al. 2020); this is blind to both, and without a unit, so
    that a weight means the same with every network and image. It is 0 for a match, 1 for a
    constant, up to about 1.2 for a map turned inside out.

    Args:
        predicted: phi(pastiche), disparity, (B, 1, H, W).
        target: phi(original), disparity, same shape, not constant.
    """
    target = upcast(target)
    error = _mean((align(predicted, target) - target).square())
    return (error / _variance(target)).mean()


def depth_gradient_loss(predicted: Tensor, target: Tensor, scales: int = 4) -> Tensor:
    """Edges of the aligned prediction against the target's, at several scales.

    sum over scales of mean |d(R_k)/dx| + mean |d(R_k)/dy|, with R = (s p + o - t) / std(t) and R_k
    every 2^k-th point of it (Ranftl et al. 2020, equation 11; Li and Snavely 2018).

    The arguments are those of `aligned_depth_loss`; a scale with no two points side by side adds
    nothing.
    """
    target = upcast(target)
    residual = (align(predicted, target) - target) / _variance(target).sqrt()
    total = residual.new_zeros(())
    for k in range(scales):
        at_scale = residual[:, :, :: 2**k, :: 2**k]
        for difference in (at_scale.diff(dim=2), at_scale.diff(dim=3)):
            if difference.numel():
                total = total + difference.abs().mean()
    return total


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _variance(x: Tensor) -> Tensor:
    return _mean((x - _mean(x)).square())
