"""The objective: a pastiche in, the value of every term out.

Plain objects that hold the frozen network, the targets and the weights; none is an `nn.Module`, so
that the pastiche is the only parameter of the LightningModule that uses them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from src import losses, masks
from src.backbones import Backbone
from src.depth_nets import DepthNet
from src.errors import InputError
from src.images import resize
from src.losses import Normalizer
from src.tiles import Tile, cut

Features = Mapping[str, Tensor]
Reduction = Literal["sum", "mean"]
DepthMode = Literal["aligned", "raw"]
DEPTH_MODES: tuple[DepthMode, ...] = ("aligned", "raw")
REDUCTIONS: tuple[Reduction, ...] = ("sum", "mean")


class Term(Protocol):
    """One term of the loss. A new one is a class with these five and a line in `jobs.py`.

    Attributes:
        name: its column in terms.csv.
        weight: what it is multiplied by in the total; with 0 it is only reported.
        layers: the layers whose features it reads.
    """

    name: str
    weight: float
    layers: Sequence[str]

    def __call__(self, pastiche: Tensor, features: Features) -> dict[str, Tensor]:
        """Its unweighted value under its own name, and its parts, for the report only."""

    def factor(self, step: int) -> float:
        """What its weight is multiplied by at a step; at 0 it is not computed."""

    def to(self, device: torch.device) -> None:
        """Move the targets to a device."""


class Steady:
    """A term that weighs the same at every step."""

    def factor(self, step: int) -> float:
        """1 at every step."""
        return 1.0


Sums = dict[tuple[str, str], Tensor]
AllSums = dict[tuple[str, str, str], Tensor]  # by the term's name and its own keys
Part = Callable[[str, Tensor], Tensor]


def everything(layer: str, x: Tensor) -> Tensor:
    """All of what a picture has at a layer, where it is in one piece."""
    return x


class Summed(Steady, ABC):
    """A term made of sums over positions, so that a picture may come in pieces."""

    layers: Sequence[str]

    @abstractmethod
    def sums(self, features: Features, part: Part = everything) -> Sums:
        """The sums over the positions of a piece.

        Args:
            features: {layer: (1, C, h, w)}, those of the piece, of some of the term's layers.
            part: takes a layer and what the whole picture has there to what the piece has of it.
        """

    @abstractmethod
    def values(self, sums: Sums) -> dict[str, Tensor]:
        """What `__call__` gives, from the sums over all pieces."""

    def __call__(self, pastiche: Tensor, features: Features) -> dict[str, Tensor]:
        """Its unweighted value under its own name, and its parts, for the report only."""
        return self.values(self.sums({layer: features[layer] for layer in self.layers}))


class ContentTerm(Summed):
    """alpha L_content: the features of the content, kept (paper, 3.1; masked: 3.2).

    Args:
        target: the content's features by layer.
        weight: alpha.
        mask: gamma_c(d), (1, 1, H, W) in [0, 1]; None weighs every position by 1.
        reduction: "sum" is the paper's; "mean" divides by the number of features, so that a weight
            means the same at every size.
    """

    name = "content"

    def __init__(
        self,
        target: Features,
        weight: float,
        mask: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        self.weight = weight
        self.layers = list(target)
        self._target = dict(target)
        self._mask = at_layers(mask, sizes(target), "loss.content.mask")
        self._mean = reduction == "mean"

    def to(self, device: torch.device) -> None:
        """Move the targets to a device."""
        self._target = _moved(self._target, device)
        self._mask = _moved(self._mask, device)

    def sums(self, features: Features, part: Part = everything) -> Sums:
        """`losses.content_loss` by layer."""
        found: Sums = {}
        for layer, x in features.items():
            target, mask = part(layer, self._target[layer]), self._mask.get(layer)
            if mask is not None:
                mask = part(layer, mask)
            found["", layer] = losses.content_loss(x, target, mask)
        return found

    def values(self, sums: Sums) -> dict[str, Tensor]:
        """The sum over layers."""
        parts = [
            one / self._target[layer].numel() if self._mean else one
            for (_, layer), one in sums.items()
        ]
        return {self.name: torch.stack(parts).sum()}


@dataclass(frozen=True)
class Style:
    """One style: its Gram matrices, and where it goes.

    Attributes:
        grams: A, by layer, (1, C, C).
        weight: its share in the sum of styles.
        mask: gamma_s(d), (1, 1, H, W) in [0, 1] at the pastiche's size; None is no mask.
    """

    grams: Features
    weight: float = 1.0
    mask: Tensor | None = None


class StyleTerm(Summed):
    """beta L_style, with L_style = sum over styles of w sum_l omega_l E_l (paper, 3.1, 3.2, 5.2).

    Args:
        styles: by name, at least one, all of the same layers.
        weight: beta.
        feature_sizes: (h, w) of every layer's features of the pastiche.
        layer_weights: omega_l, one per layer; None gives 1 / C^2, as the code of Gatys et al. 2017.
        normalizer: of masked Gram matrices, see `losses.gram_matrix`.

    Raises:
        InputError: not one weight per layer, or a mask that selects nothing at a layer.
    """

    name = "style"

    def __init__(
        self,
        styles: Mapping[str, Style],
        weight: float,
        feature_sizes: Mapping[str, tuple[int, int]],
        layer_weights: Sequence[float] | None = None,
        normalizer: Normalizer = "mean_square",
    ) -> None:
        self.weight = weight
        self.layers = list(next(iter(styles.values())).grams)
        self._omega = self._layer_weights(next(iter(styles.values())).grams, layer_weights)
        self._sizes = {layer: feature_sizes[layer] for layer in self.layers}
        self._weights = {name: style.weight for name, style in styles.items()}
        self._grams = {name: dict(style.grams) for name, style in styles.items()}
        self._masks = {
            name: at_layers(style.mask, self._sizes, f"styles.{name}.mask")
            for name, style in styles.items()
        }
        self._divisors = {
            name: {la: losses.gram_divisor(mask, normalizer) for la, mask in of.items()}
            for name, of in self._masks.items()
        }

    @staticmethod
    def _layer_weights(grams: Features, given: Sequence[float] | None) -> dict[str, float]:
        if given is None:
            return {layer: 1 / gram.shape[-1] ** 2 for layer, gram in grams.items()}
        if len(given) != len(grams):
            raise InputError(
                "loss.style.layer_weights",
                f"{len(given)} numbers",
                f"one for each of the {len(grams)} layers of loss.style.layers, or null",
            )
        return dict(zip(grams, given, strict=True))

    def to(self, device: torch.device) -> None:
        """Move the targets to a device."""
        self._grams = {name: _moved(grams, device) for name, grams in self._grams.items()}
        self._masks = {name: _moved(of, device) for name, of in self._masks.items()}
        self._divisors = {name: _moved(of, device) for name, of in self._divisors.items()}

    def sums(self, features: Features, part: Part = everything) -> Sums:
        """`losses.correlations` by style and layer; styles without a mask share "" there."""
        found: Sums = {}
        for layer, x in features.items():
            for name, of in self._masks.items():
                if layer in of:
                    found[name, layer] = losses.correlations(x, part(layer, of[layer]))
                elif ("", layer) not in found:
                    found["", layer] = losses.correlations(x)
        return found

    def values(self, sums: Sums) -> dict[str, Tensor]:
        """The weighted sum, and every style's own distance as `style_<name>`."""
        parts: dict[str, Tensor] = {}
        for name, targets in self._grams.items():
            distances = []
            for layer, target in targets.items():
                if layer in self._divisors[name]:
                    gram = sums[name, layer] / self._divisors[name][layer]
                else:
                    height, width = self._sizes[layer]
                    gram = sums["", layer] / (height * width)
                distances.append(self._omega[layer] * losses.style_loss(gram, target))
            parts[f"{self.name}_{name}"] = torch.stack(distances).sum()
        total = sum(self._weights[name] * parts[f"{self.name}_{name}"] for name in self._grams)
        assert isinstance(total, Tensor)
        return {self.name: total, **parts}


