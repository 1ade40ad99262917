"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360), the network of the paper's 5.2."""

import torch
from torch import Tensor, nn

from src.backbones.chain import Backbone, load, read_or_fetch
from src.backbones.pooling import Pooling, pool
from src.backbones.preprocessing import CAFFE, CAFFE_UNIT, TORCHVISION
from src.core.weights import State

# (squeeze, expand) channels of fire2 to fire9; None is a pool.
STAGES = ((16, 64), (16, 64), None, (32, 128), (32, 128), None)
DEEP_STAGES = ((48, 192), (48, 192), (64, 256), (64, 256))


class Fire(nn.Module):
    """A squeeze to few channels, then 1x1 and 3x3 convolutions side by side (its section 3.1)."""

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(before, squeeze, 1, device="meta")
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, device="meta")
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 2 expand, H, W)."""
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def _layers(pooling: Pooling) -> list[tuple[str, nn.Module]]:
    """In the order of torchvision's `features`."""
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
    weights: str | None = None, url: str = "", sha256: str = "", pooling: Pooling = "max"
) -> Backbone:
    """SqueezeNet 1.1 as in the paper's notebook: torchvision's `squeezenet1_1-b8a52dc0.pth`."""
    layers = _layers(pooling)
    state = {}
    for key, tensor in read_or_fetch(weights, url, sha256).items():
        head, _, rest = key.removeprefix("features.").partition(".")
        owner = layers[int(head)][0] if head.isdigit() and int(head) < len(layers) else head
        rest = rest.replace("squeeze.", "squeeze1x1.")  # torchvision's name of it
        state[f"{owner}.{rest}"] = tensor
    return load(layers, state, TORCHVISION, "SqueezeNet 1.1 (torchvision)")


def squeezenet_caffe(
    weights: str | None = None, url: str = "", sha256: str = "", pooling: Pooling = "max"
) -> Backbone:
    """SqueezeNet 1.1 with its authors' Caffe weights, as Keras keeps them, in `CAFFE_UNIT`s."""
    state: State = {}
    for key, tensor in read_or_fetch(weights, url, sha256).items():
        scale = CAFFE_UNIT if key.endswith(".bias") else 1.0
        state[key.replace("/", ".")] = tensor / scale
    return load(_layers(pooling), state, CAFFE, "SqueezeNet 1.1 (Caffe)")
