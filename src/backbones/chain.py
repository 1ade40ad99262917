"""A frozen chain of named layers that gives the features of an image in one pass."""

import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from src.backbones.preprocessing import Preprocessing
from src.backbones.receptive_field import ConvGeometry, ReceptiveField, geometries
from src.core import weights as files
from src.core.errors import InputError
from src.core.weights import State, match

Layer = str | int
Change = Callable[[str, Tensor], Tensor]
KEY = "backbone.weights"
CLASSIFIER = r"classifier\.|conv10\."  # in files of a whole network; never used here


class Backbone:
    """Named layers in a row, frozen, from an image in [0, 1] to the features asked for.

    No nn.Module: its weights are in no checkpoint, and nothing can put it in training mode. The
    index of a layer is that in torchvision's `features`; `precision` is what the layers compute
    in; `family` names layers and weights, for code that needs these very features.
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, nn.Module]],
        preprocessing: Preprocessing,
        name: str,
        family: str = "",
    ) -> None:
        self.name, self.family = name, family
        self.layers = [layer for layer, _ in layers]
        self._modules = [
            module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
            for _, module in layers
        ]
        self.precision = torch.float32
        self._channels = list(preprocessing.channels)
        self._mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)

    def to(self, device: torch.device) -> "Backbone":
        """Move the weights to a device."""
        self._modules = [module.to(device) for module in self._modules]
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    def to_dtype(self, precision: torch.dtype) -> "Backbone":
        """The same network, computing in another precision.

        Compare Gram matrices of features in bfloat16 only with others of bfloat16: against a target
        without its rounding noise, the noise is most of the gradient once the two are near.
        """
        if precision == self.precision:
            return self
        other = copy.copy(self)
        other._modules = [copy.deepcopy(module).to(precision) for module in self._modules]
        other.precision = precision
        return other

    def layer(self, layer: Layer, key: str = "loss") -> str:
        """The name of a layer given by name or by index.

        Raises:
            InputError: no such layer; the text has the nearest names, or all of them.
        """
        if isinstance(layer, int) and not isinstance(layer, bool) and 0 <= layer < len(self.layers):
            return self.layers[layer]
        if layer in self.layers:
            return str(layer)
        near = difflib.get_close_matches(str(layer), self.layers, n=3)
        choices = ", ".join(near or self.layers)
        raise InputError(
            key,
            f"the layer {layer!r}",
            f"a layer of {self.name} ({choices}) or an index from 0 to {len(self.layers) - 1}",
        )

    def smallest_side(self, layer: str) -> int:
        """The shortest side in pixels for which a layer still has a position."""
        side = 1
        for window in reversed(self._geometries(layer)):
            kernel = window.kernel - (window.stride - 1 if window.ceil else 0)
            side = max((side - 1) * window.stride + kernel - 2 * window.padding, 1)
        return side

    def size(self, layer: str, height: int, width: int) -> tuple[int, int]:
        """(h, w) of a layer's features of an image of this height and width in pixels."""
        for window in self._geometries(layer):
            height, width = window.output_length(height), window.output_length(width)
        return height, width

    def receptive_field(self, layer: str) -> ReceptiveField:
        """Which pixels a layer's positions depend on."""
        stride, before, after = 1, 0, 0
        for window in self._geometries(layer):
            before += window.padding * stride
            after += (window.kernel - 1 - window.padding) * stride
            stride *= window.stride
        return ReceptiveField(stride, before, after)

    def _geometries(self, layer: str) -> list[ConvGeometry]:
        return geometries(self._modules[: self.layers.index(layer) + 1])

    def features(
        self, image: Tensor, layers: Sequence[str], change: Change | None = None
    ) -> dict[str, Tensor]:
        """Features of an image (B, 3, H, W) in [0, 1], no deeper than the deepest layer asked for.

        {layer: (B, C, h, w)}, channels-last in memory, in `precision`. What `change` gives replaces
        the features of a layer, for all that follows. An unknown layer is an InputError.
        """
        return dict(self.iter_features(image, layers, change))

    def iter_features(
        self, image: Tensor, layers: Sequence[str], change: Change | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """`features` one by one, each as soon as it is computed.

        What is computed from one before the next is asked for has its gradient computed late.
        """
        pending = {self.layer(layer) for layer in layers}
        if not pending:
            return
        x = (image[:, self._channels] - self._mean) / self._std
        x = x.to(self.precision, memory_format=torch.channels_last)
        reusable = False  # the layer before was not asked for: a ReLU may overwrite it
        for name, module in zip(self.layers, self._modules, strict=True):
            x = x.relu_() if reusable and isinstance(module, nn.ReLU) else module(x)
            reusable = change is None and name not in pending
            if change is not None:
                x = change(name, x)
            if name in pending:
                yield name, x
                pending.remove(name)
                if not pending:
                    return


def read_or_fetch(weights: str | None, url: str, sha256: str) -> State:
    """The tensors of a local file, or of one that is fetched once from an address."""
    return files.read(Path(weights) if weights else files.fetch(url, sha256, KEY), KEY)


def load(
    layers: Sequence[tuple[str, nn.Module]],
    state: State,
    preprocessing: Preprocessing,
    name: str,
    family: str = "",
) -> Backbone:
    """A backbone of these layers with weights by `<layer>.weight` and `<layer>.bias`."""
    network = nn.Sequential()
    for layer, module in layers:
        network.add_module(layer, module)
    matched = match(state, network.state_dict(), ignore=CLASSIFIER, key=KEY, network=name)
    network.load_state_dict(matched, assign=True)
    return Backbone(layers, preprocessing, name, family)


def check_size(image: Tensor, backbone: Backbone, layers: Sequence[str], key: str) -> None:
    """Refuse an image (B, C, H, W) that is too small for a layer.

    The InputError names the deepest such layer and the side that it needs.
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