class TotalVariationTerm(Steady):
    """gamma L_tv: calm between neighbouring pixels (paper, 3.1).

    Args:
        weight: gamma.
        reduction: "sum" is the paper's; "mean" divides by the number of values in the picture.
    """

    name = "tv"
    layers: Sequence[str] = ()

    def __init__(self, weight: float, reduction: Reduction = "mean") -> None:
        self.weight = weight
        self._mean = reduction == "mean"

    def to(self, device: torch.device) -> None:
        """Nothing to move."""

    def __call__(self, pastiche: Tensor, features: Features) -> dict[str, Tensor]:
        """`losses.total_variation` of the pastiche."""
        value = losses.total_variation(pastiche)
        return {self.name: value / pastiche.numel() if self._mean else value}


class DepthTerm:
    """gamma L_depth: the pastiche's depth, kept close to the content's (paper, 3.3).

    What is compared is disparity, inverse depth: it is what the networks give, and of depth in
    metres the farthest points, which are known least, would decide (see `loss.depth.mode`).

    Args:
        net: the depth network.
        target: (1, 1, h, w), the content's disparity by that network.
        weight: gamma.
        mode: "aligned" compares up to scale and shift, "raw" is the paper's squared difference.
        gradient: what `losses.depth_gradient_loss` is weighed by inside the term.
        warmup: steps in which the weight grows from 0 to all of it, in equal steps.
        every: the network looks at every k-th step only, with k times the weight.
        alone: the network looks at the pastiche by itself, resized to the target's size.

    Raises:
        InputError: the target is the same everywhere, so that nothing can be compared with it.
    """

    name = "depth"

    def __init__(
        self,
        net: DepthNet,
        target: Tensor,
        weight: float,
        mode: DepthMode = "aligned",
        gradient: float = 0.0,
        warmup: int = 0,
        every: int = 1,
        alone: bool = False,
    ) -> None:
        if not float(target.max() - target.min()) > 0:
            raise InputError(
                "content",
                f"a picture whose depth {net.name} finds the same everywhere",
                "a picture of something near and something far, or loss.depth.weight=null",
            )
        self.weight = weight
        self.layers = [] if alone else list(net.layers)
        self._net, self._target, self._alone = net, target, alone
        self._loss = losses.aligned_depth_loss if mode == "aligned" else losses.depth_loss
        self._gradient = gradient
        self._warmup, self._every = warmup, every

    def factor(self, step: int) -> float:
        """0 between the steps that are looked at, `every` at those, less during the warm-up."""
        if step % self._every:
            return 0.0
        return self._every * min(1.0, (step + 1) / max(self._warmup, 1))

    def to(self, device: torch.device) -> None:
        """Move the network and its target to a device."""
        self._net.to(device)
        self._target = self._target.to(device)

    def __call__(self, pastiche: Tensor, features: Features) -> dict[str, Tensor]:
        """The loss of the two disparities; with `gradient` its edges' part, too."""
        if self._alone:
            pastiche, features = resize(pastiche, *self._target.shape[-2:]), {}
        disparity = self._net.disparity(pastiche, features)
        value = self._loss(disparity, self._target)
        if not self._gradient:
            return {self.name: value}
        edges = losses.depth_gradient_loss(disparity, self._target)
        return {self.name: value + self._gradient * edges, f"{self.name}_gradient": edges}


