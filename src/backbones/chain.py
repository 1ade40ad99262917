"""A frozen chain of named layers that gives the features of a picture in one pass."""

import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError
from src.weights import State, match

Layer = str | int
KEY = "backbone.weights"
CLASSIFIER = r"classifier\.|conv10\."  # in files of a whole network; never used here

# Spread of an ImageNet picture's colours in [0, 1], the mean of torchvision's three.
IMAGENET_STD = 0.2256
IMAGENET_MEAN = (0.485, 0.456, 0.406)
# The mean that Caffe networks take away, on 0-255, in their order: blue, green, red.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Preprocessing:
    """What a network's weights expect of a picture: (image[channels] - mean) / std.

    Attributes:
        mean: per channel, in [0, 1], in the order of `channels`.
        std: per channel, likewise.
        channels: order of the channels; (2, 1, 0) for BGR.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: tuple[int, ...] = (0, 1, 2)


TORCHVISION = Preprocessing(IMAGENET_MEAN, (0.229, 0.224, 0.225))

# Caffe's weights take 0-255. A chain of convolutions, ReLUs and max pools is homogeneous: with its
# biases divided by s, it gives for a picture divided by s its features divided by s. With s = 255 x
# 0.2256 the features of Caffe's weights come out in the units of torchvision's (one standard
# deviation of the input is 1), and a loss weight means about the same with either.
CAFFE_UNIT = 255 * IMAGENET_STD
CAFFE = Preprocessing(tuple(m / 255 for m in CAFFE_MEAN_BGR), (IMAGENET_STD,) * 3, (2, 1, 0))


@dataclass(frozen=True)
class Reach:
    """What a layer sees: position p the pixels from p stride - before to p stride + after.

    Attributes:
        stride: pixels from one position to the next.
        before: pixels up or left, 0 or more.
        after: pixels down or right, 0 or more.
    """

    stride: int
    before: int
    after: int


class Backbone:
    """Named layers in a row, frozen, from a picture in [0, 1] to the features asked for.

    A plain object, not a module of the trained one: its weights are in no checkpoint, and nothing
    can put it in training mode.

    Args:
        layers: (name, module) in order; the index of a layer is that in torchvision's `features`.
        preprocessing: what the weights expect.
        name: for messages.

    Attributes:
        precision: what the layers compute in.
    """

    def __init__(
        self, layers: Sequence[tuple[str, nn.Module]], preprocessing: Preprocessing, name: str
    ) -> None:
        self.name = name
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

    def at(self, precision: torch.dtype) -> "Backbone":
        """The same network, computing in another precision.

        Gram matrices of features in bfloat16 compare with others of the same alone: its rounding
        is a noise that both have, and against a target without it the noise is most of the
        gradient once the two are near.
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
        for window in reversed(self._windows(layer)):
            # The last window may hang over the edge.
            kernel = window.kernel - (window.stride - 1 if window.ceil else 0)
            side = max((side - 1) * window.stride + kernel - 2 * window.padding, 1)
        return side

    def size(self, layer: str, height: int, width: int) -> tuple[int, int]:
        """(h, w) of a layer's features of a picture of this height and width in pixels."""
        for window in self._windows(layer):
            height, width = window.positions(height), window.positions(width)
        return height, width

    def reach(self, layer: str) -> Reach:
        """Which pixels a layer's positions see."""
        stride, before, after = 1, 0, 0
        for window in self._windows(layer):
            before += window.padding * stride
            after += (window.kernel - 1 - window.padding) * stride
            stride *= window.stride
        return Reach(stride, before, after)

    def _windows(self, layer: str) -> list["_Window"]:
        """The windows on the way to a layer; of convolutions side by side one after another."""
        modules = self._modules[: self.layers.index(layer) + 1]
        found = [_window(part) for module in modules for part in module.modules()]
        return [window for window in found if window is not None]

    def features(
        self,
        image: Tensor,
        layers: Sequence[str],
        change: Callable[[str, Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Features of a picture, in one pass, no deeper than the deepest layer asked for.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], any memory layout.
            layers: names; none asks for nothing and runs nothing. An unknown one is an InputError.
            change: puts other features in the place of a layer's, for all that follows.

        Returns:
            {layer: (B, C, h, w)}, channels-last in memory, in `precision`.
        """
        return dict(self.one_by_one(image, layers, change))

    def one_by_one(
        self,
        image: Tensor,
        layers: Sequence[str],
        change: Callable[[str, Tensor], Tensor] | None = None,
    ) -> Iterator[tuple[str, Tensor]]:
        """`features` on the way, each as soon as it is there.

        What is computed of a layer's before the next is asked for has its gradient computed late,
        when the layer's own is due: until then nothing of it has to be kept.
        """
        wanted = {self.layer(layer) for layer in layers}
        if not wanted:
            return
        x = (image[:, self._channels] - self._mean) / self._std
        x = x.to(self.precision, memory_format=torch.channels_last)
        left = set(wanted)
        previous = ""
        for name, module in zip(self.layers, self._modules, strict=True):
            # In place where nobody asked for what it overwrites.
            free = change is None and previous not in wanted and isinstance(module, nn.ReLU)
            x = x.relu_() if free else module(x)
            previous = name
            if change is not None:
                x = change(name, x)
            if name in wanted:
                yield name, x
                left.remove(name)
                if not left:
                    return


def load(
    layers: Sequence[tuple[str, nn.Module]], state: State, preprocessing: Preprocessing, name: str
) -> Backbone:
    """A backbone of these layers with these weights.

    Args:
        layers: (name, module) in order, made on the "meta" device: nothing is initialised twice.
        state: tensors by `<layer>.weight`, `<layer>.bias`; a classifier's are left out.
        preprocessing: what the weights expect.
        name: of the network, for messages.

    Raises:
        InputError: weights of another network.
    """
    network = nn.Sequential()
    for layer, module in layers:
        network.add_module(layer, module)
    matched = match(state, network.state_dict(), ignore=CLASSIFIER, key=KEY, network=name)
    network.load_state_dict(matched, assign=True)
    return Backbone(layers, preprocessing, name)


@dataclass(frozen=True)
class _Window:
    kernel: int
    stride: int
    padding: int
    ceil: bool

    def positions(self, length: int) -> int:
        """How many positions there are along so many."""
        room = length + 2 * self.padding - self.kernel
        if not self.ceil:
            return room // self.stride + 1
        found = -(-room // self.stride) + 1
        # torch has no window that begins behind the end.
        return found - 1 if (found - 1) * self.stride >= length + self.padding else found


def _window(module: nn.Module) -> _Window | None:
    """The window that a layer looks at; None for one that looks at single positions."""
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        sides = (module.kernel_size, module.stride, module.padding)
        kernel, stride, padding = (int(s[0] if isinstance(s, tuple) else s) for s in sides)
        return _Window(kernel, stride, padding, bool(getattr(module, "ceil_mode", False)))
    return None


class MaxPool(nn.MaxPool2d):
    """Max pooling that does not keep where the maxima are, eight bytes a window, but looks again.

    Its input is kept anyway, by the layer before it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w)."""
        found: Tensor = _LooksAgain.apply(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode
        )
        return found


class _LooksAgain(torch.autograd.Function):
    """Max pooling, (B, C, H, W) to (B, C, h, w), of square windows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int, ceil: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = kernel, stride, padding, ceil
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        kernel, stride, padding, ceil = ctx.window
        _, places = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil, return_indices=True)
        # Not torch.autograd.grad, whose first call imports sympy: two seconds.
        found = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, [kernel], [stride], [padding], [1], ceil, places
        )
        return found, None, None, None, None


def pool(kind: str, kernel: int, ceil: bool = False) -> nn.Module:
    """A pooling layer of stride 2.

    Average pooling "gives slightly more appealing results" (Gatys et al. 2016, section 2). It is
    no drop-in for the paper's weights: its features are smaller.

    Raises:
        InputError: a kind other than max and avg.
    """
    kinds: dict[str, type[MaxPool] | type[nn.AvgPool2d]] = {
        "max": MaxPool,
        "avg": nn.AvgPool2d,
    }
    if kind not in kinds:
        raise InputError("backbone.pooling", repr(kind), f"one of {', '.join(kinds)}")
    return kinds[kind](kernel, stride=2, ceil_mode=ceil)
