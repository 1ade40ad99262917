"""Monodepth2 (Godard et al. 2019, arXiv 1806.01260), the depth network of the paper.

Written from the paper and its supplementary material's table of layers, and from the names and
shapes in the authors' files. Their weights, like their code, are for non-commercial use only.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src import weights as files
from src.depth_nets.network import KEY, DepthNet
from src.weights import State

NAME = "Monodepth2 (ResNet-18)"
LICENCE = "Monodepth2's weights are Niantic's, for non-commercial use only: see {}"
LICENCE_PAGE = "https://github.com/nianticlabs/monodepth2/blob/master/LICENSE"

STAGES = (64, 64, 128, 256, 512)  # channels of the encoder at 1/2, 1/4, ... 1/32 of its input
UPWARDS = (256, 128, 64, 32, 16)  # channels of the decoder at 1/16, 1/8, ... 1/1
STRIDE = 32
SMALLEST_FEED = 2 * STRIDE  # the decoder reflects at the edges, which takes two positions
# In the authors' files beside what is used: ResNet's classifier, a training counter of every
# normalisation, how it was trained, and the disparities at 1/2, 1/4 and 1/8.
UNUSED = r"encoder\.fc\.|.*\.num_batches_tracked$|use_stereo$|decoder\.1[123]\.conv\."

NEAREST, FARTHEST = 0.1, 100.0  # in units that only stereo training ties to metres


def depth(disparity: Tensor) -> Tensor:
    """Depth of the network's disparity (the paper's "additional considerations").

    1 / (1/100 + (1/0.1 - 1/100) disparity).

    Args:
        disparity: any shape, in [0, 1].

    Returns:
        The same shape, from 0.1 (disparity 1) to 100 (disparity 0), in the network's own unit.
    """
    return 1 / (1 / FARTHEST + (1 / NEAREST - 1 / FARTHEST) * disparity)


class Residual(nn.Module):
    """ResNet's basic block (He et al. 2016), its normalisations folded into the convolutions.

    Args:
        before: channels in.
        after: channels out.
        stride: 2 halves the picture.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, device="meta")
        self.second = nn.Conv2d(after, after, 3, padding=1, device="meta")
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Conv2d(before, after, 1, stride, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H / stride, W / stride)."""
        return (self.second(self.first(x).relu()) + self.shortcut(x)).relu()


def _reflecting(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect", device="meta")


class Network(nn.Module):
    """Encoder and decoder without weights; `load` brings them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STAGES[0], 7, 2, padding=3, device="meta")
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(before, after, 1 + (i > 0)), Residual(after, after, 1))
            for i, (before, after) in enumerate(pairwise(STAGES))
        )
        self.narrow, self.merge = nn.ModuleList(), nn.ModuleList()
        skips = [*STAGES[-2::-1], 0]
        for before, after, skip in zip((STAGES[-1], *UPWARDS), UPWARDS, skips, strict=False):
            self.narrow.append(_reflecting(before, after))
            self.merge.append(_reflecting(after + skip, after))
        self.head = _reflecting(UPWARDS[-1], 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] to (B, 1, H, W) in (0, 1); H and W multiples of 32."""
        x = self.stem((image - 0.45) / 0.225).relu()
        skips = [x]
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for narrow, merge in zip(self.narrow, self.merge, strict=True):
            x = F.interpolate(F.elu(narrow(x)), scale_factor=2, mode="nearest")
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
            x = F.elu(merge(x))
        return self.head(x).sigmoid()

    def load(self, state: State) -> tuple[int, int]:
        """Take the authors' weights; every one is used or known to be of no use here.

        Args:
            state: the tensors of their encoder.pth and depth.pth.

        Returns:
            Height and width in pixels of the pictures that the network was trained on.

        Raises:
            InputError: a name that is missing, left over, or of another shape.
        """
        convolutions = {
            name: module for name, module in self.named_modules() if isinstance(module, nn.Conv2d)
        }
        expected = {side: torch.empty((), device="meta") for side in ("height", "width")}
        for name, module in convolutions.items():
            theirs, norm = _authors_name(name)
            expected[f"{theirs}.weight"] = module.weight
            if norm is None:
                assert module.bias is not None
                expected[f"{theirs}.bias"] = module.bias
                continue
            for part in ("weight", "bias", "running_mean", "running_var"):
                expected[f"{norm}.{part}"] = torch.empty(module.out_channels, device="meta")
        found = files.match(state, expected, ignore=UNUSED, key=KEY, network=NAME)
        own = {}
        for name in convolutions:
            theirs, norm = _authors_name(name)
            kernel = found[f"{theirs}.weight"]
            if norm is None:
                own[f"{name}.weight"], own[f"{name}.bias"] = kernel, found[f"{theirs}.bias"]
                continue
            scale = found[f"{norm}.weight"] / (found[f"{norm}.running_var"] + 1e-5).sqrt()
            own[f"{name}.weight"] = kernel * scale.view(-1, 1, 1, 1)
            own[f"{name}.bias"] = found[f"{norm}.bias"] - scale * found[f"{norm}.running_mean"]
        self.load_state_dict(own, assign=True)
        return int(found["height"]), int(found["width"])


def _authors_name(name: str) -> tuple[str, str | None]:
    """A convolution's name in the authors' files, and that of the normalisation behind it."""
    part, *rest = name.split(".")
    if part == "stem":
        return "encoder.conv1", "encoder.bn1"
    if part == "stages":
        stage, block, convolution = rest
        block = f"encoder.layer{int(stage) + 1}.{block}"
        if convolution == "shortcut":
            return f"{block}.downsample.0", f"{block}.downsample.1"
        number = 1 if convolution == "first" else 2
        return f"{block}.conv{number}", f"{block}.bn{number}"
    if part == "head":
        return f"decoder.{2 * len(UPWARDS)}.conv", None
    return f"decoder.{2 * int(rest[0]) + (part == 'merge')}.conv.conv", None


class Monodepth2(DepthNet):
    """Monodepth2 at about the area that it was trained on, whatever the picture's size.

    What it has learnt of how large things are in pixels holds at that area only; at the picture's
    own aspect, since a picture squeezed to the 10:3 of its road scenes shows nothing it has seen.

    Args:
        network: with its weights.
        height: of the pictures it was trained on, in pixels.
        width: likewise.
    """

    smallest_side = STRIDE

    def __init__(self, network: Network, height: int, width: int) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), f"{NAME}, {width}x{height}")
        self._area = height * width

    def feed(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which a picture is looked at: multiples of 32, its aspect kept.

        Pictures narrower than the network can look at lose some of their aspect.
        """
        scale = math.sqrt(self._area / (height * width))
        longest = self._area / SMALLEST_FEED
        sides = (min(max(side * scale, SMALLEST_FEED), longest) for side in (height, width))
        fed_height, fed_width = (STRIDE * round(side / STRIDE) for side in sides)
        return fed_height, fed_width

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity of a picture.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            features: not looked at.

        Returns:
            (B, 1, H, W) in (0, 1), larger is nearer; `depth` makes depth of it.
        """
        fed = _resize(image, self.feed(*image.shape[-2:]))
        fed = fed.contiguous(memory_format=torch.channels_last)
        return _resize(self.module(fed), image.shape[-2:])


def _resize(image: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(image, tuple(size), mode="bilinear", antialias=True)


def monodepth2(weights: str | None = None, url: str = "", checksum: str = "") -> Monodepth2:
    """Monodepth2 with its authors' weights, fetched once.

    Args:
        weights: a folder with their `encoder.pth` and `depth.pth`, or a ZIP file of it.
        url: the ZIP file's address.
        checksum: of the ZIP file; its authors publish an MD5.

    Raises:
        InputError: the weights are not there, cannot be fetched, or are of another network.
    """
    if weights:
        source = Path(weights)
    else:
        source = files.fetch(url, checksum, KEY, notice=LICENCE.format(LICENCE_PAGE))
    network = Network()
    state: State = {}
    for name in ("encoder.pth", "depth.pth"):
        state |= files.read_from(source, name, KEY)
    height, width = network.load(state)
    return Monodepth2(network, height, width)