class Objective:
    """L_total, the weighted sum of terms, from one pass through the network (paper, 3.1).

    Args:
        backbone: the frozen network.
        terms: in the order of the report.
        tiles: of the pastiche, cut for the terms' layers: it goes through the network piece by
            piece, twice where there is a gradient, with the same result. None: in one piece.

    Raises:
        InputError: pieces, and a term that needs the features of the whole picture.
    """

    def __init__(
        self, backbone: Backbone, terms: Sequence[Term], tiles: Sequence[Tile] = ()
    ) -> None:
        self._backbone = backbone
        self._terms = list(terms)
        self._tiles = list(tiles)
        self._layers = list(dict.fromkeys(layer for term in terms for layer in term.layers))
        self._latest: dict[str, dict[str, Tensor]] = {}  # of terms that rest at some steps
        for term in terms:
            if tiles and term.layers and not isinstance(term, Summed):
                raise InputError("tile", f"pieces with the term {term.name}", "null")

    def to(self, device: torch.device) -> "Objective":
        """Move the network and all targets to a device."""
        self._backbone.to(device)
        for term in self._terms:
            term.to(device)
        return self

    def __call__(
        self, pastiche: Tensor, step: int | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and every term's unweighted value.

        Args:
            pastiche: (1, 3, H, W) RGB in [0, 1].
            step: the step at hand, for terms whose weight changes with it; None counts every term
                with its whole weight.

        Returns:
            A scalar with a gradient, and detached scalars by name; of a term that rests at this
            step the latest.
        """
        if self._tiles:
            return self._piecewise(pastiche, step)
        sums, features = self._sums(pastiche)
        return self._weighed(sums, features, pastiche, step)

    def _weighed(
        self, sums: AllSums, features: Features, pastiche: Tensor, step: int | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of all terms, and their values."""
        total = pastiche.new_zeros(())
        values: dict[str, Tensor] = {}
        for term in self._terms:
            factor = 1.0 if step is None else term.factor(step)
            if factor == 0 and term.name in self._latest:
                values |= self._latest[term.name]
                continue
            weight = factor * term.weight
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight != 0):
                if isinstance(term, Summed):
                    own = {key[1:]: x for key, x in sums.items() if key[0] == term.name}
                    parts = term.values(own)
                else:
                    parts = term(pastiche, features)
            if weight != 0:
                total = total + weight * parts[term.name]
            self._latest[term.name] = {name: value.detach() for name, value in parts.items()}
            values |= self._latest[term.name]
        return total, values

    def _piecewise(self, pastiche: Tensor, step: int | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The sums over all pieces; then, piece by piece again, their share of the gradient."""
        wants_gradient = torch.is_grad_enabled() and pastiche.requires_grad
        sums: AllSums = {}
        with torch.no_grad():
            for tile in self._tiles:
                for key, value in self._sums(tile.pixels(pastiche), tile)[0].items():
                    sums[key] = sums[key] + value if key in sums else value
        whole = pastiche.detach().requires_grad_(wants_gradient)
        for value in sums.values():
            value.requires_grad_(wants_gradient)
        total, values = self._weighed(sums, {}, whole, step)
        if not total.requires_grad:
            return total, values
        total.backward()
        gradient = torch.zeros_like(whole) if whole.grad is None else whole.grad
        slopes = {key: value.grad for key, value in sums.items() if value.grad is not None}
        for tile in self._tiles if slopes else ():
            pixels = tile.pixels(pastiche).detach().clone().requires_grad_()
            found, _ = self._sums(pixels, tile)
            torch.autograd.backward([found[key] for key in slopes], list(slopes.values()))
            assert pixels.grad is not None
            tile.pixels(gradient).add_(pixels.grad)
        return _Known.apply(pastiche, total.detach(), gradient), values

    def _sums(self, pixels: Tensor, tile: Tile | None = None) -> tuple[AllSums, dict[str, Tensor]]:
        """Every term's sums over a piece or all of a picture, and the features that others want."""
        sums: AllSums = {}
        kept: dict[str, Tensor] = {}
        for layer, x in self._backbone.one_by_one(pixels, self._layers):
            for term in self._terms:
                if layer not in term.layers:
                    continue
                if not isinstance(term, Summed):
                    kept[layer] = x
                    continue
                with torch.set_grad_enabled(torch.is_grad_enabled() and term.weight != 0):
                    own = x if tile is None else tile.own(layer, x)
                    found = term.sums({layer: own}, everything if tile is None else tile.part)
                sums |= {(term.name, *key): value for key, value in found.items()}
        return sums, kept


class _Known(torch.autograd.Function):
    """A value of the pastiche whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, pastiche: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return slope * gradient, None, None


def painting_grams(
    backbone: Backbone, painting: Tensor, layers: Sequence[str], side: int | None = None
) -> dict[str, Tensor]:
    """Gram matrices of a painting, without gradients.

    Args:
        backbone: the network.
        painting: (1, 3, H, W) RGB in [0, 1].
        layers: by name.
        side: of the pieces in pixels in which it goes through the network; None: at once.

    Returns:
        {layer: (1, C, C)}.
    """
    height, width = painting.shape[-2:]
    tiles = cut(backbone, layers, height, width, side or max(height, width))
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for tile in tiles:
            for layer, x in backbone.one_by_one(tile.pixels(painting), layers):
                one = losses.correlations(tile.own(layer, x))
                found[layer] = found[layer] + one if layer in found else one
    areas = {layer: math.prod(backbone.size(layer, height, width)) for layer in layers}
    return {layer: found[layer] / areas[layer] for layer in areas}


def sizes(features: Features) -> dict[str, tuple[int, int]]:
    """(h, w) of every layer's features."""
    return {layer: (f.shape[-2], f.shape[-1]) for layer, f in features.items()}


def at_layers(
    mask: Tensor | None, feature_sizes: Mapping[str, tuple[int, int]], key: str
) -> dict[str, Tensor]:
    """A mask at the size of every layer.

    Args:
        mask: (1, 1, H, W) in [0, 1]; None gives no masks.
        feature_sizes: (h, w) by layer.
        key: the configuration key of the mask, for the error.

    Returns:
        {layer: (1, 1, h, w)}, empty without a mask.

    Raises:
        InputError: at some layer the mask selects less than half of one position.
    """
    if mask is None:
        return {}
    found = {layer: masks.at_layer(mask, *size) for layer, size in feature_sizes.items()}
    for layer, at_layer in found.items():
        selected = float(at_layer.square().sum())
        if selected < 0.5:
            height, width = feature_sizes[layer]
            raise InputError(
                key,
                f"a mask that selects {selected:.2g} of the {width} x {height} positions "
                f"of the layer {layer}",
                "one that selects at least one: a wider mask, a larger picture, or a shallower "
                "layer",
            )
    return found


def check_size(image: Tensor, backbone: Backbone, layers: Sequence[str], key: str) -> None:
    """Refuse a picture that is too small for a layer.

    Raises:
        InputError: naming the deepest such layer and the side that it needs.
    """
    height, width = image.shape[-2:]
    needs = {layer: backbone.smallest_side(layer) for layer in layers}
    deepest = max(needs, key=lambda layer: needs[layer], default=None)
    if deepest is not None and min(height, width) < needs[deepest]:
        raise InputError(
            key,
            f"a picture of {width} x {height} pixels",
            f"a short side of at least {needs[deepest]} pixels for the layer {deepest}",
        )


def _moved(tensors: Features, device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
