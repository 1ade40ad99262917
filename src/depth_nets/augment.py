"""Training pictures made various: cut, turned, recoloured, blurred, and in the style of paintings.

A pastiche is no photo. What a style changes first are the mean and the spread of every channel of
features (Huang and Belongie 2017, arXiv 1703.06868), so training pictures get those of paintings
on their way through the style network: nearly free, where making pastiches takes minutes each.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from src.backbones import Backbone
from src.depth_nets.pairs import Pair
from src.images import resize

STYLED = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")  # layers that get a painting's statistics
PAINTING_SIDE = 224  # px, of the pieces of paintings
PIECES = 5  # of each painting
Statistics = Mapping[str, tuple[Tensor, Tensor]]  # {layer: mean and spread, (1, C, 1, 1)}

MOST_ZOOM = 1.8
MOST_TURN = 0.09  # rad
MOST_NOISE = 0.08


def cut(pair: Pair, height: int, width: int, random: Generator) -> tuple[Tensor, Tensor]:
    """A random piece of a pair, turned a little, every second one mirrored.

    Args:
        pair: the picture and its inverse depth.
        height: of the piece in pixels.
        width: likewise.
        random: where the randomness comes from.

    Returns:
        (1, 3, height, width) in [0, 1] and (1, 1, height // 2, width // 2) inverse depth, NaN where
        it was not measured.
    """
    image = pair.image[None].float() / 255
    old_height, old_width = image.shape[-2:]
    zoom, across, down, turn, side = torch.rand(5, generator=random).tolist()
    # The piece, in pixels of the picture.
    scale = min(old_width / width, old_height / height) / (1 + (MOST_ZOOM - 1) * zoom)
    wide, high = width * scale / old_width, height * scale / old_height  # shares of the picture
    x, y = (2 * across - 1) * (1 - wide), (2 * down - 1) * (1 - high)
    angle = (2 * turn - 1) * MOST_TURN
    sine, cosine, mirror = math.sin(angle), math.cos(angle), 1 if side < 0.5 else -1
    theta = torch.tensor(
        [
            [mirror * wide * cosine, -wide * sine * height / width, x],
            [mirror * high * sine * width / height, high * cosine, y],
        ]
    )[None]
    if scale > 1:
        image = resize(image, *(max(1, round(s / scale)) for s in (old_height, old_width)))
    return (
        _sampled(image, theta, (height, width), "reflection"),
        _sampled_depth(pair.inverse[None, None], theta, (height // 2, width // 2)),
    )


def _sampled(x: Tensor, theta: Tensor, size: tuple[int, int], padding: str) -> Tensor:
    positions = F.affine_grid(theta, [1, x.shape[1], *size], align_corners=False)
    return F.grid_sample(x, positions, padding_mode=padding, align_corners=False)


def _sampled_depth(inverse: Tensor, theta: Tensor, size: tuple[int, int]) -> Tensor:
    known = inverse.isfinite()
    both = torch.cat([inverse.nan_to_num(0), known.float()], dim=1)
    total, density = _sampled(both, theta, size, "zeros").chunk(2, dim=1)
    return torch.where(density > 0.9, total / density, torch.nan)


def recoloured(image: Tensor, random: Generator) -> Tensor:
    """Pictures in other light: colour, contrast, gamma; some blurred, some noisy.

    Args:
        image: (B, 3, H, W) in [0, 1].
        random: where the randomness comes from.
    """
    count = len(image)

    def between(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, channels, 1, 1, generator=random)

    x = torch.lerp(image.mean(1, keepdim=True), image, between(0, 1.5))
    x = (x - 0.5) * between(0.6, 1.3) + 0.5 + between(-0.15, 0.15)
    x = (x * between(0.8, 1.2, 3)).clamp(1e-3, 1) ** between(0.7, 1.5)
    soft = F.avg_pool2d(F.pad(x, [1] * 4, mode="reflect"), 3, 1)
    x = torch.where(between(0, 1) < 0.3, soft, x)
    noise = torch.randn(x.shape, generator=random) * between(-MOST_NOISE, MOST_NOISE).clamp(min=0)
    return (x + noise).clamp(0, 1)


def statistics(
    backbone: Backbone, paintings: Sequence[Tensor], random: Generator
) -> list[Statistics]:
    """Mean and spread of the features of random pieces of paintings.

    Args:
        backbone: the style network.
        paintings: (1, 3, h, w) in [0, 1] each.
        random: where the randomness comes from.
    """
    found: list[Statistics] = []
    for painting in paintings:
        for _ in range(PIECES):
            height, width = painting.shape[-2:]
            side = round(min(height, width) * (0.4 + 0.6 * float(torch.rand((), generator=random))))
            top, left = (
                int(torch.randint(room - side + 1, (), generator=random))
                for room in (height, width)
            )
            piece = painting[..., top : top + side, left : left + side]
            with torch.no_grad():
                features = backbone.features(resize(piece, PAINTING_SIDE, PAINTING_SIDE), STYLED)
            found.append({layer: _moments(x) for layer, x in features.items()})
    return found


def styled(
    count: int, paintings: Sequence[Statistics], random: Generator
) -> Callable[[str, Tensor], Tensor]:
    """What gives `count` pictures on their way through a network the statistics of paintings.

    How much of them is random by picture and layer, up to all.

    Args:
        count: pictures in the batch.
        paintings: of which each picture gets a random one.
        random: where the randomness comes from.
    """
    chosen = torch.randint(len(paintings), (count,), generator=random).tolist()
    strength = torch.rand(count, 1, 1, 1, generator=random).sqrt()
    shares = {
        s: strength * (0.5 + 0.5 * torch.rand(count, 1, 1, 1, generator=random)) for s in STYLED
    }

    def change(layer: str, x: Tensor) -> Tensor:
        if layer not in shares:
            return x
        mean, spread = _moments(x)
        wanted = [torch.cat([paintings[i][layer][k] for i in chosen]).to(x) for k in (0, 1)]
        other = ((x - mean) / spread * wanted[1] + wanted[0]).clamp(min=0)
        return torch.lerp(x, other, shares[layer].to(x))

    return change


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of every channel: (B, C, 1, 1) each."""
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True)
    return mean, (variance + 1e-5).sqrt()
