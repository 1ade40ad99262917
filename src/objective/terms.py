"""The terms of the loss: no `nn.Module`, so that the pastiche is the module's only parameter."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from src import losses
from src.backbones import check_size
from src.core.errors import InputError
from src.core.images import resize
from src.core.settings import Count, Layers, Weight
from src.depth_nets import DepthNet
from src.objective import targets
from src.objective.distances import GramDistance, StyleDistance
from src.objective.targets import Inputs, masks_per_layer
from src.objective.tiles import Tile

Sums = dict[str, Tensor]  # by keys that begin with the term's name
Reduction = Literal["sum", "mean"]
GRAM_DISTANCE = GramDistance()
DEPTH_BESIDE_TILES = 512  # px, long side of what a depth network is given beside tiles


class Term:
    """One term of the loss: made of settings, given its targets, then a function of the pastiche.

    It reads the features of `layers`, by name or index; by name once an objective has it. `weight`
    is its factor in the total; with 0 it is only reported.
    """

    name = ""  # its column in terms.csv and its node below `loss` in the configuration
    additive = True  # whether sums over tiles are enough for it

    def __init__(self, layers: Layers, weight: float) -> None:
        self.layers: tuple[Any, ...] = tuple(layers)
        self.weight = weight

    def set_targets(self, inputs: Inputs) -> None:
        """Compute what the pastiche is compared with; an InputError where that is impossible."""

    def accumulate(self, layer: str, features: Tensor, tile: Tile) -> Sums:
        """What a tile's own features, (1, C, h, w), add to the sums over the pastiche."""
        return {}

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """Its unweighted value under its own name, and its parts, for the report only."""
        raise NotImplementedError

    def to(self, device: torch.device) -> None:
        """Move the targets to a device."""
        for name, value in vars(self).items():
            setattr(self, name, _to_device(value, device))


class ContentTerm(Term):
    """alpha L_content: the features of the content image are kept (paper, 3.1; masked: 3.2).

    The `reduction` "sum" is the paper's; "mean" divides by the number of features, so that a
    weight means the same at every size.
    """

    name = "content"

    def __init__(self, layers: Layers, weight: Weight, reduction: Reduction = "mean") -> None:
        super().__init__(layers, weight)
        self._mean = reduction == "mean"

    def set_targets(self, inputs: Inputs) -> None:
        """P and gamma_c(d) at every layer."""
        self._target = targets.content_features(
            inputs.backbone, inputs.content, self.layers, inputs.tile_size
        )
        mask, sizes = inputs.masks.get(self.name), inputs.sizes(self.layers)
        self._masks = masks_per_layer(mask, sizes, f"loss.{self.name}.mask")

    def accumulate(self, layer: str, features: Tensor, tile: Tile) -> Sums:
        """`losses.content_loss` of a layer."""
        target, mask = tile.crop_full(layer, self._target[layer]), _crop(self._masks, layer, tile)
        return {f"{self.name}/{layer}": losses.content_loss(features, target, mask)}

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """The sum over layers."""
        counts = {layer: x.numel() if self._mean else 1 for layer, x in self._target.items()}
        parts = [sums[f"{self.name}/{layer}"] / count for layer, count in counts.items()]
        return {self.name: torch.stack(parts).sum()}


