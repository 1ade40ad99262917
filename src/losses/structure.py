"""Layout without a network: how the content image's tones change from place to place."""

import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SPACINGS = (2, 4, 8)  # px
LEVELS = 255.0  # of an 8-bit picture: the unit of tones


def luminance(image: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB to (B, 1, H, W), both in [0, 1]."""
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def laplacian(image: Tensor, spacing: int = 1) -> Tensor:
    """The four neighbours at a distance less four times the pixel, of (B, 1, H, W).

    Beyond the border its pixels are repeated.
    """
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    padded = F.pad(image, (spacing,) * 4, mode="replicate")
    return F.conv2d(padded, kernel[None, None], dilation=spacing)


def laplacian_loss(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum_p a_p mean((mask (L_p(x) - L_p(c)))^2): edges stay, and which side of them is darker.

    L_p is the Laplacian with a spacing of p = 2, 4 and 8 pixels of the luminance, averaged over
    squares of p pixels around every pixel; a_p goes with p^2 and sums to 1. After Li et al. 2017,
    "Laplacian-Steered Neural Style Transfer" (arXiv 1707.01253), whose squares lie side by side,
    so that they show in the picture. What lies between edges, hue and flat tones, is free.

    Args:
        image: x, the pastiche, (B, 3, H, W) in [0, 1].
        target: c, the content image, same shape.
        mask: (B, 1, H, W) in [0, 1].

    Returns:
        A scalar in squared levels of 8 bits, at every size of picture about the same.
    """
    difference = luminance(image) - luminance(target)
    total = image.new_zeros(())
    for spacing in SPACINGS:
        curvature = laplacian(_box_blur(difference, spacing), spacing)
        if mask is not None:
            curvature = curvature * mask
        total = total + spacing**2 / sum(x**2 for x in SPACINGS) * curvature.square().mean()
    return LEVELS**2 * total


def _box_blur(image: Tensor, side: int) -> Tensor:
    before, after = side // 2, (side - 1) // 2
    padded = F.pad(image, (before, after, before, after), mode="replicate")
    return F.avg_pool2d(padded, side, stride=1)
