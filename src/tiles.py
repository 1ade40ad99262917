"""Large pictures in pieces: the memory of one piece instead of the whole, with the same result.

A piece goes through the network with as much around it as its positions see, so that each has the
features that it has in the whole picture; those of the surroundings are dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.backbones import Backbone
from src.backbones.chain import Reach

Span = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True)
class Tile:
    """A piece of a picture; every position of every layer belongs to exactly one.

    Attributes:
        seen: its pixels and those around it that its features depend on.
        within: by layer, its own positions among the features of `seen`.
        whole: by layer, the same positions among the features of the whole picture.
    """

    seen: Span
    within: Mapping[str, Span]
    whole: Mapping[str, Span]

    def pixels(self, image: Tensor) -> Tensor:
        """What goes through the network, a view of the (B, C, H, W) picture."""
        return image[(..., *self.seen)]

    def own(self, layer: str, features: Tensor) -> Tensor:
        """Its own part of the features of `pixels`."""
        return features[(..., *self.within[layer])]

    def part(self, layer: str, x: Tensor) -> Tensor:
        """Its own part of what the whole picture has at a layer: features or a mask."""
        return x[(..., *self.whole[layer])]


def cut(
    backbone: Backbone, layers: Sequence[str], height: int, width: int, side: int
) -> list[Tile]:
    """The tiles of a picture.

    Args:
        backbone: the network.
        layers: whose features are wanted.
        height: of the picture in pixels.
        width: likewise.
        side: of a tile without its surroundings, in pixels; rounded up to the deepest layer's grid.
    """
    reaches = {layer: backbone.reach(layer) for layer in layers}
    sizes = {layer: backbone.size(layer, height, width) for layer in layers}
    rows = _spans(height, side, reaches, {layer: h for layer, (h, _) in sizes.items()})
    columns = _spans(width, side, reaches, {layer: w for layer, (_, w) in sizes.items()})
    return [
        Tile(
            (row.seen, column.seen),
            {layer: (row.within[layer], column.within[layer]) for layer in layers},
            {layer: (row.whole[layer], column.whole[layer]) for layer in layers},
        )
        for row in rows
        for column in columns
    ]


@dataclass(frozen=True)
class _Span:
    """A tile along one direction."""

    seen: slice
    within: dict[str, slice]
    whole: dict[str, slice]


def _spans(
    length: int, side: int, reaches: Mapping[str, Reach], positions: Mapping[str, int]
) -> list[_Span]:
    grid = max(reach.stride for reach in reaches.values())
    before = max(reach.before for reach in reaches.values())
    after = max(reach.after - reach.stride + 1 for reach in reaches.values())
    side = -(-side // grid) * grid
    found = []
    for start in range(0, length, side):
        # A rest too short for a position goes with the piece before it.
        last = start + side + grid > length
        stop = length if last else start + side
        first = max(0, (start - before) // grid * grid)
        seen = slice(first, length if last else min(length, -(-(stop + after) // grid) * grid))
        whole = {
            layer: slice(start // r.stride, positions[layer] if last else stop // r.stride)
            for layer, r in reaches.items()
        }
        within = {
            layer: slice(w.start - first // r.stride, w.stop - first // r.stride)
            for (layer, w), r in zip(whole.items(), reaches.values(), strict=True)
        }
        found.append(_Span(seen, within, whole))
        if last:
            break
    return found


@torch.no_grad()
def features(
    backbone: Backbone, image: Tensor, layers: Sequence[str], tiles: Sequence[Tile]
) -> dict[str, Tensor]:
    """Features of a whole picture, made tile by tile, without gradients.

    Args:
        backbone: the network.
        image: (B, 3, H, W) RGB in [0, 1].
        layers: a choice of those that the tiles were cut for.
        tiles: of the picture.

    Returns:
        {layer: (B, C, h, w)}.
    """
    height, width = image.shape[-2:]
    found: dict[str, Tensor] = {}
    for tile in tiles:
        for layer, some in backbone.features(tile.pixels(image), layers).items():
            if layer not in found:
                size = (*some.shape[:2], *backbone.size(layer, height, width))
                found[layer] = some.new_empty(size).to(memory_format=torch.channels_last)
            tile.part(layer, found[layer]).copy_(tile.own(layer, some))
    return found