class StyleTerm(Term):
    """beta L_style, with L_style = sum over styles of w sum_l omega_l E_l (paper, 3.1, 3.2, 5.2).

    `distance` is E_l, and `layer_weights` omega_l, one per layer; None leaves it to the distance.
    """

    name = "style"

    def __init__(
        self,
        layers: Layers,
        weight: Weight,
        distance: StyleDistance = GRAM_DISTANCE,
        layer_weights: Sequence[Weight] | None = None,
    ) -> None:
        super().__init__(layers, weight)
        self._distance, self._layer_weights = distance, layer_weights
        self.additive = distance.additive

    def set_targets(self, inputs: Inputs) -> None:
        """A and gamma_s(d) by style at every layer, and omega_l."""
        self._styles, self._sizes = dict(inputs.styles), inputs.sizes(self.layers)
        self._targets, self._masks = {}, {}
        for name, style in self._styles.items():
            check_size(style.image, inputs.backbone, self.layers, style.size_key)
            self._targets[name] = targets.style_statistics(
                inputs.backbone,
                style.image,
                self.layers,
                self._distance,
                style.tile_size,
                style.region,
                f"styles.{style.whole or name}.region",
            )
            self._masks[name] = masks_per_layer(style.mask, self._sizes, f"styles.{name}.mask")
        # Only sums that tiles add up, or that several styles share, are divided in `compute`.
        shared = sum(not masks for masks in self._masks.values()) > 1
        self._in_sums = self.additive and (inputs.tiled or shared)
        omega = self._layer_weights
        if omega is None:
            target = next(iter(self._targets.values()))
            omega = [self._distance.layer_weight(target[layer]) for layer in self.layers]
        if len(omega) != len(self.layers):
            expected = (
                f"one for each of the {len(self.layers)} layers of loss.style.layers, or null"
            )
            raise InputError("loss.style.layer_weights", f"{len(omega)} numbers", expected)
        self._omega = dict(zip(self.layers, omega, strict=True))

    def accumulate(self, layer: str, features: Tensor, tile: Tile) -> Sums:
        """By style the statistics or what adds up to them; styles without a mask share one."""
        measure = self._distance.accumulate if self._in_sums else self._distance.statistics
        sums: Sums = {}
        for name, masks in self._masks.items():
            key = self._key(name, layer)
            if key not in sums:
                sums[key] = measure(features, _crop(masks, layer, tile))
        return sums

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """The weighted sum, and every style's own distance, of all its bands, as `style_<name>`."""
        total = pastiche.new_zeros(())
        parts: dict[str, Tensor] = {}
        for name, target in self._targets.items():
            distances = []
            for layer, omega in self._omega.items():
                statistics = sums[self._key(name, layer)]
                if self._in_sums:
                    mask = self._masks[name].get(layer)
                    statistics = self._distance.normalize(statistics, self._sizes[layer], mask)
                distances.append(omega * self._distance.distance(statistics, target[layer]))
            style = self._styles[name]
            whole, value = f"{self.name}_{style.whole or name}", torch.stack(distances).sum()
            parts[whole] = (
                parts[whole] + style.share * value if whole in parts else style.share * value
            )
            total = total + style.weight * style.share * value
        return {self.name: total, **parts}

    def _key(self, style: str, layer: str) -> str:
        return f"{self.name}/{layer}/{style if self._masks[style] else ''}"


class StructureTerm(Term):
    """The content image's layout is kept, everywhere or where a mask says so.

    It reads no network, so none can be fooled; with `mask=edges` silhouettes stay while strokes
    are free between them.
    """

    name = "structure"

    def __init__(self, weight: Weight) -> None:
        super().__init__((), weight)

    def set_targets(self, inputs: Inputs) -> None:
        """The content image, and its mask."""
        self._content, self._mask = inputs.content, inputs.masks.get(self.name)
        if self._mask is not None and not self._mask.any():
            expected = (
                "one that selects something: of edges a smaller threshold, or a floor above 0"
            )
            raise InputError(f"loss.{self.name}.mask", "a mask that is 0 everywhere", expected)

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """`losses.laplacian_loss`."""
        return {self.name: losses.laplacian_loss(pastiche, self._content, self._mask)}


