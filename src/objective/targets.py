"""What the pastiche is compared with: features, style statistics and disparity, computed once.

The jobs of a sweep differ in little, so what was computed last is kept, by the identity of network
and image. Nobody may change a target: it is shared with the runs to come.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from src.backbones import Backbone
from src.core import images
from src.core.errors import InputError
from src.depth_nets import DepthNet
from src.masks import downsample_mask
from src.objective.distances import StyleDistance
from src.objective.tiles import split


class Style(NamedTuple):
    """One style, and where it goes."""

    image: Tensor  # (1, 3, H, W) in [0, 1]
    weight: float = 1.0  # its share in the sum of styles
    mask: Tensor | None = None  # gamma_s(d), (1, 1, H, W) in [0, 1] at the pastiche's size
    tile_size: int | None = None  # px, as that of Inputs; None: in one piece
    size_key: str = "style_size"  # what an error names where the image is too small
    region: Tensor | None = None  # of the image that counts, (1, 1, H, W) in [0, 1]; None: all
    whole: str | None = None  # the style that it is a band of; None: itself
    share: float = 1.0  # of that style's weight


class Previous(NamedTuple):
    """The pastiche of the frame before, as it lies in this one."""

    image: Tensor  # (1, 3, H, W) in [0, 1]
    weights: Tensor  # where the optical flow can be trusted, (1, 1, H, W) in [0, 1]


class Inputs(NamedTuple):
    """What the terms take their targets from, at one size."""

    backbone: Backbone
    content: Tensor  # (1, 3, H, W) in [0, 1]
    styles: Mapping[str, Style]
    masks: Mapping[str, Tensor]  # of terms, by the term's name: (1, 1, H, W) in [0, 1]
    tile_size: int  # px, of the pastiche's tiles; the longer side or more: in one piece
    depth_net: Callable[[], DepthNet]  # loads it at the first call
    previous: Previous | None = None  # of a clip's frames from the second on

    @property
    def tiled(self) -> bool:
        """Whether the pastiche goes through the network in more than one piece."""
        return self.tile_size < max(self.content.shape[-2:])

    def sizes(self, layers: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(h, w) of the layers' features of the content image."""
        return {layer: self.backbone.size(layer, *self.content.shape[-2:]) for layer in layers}


@lru_cache(maxsize=4)
@torch.no_grad()
def content_features(
    backbone: Backbone, image: Tensor, layers: tuple[str, ...], tile_size: int | None
) -> dict[str, Tensor]:
    """{layer: (B, C, h, w)} of a (B, 3, H, W) image in [0, 1], made tile by tile."""
    features: dict[str, Tensor] = {}
    for tile in split(backbone, layers, image, tile_size):
        for layer, x in backbone.features(tile.pixels(image), layers).items():
            if layer not in features:
                shape = (*x.shape[:2], *backbone.size(layer, *image.shape[-2:]))
                features[layer] = x.new_empty(shape).to(memory_format=torch.channels_last)
            tile.crop_full(layer, features[layer]).copy_(tile.crop_features(layer, x))
    return features


@lru_cache(maxsize=24)
@torch.no_grad()
def style_statistics(
    backbone: Backbone,
    image: Tensor,
    layers: tuple[str, ...],
    distance: StyleDistance,
    tile_size: int | None,
    region: Tensor | None = None,
    key: str = "region",
) -> dict[str, Tensor]:
    """{layer: statistics} of a style image, (1, 3, H, W) in [0, 1], or of a region of it.

    An InputError where the region, (1, 1, H, W) in [0, 1], the `key`'s, is too small for a layer,
    or where the image would be tiled and the distance cannot.
    """
    tiles = split(backbone, layers, image, tile_size)
    sizes = {layer: backbone.size(layer, *image.shape[-2:]) for layer in layers}
    masks = masks_per_layer(region, sizes, key)
    if len(tiles) == 1:
        features = backbone.iter_features(image, layers)
        statistics = {layer: distance.statistics(x, masks.get(layer)) for layer, x in features}
        return {layer: distance.target(x) for layer, x in statistics.items()}
    if not distance.additive:
        raise InputError("tile_size", f"pieces with {distance}", "null")
    sums: dict[str, Tensor] = {}
    for tile in tiles:
        for layer, x in backbone.iter_features(tile.pixels(image), layers):
            mask = tile.crop_full(layer, masks[layer]) if masks else None
            part = distance.accumulate(tile.crop_features(layer, x), mask)
            sums[layer] = sums[layer] + part if layer in sums else part
    return {
        layer: distance.target(distance.normalize(total, sizes[layer], masks.get(layer)))
        for layer, total in sums.items()
    }


@lru_cache(maxsize=16)
@torch.no_grad()
def disparity(net: DepthNet, backbone: Backbone, image: Tensor, side: int | None) -> Tensor:
    """(1, 1, h, w) of an image, or of its copy of this long side; an InputError if too small."""
    if side is None:
        return net.disparity(image, backbone.features(image, net.layers))
    small = images.resize(image, *images.fit(*image.shape[-2:], size=side))
    check_depth_size(small, net, "loss.depth.size")
    return net.disparity(small, {})


def masks_per_layer(
    mask: Tensor | None, sizes: Mapping[str, tuple[int, int]], key: str
) -> dict[str, Tensor]:
    """A (1, 1, H, W) mask in [0, 1] at every layer's size (h, w); no mask gives none.

    Raises:
        InputError: at some layer the mask, `key`, selects less than half of one position.
    """
    if mask is None:
        return {}
    at_layers = {}
    for layer, (height, width) in sizes.items():
        at_layers[layer] = downsample_mask(mask, height, width)
        selected = float(at_layers[layer].square().sum())
        if selected < 0.5:
            positions = f"{selected:.2g} of the {width} x {height} positions of the layer {layer}"
            expected = "one that selects at least one: a wider mask, a larger picture, or a "
            raise InputError(key, f"a mask that selects {positions}", f"{expected}shallower layer")
    return at_layers


def check_depth_size(image: Tensor, net: DepthNet, key: str = "size") -> None:
    """Refuse, by key, an image (B, C, H, W) too small for a depth network: an InputError."""
    height, width = image.shape[-2:]
    if min(height, width) < net.smallest_side:
        expected = f"a short side of at least {net.smallest_side} pixels for {net.name}"
        raise InputError(key, f"a picture of {width} x {height} pixels", expected)
