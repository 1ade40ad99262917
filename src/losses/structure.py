"""Layout without a network: how the content image's tones change from place to place."""

import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SCALES = (2, 4, 8)  # px, sides of the squares that are averaged
LEVELS = 255.0  # of an 8-bit picture: the unit of tones


def luminance(image: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB to (B, 1, H, W), both in [0, 1]."""
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def laplacian(image: Tensor) -> Tensor:
    """The four neighbours less four times the pixel, of (B, 1, H, W); the border is repeated."""
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel[None, None])


def laplacian_loss(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum_p a_p mean((mask (L_p(x) - L_p(c)))^2): edges stay, and which side of them is darker.

    L_p is the Laplacian of the luminance, averaged over squares of p = 2, 4 and 8 pixels; a_p goes
    with p^2 and sums to 1. After Li et al. 2017, "Laplacian-Steered Neural Style Transfer" (arXiv
    1707.01253), who add the colours up and know one scale or two. What lies between edges, hue and
    flat tones, is free.

    Args:
        image: x, the pastiche, (B, 3, H, W) in [0, 1].
        target: c, the content image, same shape.
        mask: (B, 1, H, W) in [0, 1]; of a square, as everywhere, the mean of its square counts.

    Returns:
        A scalar in squared levels of 8 bits, at every size of picture about the same.
    """
    total = image.new_zeros(())
    for scale in SCALES:
        tones = (luminance(x) for x in (image, target))
        # A narrow picture is one square wide.
        one, other = (F.avg_pool2d(x, [min(scale, side) for side in x.shape[-2:]]) for x in tones)
        squares = (laplacian(one) - laplacian(other)).square()
        if mask is not None:
            height, width = squares.shape[-2:]
            squares = squares * F.adaptive_avg_pool2d(mask.square(), (height, width))
        total = total + scale**2 / sum(x**2 for x in SCALES) * squares.mean()
    return LEVELS**2 * total
