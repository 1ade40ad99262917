"""Colours kept or taken over: functions of (1, 3, H, W) sRGB images in [0, 1].

In OKLab (Ottosson 2020, "A perceptual color space for image processing"): lightness and two axes of
colour, in which equal distances look about equal.
"""

import math

import torch
from torch import Tensor

CONES = (  # of linear sRGB
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
OKLAB = (  # of the cones' cube roots
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
FLOOR = 1e-6  # variance that every axis has at least: grey pictures have none of colour
SHADOW = 0.03  # of the diagonal, standard deviation of the blur that shadows are as wide as
HALVINGS = 12  # of the interval in which the most colour that fits is sought


def to_oklab(image: Tensor) -> Tensor:
    """Lightness in [0, 1], green to red, blue to yellow, each about -0.4 to 0.4; as float64."""
    image = image.double()
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    return _apply(OKLAB, _apply(CONES, linear).clamp(min=0) ** (1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """Back to sRGB as float32, in [0, 1] where the screen has that colour, else outside."""
    linear = _apply(_inverse(CONES), _apply(_inverse(OKLAB), lab) ** 3)
    size = linear.abs()
    curved = torch.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return (curved * linear.sign()).float()


def grey(image: Tensor) -> Tensor:
    """An image of the same lightness without colour."""
    lab = to_oklab(image)
    lab[:, 1:] = 0
    return from_oklab(lab).clamp(0, 1)


def with_colors_of(image: Tensor, content: Tensor) -> Tensor:
    """An image's lightness in the colours of another of its size.

    Where the screen has no such colour at that lightness, its hue stays and its chroma shrinks.
    Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer", section 4.
    """
    lightness, colors = to_oklab(image)[:, :1], to_oklab(content)[:, 1:]
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    share = high
    for _ in range(HALVINGS):
        fitting = from_oklab(torch.cat([lightness, share * colors], 1))
        fits = ((fitting >= -1e-4) & (fitting <= 1 + 1e-4)).all(1, keepdim=True)
        low, high = torch.where(fits, share, low), torch.where(fits, high, share)
        share = (low + high) / 2
    return from_oklab(torch.cat([lightness, low * colors], 1)).clamp(0, 1)


def match_colors(
    image: Tensor, target: Tensor, mask: Tensor | None = None, region: Tensor | None = None
) -> Tensor:
    """An image with the mean and covariance of another's colours, by the least change.

    That is the Monge map of Gaussians, S^-1/2 (S^1/2 S' S^1/2)^1/2 S^-1/2 (Pitie and Kokaram 2007,
    "The linear Monge-Kantorovitch linear colour mapping"). With a (1, 1, H, W) mask in [0, 1]
    the target's pixels count with its square, and with one of 0 the image stays as it is; so do
    the image's own with a region.
    """
    if mask is not None and not mask.any():
        return image
    pixels = to_oklab(image)[0].flatten(1)
    own, others = (
        torch.ones_like(x[0, :1]) if weights is None else weights[0].square()
        for x, weights in ((image, region), (target, mask))
    )
    mean, root = _moments(pixels, own.flatten(1))
    target_mean, target_root = _moments(to_oklab(target)[0].flatten(1), others.flatten(1))
    inverse = torch.linalg.inv(root)
    middle = _root(root @ target_root @ target_root @ root)
    matched = inverse @ middle @ inverse @ (pixels - mean) + target_mean
    return from_oklab(matched.view(1, 3, *image.shape[-2:])).clamp(0, 1)


def aerial_perspective(image: Tensor, depth: Tensor, density: float, painting: Tensor) -> Tensor:
    """An image with air in it: towards the distance contrast and chroma fall, and hue drifts.

    Koschmieder 1924: J t + A (1 - t) with t = exp(-density d), here in OKLab. A, the colour of the
    distance, is the mean of the lightest, least saturated tenth of the painting.

    Args:
        image: (1, 3, H, W).
        depth: (1, 1, H, W) in [0, 1].
        density: 0 or more; of the farthest point's contrast exp(-density) is left.
        painting: (1, 3, h, w).
    """
    lab, pixels = to_oklab(image), to_oklab(painting)[0].flatten(1)
    paleness = pixels[0] - pixels[1:].norm(dim=0)
    palest = paleness.topk(math.ceil(0.1 * paleness.numel())).indices
    airlight = pixels[:, palest].mean(1).view(1, 3, 1, 1).expand_as(lab)
    return from_oklab(torch.lerp(airlight, lab, (-density * depth).exp().to(lab))).clamp(0, 1)


def darken_behind_silhouettes(image: Tensor, depth: Tensor, strength: float) -> Tensor:
    """An image with a soft shadow on what lies just behind a silhouette.

    Luft, Colditz and Deussen 2006, "Image enhancement by unsharp masking the depth buffer": where
    depth is greater than its blurred self, lightness (OKLab's) falls by `strength` times the
    difference. The image is (1, 3, H, W), the depth (1, 1, H, W) in [0, 1].
    """
    from scipy.ndimage import gaussian_filter  # 0.2 s

    sigma = SHADOW * math.hypot(*depth.shape[-2:])
    blurred = torch.from_numpy(gaussian_filter(depth[0, 0].cpu().numpy(), sigma))
    lab = to_oklab(image)
    lab[:, :1] += strength * (blurred - depth).clamp(max=0)
    return from_oklab(lab).clamp(0, 1)


def _moments(pixels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3, 1), and the covariance's root (3, 3), of (3, N) with weights (1, N)."""
    shares = weights.double() / weights.double().sum()
    mean = (pixels * shares).sum(1, keepdim=True)
    centred = pixels - mean
    covariance = (centred * shares) @ centred.mT
    return mean, _root(covariance + FLOOR * torch.eye(3, dtype=covariance.dtype))


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT


def _apply(matrix: tuple[tuple[float, ...], ...] | Tensor, x: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", torch.as_tensor(matrix, dtype=x.dtype), x)


def _inverse(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.linalg.inv(torch.tensor(matrix, dtype=torch.float64))
