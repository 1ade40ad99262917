"""Large images in tiles: the memory of one tile instead of the whole, with the same result.

A tile goes through the network with as much around it as its positions see, so that each has the
features that it has in the whole image; those of the surroundings are cropped away.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from src.backbones import Backbone
from src.backbones.chain import ReceptiveField


class Span(NamedTuple):
    """A tile along one direction."""

    input_window: slice  # its pixels and those around it that its features depend on
    crop: dict[str, slice]  # by layer: its own positions among the features of `input_window`
    output_window: dict[str, slice]  # by layer: the same among the features of the whole image


class Tile(NamedTuple):
    """A part of an image; every position of every layer belongs to exactly one."""

    rows: Span
    columns: Span

    def pixels(self, image: Tensor) -> Tensor:
        """What goes through the network, a view of the (B, C, H, W) image."""
        return image[..., self.rows.input_window, self.columns.input_window]

    def crop_features(self, layer: str, features: Tensor) -> Tensor:
        """Its own part of the features of `pixels`."""
        own = features[..., self.rows.crop[layer], self.columns.crop[layer]]
        # Not a view of all: gradients would be added up in another order.
        return features if own.shape == features.shape else own

    def crop_full(self, layer: str, x: Tensor) -> Tensor:
        """Its own part of what the whole image has at a layer: features or a mask."""
        return x[..., self.rows.output_window[layer], self.columns.output_window[layer]]


def split(
    backbone: Backbone, layers: Sequence[str], image: Tensor, tile_size: int | None
) -> list[Tile]:
    """The tiles of a (B, C, H, W) image, from top left to bottom right, row by row.

    `tile_size` is a tile's side without its surroundings in pixels, rounded up to the deepest
    layer's grid; None, or the longer side or more: one tile.
    """
    height, width = image.shape[-2:]
    side = tile_size or max(height, width)
    fields = {layer: backbone.receptive_field(layer) for layer in layers}
    sizes = {layer: backbone.size(layer, height, width) for layer in layers}
    rows = _spans(height, side, fields, {layer: h for layer, (h, _) in sizes.items()})
    columns = _spans(width, side, fields, {layer: w for layer, (_, w) in sizes.items()})
    return [Tile(row, column) for row in rows for column in columns]


def _spans(
    length: int, side: int, fields: Mapping[str, ReceptiveField], positions: Mapping[str, int]
) -> list[Span]:
    grid = max((field.stride for field in fields.values()), default=1)
    before = max((field.before for field in fields.values()), default=0)
    after = max((field.after - field.stride + 1 for field in fields.values()), default=0)
    side = -(-side // grid) * grid
    spans = []
    # A rest too short for a position goes with the tile before it.
    for start in range(0, max(0, length - grid) + 1, side):
        last = start + side + grid > length
        stop = length if last else start + side
        first = max(0, (start - before) // grid * grid)
        window = slice(first, length if last else min(length, -(-(stop + after) // grid) * grid))
        crop, output = {}, {}
        for layer, field in fields.items():
            begin, shift = start // field.stride, first // field.stride
            end = positions[layer] if last else stop // field.stride
            output[layer] = slice(begin, end)
            crop[layer] = slice(begin - shift, end - shift)
        spans.append(Span(window, crop, output))
    return spans