class TemporalTerm(Term):
    """A frame stays near the one before it, moved as the clip moves (Ruder et al. 2016).

    "Artistic Style Transfer for Videos", their short-term temporal loss: mean((x - w)^2) of the
    colours in [0, 1], counted where the optical flow can be trusted. Pictures without a frame
    before them have no such term.
    """

    name = "temporal"

    def __init__(self, weight: Weight) -> None:
        super().__init__((), weight)

    def set_targets(self, inputs: Inputs) -> None:
        """The last pastiche, warped, and where it counts."""
        assert inputs.previous is not None
        self._image, self._weights = inputs.previous

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """The mean over all values, counted or not."""
        return {self.name: (self._weights * (pastiche - self._image).square()).mean()}


class TotalVariationTerm(Term):
    """gamma L_tv: calm between neighbouring pixels (paper, 3.1).

    The `reduction` "sum" is the paper's; "mean" divides by the number of values in the image.
    """

    name = "tv"

    def __init__(self, weight: Weight, reduction: Reduction = "mean") -> None:
        super().__init__((), weight)
        self._mean = reduction == "mean"

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """`losses.total_variation` of the pastiche."""
        value = losses.total_variation(pastiche)
        return {self.name: value / pastiche.numel() if self._mean else value}


class DepthTerm(Term):
    """gamma L_depth: the pastiche's depth stays near the content image's (paper, 3.3).

    What is compared is disparity, inverse depth: it is what the networks give, and of depth in
    metres the farthest points, which are known least, would decide.

    The `mode` "aligned" compares up to scale and shift, "raw" is the paper's squared difference;
    `gradient` is the weight of `losses.depth_gradient_loss` inside the term; `size` the long side
    of the network's copy of the pastiche, None: the pastiche itself, or beside tiles 512 px.
    """

    name = "depth"
    additive = False

    def __init__(
        self,
        weight: Weight,
        mode: Literal["aligned", "raw"] = "aligned",
        gradient: Weight = 0.0,
        size: Count | None = None,
    ) -> None:
        super().__init__((), weight)
        self._loss = losses.aligned_depth_loss if mode == "aligned" else losses.depth_loss
        self._gradient, self._size = gradient, size

    def set_targets(self, inputs: Inputs) -> None:
        """phi(I_original), the content image's disparity."""
        self._net = inputs.depth_net()
        if not self._net.differentiable:
            got = f"{self._net.name}, through which no gradient goes, in the loss"
            raise InputError("depth_net", got, "vgg_head, monodepth2 or depth_anything_v2")
        targets.check_depth_size(inputs.content, self._net)
        side = self._size
        if inputs.tiled:
            side = side or DEPTH_BESIDE_TILES
        elif side is not None and side >= max(inputs.content.shape[-2:]):
            side = None
        self.layers = tuple(self._net.layers) if side is None else ()
        self._target = targets.disparity(self._net, inputs.backbone, inputs.content, side)
        if not float(self._target.max() - self._target.min()) > 0:
            got = f"a picture whose depth {self._net.name} finds the same everywhere"
            expected = "a picture of something near and something far, or loss.depth.weight=null"
            raise InputError("content", got, expected)

    def accumulate(self, layer: str, features: Tensor, tile: Tile) -> Sums:
        """The features themselves, for a network that reads them."""
        return {f"{self.name}/{layer}": features}

    def compute(self, pastiche: Tensor, sums: Sums) -> dict[str, Tensor]:
        """The loss of the two disparities; with `gradient` its edges' part, too."""
        pastiche = resize(pastiche, *self._target.shape[-2:])
        features = {layer: sums[f"{self.name}/{layer}"] for layer in self.layers}
        predicted = self._net.disparity(pastiche, features)
        value = self._loss(predicted, self._target)
        if not self._gradient:
            return {self.name: value}
        edges = losses.depth_gradient_loss(predicted, self._target)
        return {self.name: value + self._gradient * edges, f"{self.name}_gradient": edges}


def _crop(masks: Mapping[str, Tensor], layer: str, tile: Tile) -> Tensor | None:
    return tile.crop_full(layer, masks[layer]) if layer in masks else None


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_device(one, device) for key, one in value.items()}
    return value.to(device) if isinstance(value, Tensor | DepthNet) else value
