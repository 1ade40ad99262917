"""Monodepth2 (Godard et al. 2019, arXiv 1806.01260), the depth network of the paper.

Written from the paper and its supplementary material's table of layers, and from the names and
shapes in the authors' files. Their weights, like their code, are for non-commercial use only.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.core import weights as files
from src.core.weights import State
from src.depth_nets.network import KEY, DepthNet

NAME = "Monodepth2 (ResNet-18)"
LICENCE_PAGE = "https://github.com/nianticlabs/monodepth2/blob/master/LICENSE"
LICENCE = f"Monodepth2's weights are Niantic's, for non-commercial use only: see {LICENCE_PAGE}"

STAGES = (64, 64, 128, 256, 512)  # channels of the encoder at 1/2, 1/4, ... 1/32 of its input
UPWARDS = (256, 128, 64, 32, 16)  # channels of the decoder at 1/16, 1/8, ... 1/1
STRIDE = 32
SMALLEST_INPUT = 2 * STRIDE  # the decoder reflects at the edges, which takes two positions
# In the authors' files beside what is used: ResNet's classifier, a training counter of every
# normalisation, how it was trained, and the disparities at 1/2, 1/4 and 1/8.
UNUSED = r"encoder\.fc\.|.*\.num_batches_tracked$|use_stereo$|decoder\.1[123]\.conv\."


class Residual(nn.Module):
    """ResNet's basic block (He et al. 2016); a stride of 2 halves height and width."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, after, 3, stride)
        self.bn1 = nn.BatchNorm2d(after, device="meta")
        self.conv2 = _conv(after, after, 3, 1)
        self.bn2 = nn.BatchNorm2d(after, device="meta")
        self.downsample = nn.Sequential()
        if stride > 1:
            norm = nn.BatchNorm2d(after, device="meta")
            self.downsample = nn.Sequential(_conv(before, after, 1, stride), norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H / stride, W / stride)."""
        inner = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(inner)) + self.downsample(x)).relu()


class Encoder(nn.Module):
    """ResNet-18 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, STAGES[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(STAGES[0], device="meta")
        for i, (before, after) in enumerate(pairwise(STAGES), start=1):
            blocks = Residual(before, after, 1 + (i > 1)), Residual(after, after, 1)
            self.add_module(f"layer{i}", nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] to features at 1/2, 1/4, ... 1/32 of its size."""
        x = self.bn1(self.conv1((image - 0.45) / 0.225)).relu()
        features = [x]
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for i in range(1, len(STAGES)):
            x = self.get_submodule(f"layer{i}")(x)
            features.append(x)
        return features


class Network(nn.Module):
    """Encoder and decoder, named as in the authors' files, without weights: see `load`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.ModuleList()
        skips = [*STAGES[-2::-1], 0]
        for before, after, skip in zip((STAGES[-1], *UPWARDS), UPWARDS, skips, strict=False):
            self.decoder.append(_nested(_nested(_reflecting(before, after))))
            self.decoder.append(_nested(_nested(_reflecting(after + skip, after))))
        self.decoder.append(_nested(_reflecting(UPWARDS[-1], 1)))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] to (B, 1, H, W) in (0, 1); H and W multiples of 32."""
        *skips, x = self.encoder(image)
        *blocks, head = self.decoder
        for narrow, merge in zip(blocks[::2], blocks[1::2], strict=True):
            x = F.interpolate(F.elu(narrow(x)), scale_factor=2, mode="nearest")
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
            x = F.elu(merge(x))
        disparity: Tensor = head(x).sigmoid()
        return disparity

    def load(self, state: State) -> tuple[int, int]:
        """Take the authors' weights of both files; height and width of the training images."""
        sides = {side: torch.empty((), device="meta") for side in ("height", "width")}
        own = {name: x for name, x in self.state_dict().items() if not re.match(UNUSED, name)}
        matched = files.match(state, sides | own, ignore=UNUSED, key=KEY, network=NAME)
        height, width = (int(matched.pop(side)) for side in sides)
        self.load_state_dict(matched, assign=True)
        self.fold()
        return height, width

    @torch.no_grad()
    def fold(self) -> None:
        """Fold normalisations into the convolutions; torch's own `fusion` rounds differently."""
        for parent in list(self.modules()):
            for (_, conv), (name, norm) in pairwise(list(parent.named_children())):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    assert norm.running_mean is not None
                    assert norm.running_var is not None
                    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                    conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
                    conv.bias = nn.Parameter(norm.bias - scale * norm.running_mean)
                    parent.add_module(name, nn.Identity())


def _conv(before: int, after: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False, device="meta")


def _reflecting(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect", device="meta")


def _nested(module: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=module))


class Monodepth2(DepthNet):
    """Monodepth2 at about the area that it was trained on, and at the image's own aspect.

    What it has learnt of how large things are in pixels holds at that area only, and an image
    squeezed to the 10:3 of its road scenes is like none of them.
    """

    smallest_side = STRIDE

    def __init__(self, network: Network, height: int, width: int) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), f"{NAME}, {width}x{height}")
        self._area = height * width

    def resized_input(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of its input: multiples of 32, at the image's aspect but for strips."""
        scale = math.sqrt(self._area / (height * width))
        longest = self._area / SMALLEST_INPUT
        sides = (min(max(side * scale, SMALLEST_INPUT), longest) for side in (height, width))
        new_height, new_width = (STRIDE * round(side / STRIDE) for side in sides)
        return new_height, new_width

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity of an image (B, 3, H, W): (B, 1, H, W) in (0, 1), larger is nearer."""
        resized = _resize(image, self.resized_input(*image.shape[-2:]))
        resized = resized.contiguous(memory_format=torch.channels_last)
        return _resize(self.module(resized), image.shape[-2:])


def _resize(image: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True)


def monodepth2(weights: str | None = None, url: str = "", checksum: str = "") -> Monodepth2:
    """Monodepth2 with its authors' weights: `encoder.pth` and `depth.pth` in a folder or ZIP file.

    By default fetched once. An InputError: missing, not available, or of another network.
    """
    source = Path(weights) if weights else files.fetch(url, checksum, KEY, notice=LICENCE)
    network = Network()
    state = files.read_from(source, "encoder.pth", KEY) | files.read_from(source, "depth.pth", KEY)
    return Monodepth2(network, *network.load(state))
