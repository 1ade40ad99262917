"""The objective: a pastiche in, the value of every term out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from src.backbones import check_size
from src.core.errors import InputError
from src.objective.targets import Inputs
from src.objective.terms import Sums, Term
from src.objective.tiles import Tile, split


class Objective:
    """L_total, the weighted sum of terms, from one pass through the network (paper, 3.1).

    Where the inputs are tiled, the pastiche goes through the network tile by tile, twice where
    there is a gradient, with the same result. `terms` (of the attribute: their names) take their
    targets from `inputs`; an InputError where one cannot use them, or not in tiles.
    """

    @torch.no_grad()
    def __init__(self, terms: Sequence[Term], inputs: Inputs) -> None:
        self.backbone, self.terms = inputs.backbone, [term.name for term in terms]
        for term in terms:
            names = [self.backbone.layer(x, f"loss.{term.name}.layers") for x in term.layers]
            term.layers = tuple(dict.fromkeys(names))
        layers = _layers(terms)
        check_size(inputs.content, self.backbone, layers, "size")
        if len(split(self.backbone, layers, inputs.content, inputs.tile_size)) == 1:
            inputs = inputs._replace(tile_size=max(inputs.content.shape[-2:]))
        for term in terms:
            term.set_targets(inputs)
            if inputs.tiled and term.layers and not term.additive:
                raise InputError("tile_size", f"pieces with the term {term.name}", "null")
        self._terms, self._layers = list(terms), _layers(terms)
        self._tiles = split(self.backbone, self._layers, inputs.content, inputs.tile_size)

    def to(self, device: torch.device) -> "Objective":
        """Move the network and all targets to a device."""
        self.backbone.to(device)
        for term in self._terms:
            term.to(device)
        return self

    def __call__(self, pastiche: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The total of a (1, 3, H, W) image in [0, 1], and every term's unweighted value."""
        if len(self._tiles) == 1:
            sums = self._accumulate(pastiche, self._tiles[0])
        else:
            keys: list[str] = []
            pastiche, *flat = _TiledSums.apply(pastiche, self, keys)
            sums = dict(zip(keys, flat, strict=True))
        total = pastiche.new_zeros(())
        values: dict[str, Tensor] = {}
        for term in self._terms:
            with _grad_where_weighted(term):
                parts = term.compute(pastiche, sums)
            if term.weight != 0:
                total = total + term.weight * parts[term.name]
            values |= {name: value.detach() for name, value in parts.items()}
        return total, values

    def _accumulate(self, pixels: Tensor, tile: Tile) -> Sums:
        """Every term's sums over a tile, layer by layer as the network gets there."""
        sums: Sums = {}
        for layer, x in self.backbone.iter_features(pixels, self._layers):
            for term in self._terms:
                if layer in term.layers:
                    with _grad_where_weighted(term):
                        sums |= term.accumulate(layer, tile.crop_features(layer, x), tile)
        return sums


class _TiledSums(torch.autograd.Function):
    """The pastiche, and the sums over all tiles; backward goes tile by tile through the network.

    `torch.utils.checkpoint` would do, but its first call imports torch's compiler: seven seconds
    and 170 MB. The pastiche passes so that the tiles' gradients are added, in their order, to that
    of the terms that read its pixels.
    """

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, objective: Objective, keys: list[str]
    ) -> tuple[Tensor, ...]:
        sums: Sums = {}
        for tile in objective._tiles:
            for key, value in objective._accumulate(tile.pixels(image), tile).items():
                sums[key] = sums[key] + value if key in sums else value
        keys.extend(sums)
        ctx.objective, ctx.keys = objective, keys
        ctx.save_for_backward(image)
        ctx.set_materialize_grads(False)
        return image, *sums.values()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pixels: Tensor | None, *of_sums: Tensor | None) -> tuple[Any, ...]:
        (pastiche,) = ctx.saved_tensors
        gradient = torch.zeros_like(pastiche) if of_pixels is None else of_pixels.clone()
        slopes = {key: x for key, x in zip(ctx.keys, of_sums, strict=True) if x is not None}
        for tile in ctx.objective._tiles if slopes else ():
            pixels = tile.pixels(pastiche).detach().clone().requires_grad_()
            with torch.enable_grad():
                sums = ctx.objective._accumulate(pixels, tile)
            torch.autograd.backward([sums[key] for key in slopes], list(slopes.values()))
            assert pixels.grad is not None
            tile.pixels(gradient).add_(pixels.grad)
        return gradient, None, None


def _layers(terms: Sequence[Term]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer for term in terms for layer in term.layers))


def _grad_where_weighted(term: Term) -> torch.autograd.grad_mode.set_grad_enabled:
    """Of a term that is only reported, no graph."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and term.weight != 0)
