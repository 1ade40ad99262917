"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360), the network of the paper's 5.2."""

from pathlib import Path

import torch
from torch import Tensor, nn

from src import weights as files
from src.backbones.chain import CAFFE, CAFFE_UNIT, KEY, TORCHVISION, Backbone, load, pool
from src.weights import State

# (squeeze, expand) channels of fire2 to fire9; None is a pool.
STAGES = ((16, 64), (16, 64), None, (32, 128), (32, 128), None)
DEEP_STAGES = ((48, 192), (48, 192), (64, 256), (64, 256))


class Fire(nn.Module):
    """A squeeze to few channels, then 1x1 and 3x3 convolutions side by side (its section 3.1).

    Args:
        before: channels in.
        squeeze: channels between.
        expand: channels out of either half; 2 x expand in all.
    """

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(before, squeeze, 1, device="meta")
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, device="meta")
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 2 expand, H, W)."""
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def _layers(pooling: str) -> list[tuple[str, nn.Module]]:
    """Layers under the names of their features; their order is that of torchvision's `features`."""
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(3, 64, 3, stride=2, device="meta")),
        ("relu1", nn.ReLU()),
        ("pool1", pool(pooling, 3, ceil=True)),
    ]
    before, fire = 64, 2
    for stage in STAGES + DEEP_STAGES:
        if stage is None:
            layers.append((f"pool{fire - 1}", pool(pooling, 3, ceil=True)))
            continue
        layers.append((f"fire{fire}", Fire(before, *stage)))
        before, fire = 2 * stage[1], fire + 1
    return layers


def squeezenet(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: str = "max"
) -> Backbone:
    """SqueezeNet 1.1 with torchvision's weights, those of the paper's notebook.

    Args:
        weights: a local `squeezenet1_1-b8a52dc0.pth`; by default it is fetched once.
        url: its address.
        sha256: its checksum.
        pooling: "max" or "avg".
    """
    layers = _layers(pooling)
    path = Path(weights) if weights else files.fetch(url, sha256, KEY)
    state = {}
    for key, tensor in files.read(path, KEY).items():
        head, _, rest = key.removeprefix("features.").partition(".")
        owner = layers[int(head)][0] if head.isdigit() and int(head) < len(layers) else head
        rest = rest.replace("squeeze.", "squeeze1x1.")  # torchvision's name of it
        state[f"{owner}.{rest}"] = tensor
    return load(layers, state, TORCHVISION, "SqueezeNet 1.1 (torchvision)")


def squeezenet_caffe(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: str = "max"
) -> Backbone:
    """SqueezeNet 1.1 with its authors' Caffe weights, as kept by Keras.

    Args:
        weights: a local `squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5`; by default it is
            fetched once.
        url: its address.
        sha256: its checksum.
        pooling: "max" or "avg".

    Returns:
        Features in torchvision's units (see `chain.CAFFE`).
    """
    path = Path(weights) if weights else files.fetch(url, sha256, KEY)
    state: State = {}
    for key, tensor in files.read(path, KEY).items():
        scale = CAFFE_UNIT if key.endswith(".bias") else 1.0
        state[key.replace("/", ".")] = tensor / scale
    return load(_layers(pooling), state, CAFFE, "SqueezeNet 1.1 (Caffe)")
