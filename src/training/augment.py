"""Training images augmented: cropped, turned, recoloured, blurred, and in the style of paintings.

A pastiche is no photo. What a style changes first are the mean and the spread of every channel of
features (Huang and Belongie 2017, arXiv 1703.06868), so training images get those of paintings
on their way through the style network: nearly free, where making pastiches takes minutes each.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from src.backbones import Backbone
from src.core.images import resize
from src.training.pairs import Pair

STYLED = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")  # layers that get a painting's statistics
CROP_SIDE = 224  # px, of the crops of paintings
CROPS = 5  # of each painting
Statistics = Mapping[str, tuple[Tensor, Tensor]]  # {layer: mean and spread, (1, C, 1, 1)}
MAX_ZOOM = 1.8
MAX_TURN = 0.09  # rad
MAX_NOISE = 0.08


def crop(pair: Pair, height: int, width: int, random: Generator) -> tuple[Tensor, Tensor]:
    """A random crop (1, 3, height, width) in [0, 1], turned a little, every second one mirrored.

    With its inverse depth, (1, 1, height // 2, width // 2), NaN where it was not measured.
    """
    image = pair.image[None].float() / 255
    old_height, old_width = image.shape[-2:]
    zoom, across, down, turn, side = torch.rand(5, generator=random).tolist()
    # Pixels of the image for one of the crop.
    scale = min(old_width / width, old_height / height) / (1 + (MAX_ZOOM - 1) * zoom)
    wide, high = width * scale / old_width, height * scale / old_height  # shares of the image
    x, y = (2 * across - 1) * (1 - wide), (2 * down - 1) * (1 - high)
    angle = (2 * turn - 1) * MAX_TURN
    sine, cosine, mirror = math.sin(angle), math.cos(angle), 1 if side < 0.5 else -1
    first_row = [mirror * wide * cosine, -wide * sine * height / width, x]
    theta = torch.tensor([[first_row, [mirror * high * sine * width / height, high * cosine, y]]])
    if scale > 1:
        image = resize(image, *(max(1, round(s / scale)) for s in (old_height, old_width)))
    inverse = pair.inverse[None, None]
    values = torch.cat([inverse.nan_to_num(0), inverse.isfinite().float()], dim=1)
    values = _sampled(values, theta, height // 2, width // 2, "zeros")
    total, density = values.chunk(2, dim=1)
    inverse = torch.where(density > 0.9, total / density, torch.nan)
    return _sampled(image, theta, height, width, "reflection"), inverse


def _sampled(x: Tensor, theta: Tensor, height: int, width: int, padding: str) -> Tensor:
    positions = F.affine_grid(theta, [1, x.shape[1], height, width], align_corners=False)
    return F.grid_sample(x, positions, padding_mode=padding, align_corners=False)


def color_jitter(image: Tensor, random: Generator) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] in other light; some blurred, some noisy."""

    def between(low: float, high: float, channels: int = 1) -> Tensor:
        return _between(low, high, len(image), channels, random)

    x = torch.lerp(image.mean(1, keepdim=True), image, between(0, 1.5))
    x = (x - 0.5) * between(0.6, 1.3) + 0.5 + between(-0.15, 0.15)
    x = (x * between(0.8, 1.2, 3)).clamp(1e-3, 1) ** between(0.7, 1.5)
    soft = F.avg_pool2d(F.pad(x, [1] * 4, mode="reflect"), 3, 1)
    x = torch.where(between(0, 1) < 0.3, soft, x)
    noise = torch.randn(x.shape, generator=random) * between(-MAX_NOISE, MAX_NOISE).clamp(min=0)
    return (x + noise).clamp(0, 1)


def statistics(
    backbone: Backbone, paintings: Sequence[Tensor], random: Generator
) -> list[Statistics]:
    """Mean and spread of the features of random crops of paintings (1, 3, h, w) in [0, 1]."""
    result: list[Statistics] = []
    for painting in (painting for painting in paintings for _ in range(CROPS)):
        sides = painting.shape[-2:]
        side = round(min(sides) * (0.4 + 0.6 * float(torch.rand((), generator=random))))
        top, left = (int(torch.randint(s - side + 1, (), generator=random)) for s in sides)
        piece = painting[..., top : top + side, left : left + side]
        with torch.no_grad():
            features = backbone.features(resize(piece, CROP_SIDE, CROP_SIDE), STYLED)
        result.append({layer: _moments(x) for layer, x in features.items()})
    return result


def styled(
    count: int, paintings: Sequence[Statistics], random: Generator
) -> Callable[[str, Tensor], Tensor]:
    """A `change` of features: each image gets a random share of a random painting's statistics."""
    chosen = torch.randint(len(paintings), (count,), generator=random).tolist()
    strength = torch.rand(count, 1, 1, 1, generator=random).sqrt()
    shares = {s: strength * _between(0.5, 1, count, 1, random) for s in STYLED}

    def change(layer: str, x: Tensor) -> Tensor:
        if layer not in shares:
            return x
        mean, spread = _moments(x)
        styles = [paintings[i][layer] for i in chosen]
        to_mean, to_spread = (torch.cat(moments).to(x) for moments in zip(*styles, strict=True))
        other = ((x - mean) / spread * to_spread + to_mean).clamp(min=0)
        return torch.lerp(x, other, shares[layer].to(x))

    return change


def _between(low: float, high: float, count: int, channels: int, random: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, channels, 1, 1, generator=random)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of every channel: (B, C, 1, 1) each."""
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True)
    return mean, (variance + 1e-5).sqrt()
